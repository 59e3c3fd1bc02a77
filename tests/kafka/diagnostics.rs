//! What `sift.v1.Diagnostics` says of triggers on a real broker.

use std::time::{SystemTime, UNIX_EPOCH};

use keda_sift::diagnostics::proto::explain_response::Measured;
use keda_sift::diagnostics::proto::{
    self, ExplainResponse, ListTriggersRequest, Partition, State, TriggerRef, poll,
};
use keda_sift::telemetry::{BY_TRIGGER, PageFormat, TRIGGER_FAILING_SINCE};
use sift_harness::{Broker, Message, PATIENCE, Sift, Trigger, until};
use test_basics::promtool_approves;
use tokio::time::timeout;

fn named(trigger: &Trigger) -> TriggerRef {
    let asked = trigger.reference();
    TriggerRef { namespace: asked.namespace, name: asked.name, id: String::new() }
}

async fn explain(sift: &Sift, trigger: &Trigger) -> ExplainResponse {
    let explained = sift.diagnostics().await.explain(named(trigger)).await;
    explained.expect("it is known").into_inner()
}

fn measured(explained: &ExplainResponse) -> &proto::Measurement {
    match explained.measured.as_ref() {
        Some(Measured::Measurement(measurement)) => measurement,
        other => panic!("{other:?}"),
    }
}

/// What a poll was answered: a count, or the code of an error.
fn answer(poll: &proto::Poll) -> Result<u64, String> {
    match poll.answer.as_ref().expect("each has one") {
        poll::Answer::Value(value) => Ok(value.count),
        poll::Answer::Error(refusal) => Err(refusal.code.clone()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_explained_by_its_partitions_its_types_and_its_polls() {
    const TOPIC: &str = "explained";
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(2).create().await;
    let messages = (0..20).map(|n| {
        let message = match n % 4 {
            0 => Message::of_type("order.paid"),
            1 => Message::of_type("order.made"),
            2 => Message::of_type("order.gone"),
            _ => Message::new(),
        };
        message.partition(n % 2)
    });
    broker.produce_all(TOPIC, messages).await;
    broker.commit(TOPIC, TOPIC, [(0, 4)]).await;
    let sift = Sift::start().await;
    let trigger = sift
        .trigger(broker.bootstrap(), TOPIC, TOPIC)
        .named(TOPIC)
        .with("eventType", "order.paid,order.back*")
        .with("lagThreshold", "2");
    assert_eq!(trigger.count().await, 3);
    let explained = explain(&sift, &trigger).await;

    let of = explained.trigger.as_ref().expect("it is known");
    assert_eq!((of.source.as_str(), of.state()), ("kafka", State::Waiting));
    assert_eq!((of.target, of.polls), (2, 1));
    assert_eq!(of.selection, "types order.paid,order.back*");
    let measured = measured(&explained);
    assert_eq!(measured.value.as_ref().map(|value| value.count), Some(3));
    assert_eq!((measured.is_active, measured.jobs_wanted), (Some(true), 2));
    let partition = |number, committed, from, waiting| Partition {
        topic: TOPIC.to_owned(),
        number,
        start: 0,
        end: 10,
        committed,
        from: Some(from),
        tail: Some(10),
        waiting,
        persistent: false,
    };
    let expected = [partition(0, Some(4), 4, 3), partition(1, None, 0, 0)];
    assert_eq!(measured.partitions, expected);
    let by_type: Vec<_> =
        measured.by_type.iter().map(|of| (of.r#type.as_str(), of.count)).collect();
    assert_eq!(by_type, [("order.paid", 3), ("order.back*", 0)]);
    // Of 6 and 10 messages, as the group has read 4.
    let mut types: Vec<_> =
        explained.types.iter().map(|of| (of.r#type.as_str(), of.count)).collect();
    types.sort_unstable();
    assert_eq!(types, [("order.gone", 3), ("order.made", 5), ("order.paid", 3)]);
    let [reason] = &explained.indeterminate[..] else { panic!("{explained:?}") };
    assert_eq!(reason.count, 5);
    assert_eq!(explained.polls.iter().map(answer).collect::<Vec<_>>(), [Ok(3)]);
    assert_eq!(explained.history.last().map(|point| point.count), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_explained_by_its_error() {
    let broker = Broker::start();
    broker.topic("gone").create().await;
    broker.produce("gone", Message::new()).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "gone", "gone").named("gone");
    assert_eq!(trigger.count().await, 1);
    tokio::task::block_in_place(|| broker.kill(0));
    let why = trigger.error().await.1;
    let explained = explain(&sift, &trigger).await;
    match &explained.measured {
        Some(Measured::SourceError(refusal)) => {
            assert_eq!((refusal.code.as_str(), &refusal.message), ("Unavailable", &why));
        }
        other => panic!("{other:?}"),
    }
    let of = explained.trigger.as_ref().expect("it is known");
    assert_eq!(of.state(), State::Failing);
    let failed_at = explained.polls.first().and_then(|poll| poll.at);
    assert!(failed_at.is_some() && of.failing_since == failed_at);
    let answers: Vec<_> = explained.polls.iter().map(answer).collect();
    assert_eq!(answers, [Err("Unavailable".to_owned()), Ok(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_explain_changes_nothing_that_keda_is_told() {
    const TOPIC: &str = "explained-beside";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    broker.produce(TOPIC, Message::new()).await;
    broker.commit(TOPIC, TOPIC, [(0, 0)]).await;
    let sift = Sift::start().await;
    let trigger = sift
        .trigger(broker.bootstrap(), TOPIC, TOPIC)
        .named(TOPIC)
        .with("excludePersistentLag", "true");
    assert_eq!(trigger.count().await, 1);
    // Where these were polls, the lag would have stood still twice.
    for _ in 0..3 {
        let explained = explain(&sift, &trigger).await;
        assert_eq!(explained.trigger.map(|of| of.polls), Some(1));
    }
    broker.produce(TOPIC, Message::new()).await;
    broker.commit(TOPIC, TOPIC, [(0, 1)]).await;
    assert_eq!(trigger.count().await, 1);
    assert_eq!(explain(&sift, &trigger).await.polls.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_seen_by_whoever_watches() {
    const TOPIC: &str = "watched-polls";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).named(TOPIC);
    assert_eq!(trigger.count().await, 0);
    let watched = sift.diagnostics().await.watch_backlog(named(&trigger)).await;
    let mut watched = watched.expect("it is known").into_inner();
    let mut next = async || {
        let message = timeout(PATIENCE, watched.message()).await.expect("in time");
        answer(&message.expect("no error").expect("not the end"))
    };
    assert_eq!(next().await, Ok(0), "the latest one comes at once");
    for n in 1..=3 {
        broker.produce(TOPIC, Message::new()).await;
        assert_eq!(trigger.count().await, i64::from(n));
    }
    for n in 1..=3 {
        assert_eq!(next().await, Ok(n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keda_no_longer_asks_about_is_forgotten_though_somebody_watches() {
    const TOPIC: &str = "watched-no-more";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let second = std::time::Duration::from_secs(1);
    let sift = Sift::start_with(PATIENCE, second).await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).named(TOPIC);
    assert_eq!(trigger.count().await, 0);
    let mut client = sift.diagnostics().await;
    let mut watched =
        client.watch_backlog(named(&trigger)).await.expect("it is known").into_inner();
    until("it is forgotten", async || sift.kept("kafka") == 0).await;
    let end = loop {
        match timeout(PATIENCE, watched.message()).await.expect("in time") {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_eq!(end.expect_err("it says so").code(), tonic::Code::NotFound);
    let listed = client.list_triggers(ListTriggersRequest::default()).await;
    assert_eq!(listed.expect("it may ask").into_inner().total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_how_old_the_oldest_message_is_that_counts() {
    const TOPIC: &str = "aged";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let ago = |seconds: u64| {
        let millis = now.as_millis() as i64 - seconds as i64 * 1_000;
        Message::of_type("paid").at(millis)
    };
    let sift = Sift::start().await;
    let trigger =
        sift.trigger(broker.bootstrap(), TOPIC, TOPIC).named(TOPIC).with("eventType", "paid");
    let figure = |name: &str| {
        let page = sift.metrics(PageFormat::Prometheus);
        let of_it = |line: &&str| line.starts_with(name) && line.contains(r#"="aged""#);
        let line = page.lines().find(of_it).unwrap_or_else(|| panic!("no {name} in {page}"));
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{line}"))
    };
    assert_eq!(trigger.count().await, 0);
    assert_eq!(figure("keda_sift_trigger_oldest_message_age_seconds"), 0.0);
    // One of them is another's.
    broker.produce(TOPIC, Message::of_type("made").at(now.as_millis() as i64 - 9_000_000)).await;
    for seconds in [3_000, 2_000, 1_000] {
        broker.produce(TOPIC, ago(seconds)).await;
        assert!(trigger.count().await > 0);
    }
    for (committed, waits, least) in [(0, 3, 3_000.0), (2, 2, 2_000.0), (3, 1, 1_000.0)] {
        broker.commit(TOPIC, TOPIC, [(0, committed)]).await;
        assert_eq!(trigger.count().await, waits);
        let age = figure("keda_sift_trigger_oldest_message_age_seconds");
        assert!((least..least + 300.0).contains(&age), "{committed}: {age}");
        assert_eq!(figure("keda_sift_trigger_value"), waits as f64);
        assert_eq!(figure("keda_sift_trigger_read_behind"), 0.0);
        assert_eq!(figure("keda_sift_trigger_read_position"), 4.0);
    }
    let page = sift.metrics(PageFormat::Prometheus);
    promtool_approves(&page);
    let of_each = BY_TRIGGER.into_iter().filter(|metric| !metric.labels.is_empty());
    for metric in of_each.filter(|metric| metric.name != TRIGGER_FAILING_SINCE.name) {
        let series = format!("\n{}{{namespace=", metric.in_queries());
        assert!(page.contains(&series), "no {series} in {page}");
    }
}
