//! Generates the client of containerd's services that say what it is and what an image is. protox parses the files: no protoc is needed.

use std::error::Error;

const PROTOS: [&str; 4] =
    ["proto/containers.proto", "proto/images.proto", "proto/content.proto", "proto/version.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
