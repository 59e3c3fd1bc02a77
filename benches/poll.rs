//! What one poll takes on an idle machine, against the bare pair of broker calls that it needs,
//! side by side in flight; from 1 to 1,000 partitions. The pair is asked by the scaler's own client
//! on two connections, and by librdkafka on two handles; all four calls of a poll by the scaler's
//! own on four. The service is called in this process: what gRPC adds is the `rpc` benchmark's.

use std::sync::Arc;
use std::time::Duration;

use keda_sift::kafka::baseline::Pair;
use keda_sift::scaler::proto::external_scaler_server::ExternalScaler as _;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use keda_sift::scaler::{self, Scaler, Stop};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sift_harness::{Broker, Message, Settings, Sift};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tonic::Request;

use super::report::{Goal, Report, median};

const ROUNDS: usize = 5;
const POLLS: usize = 200;

pub(crate) async fn run(report: &mut Report) {
    println!("poll: GetMetricSpec and GetMetrics with a selection, {ROUNDS} rounds of {POLLS}");
    let broker = Broker::for_benchmarks();
    for partitions in [1, 10, 100, 1_000] {
        let topic = format!("poll-{partitions}");
        broker.topic(&topic).partitions(partitions).create().await;
        let messages = (0..1_000).map(|_| Message::of_type("wanted"));
        broker.produce_all(&topic, messages).await;
        broker.commit("poll", &topic, (0..partitions).map(|partition| (partition, 0))).await;
        let sift = Sift::start().await;
        let trigger = sift.trigger(broker.bootstrap(), "poll", &topic).with("eventType", "wanted");
        let trigger = trigger.reference();
        let scaler = scaler();
        assert_eq!(poll(&scaler, &trigger).await, 1_000);
        let pair = Pair::new(broker.bootstrap(), "poll", &topic, partitions);
        pair.ask_all().await;
        let theirs = Librdkafka::new(broker.bootstrap(), "poll", &topic, partitions);
        theirs.ask().await;

        let (mut ratios, mut of_all, mut of_theirs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut polls, mut pairs, mut alls) = (Vec::new(), Vec::new(), Vec::new());
        let mut their_pairs = Vec::new();
        for _ in 0..ROUNDS {
            let (mut poll, mut bare, mut all) = (Vec::new(), Vec::new(), Vec::new());
            let mut their = Vec::new();
            for _ in 0..POLLS {
                let begun = Instant::now();
                assert_eq!(self::poll(&scaler, &trigger).await, 1_000);
                poll.push(millis(begun.elapsed()));
                let begun = Instant::now();
                pair.ask().await;
                bare.push(millis(begun.elapsed()));
                let begun = Instant::now();
                pair.ask_all().await;
                all.push(millis(begun.elapsed()));
                let begun = Instant::now();
                theirs.ask().await;
                their.push(millis(begun.elapsed()));
            }
            let (poll, bare, all, their) = (median(poll), median(bare), median(all), median(their));
            ratios.push(poll / bare);
            of_all.push(poll / all);
            of_theirs.push(poll / their);
            polls.push(poll);
            pairs.push(bare);
            alls.push(all);
            their_pairs.push(their);
        }
        let (poll, bare, their) = (median(polls), median(pairs), median(their_pairs));
        let all = median(alls);
        println!(
            "  {partitions} partitions: a poll {poll:.2} ms, the bare pair {bare:.2} ms, all that a poll asks {all:.2} ms, librdkafka's pair {their:.2} ms"
        );
        let goal = match partitions {
            1 | 10 => 1.6,
            100 => 1.3,
            _ => 1.2,
        };
        let name = format!("poll of {partitions} partitions, of the bare pair");
        report.add(name, median(ratios), "", Goal::AtMost(goal));
        let name = format!("poll of {partitions} partitions, of all that it asks, bare");
        report.add(name, median(of_all), "", Goal::AtMost(1.2));
        let name = format!("poll of {partitions} partitions, of librdkafka's pair");
        report.add(name, median(of_theirs), "", Goal::AtMost(1.0));
    }
}

/// The bare pair as librdkafka asks it: ends and committed offsets, side by side on two handles.
struct Librdkafka {
    ends: Arc<BaseConsumer>,
    committed: Arc<BaseConsumer>,
    partitions: TopicPartitionList,
}

impl Librdkafka {
    fn new(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Self {
        let consumer = || {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", bootstrap).set("group.id", group);
            config.set("isolation.level", "read_committed");
            Arc::new(config.create::<BaseConsumer>().expect("a handle"))
        };
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            let added = list.add_partition_offset(topic, partition, Offset::End);
            added.expect("an offset");
        }
        Self { ends: consumer(), committed: consumer(), partitions: list }
    }

    async fn ask(&self) {
        let timeout = Duration::from_secs(10);
        let (consumer, list) = (Arc::clone(&self.ends), self.partitions.clone());
        let ends = spawn_blocking(move || consumer.offsets_for_times(list, timeout));
        let (consumer, list) = (Arc::clone(&self.committed), self.partitions.clone());
        let committed = spawn_blocking(move || consumer.committed_offsets(list, timeout));
        let (ends, committed) = tokio::join!(ends, committed);
        ends.expect("a thread").expect("the ends");
        committed.expect("a thread").expect("the committed offsets");
    }
}

/// A scaler in this process.
pub(crate) fn scaler() -> Arc<Scaler> {
    let timeout = Duration::from_secs(10);
    let sources = Settings { measure_timeout: timeout, ..Settings::default() }.sources();
    let options = scaler::Options {
        measure_timeout: timeout,
        forget_after: 90 * timeout,
        ..scaler::Options::default()
    };
    Arc::new(Scaler::new(sources, options, Stop::default()))
}

/// The value that one poll gives.
pub(crate) async fn poll(scaler: &Arc<Scaler>, trigger: &ScaledObjectRef) -> i64 {
    let spec = Arc::clone(scaler).get_metric_spec(Request::new(trigger.clone())).await;
    assert!(spec.is_ok());
    let request =
        GetMetricsRequest { scaled_object_ref: Some(trigger.clone()), metric_name: String::new() };
    let value = Arc::clone(scaler).get_metrics(Request::new(request)).await.expect("a count");
    value.get_ref().metric_values[0].metric_value
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
