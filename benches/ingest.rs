//! Records a second that are read, judged and indexed, against a bare librdkafka consumer of the
//! same configuration in the same process, in turn; against a fetch loop of our own that drops what
//! it gets; and judging against walking over the same records.
//!
//! Each round is a cold start: a new source, a topic with a backlog, and the time until the exact
//! count is there.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use keda_sift::backlog::{Purpose, Scope};
use keda_sift::kafka::baseline::{self, FetchLoop};
use keda_sift::kafka::wire::records::Scratch;
use keda_sift::kafka::{Kafka, KafkaTrigger, Options};
use keda_sift::ledger::{DEFAULT_LIMIT, Ledger};
use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use keda_sift::selection::{Judge, Slot, Verdicts};
use keda_sift::source::Source as _;
use keda_sift::trigger::Trigger;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sift_harness::Broker;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::memory::Server;
use super::report::{Goal, Report, figure, median};

const PARTITIONS: i32 = 4;
const ROUNDS: usize = 5;

/// Topics that are read at once where it is asked what that takes.
const MANY: usize = 64;

/// What is read.
struct Load {
    name: &'static str,
    topic: &'static str,
    records: usize,
    /// Bytes of a record's body, about.
    size: usize,
    codec: &'static str,
    /// What share of a bare consumer's rate each of [`KINDS`] is to have.
    goals: [f64; KINDS.len()],
}

const LARGE: Load = Load {
    name: "1 KB",
    topic: "ingest",
    records: 1_000_000,
    size: 1_000,
    codec: "none",
    goals: [0.95, 0.95, 0.85, 0.6],
};

const SMALL: Load = Load {
    name: "100 B, LZ4",
    topic: "ingest-small",
    records: 2_000_000,
    size: 100,
    codec: "lz4",
    goals: [5.0, 5.0, 3.0, 2.0],
};

const BACKLOG: Load = Load { topic: "ingest-backlog", records: 20_000_000, ..SMALL };

/// A way of selecting.
struct Kind {
    name: &'static str,
    selection: &'static [(&'static str, &'static str)],
}

const BY_HEADER: Kind = Kind { name: "by header", selection: &[("eventType", "wanted")] };

const KINDS: [Kind; 4] = [
    BY_HEADER,
    Kind { name: "without a selection", selection: &[] },
    Kind {
        name: "by a path in the body",
        selection: &[("eventType", "wanted"), ("eventTypeFrom", "body:data.kind")],
    },
    Kind {
        name: "by a CEL filter over the body",
        selection: &[("filter", r#"body.data.kind == "wanted" && body.data.amount >= 0"#)],
    },
];

pub(crate) async fn run(report: &mut Report) {
    let broker = Broker::for_benchmarks();
    let bootstrap = broker.bootstrap();
    for load in [LARGE, SMALL] {
        let Load { name, records, .. } = load;
        println!("ingest: {records} records of {name} in {PARTITIONS} partitions, {ROUNDS} rounds");
        fill(&broker, &load, load.topic).await;
        of_a_consumer(report, bootstrap, &load).await;
    }
    of_a_fetch_loop(report, bootstrap).await;
    judging(report, bootstrap).await;
    two_topics(report, &broker).await;
    memory(report, &broker).await;
    cold_start(report, &broker).await;
}

async fn of_a_consumer(report: &mut Report, bootstrap: &str, load: &Load) {
    bare(bootstrap, load);
    let mut ratios = vec![Vec::new(); KINDS.len()];
    for _ in 0..ROUNDS {
        for (kind, ratios) in KINDS.iter().zip(&mut ratios) {
            let bare = bare(bootstrap, load);
            let sifted = sifted(bootstrap, load, load.topic, kind).await;
            println!("  {}: {sifted:.0} records/s, bare {bare:.0}", kind.name);
            ratios.push(sifted / bare);
        }
    }
    for ((kind, goal), ratios) in KINDS.iter().zip(load.goals).zip(ratios) {
        let name = format!("ingest {} {}, of a bare consumer", load.name, kind.name);
        report.add(name, median(ratios), "", Goal::AtLeast(goal));
    }
}

/// Of records that need no decompressing, so that the loop is what the transport can do.
async fn of_a_fetch_loop(report: &mut Report, bootstrap: &str) {
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let read = FetchLoop::new(bootstrap, LARGE.topic, PARTITIONS).read(drop).await;
        assert_eq!(read, LARGE.records as u64);
        let bare = LARGE.records as f64 / begun.elapsed().as_secs_f64();
        let sifted = sifted(bootstrap, &LARGE, LARGE.topic, &BY_HEADER).await;
        println!("  by header: {sifted:.0} records/s, a bare fetch loop {bare:.0}");
        ratios.push(sifted / bare);
    }
    let name = format!("ingest {} by header, of a bare fetch loop", LARGE.name);
    report.add(name, median(ratios), "", Goal::AtLeast(0.85));
}

/// Until the exact count of a backlog is there, of the time in which a bare consumer reads it.
async fn cold_start(report: &mut Report, broker: &Broker) {
    println!("ingest: a cold start on {} records of {}", BACKLOG.records, BACKLOG.name);
    fill(broker, &BACKLOG, BACKLOG.topic).await;
    let bootstrap = broker.bootstrap();
    let bare = bare(bootstrap, &BACKLOG);
    let sifted = sifted(bootstrap, &BACKLOG, BACKLOG.topic, &BY_HEADER).await;
    println!("  by header: {sifted:.0} records/s, bare {bare:.0}");
    report.add("cold start, of a bare read", bare / sifted, "", Goal::AtMost(1.15));
}

/// On one core, of records that lie ready.
async fn judging(report: &mut Report, bootstrap: &str) {
    for load in [LARGE, SMALL] {
        let mut portions: Vec<Bytes> = Vec::new();
        // Copied, as what is fetched holds its share of the memory for large frames.
        let keep = |bytes: Bytes| portions.push(Bytes::copy_from_slice(&bytes));
        FetchLoop::new(bootstrap, load.topic, PARTITIONS).read(keep).await;
        let trigger = trigger(bootstrap, load.topic, &BY_HEADER);
        let judge = Judge::new((0..).map(Slot).zip(trigger.selection.selectors()));
        let (mut scratch, mut verdicts) = (Scratch::default(), Verdicts::default());
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let walk = |bytes: &Bytes| baseline::walk(bytes, &mut scratch);
            assert_eq!(portions.iter().map(walk).sum::<usize>(), load.records);
            let walked = begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            let judge = |bytes: &Bytes| baseline::judge(bytes, &mut scratch, &judge, &mut verdicts);
            assert_eq!(portions.iter().map(judge).sum::<usize>(), load.records / 10);
            ratios.push(walked / begun.elapsed().as_secs_f64());
        }
        let name = format!("judging {} by header, of walking over it", load.name);
        report.add(name, median(ratios), "", Goal::AtLeast(0.6));
    }
}

/// Twice as much in the same time would be 2; the broker has its part of the same two cores.
async fn two_topics(report: &mut Report, broker: &Broker) {
    const OTHER: &str = "ingest-other";
    fill(broker, &SMALL, OTHER).await;
    let bootstrap = broker.bootstrap();
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let one = sifted(bootstrap, &SMALL, SMALL.topic, &BY_HEADER).await;
        let both = tokio::join!(
            sifted(bootstrap, &SMALL, SMALL.topic, &BY_HEADER),
            sifted(bootstrap, &SMALL, OTHER, &BY_HEADER)
        );
        ratios.push((both.0 + both.1) / one);
    }
    report.add("ingest of two topics, of one", median(ratios), "", Goal::AtLeast(1.6));
}

/// How much more memory a server takes at most while it reads many topics at once.
async fn memory(report: &mut Report, broker: &Broker) {
    let load = Load { records: 40_000, ..LARGE };
    let topics: Vec<String> = (0..MANY).map(|n| format!("ingest-many-{n}")).collect();
    for topic in &topics {
        fill(broker, &load, topic).await;
    }
    let server = Server::start();
    let address = format!("http://{}", server.1);
    let client = ExternalScalerClient::connect(address).await.expect("it listens");
    let before = figure(server.0.id(), "VmRSS:");
    let mut polls = JoinSet::new();
    for topic in &topics {
        let scaler_metadata = metadata(broker.bootstrap(), topic, &BY_HEADER);
        let asked = ScaledObjectRef { scaler_metadata, ..ScaledObjectRef::default() };
        let mut client = client.clone();
        polls.spawn(async move {
            let request =
                GetMetricsRequest { scaled_object_ref: Some(asked), metric_name: String::new() };
            let reply = client.get_metrics(request).await.expect("a count").into_inner();
            assert_eq!(reply.metric_values[0].metric_value, load.records as i64 / 10);
        });
    }
    polls.join_all().await;
    let most = (figure(server.0.id(), "VmHWM:") - before) / 1024.0;
    report.add(format!("memory of reading {MANY} topics"), most, "MB", Goal::AtMost(64.0));
}

/// One record in ten is wanted.
async fn fill(broker: &Broker, load: &Load, topic: &str) {
    broker.topic(topic).partitions(PARTITIONS).create().await;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("linger.ms", "20")
        .set("batch.size", "500000")
        .set("compression.type", load.codec)
        .set("queue.buffering.max.messages", "200000")
        .create()
        .expect("a producer");
    let padding = "x".repeat(load.size.saturating_sub(80));
    for n in 0..load.records {
        let kind = if n % 10 == 0 { "wanted" } else { "other" };
        let body =
            format!(r#"{{"id":{n},"note":"{padding}","data":{{"amount":{n},"kind":"{kind}"}}}}"#);
        let headers = OwnedHeaders::new().insert(Header { key: "ce_type", value: Some(kind) });
        let partition = i32::try_from(n).expect("it fits") % PARTITIONS;
        let mut record =
            BaseRecord::<(), _>::to(topic).partition(partition).payload(&body).headers(headers);
        while let Err((KafkaError::MessageProduction(_), again)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    producer.flush(Duration::from_secs(60)).expect("all is written");
}

/// Records a second that a consumer gets which does nothing with them.
fn bare(bootstrap: &str, load: &Load) -> f64 {
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
        let added = partitions.add_partition_offset(load.topic, partition, Offset::Beginning);
        added.expect("a partition");
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
    assert_eq!(records, load.records);
    load.records as f64 / begun.elapsed().as_secs_f64()
}

/// Records a second until the exact count is there.
async fn sifted(bootstrap: &str, load: &Load, topic: &str, kind: &Kind) -> f64 {
    const AT_MOST: Duration = Duration::from_secs(300);
    let trigger = trigger(bootstrap, topic, kind);
    let kafka = Kafka::new(Options { request_timeout: AT_MOST });
    let follower = kafka.follow(trigger.into(), Ledger::new(DEFAULT_LIMIT).account("default"));
    let begun = Instant::now();
    let measured = follower.measure(begun + AT_MOST, Purpose::Metric, Scope::default()).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let wanted = if kind.selection.is_empty() { load.records } else { load.records / 10 };
    assert_eq!(measured.expect("a count").metric.count(), wanted as u64);
    drop(follower);
    kafka.shutdown().await;
    load.records as f64 / elapsed
}

fn trigger(bootstrap: &str, topic: &str, kind: &Kind) -> KafkaTrigger {
    let trigger = Trigger::decode(&metadata(bootstrap, topic, kind)).expect("a trigger");
    let Trigger::Kafka(trigger) = trigger else { panic!("a trigger on kafka") };
    KafkaTrigger::clone(&trigger)
}

fn metadata(bootstrap: &str, topic: &str, kind: &Kind) -> HashMap<String, String> {
    let place = [
        ("source", "kafka"),
        ("bootstrapServers", bootstrap),
        ("consumerGroup", "ingest"),
        ("topic", topic),
        ("lagThreshold", "1"),
        ("offsetResetPolicy", "earliest"),
        ("allowIdleConsumers", "true"),
    ];
    sift_harness::metadata(place.iter().chain(kind.selection))
}
