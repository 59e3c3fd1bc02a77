//! What a poll of a queue takes that has been read, against one bare peek over an open link; and
//! how many messages it peeks at. The service is called in this process; the namespace is a process
//! of its own.

use tokio::time::Instant;

use super::bare_link::Peeking;
use super::namespace::Namespace;
use super::peek::trigger;
use super::poll::{millis, poll, scaler};
use super::report::{Goal, Report, median};

const MESSAGES: usize = 100_000;
const WANTED: i64 = 10;
const NEW: usize = 1_000;
const ROUNDS: usize = 5;
const POLLS: usize = 200;

pub(crate) async fn run(report: &mut Report) {
    println!(
        "service_bus_poll: {MESSAGES} messages, {WANTED} of them wanted, {ROUNDS} rounds of {POLLS}"
    );
    let mut namespace = Namespace::start();
    namespace.fill("deep", MESSAGES);
    let (scaler, trigger) = (scaler(), trigger(&namespace, "deep"));
    let begun = Instant::now();
    assert_eq!(poll(&scaler, &trigger).await, WANTED);
    println!("  the first poll: {:.0} ms", millis(begun.elapsed()));
    let mut link = Peeking::open(&namespace.connection_string, "deep").await;

    namespace.peeked();
    assert_eq!(poll(&scaler, &trigger).await, WANTED);
    let second = namespace.peeked();
    println!("  an unchanged queue: {} messages in {} peeks", second.messages, second.requests);

    let (mut ratios, mut polls, mut peeks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..POLLS {
            let begun = Instant::now();
            assert_eq!(poll(&scaler, &trigger).await, WANTED);
            ours.push(millis(begun.elapsed()));
            let begun = Instant::now();
            assert_eq!(link.peek(1, 1).await, 1);
            bare.push(millis(begun.elapsed()));
        }
        let (ours, bare) = (median(ours), median(bare));
        println!("  a poll {ours:.2} ms, a bare peek {bare:.2} ms");
        ratios.push(ours / bare);
        polls.push(ours);
        peeks.push(bare);
    }

    let (mut costs, mut times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        namespace.fill("deep", NEW);
        namespace.peeked();
        let begun = Instant::now();
        assert_eq!(poll(&scaler, &trigger).await, WANTED);
        times.push(millis(begun.elapsed()));
        costs.push(namespace.peeked().messages as f64);
    }
    println!("  with {NEW} new messages: {:.1} ms", median(times));

    report.add("service_bus_poll, of a bare peek", median(ratios), "", Goal::AtMost(4.0));
    let messages = second.messages as f64;
    report.add("service_bus_poll messages, unchanged", messages, "", Goal::AtMost(20.0));
    let most = NEW as f64 + 20.0;
    report.add("service_bus_poll messages, 1,000 new", median(costs), "", Goal::AtMost(most));
}
