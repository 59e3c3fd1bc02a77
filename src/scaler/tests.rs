//! KEDA's side as KEDA sees it: a client calls the service in this process, over no port, and a
//! source in memory is what every trigger is measured by.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::proto::external_scaler_client::ExternalScalerClient;
use super::proto::{GetMetricsRequest, MetricSpec, MetricValue, ScaledObjectRef};
use super::{ExternalScalerServer, Options, Scaler, Stop, status};
use crate::backlog::{Backlog, Purpose};
use crate::memory::{Memory, Reply, Unreachable};
use crate::selection::{EventTypes, Judge, Position, Sample, Selection, Slot, Verdicts};
use crate::telemetry::PageFormat;
use crate::wiring;

const TIMEOUT: Duration = Duration::from_secs(10);
const FORGET_AFTER: Duration = Duration::from_secs(900);

/// A scaler and a client of it.
struct Keda {
    client: ExternalScalerClient<ExternalScalerServer<Scaler>>,
    scaler: Arc<Scaler>,
    stop: Stop,
}

impl Keda {
    fn asking(memory: &Memory) -> Self {
        let stop = Stop::default();
        let options = Options {
            measure_timeout: TIMEOUT,
            forget_after: FORGET_AFTER,
            trigger_metrics: true,
            is_told: true,
            ..Options::default()
        };
        let mut sources = wiring::sources(wiring::Options::default()).unwrap().sources;
        sources.memory = memory.clone();
        let scaler = Arc::new(Scaler::new(sources, options, stop.clone()));
        let client = ExternalScalerClient::new(ExternalScalerServer::from_arc(scaler.clone()));
        Self { client, scaler, stop }
    }

    async fn spec(&self, trigger: &ScaledObjectRef) -> MetricSpec {
        let reply = self.client.clone().get_metric_spec(trigger.clone()).await;
        let [spec] = <[_; 1]>::try_from(reply.unwrap().into_inner().metric_specs).unwrap();
        spec
    }

    async fn metric(&self, trigger: &ScaledObjectRef) -> Result<MetricValue, Status> {
        let asked = GetMetricsRequest {
            scaled_object_ref: Some(trigger.clone()),
            metric_name: "s0-whatever".to_owned(),
        };
        let reply = self.client.clone().get_metrics(asked).await?;
        let [value] = <[_; 1]>::try_from(reply.into_inner().metric_values).unwrap();
        Ok(value)
    }

    /// What the reply says of its 0.
    async fn note(&self, trigger: &ScaledObjectRef) -> Option<String> {
        let asked = GetMetricsRequest {
            scaled_object_ref: Some(trigger.clone()),
            metric_name: "s0-whatever".to_owned(),
        };
        let reply = self.client.clone().get_metrics(asked).await.unwrap();
        let note = reply.metadata().get("keda-sift-note")?;
        Some(note.to_str().unwrap().to_owned())
    }

    /// How many triggers the page says are at 0 for want of messages of theirs.
    fn unmatched(&self) -> String {
        let page = self.scaler.metrics_page(PageFormat::Prometheus);
        let line = page
            .lines()
            .find(|line| line.starts_with(r#"keda_sift_unmatched_triggers{source="memory"}"#));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    async fn is_active(&self, trigger: &ScaledObjectRef) -> Result<bool, Status> {
        let reply = self.client.clone().is_active(trigger.clone()).await?;
        Ok(reply.into_inner().result)
    }
}

/// Active above five messages.
fn trigger() -> ScaledObjectRef {
    trigger_with(&[])
}

fn trigger_with(more: &[(&str, &str)]) -> ScaledObjectRef {
    let metadata = [
        ("source", "memory"),
        ("topic", "uploads"),
        ("threshold", "2"),
        ("activationThreshold", "5"),
    ];
    ScaledObjectRef {
        name: "thumbnails".to_owned(),
        namespace: "media".to_owned(),
        scaler_metadata: test_basics::metadata(metadata.iter().chain(more)),
    }
}

fn exactly(count: u64) -> Reply {
    Ok(Backlog::Exact(count))
}

fn at_least(count: u64) -> Reply {
    Ok(Backlog::AtLeast(NonZeroU64::new(count).unwrap()))
}

fn unreachable() -> Reply {
    Err(Unreachable)
}

#[tokio::test(start_paused = true)]
async fn both_calls_of_a_poll_answer_from_one_measurement() {
    let memory = Memory::saying(exactly(6));
    let keda = Keda::asking(&memory);
    assert_eq!(keda.metric(&trigger()).await.unwrap().metric_value, 6);
    memory.say(exactly(0));
    tokio::time::advance(Duration::from_millis(899)).await;
    assert!(keda.is_active(&trigger()).await.unwrap());
    assert_eq!(memory.asked(), [Purpose::Metric]);
}

#[tokio::test(start_paused = true)]
async fn is_active_measures_when_the_metric_is_old() {
    let memory = Memory::saying(exactly(6));
    let keda = Keda::asking(&memory);
    keda.metric(&trigger()).await.unwrap();
    memory.say(exactly(5));
    tokio::time::advance(Duration::from_millis(900)).await;
    assert!(!keda.is_active(&trigger()).await.unwrap());
    assert_eq!(memory.asked(), [Purpose::Metric, Purpose::Activity]);
}

#[tokio::test(start_paused = true)]
async fn get_metrics_always_measures() {
    let memory = Memory::saying(exactly(6));
    let keda = Keda::asking(&memory);
    keda.metric(&trigger()).await.unwrap();
    memory.say(exactly(7));
    assert_eq!(keda.metric(&trigger()).await.unwrap().metric_value, 7);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_not_kept_and_drops_what_was() {
    let memory = Memory::saying(exactly(6));
    let keda = Keda::asking(&memory);
    keda.metric(&trigger()).await.unwrap();
    memory.say(unreachable());
    for _ in 0..2 {
        let status = keda.metric(&trigger()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("connection refused"), "{}", status.message());
    }
    memory.say(exactly(5));
    assert!(!keda.is_active(&trigger()).await.unwrap());
    assert_eq!(keda.metric(&trigger()).await.unwrap().metric_value, 5);
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_is_a_new_trigger() {
    let memory = Memory::saying(exactly(6));
    let keda = Keda::asking(&memory);
    let [old, new] = ["old", "new"].map(|password| trigger_with(&[("passwordFromEnv", password)]));
    keda.metric(&old).await.unwrap();
    memory.say(exactly(0));
    assert!(!keda.is_active(&new).await.unwrap());
    assert!(keda.is_active(&old).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lower_bound_is_the_value_and_active_only_where_it_tells() {
    let memory = Memory::saying(at_least(6));
    let keda = Keda::asking(&memory);
    assert_eq!(keda.metric(&trigger()).await.unwrap().metric_value, 6);
    assert!(keda.is_active(&trigger()).await.unwrap());

    memory.say(at_least(5));
    assert_eq!(keda.metric(&trigger()).await.unwrap().metric_value, 5);
    let status = keda.is_active(&trigger()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn one_spec_and_one_value_have_our_name_and_both_numbers() {
    let keda = Keda::asking(&Memory::saying(exactly(6)));
    assert_eq!(
        keda.spec(&trigger()).await,
        MetricSpec {
            metric_name: "memory-uploads".to_owned(),
            target_size: 2,
            target_size_float: 2.0,
        }
    );
    assert_eq!(
        keda.metric(&trigger()).await.unwrap(),
        MetricValue {
            metric_name: "memory-uploads".to_owned(),
            metric_value: 6,
            metric_value_float: 6.0,
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_count_beyond_an_int64_is_the_largest_one() {
    let keda = Keda::asking(&Memory::saying(exactly(u64::MAX)));
    let value = keda.metric(&trigger()).await.unwrap();
    assert_eq!(value.metric_value, i64::MAX);
    assert_eq!(value.metric_value_float, u64::MAX as f64);
}

#[tokio::test(start_paused = true)]
async fn the_spec_asks_no_source() {
    let memory = Memory::saying(unreachable());
    let keda = Keda::asking(&memory);
    keda.spec(&trigger()).await;
    assert_eq!(memory.asked(), []);
    assert_eq!(memory.followed(), 0);
}

#[tokio::test(start_paused = true)]
async fn metadata_that_cannot_be_read_has_a_spec_and_its_errors_say_why() {
    let keda = Keda::asking(&Memory::saying(exactly(6)));
    let long = "ten\n".repeat(1000);
    let rows = [
        ("nothing at all", ScaledObjectRef::default()),
        ("one bad value", trigger_with(&[("threshold", "ten")])),
        ("many bad lines", trigger_with(&[("threshold", &long), (&long, &long)])),
    ];
    for (case, trigger) in rows {
        let spec = keda.spec(&trigger).await;
        assert!(!spec.metric_name.is_empty() && spec.target_size > 0, "{case}: {spec:?}");
        let statuses = [
            keda.metric(&trigger).await.unwrap_err(),
            keda.is_active(&trigger).await.unwrap_err(),
            keda.client.clone().stream_is_active(trigger.clone()).await.unwrap_err(),
        ];
        for status in &statuses {
            assert_eq!(status.code(), Code::InvalidArgument, "{case}: {status}");
            assert_eq!(status.message(), statuses[0].message(), "{case}");
            assert!(status.message().len() <= status::MAX_BYTES, "{case}: {status}");
            assert!(!status.message().contains(char::is_control), "{case}: {status}");
            assert!(!status.message().is_empty(), "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_trigger_is_answered() {
    let keda = Keda::asking(&Memory::saying(exactly(6)));
    let status = keda.client.clone().get_metrics(GetMetricsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_given_up() {
    let memory = Memory::saying(exactly(6));
    memory.hold();
    let keda = Keda::asking(&memory);
    let began = tokio::time::Instant::now();
    let status = keda.metric(&trigger()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("10s"), "{}", status.message());
    assert!(began.elapsed() < TIMEOUT + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_cancels_harms_no_other() {
    let memory = Memory::saying(exactly(6));
    memory.hold();
    let keda = Arc::new(Keda::asking(&memory));
    let mut polls = JoinSet::new();
    let [first, _second] = [(); 2].map(|()| {
        let keda = Arc::clone(&keda);
        polls.spawn(async move { keda.metric(&trigger()).await })
    });
    memory.asked_times(2).await;
    first.abort();
    assert!(polls.join_next().await.unwrap().unwrap_err().is_cancelled());
    memory.release();
    assert_eq!(polls.join_next().await.unwrap().unwrap().unwrap().metric_value, 6);
    assert!(keda.is_active(&trigger()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_ends_with_the_server() {
    let memory = Memory::saying(exactly(6));
    memory.hold();
    let keda = Keda::asking(&memory);
    let trigger = trigger();
    let cancel = async {
        memory.asked_times(1).await;
        keda.stop.calls.cancel();
    };
    let (reply, ()) = tokio::join!(keda.metric(&trigger), cancel);
    assert_eq!(reply.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_the_state_at_once_and_then_each_change() {
    let memory = Memory::saying(exactly(6));
    let keda = Keda::asking(&memory);
    let reply = keda.client.clone().stream_is_active(trigger()).await;
    let mut stream = reply.unwrap().into_inner();
    let mut next = async || stream.message().await.unwrap().unwrap().result;
    assert!(next().await);
    memory.say(exactly(5));
    assert!(!next().await);
    // Neither the same state again nor an error is a change.
    memory.say(exactly(4));
    let changed = async {
        memory.asked_times(4).await;
        memory.say(unreachable());
        memory.asked_times(6).await;
        memory.say(at_least(1));
        memory.asked_times(8).await;
        memory.say(exactly(7));
    };
    assert!(tokio::join!(next(), changed).0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_opens_on_a_cluster_that_is_down_and_says_nothing_until_it_knows() {
    let memory = Memory::saying(unreachable());
    let keda = Keda::asking(&memory);
    let reply = keda.client.clone().stream_is_active(trigger()).await;
    let mut stream = reply.unwrap().into_inner();
    let recovery = async {
        memory.asked_times(3).await;
        memory.say(exactly(6));
    };
    let (first, ()) = tokio::join!(stream.message(), recovery);
    assert!(first.unwrap().unwrap().result);
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_server_drains() {
    let keda = Keda::asking(&Memory::saying(exactly(6)));
    let mut client = keda.client.clone();
    let mut active = client.stream_is_active(trigger()).await.unwrap().into_inner();
    let mut spec = client.stream_metric_spec(trigger()).await.unwrap().into_inner();
    assert!(active.message().await.unwrap().unwrap().result);
    let sent = spec.message().await.unwrap().unwrap();
    assert_eq!(sent.metric_specs, [keda.spec(&trigger()).await]);

    keda.stop.streams.cancel();
    assert_eq!(active.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(spec.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_0_says_what_waits_instead_until_something_has_matched() {
    let memory = Memory::saying(exactly(0));
    let keda = Keda::asking(&memory);
    let trigger = trigger_with(&[("eventType", r"image\..*,naïve")]);
    assert_eq!(keda.note(&trigger).await, None, "nothing waits");
    assert_eq!(keda.unmatched(), "0");

    let types = EventTypes::parse("any").unwrap();
    let selection = Selection { types: Some(types), ..Selection::default() };
    let selectors = selection.selectors();
    let judge = Judge::new(selectors.iter().map(|selector| (Slot(0), selector.clone())));
    for (number, of) in (0..).zip(["größe", "größe", "image.uploaded"]) {
        let position = Some(Position { partition: 0, number });
        judge.judge(&Sample::default().header("ce_type", of), position, &mut Verdicts::default());
    }
    memory.show(judge.sight(&selectors[0], |_| true).unwrap());
    let note = keda.note(&trigger).await.expect("others wait");
    assert_eq!(
        note,
        r#"nothing matches among the messages looked at last: 2 "gr\u{f6}\u{df}e", 1 "image.uploaded"; "#
            .to_owned()
            + r#"eventType "image\\..*" is taken letter for letter, not as a pattern; "#
            + "all types that begin with order. are order.*"
    );
    assert_eq!(keda.note(&trigger).await, Some(note), "as long as it is so");
    assert_eq!(keda.unmatched(), "1");

    memory.say(exactly(1));
    assert_eq!(keda.note(&trigger).await, None);
    memory.say(exactly(0));
    assert_eq!(keda.note(&trigger).await, None, "its types are right, and none is there now");
    assert_eq!(keda.unmatched(), "0");
}

#[tokio::test(start_paused = true)]
async fn the_source_is_let_go_of_when_nobody_polls_any_more() {
    let memory = Memory::saying(exactly(6));
    let keda = Keda::asking(&memory);
    let upkeep = keda.scaler.forget_unpolled();
    let polls = async {
        keda.metric(&trigger()).await.unwrap();
        assert_eq!(memory.followed(), 1);
        tokio::time::sleep(FORGET_AFTER - Duration::from_secs(1)).await;
        keda.spec(&trigger()).await;
        tokio::time::sleep(FORGET_AFTER - Duration::from_secs(1)).await;
        assert_eq!(memory.followed(), 1, "forgotten though it was polled");
        tokio::time::sleep(FORGET_AFTER).await;
        assert_eq!(memory.followed(), 0, "kept though it was not polled");
        keda.stop.calls.cancel();
    };
    tokio::join!(upkeep, polls);
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_keeps_its_trigger() {
    let memory = Memory::saying(exactly(6));
    let keda = Keda::asking(&memory);
    let mut stream = keda.client.clone().stream_is_active(trigger()).await.unwrap().into_inner();
    stream.message().await.unwrap();
    let upkeep = keda.scaler.forget_unpolled();
    let time = async {
        tokio::time::sleep(FORGET_AFTER * 2).await;
        assert_eq!(memory.followed(), 1);
        drop(stream);
        tokio::time::sleep(FORGET_AFTER * 2).await;
        assert_eq!(memory.followed(), 0);
        keda.stop.calls.cancel();
    };
    tokio::join!(upkeep, time);
}
