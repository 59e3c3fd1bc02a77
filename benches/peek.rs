//! Messages a second that are peeked at and judged, on the first poll of a deep queue, against
//! Microsoft's Python SDK and against links that do nothing with them, in turn and on the same
//! namespace.
//!
//! The service is called in this process; the namespace is a process of its own. Opening is not
//! counted of the yardsticks, and of ours only the link: the connection is there.

use azure_stand_ins::judges;
use keda_sift::scaler::proto::ScaledObjectRef;
use tokio::time::Instant;

use super::bare_link::{Peeking, Receiving};
use super::namespace::{Namespace, WANTED_TYPE};
use super::poll::{poll, scaler};
use super::report::{Goal, Report, median};

const MESSAGES: usize = 100_000;
const WANTED: i64 = 10;
const ROUNDS: usize = 5;
/// What the SDK asks for at a time. No reply holds more.
const PAGE: &str = "250";

pub(crate) async fn run(report: &mut Report) {
    println!(
        "peek: the first poll of {MESSAGES} messages, {WANTED} of them wanted, {ROUNDS} rounds"
    );
    let mut namespace = Namespace::start();
    let scaler = scaler();
    // Opens the connection.
    namespace.fill("empty", 0);
    assert_eq!(poll(&scaler, &trigger(&namespace, "empty")).await, 0);

    let (mut of_python, mut of_peeking, mut of_receiving) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let queue = format!("peek-{round}");
        namespace.fill(&queue, MESSAGES);
        let trigger = trigger(&namespace, &queue);

        let begun = Instant::now();
        assert_eq!(poll(&scaler, &trigger).await, WANTED);
        let judged = rate(begun);

        let mut link = Peeking::open(&namespace.connection_string, &queue).await;
        let begun = Instant::now();
        assert_eq!(link.browse().await, MESSAGES);
        let peeked = rate(begun);

        let python = python(&namespace.connection_string, &queue).await;

        let mut link = Receiving::open(&namespace.connection_string, &queue).await;
        let begun = Instant::now();
        link.take(MESSAGES).await;
        let received = rate(begun);
        drop(link);
        namespace.delete(&queue);

        println!(
            "  {judged:.0} messages/s; bare peeks {peeked:.0}, bare receiver {received:.0}, \
             Python SDK {python:.0}"
        );
        of_python.push(judged / python);
        of_peeking.push(judged / peeked);
        of_receiving.push(judged / received);
    }
    report.add("peek, of the Python SDK's rate", median(of_python), "", Goal::AtLeast(10.0));
    report.add("peek, of bare peeks", median(of_peeking), "", Goal::AtLeast(0.8));
    report.add("peek, of a bare receiver", median(of_receiving), "", Goal::AtLeast(0.8));
}

/// A trigger on what is wanted in a queue.
pub(crate) fn trigger(namespace: &Namespace, queue: &str) -> ScaledObjectRef {
    let metadata = [
        ("source", "azure-servicebus"),
        ("connectionFromEnv", namespace.connection_string.as_str()),
        ("queueName", queue),
        ("messageCount", "1"),
        ("eventType", WANTED_TYPE),
    ];
    ScaledObjectRef {
        name: queue.to_owned(),
        namespace: "bench".to_owned(),
        scaler_metadata: sift_harness::metadata(&metadata),
    }
}

fn rate(begun: Instant) -> f64 {
    MESSAGES as f64 / begun.elapsed().as_secs_f64()
}

/// Messages a second that the SDK peeks at.
async fn python(connection_string: &str, queue: &str) -> f64 {
    let peek = judges::python("peek.py").arg(queue).arg(PAGE);
    let said = peek.env("CONNECTION_STRING", connection_string).run_alone().await;
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["messages"], MESSAGES);
    MESSAGES as f64 / said["seconds"].as_f64().expect("a time")
}
