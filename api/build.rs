//! Generates the wire messages from `proto/wisp.proto`. protox parses the file, so that no protoc is needed.
//! Only the messages: the gRPC service is generated in `chassis`, because this crate knows no tokio.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/wisp.proto");
    let descriptors = protox::compile(["proto/wisp.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .btree_map(".")
        .type_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}
