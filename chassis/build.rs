//! Generates the gRPC service of the control streams. Its messages are those of `wisp-api`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../api/proto/wisp.proto");
    let descriptors = protox::compile(["../api/proto/wisp.proto"], ["../api/proto"])?;
    tonic_prost_build::configure().extern_path(".wisp.v1", "::wisp_api::wire").compile_fds(descriptors)?;
    Ok(())
}
