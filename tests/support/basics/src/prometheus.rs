//! Prometheus' own programs, which judge what is meant for Prometheus.
//!
//! `scripts/prepare test` takes them out of Debian's package `prometheus`, into
//! `~/.cache/keda-sift/prometheus` (or under `XDG_CACHE_HOME`). It does not install the package,
//! because that would start a server. Where there is no such package, the tests that need it are
//! left out and say so, unless `CI` is set.

use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// `promtool` or `prometheus`; nothing if this machine has none.
///
/// # Panics
/// If it is missing where `CI` is set.
pub fn prometheus(name: &str) -> Option<Command> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&on_path).chain(cached());
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        let missing = format!("{name} is missing; `scripts/prepare test` fetches it on Debian");
        assert!(env::var_os("CI").is_none(), "{missing}");
        eprintln!("left out: {missing}");
    }
    found.map(Command::new)
}

/// Checks a page of metrics in Prometheus' own text form.
///
/// # Panics
/// If `promtool` finds fault with it.
pub fn promtool_approves(page: &str) {
    let Some(mut promtool) = prometheus("promtool") else { return };
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut check =
        promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("promtool runs");
    let mut input = check.stdin.take().expect("it is piped");
    input.write_all(page.as_bytes()).expect("promtool reads");
    drop(input);
    let Output { status, stdout, stderr } = check.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&stderr) + String::from_utf8_lossy(&stdout);
    assert!(status.success() && said.is_empty(), "promtool: {said}\n{page}");
}

fn cached() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")))?;
    Some(cache.join("keda-sift/prometheus/usr/bin"))
}
