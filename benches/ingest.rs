//! Records a second that are read, judged and indexed, against a bare librdkafka consumer of the same
//! configuration in the same process, in turn.
//!
//! Each round is a cold start: a new source, a topic with a backlog, and the time until the exact
//! count is there.

use std::collections::HashMap;
use std::time::Duration;

use keda_sift::backlog::{Purpose, Scope};
use keda_sift::kafka::{Kafka, Options};
use keda_sift::trigger::{Source, Trigger};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::Instant;

use super::report::{Goal, Report, median};
use super::support::Broker;

const RECORDS: usize = 1_000_000;
const PARTITIONS: i32 = 4;
const ROUNDS: usize = 5;
const TOPIC: &str = "ingest";

/// A way of selecting, and what share of a bare consumer's rate it is to have.
struct Kind {
    name: &'static str,
    selection: &'static [(&'static str, &'static str)],
    goal: f64,
}

pub(crate) async fn run(report: &mut Report) {
    println!("ingest: {RECORDS} records of 1 KB in {PARTITIONS} partitions, {ROUNDS} rounds");
    let broker = Broker::for_benchmarks();
    broker.topic(TOPIC).partitions(PARTITIONS).create().await;
    fill(broker.bootstrap());
    let kinds = [
        Kind { name: "by header", selection: &[("eventType", "wanted")], goal: 0.95 },
        Kind { name: "without a selection", selection: &[], goal: 0.95 },
        Kind {
            name: "by a path in the body",
            selection: &[("eventType", "wanted"), ("eventTypeFrom", "body:data.kind")],
            goal: 0.85,
        },
        Kind {
            name: "by a CEL filter over the body",
            selection: &[("filter", r#"body.data.kind == "wanted" && body.data.amount >= 0"#)],
            goal: 0.6,
        },
    ];
    let bootstrap = broker.bootstrap();
    bare(bootstrap);
    let mut ratios = vec![Vec::new(); kinds.len()];
    for _ in 0..ROUNDS {
        for (Kind { name, selection, .. }, ratios) in kinds.iter().zip(&mut ratios) {
            let bare = bare(bootstrap);
            let sifted = sifted(bootstrap, selection).await;
            println!("  {name}: {sifted:.0} records/s, bare {bare:.0}");
            ratios.push(sifted / bare);
        }
    }
    for (Kind { name, goal, .. }, ratios) in kinds.iter().zip(ratios) {
        report.add(
            format!("ingest {name}, of a bare consumer"),
            median(ratios),
            "",
            Goal::AtLeast(*goal),
        );
    }
}

/// One record in ten is wanted.
fn fill(bootstrap: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "20")
        .set("batch.size", "500000")
        .set("queue.buffering.max.messages", "200000")
        .create()
        .expect("a producer");
    let padding = "x".repeat(900);
    for n in 0..RECORDS {
        let kind = if n % 10 == 0 { "wanted" } else { "other" };
        let body =
            format!(r#"{{"id":{n},"note":"{padding}","data":{{"amount":{n},"kind":"{kind}"}}}}"#);
        let headers = OwnedHeaders::new().insert(Header { key: "ce_type", value: Some(kind) });
        let partition = i32::try_from(n).expect("it fits") % PARTITIONS;
        let mut record =
            BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(&body).headers(headers);
        while let Err((KafkaError::MessageProduction(_), again)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    producer.flush(Duration::from_secs(60)).expect("all is written");
}

/// Records a second that a consumer gets which does nothing with them.
fn bare(bootstrap: &str) -> f64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "2")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.max.bytes", "16777216")
        .create()
        .expect("a consumer");
    let begun = Instant::now();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&partitions).expect("an assignment");
    let (mut records, mut ended) = (0, 0);
    while ended < PARTITIONS {
        match consumer.poll(Duration::from_secs(10)).expect("records come") {
            Ok(_) => records += 1,
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(records, RECORDS);
    RECORDS as f64 / begun.elapsed().as_secs_f64()
}

/// Records a second until the exact count is there.
async fn sifted(bootstrap: &str, selection: &[(&str, &str)]) -> f64 {
    let mut metadata: HashMap<String, String> = [
        ("source", "kafka"),
        ("bootstrapServers", bootstrap),
        ("consumerGroup", "ingest"),
        ("topic", TOPIC),
        ("offsetResetPolicy", "earliest"),
        ("allowIdleConsumers", "true"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    metadata.extend(selection.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let trigger = Trigger::decode(&metadata).expect("a trigger");
    let Source::Kafka(trigger) = trigger.source else { panic!("a trigger on kafka") };
    let kafka = Kafka::new(Options { request_timeout: Duration::from_secs(60) });
    let follower = kafka.follow(trigger);
    let begun = Instant::now();
    let measured =
        follower.measure(begun + Duration::from_secs(60), Purpose::Metric, Scope::default()).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let wanted = if selection.is_empty() { RECORDS } else { RECORDS / 10 };
    assert_eq!(measured.expect("a count").metric.count(), wanted as u64);
    drop(follower);
    kafka.shutdown().await;
    RECORDS as f64 / elapsed
}
