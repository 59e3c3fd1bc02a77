//! KEDA's side of a poll, by KEDA's own client: the program of `tests/cluster/poller`, what it is
//! told and what it learns.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use keda_sift::scaler::proto::ScaledObjectRef;
use serde::Deserialize;
use serde_json::{Value, json};
use sift_harness::free_port;
use tempfile::TempDir;

use crate::go;

/// What resolves to the addresses of a headless Service. The dot spares the search list of this
/// machine.
const HEADLESS: &str = "keda-sift-headless.keda-sift.svc.cluster.local.";

/// Polls triggers without a pause; killed when dropped.
pub(crate) struct Poller {
    child: Child,
    input: Option<ChildStdin>,
    polls: Arc<Mutex<Vec<Poll>>>,
    _folder: TempDir,
}

/// What one poll of a trigger learnt.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Poll {
    /// Which of the triggers.
    pub(crate) trigger: usize,
    pub(crate) target: f64,
    pub(crate) value: f64,
    pub(crate) active: bool,
    /// Who said the value; empty if nobody did.
    pub(crate) metrics: String,
    /// What failed once and not again, of which nobody hears.
    pub(crate) repeated: String,
    /// What KEDA tells of.
    pub(crate) failed: String,
}

impl Poller {
    /// Polls whoever is at this address, which is no name.
    pub(crate) fn of_address(address: SocketAddr, triggers: &[ScaledObjectRef]) -> Poller {
        Poller::start(&[], &address.to_string(), triggers)
    }

    /// Polls the addresses of a headless Service, all with one port. gRPC asks for them when it
    /// loses a connection, but only so long after it asked before.
    pub(crate) fn of_names(
        addresses: &[Ipv4Addr],
        port: u16,
        wait: Duration,
        triggers: &[ScaledObjectRef],
    ) -> Poller {
        let names = format!("127.0.0.1:{}", free_port());
        let options = ["-names", &names, "-wait", &format!("{}ms", wait.as_millis())];
        let mut poller =
            Poller::start(&options, &format!("dns://{names}/{HEADLESS}:{port}"), triggers);
        poller.resolve_to(addresses);
        poller
    }

    fn start(options: &[&str], address: &str, triggers: &[ScaledObjectRef]) -> Poller {
        let folder = TempDir::with_prefix("keda-sift-poller-").expect("a temporary folder");
        let file = folder.path().join("triggers.json");
        let triggers: Value = triggers.iter().map(sent).collect();
        fs::write(&file, triggers.to_string()).expect("a temporary folder can be written");
        let mut command = Command::new(program());
        command.args(options).arg(address).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it has just been built");
        let polls = Arc::new(Mutex::new(Vec::new()));
        let (output, seen) = (child.stdout.take().expect("it is piped"), Arc::clone(&polls));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let poll = serde_json::from_str(&line.expect("text")).expect("a poll");
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(poll);
            }
        });
        let input = child.stdin.take();
        Poller { child, input, polls, _folder: folder }
    }

    /// Has the name of the headless Service resolve to these.
    pub(crate) fn resolve_to(&mut self, addresses: &[Ipv4Addr]) {
        let addresses: Vec<_> = addresses.iter().map(Ipv4Addr::to_string).collect();
        let input = self.input.as_mut().expect("it has not been told to end");
        writeln!(input, "{}", addresses.join(" ")).expect("it reads");
    }

    /// The polls so far.
    pub(crate) fn polls(&self) -> Vec<Poll> {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many there are so far.
    pub(crate) fn len(&self) -> usize {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn sent(trigger: &ScaledObjectRef) -> Value {
    json!({ "name": trigger.name, "namespace": trigger.namespace, "scalerMetadata": trigger.scaler_metadata })
}

/// The program, built by the first test that asks.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| go::build("poller"))
}
