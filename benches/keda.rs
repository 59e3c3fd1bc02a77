//! A poll with a selection, beside a poll without one by KEDA's own scaler of Kafka: both as KEDA's
//! operator asks for a ScaledJob, by KEDA's own code, of the same topic and group and in the same
//! process. It needs Go, and is left out without.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use sift_harness::{Broker, Message, Sift};
use tokio::task::spawn_blocking;

use super::report::{Goal, Report, median};

const ROUNDS: usize = 5;
const POLLS: usize = 200;

pub(crate) async fn run(report: &mut Report) {
    println!("keda: a poll with a selection beside KEDA's own without, {ROUNDS} rounds of {POLLS}");
    let Some(program) = build() else {
        println!("  left out: Go is missing");
        return;
    };
    let broker = Broker::for_benchmarks();
    let sift = Sift::start().await;
    for partitions in [1, 100] {
        let topic = format!("keda-{partitions}");
        broker.topic(&topic).partitions(partitions).create().await;
        let messages = (0..1_000).map(|_| Message::of_type("wanted"));
        broker.produce_all(&topic, messages).await;
        broker.commit("keda", &topic, (0..partitions).map(|partition| (partition, 0))).await;
        let trigger = sift.trigger(broker.bootstrap(), "keda", &topic);
        let theirs = trigger.reference().scaler_metadata;
        let mut ours = trigger.with("eventType", "wanted").reference().scaler_metadata;
        ours.insert("scalerAddress".to_owned(), sift.address.to_string());
        let triggers = json!([
            { "type": "kafka", "metadata": theirs },
            { "type": "external", "metadata": ours },
        ]);
        let program = program.clone();
        let rounds = spawn_blocking(move || Operator::start(&program, &triggers).rounds());
        let (theirs, ours, ratio) = rounds.await.expect("it polls to its end");
        println!("  {partitions} partitions: KEDA's own {theirs:.2} ms, ours {ours:.2} ms");
        let name = format!("poll of {partitions} partitions, of one by KEDA's own scaler");
        report.add(name, ratio, "", Goal::AtMost(1.0));
    }
}

/// KEDA's side, in a process of its own.
struct Operator {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Operator {
    fn start(program: &Path, triggers: &Value) -> Operator {
        let mut command = Command::new(program);
        command.arg(triggers.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("it has just been built");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Operator { child, input, output }
    }

    /// What each takes in the median of all rounds, in milliseconds, and the ratio.
    fn rounds(mut self) -> (f64, f64, f64) {
        self.round();
        let (mut theirs, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (their, our) = self.round();
            theirs.push(their);
            ours.push(our);
            ratios.push(our / their);
        }
        (median(theirs), median(ours), median(ratios))
    }

    fn round(&mut self) -> (f64, f64) {
        let polls: Vec<(f64, f64)> = (0..POLLS).map(|_| self.poll()).collect();
        let (theirs, ours) = polls.into_iter().unzip();
        (median(theirs), median(ours))
    }

    fn poll(&mut self) -> (f64, f64) {
        writeln!(self.input).expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        serde_json::from_str(&line).expect("two times: a trigger that fails ends the program")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program; what Go has built before takes it a second, and all of KEDA's scalers some minutes.
/// `None` without Go.
fn build() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keda-poll");
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-o"]).arg(&path).arg(".");
    // Nothing from outside decides what is built.
    go.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/keda_poll"));
    go.env("GOFLAGS", "").env("GOWORK", "off");
    match go.output() {
        Ok(output) if output.status.success() => Some(path),
        Ok(output) => panic!("{go:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{go:?}: {error}"),
    }
}
