//! Programs in Go beside the tests, which speak for KEDA by its own code.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Small files, and nothing in them of the machine that built them.
const FLAGS: [&str; 4] = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"];

/// The program in a folder of `tests/cluster`. What Go has built before takes it a second.
pub(crate) fn build(folder: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let mut go = Command::new("go");
    go.arg("build").args(FLAGS).arg("-o").arg(&path).arg(".");
    // Nothing from outside decides what is built.
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(folder));
    go.env("GOFLAGS", "").env("GOWORK", "off");
    match go.output() {
        Ok(output) if output.status.success() => path,
        Ok(output) => {
            panic!("{go:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("go: not found; see https://go.dev/dl")
        }
        Err(error) => panic!("{go:?}: {error}"),
    }
}
