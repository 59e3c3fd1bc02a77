//! Kafka servers that certainly do not answer: the reason is told long before the measure timeout.
//! No broker is needed.

use std::time::Duration;

use sift_harness::Sift;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Code;

const MEASURE_TIMEOUT: Duration = Duration::from_secs(30);

/// What telling takes at most, on a machine that builds beside it.
const PROMPT: Duration = Duration::from_secs(10);

/// Where nothing listens. The port is not given to anyone else while the listener is there, but a
/// listener that is closed is what nobody connects to.
async fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    drop(listener);
    address.to_string()
}

#[tokio::test]
async fn what_is_certain_is_told_before_the_time_is_over() {
    let sift = Sift::start_with(MEASURE_TIMEOUT, Duration::from_secs(900)).await;
    let closed = closed().await;
    let rows = [
        ("nothing listens", closed.clone(), "Connection refused"),
        ("no such name", "broker.keda-sift.invalid:9092".to_owned(), "there is no such name"),
        ("both", format!("{closed},broker.keda-sift.invalid:9092"), "Connection refused"),
    ];
    for (name, servers, expected) in rows {
        for count_from in ["records", "offsets"] {
            let asked = Instant::now();
            let trigger = sift.trigger(&servers, "jobs", "uploads").with("countFrom", count_from);
            let (code, told) = trigger.error().await;
            assert_eq!(code, Code::Unavailable, "{name}: {told}");
            assert!(
                told.contains("cannot be reached") && told.contains(expected),
                "{name}: {told}"
            );
            assert!(asked.elapsed() < PROMPT, "{name}: {:?}", asked.elapsed());
        }
    }
}

#[tokio::test]
async fn a_server_that_may_still_answer_is_waited_for() {
    let sift = Sift::start_with(Duration::from_secs(3), Duration::from_secs(900)).await;
    // Takes connections and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let servers = format!("{},{}", closed().await, mute.local_addr().expect("it has one"));
    let asked = Instant::now();
    let (code, told) = sift.trigger(&servers, "jobs", "uploads").error().await;
    assert_eq!(code, Code::Unavailable, "{told}");
    assert!(asked.elapsed() > Duration::from_millis(2_500), "{:?}: {told}", asked.elapsed());
}
