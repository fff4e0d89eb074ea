//! Generates the client of containerd's services that say what an image is. protox parses the files: no protoc is needed.

use std::error::Error;

const PROTOS: [&str; 3] = ["proto/containers.proto", "proto/images.proto", "proto/content.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
