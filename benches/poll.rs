//! What one poll takes on an idle machine, against the bare pair of broker calls that it needs, side
//! by side in flight; from 1 to 1,000 partitions. The service is called in this process: what gRPC
//! adds is the `rpc` benchmark's.

use std::sync::Arc;
use std::time::Duration;

use keda_sift::kafka::bare::Pair;
use keda_sift::scaler::proto::external_scaler_server::ExternalScaler as _;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use keda_sift::scaler::{self, Scaler, Stop};
use tokio::time::Instant;
use tonic::Request;

use super::report::{Goal, Report, median};
use super::support::{Broker, Message, Settings, Sift};

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
        let pair = Pair::open(broker.bootstrap(), "poll", &topic, partitions);
        pair.ask().await;

        let (mut ratios, mut polls, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (mut poll, mut bare) = (Vec::new(), Vec::new());
            for _ in 0..POLLS {
                let begun = Instant::now();
                assert_eq!(self::poll(&scaler, &trigger).await, 1_000);
                poll.push(millis(begun.elapsed()));
                let begun = Instant::now();
                pair.ask().await;
                bare.push(millis(begun.elapsed()));
            }
            let (poll, bare) = (median(poll), median(bare));
            ratios.push(poll / bare);
            polls.push(poll);
            pairs.push(bare);
        }
        let (poll, bare) = (median(polls), median(pairs));
        println!("  {partitions} partitions: a poll {poll:.2} ms, the bare pair {bare:.2} ms");
        let name = format!("poll of {partitions} partitions, of the bare pair");
        report.add(name, median(ratios), "", Goal::AtMost(1.3));
        if partitions == 1 {
            report.add("poll of 1 partition", poll, "ms", Goal::AtMost(0.35));
        }
    }
}

/// A scaler in this process.
pub(crate) fn scaler() -> Arc<Scaler> {
    let patience = Duration::from_secs(10);
    let sources = Settings { measure_timeout: patience, ..Settings::default() }.sources();
    let options = scaler::Options { measure_timeout: patience, forget_after: 90 * patience };
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
