//! Compiles the contract with KEDA, and what is told of triggers besides, and tells which commit
//! this is.
//!
//! protox reads the contracts, so that no protoc has to be installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, error::Error, fs};

use prost::Message as _;

/// Digits of a commit that a version shows.
const SHOWN_DIGITS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    version()?;
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

/// Tells the compiler the version and the commit.
///
/// The variable REVISION says the commit, as in the image's build. Without it a release build in a
/// checkout asks Git. A build for tests does not, because it would begin anew after each commit.
fn version() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=REVISION");
    let given = env::var("REVISION").ok().filter(|given| is_commit(given));
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(commit_of_checkout).flatten());
    let version = env::var("CARGO_PKG_VERSION")?;
    let shown = match &commit {
        Some(commit) => format!("{version} ({})", &commit[..commit.len().min(SHOWN_DIGITS)]),
        None => version,
    };
    println!("cargo::rustc-env=KEDA_SIFT_VERSION={shown}");
    let commit = commit.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=KEDA_SIFT_COMMIT={commit}");
    Ok(())
}

/// Whether a text is the number of a commit, and nothing else.
fn is_commit(text: &str) -> bool {
    (SHOWN_DIGITS..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The commit of the checkout that this is; `None` if it is none, or part of another.
fn commit_of_checkout() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))?;
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    // Whatever moves when there is another commit. Cargo would take one that is not there for
    // changed each time.
    let moving = ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    for path in moving.filter_map(|name| git(&["rev-parse", "--git-path", name])) {
        if Path::new(&path).exists() {
            let changed = "cargo::rerun-if-changed";
            println!("{changed}={path}");
        }
    }
    Some(commit)
}

/// What Git says, on one line.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
