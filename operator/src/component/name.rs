//! Names of images, by the grammar of the distribution project. oci-client has a regular expression for it, whose tables
//! take twelve megabytes in every process that uses it once.

use oci_client::Reference;

const PUBLIC_REGISTRY: &str = "docker.io";
const PUBLIC_REGISTRY_ONCE: &str = "index.docker.io";
const REPOSITORY_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
/// Algorithms of digests, and how many hex digits theirs have.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Why a text is no name of an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum NameError {
    #[error("{0:?} is no host of a registry, such as registry.example:5000")]
    Registry(String),
    #[error("{0:?} is no repository: lower-case letters and digits, with '.', '_' or '-' between them, and '/'")]
    Repository(String),
    #[error("{0:?} is no tag: letters, digits, '_', '.' and '-', at most {TAG_BYTES_MAX}")]
    Tag(String),
    #[error("{0:?} is no digest, such as sha256: and 64 lower-case hex digits")]
    Digest(String),
}

/// What `image` names: `[host[:port]/]path[:tag][@digest]`. Without a host it is Docker Hub's, without tag and digest the
/// tag is `latest`.
pub(super) fn reference(image: &str) -> Result<Reference, NameError> {
    let (rest, digest) = split(image, image.find('@'));
    // A colon before that belongs to a port.
    let path = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = split(rest, rest[path..].find(':').map(|colon| path + colon));
    let (registry, path) = match name.split_once('/') {
        Some((PUBLIC_REGISTRY_ONCE, path)) => (PUBLIC_REGISTRY, path),
        Some((host, path)) if host == "localhost" || host.contains(['.', ':']) => (host, path),
        _ => (PUBLIC_REGISTRY, name),
    };
    let is_official = registry == PUBLIC_REGISTRY && !path.contains('/');
    let repository = if is_official { format!("library/{path}") } else { path.to_owned() };
    check(is_host(registry), registry, NameError::Registry)?;
    check(is_repository(&repository), &repository, NameError::Repository)?;
    check(tag.is_none_or(is_tag), tag.unwrap_or_default(), NameError::Tag)?;
    check(digest.is_none_or(is_digest), digest.unwrap_or_default(), NameError::Digest)?;
    let (registry, tag) = (registry.to_owned(), tag.map(str::to_owned));
    Ok(match (tag, digest.map(str::to_owned)) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag, digest),
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or_else(|| "latest".to_owned())),
    })
}

/// Before and behind the byte at `at`.
fn split(text: &str, at: Option<usize>) -> (&str, Option<&str>) {
    at.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])))
}

fn check(holds: bool, part: &str, error: fn(String) -> NameError) -> Result<(), NameError> {
    if holds { Ok(()) } else { Err(error(part.to_owned())) }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'));
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    (is_address || host.split('.').all(is_label)) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_repository(text: &str) -> bool {
    text.len() <= REPOSITORY_BYTES_MAX && text.split('/').all(is_component)
}

/// Letters and digits; between them one '.', one or two '_', or any number of '-'.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators: Vec<&str> = text.split(|c: char| c.is_ascii() && is_word(c as u8)).collect();
    // What is between two letters is empty, and so is what is before the first and behind the last.
    let between = separators.iter().all(|run| matches!(*run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'));
    let ends = separators.len() > 1 && separators[0].is_empty() && separators[separators.len() - 1].is_empty();
    between && ends
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let all = text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    all && text.bytes().next().is_some_and(is_word) && text.len() <= TAG_BYTES_MAX
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let known = DIGESTS.iter().any(|&(known, digits)| known == algorithm && hex.len() == digits);
    known && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_library_reads_them() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        let names = [
            "hello",
            "team/hello:1.2",
            "docker.io/hello",
            "index.docker.io/team/hello",
            "localhost/hello",
            "localhost:5000/team/a/b",
            "r.example/hello:v1-rc.1_x",
            "10.88.0.2:5000/hello:1",
            "R.example/a__b/c-d---e/f.g_h",
        ];
        for name in names
            .iter()
            .map(|name| (*name).to_owned())
            .chain([format!("r.example/x@{digest}"), format!("x:1@{digest}")])
        {
            assert_eq!(reference(&name).unwrap(), name.parse().unwrap(), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_part_at_fault() {
        let table = [
            ("", "repository"),
            ("Hello", "repository"),
            ("r.example/", "repository"),
            ("r.example//x", "repository"),
            ("r.example/a..b", "repository"),
            ("r.example/a___b", "repository"),
            ("r.example/-a", "repository"),
            ("r.example/hä", "repository"),
            ("r.example:port/x", "host"),
            ("r..example/x", "host"),
            ("https://r.example/x", "host"),
            ("r.example/x:", "tag"),
            ("r.example/x:.1", "tag"),
            ("r.example/x:1:2", "tag"),
            ("r.example/x@sha256:12", "digest"),
            ("r.example/x@", "digest"),
        ];
        for (name, part) in table {
            let error = reference(name).unwrap_err().to_string();
            assert!(error.contains(&format!("no {part}")), "{name}: {error}");
            assert!(name.parse::<Reference>().is_err(), "{name}: the library takes it");
        }
    }
}
