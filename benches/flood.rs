//! What polls of idle topics take while others are flooded: a thousand topics on one cluster, of
//! which records are written to 64 as fast as they are taken. What the writer and the broker take
//! of the machine is told by the bare pair, asked beside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keda_sift::kafka::baseline::Pair;
use keda_sift::scaler::Scaler;
use keda_sift::scaler::proto::ScaledObjectRef;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sift_harness::{Broker, Message, Sift};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use super::poll::{millis, poll, scaler};
use super::report::{Goal, Report, median, quantile};

const TOPICS: usize = 1_000;
const FLOODED: usize = 64;
const ROUNDS: usize = 5;
const POLLS: usize = 1_000;

pub(crate) async fn run(report: &mut Report) {
    println!("flood: polls of idle ones of {TOPICS} topics, {FLOODED} of which are flooded");
    let broker = Broker::for_benchmarks();
    let sift = Sift::start().await;
    let names: Vec<String> = (0..TOPICS).map(|n| format!("flood-{n}")).collect();
    let mut triggers = Vec::new();
    for name in &names {
        broker.topic(name).partitions(1).create().await;
        broker.produce_all(name, (0..10).map(|_| Message::of_type("wanted"))).await;
        let trigger = sift.trigger(broker.bootstrap(), "flood", name);
        triggers.push(trigger.with("eventType", "wanted").reference());
    }
    let scaler = scaler();
    let (flooded, idle) = triggers.split_at(FLOODED);
    for trigger in &triggers {
        assert_eq!(poll(&scaler, trigger).await, 10);
    }
    let pair = Pair::new(broker.bootstrap(), "flood", &names[FLOODED], 1);
    pair.ask().await;

    let (mut ratios, mut of_pair) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (calm, calm_pair) = round(&scaler, idle, &pair).await;
        let stop = Arc::new(AtomicBool::new(false));
        let flood = {
            let (stop, bootstrap) = (Arc::clone(&stop), broker.bootstrap().to_owned());
            let names = names[..FLOODED].to_vec();
            spawn_blocking(move || write(&bootstrap, &names, &stop))
        };
        let (flooding, flooding_pair) = round(&scaler, idle, &pair).await;
        let before = counts(&scaler, flooded).await;
        stop.store(true, Ordering::Relaxed);
        let written = flood.await.expect("a writer");
        let after = counts(&scaler, flooded).await;
        assert!(before.iter().zip(&after).all(|(before, after)| *before > 10 && after >= before));
        println!(
            "  p99 {calm:.2} ms, flooded {flooding:.2} ms; of the bare pair {calm_pair:.2} ms, flooded \
             {flooding_pair:.2} ms; {written} records written"
        );
        ratios.push(flooding / calm);
        of_pair.push((flooding / calm) / (flooding_pair / calm_pair));
    }
    let name = "flood: p99 of polls of idle topics, of that without";
    report.add(name, median(ratios), "", Goal::AtMost(2.0));
    let name = "flood: how that grows, of how the bare pair's does";
    report.add(name, median(of_pair), "", Goal::AtMost(2.0));
}

/// The p99 of polls and of the bare pair, in turn.
async fn round(scaler: &Arc<Scaler>, idle: &[ScaledObjectRef], pair: &Pair) -> (f64, f64) {
    let (mut polls, mut pairs) = (Vec::new(), Vec::new());
    for trigger in idle.iter().cycle().take(POLLS) {
        let begun = Instant::now();
        assert_eq!(poll(scaler, trigger).await, 10);
        polls.push(millis(begun.elapsed()));
        let begun = Instant::now();
        pair.ask().await;
        pairs.push(millis(begun.elapsed()));
    }
    (quantile(&mut polls, 0.99), quantile(&mut pairs, 0.99))
}

/// What each of these counts now.
async fn counts(scaler: &Arc<Scaler>, triggers: &[ScaledObjectRef]) -> Vec<i64> {
    let mut polls = JoinSet::new();
    for (n, trigger) in triggers.iter().cloned().enumerate() {
        let scaler = Arc::clone(scaler);
        polls.spawn(async move { (n, poll(&scaler, &trigger).await) });
    }
    let mut counts = polls.join_all().await;
    counts.sort_unstable();
    counts.into_iter().map(|(_, count)| count).collect()
}

/// Writes to all of these in turn until it is told to stop; gives how many records.
fn write(bootstrap: &str, topics: &[String], stop: &AtomicBool) -> usize {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "100000")
        .create()
        .expect("a producer");
    let body = "x".repeat(200);
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let headers = OwnedHeaders::new().insert(Header { key: "ce_type", value: Some("wanted") });
        let topic = &topics[written % topics.len()];
        let record = BaseRecord::<(), _>::to(topic).payload(&body).headers(headers);
        match producer.send(record) {
            Ok(()) => written += 1,
            Err((KafkaError::MessageProduction(_), _)) => {
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => panic!("{error}"),
        }
    }
    producer.flush(Duration::from_secs(60)).expect("all is written");
    written
}
