//! Which part of an image is the component: an artifact's one layer, or the one `.wasm` file of an ordinary image.

use std::io::Read;

use flate2::read::GzDecoder;
use oci_client::manifest::OciDescriptor;
use wisp_api::status::Reason;

use super::{COMPONENT_BYTES_MAX, Refusal, check_size};

/// How tools name a component's layer.
const WASM: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
const WHITEOUT: &str = ".wh.";
/// Of a layer when it is unpacked, which is read through and not kept.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;

/// Where to look for the component.
#[derive(Debug)]
pub(super) enum Place<'a> {
    /// This layer is it.
    Layer(&'a OciDescriptor),
    /// It is a file in one of these, the uppermost first.
    File(Vec<&'a OciDescriptor>),
}

pub(super) fn place(layers: &[OciDescriptor]) -> Result<Place<'_>, Refusal> {
    let wasm: Vec<&OciDescriptor> = layers.iter().filter(|layer| WASM.contains(&&*layer.media_type)).collect();
    match wasm.as_slice() {
        [one] => {
            check_size(u64::try_from(one.size).unwrap_or(u64::MAX))?;
            Ok(Place::Layer(one))
        }
        [] if layers.is_empty() => Err(Refusal::new(Reason::NotAComponent, "the image has no layers")),
        [] => Ok(Place::File(layers.iter().rev().collect())),
        several => {
            let message = format!("the image has {} components; push each as an image of its own", several.len());
            Err(Refusal::new(Reason::NotAComponent, message))
        }
    }
}

/// What a layer of an ordinary image holds for us.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The `.wasm` files, by their paths.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Paths that are gone with this layer.
    pub(super) removed: Vec<String>,
}

/// Looks through a layer, packed or not.
pub(super) fn search(layer: &[u8]) -> Result<Found, Refusal> {
    let broken = |error: std::io::Error| Refusal::new(Reason::NotAComponent, format!("a layer of the image: {error}"));
    let reader: Box<dyn Read> =
        if layer.starts_with(&[0x1f, 0x8b]) { Box::new(GzDecoder::new(layer)) } else { Box::new(layer) };
    let (mut found, mut kept) = (Found::default(), 0);
    for entry in tar::Archive::new(reader.take(UNPACKED_BYTES_MAX)).entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.to_string_lossy().trim_start_matches("./").to_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(gone) = name.strip_prefix(WHITEOUT) {
            found.removed.push(format!("{}{gone}", &path[..path.len() - name.len()]));
        } else if name.ends_with(".wasm") && entry.header().entry_type().is_file() {
            // All together: a packed layer is no bound.
            kept += entry.size();
            check_size(kept)?;
            let mut bytes = Vec::new();
            entry.by_ref().take(COMPONENT_BYTES_MAX).read_to_end(&mut bytes).map_err(broken)?;
            found.files.push((path, bytes));
        }
    }
    Ok(found)
}

/// The one component among all that layers held.
pub(super) fn only(mut files: Vec<(String, Vec<u8>)>) -> Result<Vec<u8>, Refusal> {
    if files.len() > 1 {
        let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        let message = format!("the image has several .wasm files ({}); a function is one", paths.join(", "));
        return Err(Refusal::new(Reason::NotAComponent, message));
    }
    let nothing = "the image has no component: neither a layer of type application/wasm nor a .wasm file";
    files.pop().map(|(_, bytes)| bytes).ok_or_else(|| Refusal::new(Reason::NotAComponent, nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn descriptor(media_type: &str, size: i64) -> OciDescriptor {
        OciDescriptor { media_type: media_type.to_owned(), size, ..OciDescriptor::default() }
    }

    #[test]
    fn an_artifact_is_its_wasm_layer() {
        let layers = [descriptor("application/wasm", 3)];
        assert!(matches!(place(&layers).unwrap(), Place::Layer(_)));
        assert_eq!(place(&[descriptor("application/wasm", 1 << 40)]).unwrap_err().reason, Reason::NotAComponent);
    }

    #[test]
    fn an_image_is_searched_from_its_top() {
        let layers = [descriptor("tar", 1), descriptor("tar", 2)];
        let Place::File(order) = place(&layers).unwrap() else { panic!("no files") };
        assert_eq!(order.iter().map(|layer| layer.size).collect::<Vec<_>>(), [2, 1]);
        let found = search(&layer(&[("app/x.wasm", b"w"), ("etc/passwd", b"p"), ("app/.wh.y.wasm", b"")])).unwrap();
        assert_eq!(found.files, [("app/x.wasm".to_owned(), b"w".to_vec())]);
        assert_eq!(found.removed, ["app/y.wasm"]);
    }

    #[test]
    fn one_file_is_taken_and_several_are_named() {
        assert_eq!(only(vec![("a.wasm".to_owned(), vec![1])]).unwrap(), [1]);
        let several = only(vec![("a.wasm".to_owned(), vec![1]), ("b.wasm".to_owned(), vec![2])]).unwrap_err();
        assert!(several.message.contains("a.wasm, b.wasm"), "{several}");
        assert!(only(Vec::new()).is_err());
    }
}
