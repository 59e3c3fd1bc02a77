//! Compiles the contract with KEDA. protox reads it, so that no protoc has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let contract = protox::compile(["externalscaler.proto"], ["proto"])?;

    // What reflection serves, comments included.
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("externalscaler.bin");
    fs::write(descriptors, contract.encode_to_vec())?;

    tonic_prost_build::configure()
        // Its metadata holds secrets; src/scaler/proto.rs has a Debug that leaves the values out.
        .skip_debug(["externalscaler.ScaledObjectRef"])
        // Streams outlive the call that opens them and hold on to the service.
        .use_arc_self(true)
        .compile_fds(contract)?;
    Ok(())
}
