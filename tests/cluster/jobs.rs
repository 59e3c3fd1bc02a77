//! How many Jobs KEDA starts: our arithmetic beside KEDA's own code.

use std::io::Write as _;
use std::process::{Command, Stdio};

use keda_sift::jobs::{Counted, Present, Scale};
use serde_json::{Map, Value, json};

use crate::go;

const CASES: usize = 20_000;

/// A ScaledJob's spec at random, with what it leaves to KEDA's defaults.
fn spec(random: &mut fastrand::Rng) -> Value {
    let mut spec = Map::new();
    let mut strategy = Map::new();
    if random.bool() {
        spec.insert("maxReplicaCount".to_owned(), random.u64(0..30).into());
    }
    if random.u8(0..4) == 0 {
        spec.insert("minReplicaCount".to_owned(), random.u64(0..12).into());
    }
    let strategies = ["default", "accurate", "eager", "custom", "none"];
    if let Some(word) = random.choice(strategies).filter(|word| *word != "none") {
        strategy.insert("strategy".to_owned(), word.into());
    }
    let ways = ["max", "min", "avg", "sum", "none"];
    if let Some(word) = random.choice(ways).filter(|word| *word != "none") {
        strategy.insert("multipleScalersCalculation".to_owned(), word.into());
    }
    if random.bool() {
        let deduction = random.u64(0..6);
        strategy.insert("customScalingQueueLengthDeduction".to_owned(), deduction.into());
    }
    if let Some(text) = random.choice(["0.5", "1", "0.33", "half", "none"]) {
        strategy.insert("customScalingRunningJobPercentage".to_owned(), text.into());
    }
    spec.insert("scalingStrategy".to_owned(), strategy.into());
    spec.into()
}

#[test]
#[ignore = "needs Go: make test-cluster"]
fn as_many_jobs_start_as_keda_s_own_code_says() {
    let mut random = fastrand::Rng::with_seed(20_260_731);
    let (mut questions, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..CASES {
        let spec = spec(&mut random);
        let triggers: Vec<Counted> = (0..random.usize(1..4))
            .map(|_| {
                let value = if random.u8(0..5) == 0 { 0 } else { random.u64(0..120) };
                let activation = if random.bool() { 0 } else { random.u64(0..20) };
                Counted { value, target: random.u64(1..12), is_active: value > activation }
            })
            .collect();
        let running = random.u64(0..20);
        let present = Present { running, pending: random.u64(0..=running) };
        ours.push(Scale::of(&spec).starts(&triggers, present));
        let triggers = triggers
            .iter()
            .map(|of| json!({ "value": of.value, "target": of.target, "active": of.is_active }));
        let triggers: Vec<_> = triggers.collect();
        let (running, pending) = (present.running, present.pending);
        let question = json!({
            "spec": spec, "running": running, "pending": pending, "triggers": triggers,
        });
        questions.push(question.to_string());
    }
    let mut keda = Command::new(go::build("jobs"));
    let mut keda =
        keda.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it has been built");
    let mut input = keda.stdin.take().expect("it is piped");
    let lines = questions.join("\n");
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = keda.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(said.lines().count(), CASES, "{}", String::from_utf8_lossy(&output.stderr));
    let mut above = 0;
    for ((question, ours), keda) in questions.iter().zip(&ours).zip(said.lines()) {
        assert_eq!(ours.to_string(), keda, "{question}");
        above += usize::from(*ours > 0);
    }
    assert!((CASES / 4..CASES).contains(&above), "{above} start any");
}
