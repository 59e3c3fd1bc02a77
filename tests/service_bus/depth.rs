//! What a poll of a deep queue reads and keeps: everything once, then what is new and what was
//! selected.

use std::process::Command;

use azure_stand_ins::{Message, ServiceBus};
use sift_harness::{Sift, Trigger};

const DEPTH: usize = 100_000;
/// Bytes of a body.
const BODY: usize = 500;
/// What a poll may add to the program's memory at any moment, the stand-in's replies included. The
/// queue has ten times as much.
const MEMORY: u64 = 6_000_000;

/// A figure of this process in bytes: `VmRSS`, or `VmHWM` for its highest.
fn memory(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("a figure");
    let kilobytes = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().expect("a number") * 1_024
}

/// Lets the highest figure begin anew.
fn reset_highest_memory() {
    std::fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own figures");
}

/// The value of a poll, how many messages it read, and in how many requests.
async fn poll(bus: &ServiceBus, trigger: &Trigger) -> (i64, u64, u64) {
    let before = bus.counters();
    let value = trigger.count().await;
    let after = bus.counters();
    (value, after.peeked - before.peeked, after.peeks - before.peeks)
}

fn message(n: usize) -> Message {
    let event_type = if n % (DEPTH / 10) == 7 { "rare" } else { "common" };
    Message::new(vec![b'x'; BODY]).property("cloudEvents:type", event_type)
}

#[test]
fn a_deep_queue_is_read_once_and_within_bounds() {
    // A process's memory is that of all tests that run in it.
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "--nocapture", "depth::reads_a_deep_queue"])
        .output()
        .expect("it is started again");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Started again as a process of its own by the test above.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures the memory of its process"]
async fn reads_a_deep_queue() {
    let bus = ServiceBus::start().await;
    bus.queue("deep").create();
    let sift = Sift::start().await;
    let rare = sift.queue(&bus, "deep").with("eventType", "rare");
    assert_eq!(poll(&bus, &rare).await, (0, 0, 1), "empty");
    bus.fill("deep", DEPTH, message);

    reset_highest_memory();
    let before = memory("VmRSS");
    let (value, peeked, _) = poll(&bus, &rare).await;
    assert_eq!((value, peeked), (10, DEPTH as u64), "the first poll reads all, and once");
    let grown = memory("VmHWM").saturating_sub(before);
    assert!(grown <= MEMORY, "{grown} bytes");

    for round in 0..3 {
        let (value, peeked, peeks) = poll(&bus, &rare).await;
        assert!(
            value == 10 && peeked <= 20 && peeks <= 20,
            "{round}: {value}, {peeked} in {peeks}"
        );
    }
    bus.fill("deep", 1_000, |_| Message::new("").subject("common"));
    let (value, peeked, _) = poll(&bus, &rare).await;
    assert!(value == 10 && peeked <= 1_020, "{value}, {peeked} messages");
    bus.send("deep", Message::new("").subject("rare"));
    let (value, peeked, _) = poll(&bus, &rare).await;
    assert!(value == 11 && peeked <= 21, "{value}, {peeked} messages");

    // One who wants few reads few.
    let few = sift.queue(&bus, "deep").with("eventType", "common").with("countLimit", "30");
    for round in 0..3 {
        let (value, peeked, _) = poll(&bus, &few).await;
        assert!(value == 30 && peeked <= 100, "{round}: {value}, {peeked} messages");
    }
    // As a receiver takes those, others are found behind them, and the other trigger pays nothing
    // for it.
    for round in 0..3 {
        // The eighth message is one of the others'.
        assert_eq!(bus.receive("deep", 20), 20);
        let (value, peeked, _) = poll(&bus, &rare).await;
        assert!(value == 10 && peeked <= 1_100, "{round}: {value}, {peeked} messages");
        let (value, peeked, _) = poll(&bus, &few).await;
        assert!(value == 30 && peeked <= 100, "{round}: {value}, {peeked} messages");
    }

    // Without a limit, counting ends at the documented bound.
    let all = sift.queue(&bus, "deep").with("eventType", "common");
    for round in 0..3 {
        let (value, peeked, _) = poll(&bus, &all).await;
        assert!(value == 10_000 && peeked <= 11_100, "{round}: {value}, {peeked} messages");
        assert!(all.active().await.expect("more than none"), "{round}");
    }
    let high = all.clone().with("countLimit", "20000").with("activationMessageCount", "15000");
    assert_eq!(poll(&bus, &high).await.0, 20_000);
    assert!(high.active().await.expect("more than 15,000"));
    // A bound below the threshold would never tell whether that is passed.
    let activated = all.clone().with("activationMessageCount", "15000");
    assert_eq!(poll(&bus, &activated).await.0, 15_001);
    assert!(activated.active().await.expect("more than 15,000"));

    let sessions = all.with("countBy", "sessions");
    let (value, peeked, _) = poll(&bus, &sessions).await;
    assert_eq!(value, 1, "all in none, {peeked} messages");
}
