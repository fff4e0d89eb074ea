//! Writes the CustomResourceDefinitions: `cargo run -p wisp-api --example crdgen deploy/crds`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: crdgen FOLDER")?);
    for (file, crd) in wisp_api::crds::all() {
        std::fs::write(folder.join(file), serde_saphyr::to_string(&crd)?)?;
    }
    Ok(())
}
