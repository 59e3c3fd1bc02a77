//! What waiting matches and an idle server take.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use keda_sift::kafka::index::Matches;

use super::report::{Goal, Report, resident};

const PARTITIONS: u64 = 4;

pub(crate) fn run(report: &mut Report) {
    println!("memory: matches as the index keeps them, and the server as it starts");
    let dense = grown_by(|| {
        let fill = |_| filled(0..10_000_000 / PARTITIONS);
        (0..PARTITIONS).map(fill).collect()
    });
    report.add("memory of 10 million waiting matches", dense, "MB", Goal::AtMost(32.0));
    let sparse = grown_by(|| {
        let fill = |partition| filled(one_in_a_hundred(100_000_000 / PARTITIONS, partition));
        (0..PARTITIONS).map(fill).collect()
    });
    report.add("memory of 1 million matches among 100 million", sparse, "MB", Goal::AtMost(4.0));
    let server = Server::start();
    report.add("memory of an idle server", resident(server.0.id()), "MB", Goal::AtMost(10.0));
}

fn filled(offsets: impl Iterator<Item = u64>) -> Matches {
    let mut matches = Matches::new(0, false);
    for offset in offsets {
        matches.push(offset, 0);
    }
    matches
}

/// Offsets at random, each taken with the same chance; the same ones in each run.
fn one_in_a_hundred(records: u64, seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    (0..records).filter(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.is_multiple_of(100)
    })
}

/// By how many MB the process grows while it makes and keeps these.
fn grown_by(make: impl FnOnce() -> Vec<Matches>) -> f64 {
    let before = resident(std::process::id());
    let kept = make();
    let grown = resident(std::process::id()) - before;
    let waiting: u64 = kept.iter().map(|matches| matches.count(0).count).sum();
    println!("  {waiting} matches take {grown:.1} MB");
    grown
}

/// `keda-sift serve` on free ports, for gRPC and HTTP; killed when dropped.
pub(crate) struct Server(pub(crate) Child, pub(crate) String, pub(crate) String);

impl Server {
    pub(crate) fn start() -> Server {
        Server::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keda-sift"))
            .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--measure-timeout", "30s"])
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stderr = child.stderr.take().expect("its log");
        let mut lines = BufReader::new(stderr).lines();
        let serving = lines.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
            Some((line["grpc"].as_str()?.to_owned(), line["http"].as_str()?.to_owned()))
        });
        let (grpc, http) = serving.expect("addresses");
        Server(child, grpc, http)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
