//! Compiles the contract with KEDA, and what is told of triggers besides. protox reads both, so
//! that no protoc has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    for (file, descriptors) in [
        ("externalscaler.proto", "externalscaler.bin"),
        ("sift/v1/diagnostics.proto", "diagnostics.bin"),
    ] {
        let contract = protox::compile([file], ["proto"])?;
        // What reflection serves, comments included.
        let descriptors = PathBuf::from(env::var("OUT_DIR")?).join(descriptors);
        fs::write(descriptors, contract.encode_to_vec())?;

        tonic_prost_build::configure()
            // Its metadata holds secrets; src/scaler/proto.rs has a Debug that leaves the values out.
            .skip_debug(["externalscaler.ScaledObjectRef"])
            // Streams outlive the call that opens them and hold on to the service.
            .use_arc_self(true)
            .compile_fds(contract)?;
    }
    Ok(())
}
