//! Warm before Ready: triggers are found, measured and followed, before KEDA asks about them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use azure_stand_ins::{Message as Queued, ServiceBus};
use keda_sift::scaler::proto::ScaledObjectRef;
use kubernetes_api::{ApiServer, Definitions};
use serde_json::json;
use sift_harness::{
    Broker, LIST_OFFSETS, Message, PATIENCE, Proxy, Replies, Settings, Sift, Trigger, free_port,
    metadata, until,
};
use tokio::time::{Instant, sleep};

use crate::operator::{ADDRESS, Operator, ScaledJob, all};

/// How long an API server is away.
const AWAY: Duration = Duration::from_secs(60);

fn rows<'a>(bootstrap: &'a str, topic: &'a str, event_type: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("source", "kafka"),
        ("bootstrapServers", bootstrap),
        ("consumerGroup", "jobs"),
        ("topic", topic),
        ("eventType", event_type),
        ("lagThreshold", "1"),
        ("allowIdleConsumers", "true"),
        ("offsetResetPolicy", "earliest"),
    ]
}

/// The trigger as KEDA asks for it.
fn polled(sift: &Sift, namespace: &str, name: &str, rows: &[(&str, &str)]) -> Trigger {
    let asked = ScaledObjectRef {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        scaler_metadata: metadata(rows),
    };
    sift.asking(asked).with("scalerAddress", ADDRESS)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn two_hundred_scaled_jobs_over_twenty_topics_are_warm_when_it_is_ready() {
    let (api, broker) = (ApiServer::shared().await, Broker::start());
    let namespace = api.namespace("media").await;
    let proxy = Proxy::before(broker.port(0)).await;
    let bootstrap = &proxy.bootstrap();
    let topics: Vec<_> = (0..20).map(|n| format!("warm-{n}")).collect();
    for topic in &topics {
        broker.topic(topic).create().await;
        let messages = (0..100).map(|n| Message::of_type(&format!("type-{}", n % 10)));
        broker.produce_all(topic, messages).await;
    }
    let types: Vec<_> = (0..10).map(|n| format!("type-{n}")).collect();
    let jobs: Vec<_> = topics
        .iter()
        .flat_map(|topic| {
            types.iter().map(move |of_type| (format!("{topic}-{of_type}"), topic, of_type))
        })
        .collect();
    let objects = jobs.iter().map(|(name, topic, of_type)| {
        ScaledJob::new(&namespace, name, &rows(bootstrap, topic, of_type))
    });
    api.apply(&all(objects)).await;

    let operator = Operator::granting(api, &["warm-up"]).await;
    let sift = Sift::with(operator.watching(&[&namespace])).await;
    sift.until_ready().await;
    assert_eq!((sift.kept("kafka"), sift.found("ready")), (200, 200));
    // What has not been read by now cannot be.
    proxy.replies(Replies::HoldRecords);
    for (name, topic, of_type) in &jobs {
        assert_eq!(
            polled(&sift, &namespace, name, &rows(bootstrap, topic, of_type)).count().await,
            10,
            "{name}"
        );
    }
    assert_eq!(sift.kept("kafka"), 200, "what is polled is what was warmed");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn it_is_not_ready_before_its_triggers_are_read_and_at_the_latest_after_the_timeout() {
    let (api, broker) = (ApiServer::shared().await, Broker::start());
    let namespace = api.namespace("media").await;
    broker.topic("uploads").create().await;
    broker.produce("uploads", Message::of_type("a")).await;
    let proxy = Proxy::before(broker.port(0)).await;
    proxy.replies(Replies::Hold);
    let bootstrap = proxy.bootstrap();
    let trigger = rows(&bootstrap, "uploads", "a");
    api.apply(&ScaledJob::new(&namespace, "job", &trigger).yaml()).await;
    let operator = Operator::granting(api, &["warm-up"]).await;

    let sift = Sift::with(operator.watching(&[&namespace])).await;
    until("the trigger is found", async || sift.kept("kafka") == 1).await;
    assert!(!sift.is_ready().await);
    proxy.replies(Replies::Pass);
    sift.until_ready().await;
    assert_eq!(polled(&sift, &namespace, "job", &trigger).count().await, 1);

    proxy.replies(Replies::Hold);
    let settings =
        Settings { warm_timeout: Duration::from_secs(3), ..operator.watching(&[&namespace]) };
    let impatient = Sift::with(settings).await;
    let begun = Instant::now();
    impatient.until_ready().await;
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    proxy.replies(Replies::Pass);
    polled(&impatient, &namespace, "job", &trigger).until(1, |_| false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn changes_are_followed() {
    let (api, broker) = (ApiServer::shared().await, Broker::start());
    let namespace = api.namespace("media").await;
    let proxy = Proxy::before(broker.port(0)).await;
    let bootstrap = &proxy.bootstrap();
    broker.topic("followed").create().await;
    broker
        .produce_all(
            "followed",
            [Message::of_type("a"), Message::of_type("b"), Message::of_type("b")],
        )
        .await;
    let operator = Operator::granting(api, &["warm-up"]).await;
    let forget_after = Duration::from_millis(200);
    let sift = Sift::with(Settings { forget_after, ..operator.watching(&[&namespace]) }).await;
    sift.until_ready().await;
    assert_eq!(sift.kept("kafka"), 0);

    let (first, second) = (rows(bootstrap, "followed", "a"), rows(bootstrap, "followed", "b"));
    api.apply(&ScaledJob::new(&namespace, "job", &first).yaml()).await;
    until("a new one is warmed, unpolled", async || sift.found("ready") == 1).await;
    proxy.replies(Replies::HoldRecords);
    assert_eq!(polled(&sift, &namespace, "job", &first).count().await, 1, "it is warm");
    proxy.replies(Replies::Pass);

    let changed = ScaledJob::new(&namespace, "job", &second).max_jobs(50).yaml();
    api.apply(&changed).await;
    let trigger = polled(&sift, &namespace, "job", &second);
    assert_eq!(trigger.count().await, 2);
    until("the old one is gone", async || sift.kept("kafka") == 1 && sift.found("ready") == 1)
        .await;
    // KEDA writes the status at each poll that finds something, which is no change.
    let asked = proxy.asked(LIST_OFFSETS);
    let status = json!({ "status": { "lastActiveTime": "2026-01-01T00:00:00Z" } }).to_string();
    for _ in 0..20 {
        let patch =
            ["patch", "scaledjob", "job", "-n", &namespace, "--subresource=status", "--type=merge"];
        let patched = api.kubectl(&[&patch[..], &["-p", &status]].concat()).await;
        patched.expect("the status can be written");
    }
    // In the order of the changes, so those before it have come too.
    let third = rows(bootstrap, "followed", "c");
    api.apply(&ScaledJob::new(&namespace, "other", &third).yaml()).await;
    until("another one is warmed", async || sift.found("ready") == 2).await;
    let asked = proxy.asked(LIST_OFFSETS) - asked;
    assert!(asked < 20, "{asked} requests, of which one object has caused some");
    api.delete(&ScaledJob::new(&namespace, "other", &third).yaml()).await;
    until("it is forgotten", async || sift.kept("kafka") == 1).await;
    // What is only polled is forgotten; what the object has is not.
    polled(&sift, &namespace, "job", &first).count().await;
    assert_eq!(sift.kept("kafka"), 2);
    until("it is forgotten", async || sift.kept("kafka") == 1).await;
    sleep(forget_after * 3).await;
    assert_eq!(sift.kept("kafka"), 1, "kept for as long as the object is there");

    api.delete(&ScaledJob::new(&namespace, "job", &second).yaml()).await;
    until("it is forgotten", async || sift.kept("kafka") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_change_of_how_many_jobs_there_can_be_reads_nothing_again() {
    let (api, broker) = (ApiServer::shared().await, Broker::start());
    let namespace = api.namespace("media").await;
    let proxy = Proxy::before(broker.port(0)).await;
    let bootstrap = &proxy.bootstrap();
    broker.topic("kept").create().await;
    broker.produce_all("kept", ["a"; 30].map(Message::of_type)).await;
    let trigger = rows(bootstrap, "kept", "a");
    let job = |max| ScaledJob::new(&namespace, "job", &trigger).max_jobs(max).yaml();
    api.apply(&job(5)).await;
    let operator = Operator::granting(api, &["warm-up"]).await;
    let sift = Sift::with(operator.watching(&[&namespace])).await;
    sift.until_ready().await;
    // What has not been read by now cannot be.
    proxy.replies(Replies::HoldRecords);
    let polled = polled(&sift, &namespace, "job", &trigger);
    assert_eq!(polled.count().await, 5);
    api.apply(&job(20)).await;
    polled.until(20, |value| value == 5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn what_cannot_be_measured_holds_up_nothing() {
    let (api, broker) = (ApiServer::shared().await, Broker::shared());
    let namespace = api.namespace("media").await;
    broker.topic("beside-the-dead").create().await;
    broker.produce("beside-the-dead", Message::of_type("a")).await;
    let dead = format!("127.0.0.1:{}", free_port());
    let good = rows(broker.bootstrap(), "beside-the-dead", "a");
    let of_dead = rows(&dead, "gone", "a");
    let objects = (0..100).map(|n| match n {
        50 => ScaledJob::new(&namespace, "good", &good),
        n => ScaledJob::new(&namespace, &format!("dead-{n}"), &of_dead),
    });
    api.apply(&all(objects)).await;
    let operator = Operator::granting(api, &["warm-up"]).await;
    let begun = Instant::now();
    let sift = Sift::with(operator.watching(&[&namespace])).await;
    sift.until_ready().await;
    // Each has its one try, all at once. Three tries of ten seconds, thirty-two at a time, take
    // until the timeout.
    assert!(begun.elapsed() < PATIENCE * 2 / 3, "{:?}", begun.elapsed());
    assert_eq!(sift.kept("kafka"), 100);
    assert_eq!(polled(&sift, &namespace, "good", &good).count().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn an_api_server_that_is_away_changes_nothing() {
    let (api, broker) = (ApiServer::start().await, Broker::shared());
    let bootstrap = broker.bootstrap();
    broker.topic("away").create().await;
    broker.produce("away", Message::of_type("a")).await;
    let trigger = rows(bootstrap, "away", "a");
    let namespace = api.namespace("media").await;
    api.apply(&ScaledJob::new(&namespace, "job", &trigger).max_jobs(10_000).yaml()).await;
    let operator = Operator::granting(&api, &["warm-up"]).await;
    let sift = Sift::with(operator.watching(&[])).await;
    sift.until_ready().await;

    api.stop();
    let away = Instant::now();
    let mut n = 0;
    while away.elapsed() < AWAY {
        n += 1;
        broker.produce("away", Message::of_type("a")).await;
        assert_eq!(polled(&sift, &namespace, "job", &trigger).count().await, 1 + n);
        assert!(sift.is_ready().await);
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(sift.kept("kafka"), 1);
    api.restart().await;
    let second = rows(bootstrap, "away", "b");
    api.apply(&ScaledJob::new(&namespace, "second", &second).yaml()).await;
    until("what has changed since is seen", async || sift.kept("kafka") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn as_many_as_there_can_be_jobs_are_counted() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("media").await;
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 100, |_| Queued::new("{}").subject("a"));
    let connection = bus.connection_string();
    let written = [
        ("queueName", "orders"),
        ("messageCount", "2"),
        ("eventType", "a"),
        ("connectionFromEnv", "BUS"),
    ];
    let env = json!([{ "name": "BUS", "value": connection }]);
    let job =
        |max| ScaledJob::new(&namespace, "job", &written).max_jobs(max).env(env.clone()).yaml();
    let operator = Operator::granting(api, &["warm-up"]).await;
    api.apply(&job(3)).await;
    let sift = Sift::with(operator.watching(&[&namespace])).await;
    sift.until_ready().await;
    let mut sent = written;
    sent[3].1 = &connection;
    let trigger = polled(&sift, &namespace, "job", &sent);
    assert_eq!(trigger.poll().await.map(|poll| (poll.value, poll.active)).ok(), Some((6, true)));
    assert_eq!(sift.kept("azure-servicebus"), 1, "the environment was read as KEDA reads it");
    assert_eq!(trigger.clone().with("countLimit", "50").count().await, 50);
    api.apply(&job(20)).await;
    trigger.until(40, |value| value == 6).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn without_the_right_it_is_ready_and_counts_all_the_same() {
    let (api, broker) = (ApiServer::shared().await, Broker::shared());
    let namespace = api.namespace("media").await;
    let bootstrap = broker.bootstrap();
    broker.topic("unwatched").create().await;
    broker.produce("unwatched", Message::of_type("a")).await;
    let trigger = rows(bootstrap, "unwatched", "a");
    api.apply(&ScaledJob::new(&namespace, "job", &trigger).yaml()).await;
    let operator = Operator::granting(api, &[]).await;
    // It is the refusal that ends the waiting.
    let settings = Settings { warm_timeout: PATIENCE * 10, ..operator.watching(&[&namespace]) };
    let sift = Sift::with(settings).await;
    sift.until_ready().await;
    assert_eq!(sift.kept("kafka"), 0);
    assert_eq!(polled(&sift, &namespace, "job", &trigger).count().await, 1);
    let refused = api.requests().by(&operator.account.user()).forbidden();
    // For some seconds, as an API server that is starting refuses what it grants; after that once a
    // minute.
    assert!(!refused.is_empty() && refused.len() <= 16, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn objects_that_are_not_as_they_should_be_leave_the_others_alone() {
    let (api, broker) = (ApiServer::start().await, Broker::shared());
    api.define(Definitions::Lenient).await;
    let bootstrap = broker.bootstrap();
    broker.topic("among").create().await;
    broker.produce("among", Message::of_type("a")).await;
    let namespace = api.namespace("media").await;
    let object = |name: &str, rest: serde_json::Value| {
        let mut object = json!({ "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": { "name": name, "namespace": namespace } });
        object
            .as_object_mut()
            .expect("an object")
            .extend(rest.as_object().expect("an object").clone());
        object.to_string()
    };
    let trigger = |metadata: serde_json::Value| json!({ "spec": { "triggers": [{ "type": "external", "metadata": metadata }] } });
    let strange = [
        object("no-spec", json!({})),
        object("spec-of-text", json!({ "spec": "text" })),
        object("spec-of-null", json!({ "spec": null })),
        object("no-triggers", json!({ "spec": {} })),
        object("triggers-of-text", json!({ "spec": { "triggers": "text" } })),
        object("triggers-of-numbers", json!({ "spec": { "triggers": [1, null, "a", []] } })),
        object("no-metadata", json!({ "spec": { "triggers": [{ "type": "external" }] } })),
        object("metadata-of-text", trigger(json!("text"))),
        object("numbers", trigger(json!({ "scalerAddress": ADDRESS, "lagThreshold": 5 }))),
        object("nested", trigger(json!({ "scalerAddress": { "a": ADDRESS } }))),
        object(
            "no-type",
            json!({ "spec": { "triggers": [{ "metadata": { "scalerAddress": ADDRESS } }] } }),
        ),
        object(
            "odd-maximum",
            json!({ "spec": { "maxReplicaCount": "many", "jobTargetRef": 7,
            "triggers": [{ "type": "external", "metadata": { "scalerAddress": ADDRESS, "topicFromEnv": "A" } }] } }),
        ),
    ];
    let good = rows(bootstrap, "among", "a");
    api.apply(&ScaledJob::new(&namespace, "a-first", &good).yaml()).await;
    api.apply(&strange.join("\n---\n")).await;
    api.apply(&ScaledJob::new(&namespace, "z-last", &good).yaml()).await;
    let operator = Operator::granting(&api, &["warm-up"]).await;
    let sift = Sift::with(operator.watching(&[])).await;
    sift.until_ready().await;
    assert_eq!(sift.kept("kafka"), 2);
    for name in ["a-first", "z-last"] {
        assert_eq!(polled(&sift, &namespace, name, &good).count().await, 1, "{name}");
    }
    // They come and go as changes too.
    let later = rows(bootstrap, "among", "b");
    api.delete(&strange.join("\n---\n")).await;
    api.apply(&ScaledJob::new(&namespace, "later", &later).yaml()).await;
    until("the next good one is seen", async || sift.kept("kafka") == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_restart_forgets_nothing_that_came_since_the_object_was_made() {
    let (api, broker) = (ApiServer::shared().await, Broker::shared());
    let namespace = api.namespace("media").await;
    broker.topic("since").create().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let before = i64::try_from(now).expect("milliseconds") - 3_600_000;
    broker.produce_all("since", ["a"; 5].map(|of_type| Message::of_type(of_type).at(before))).await;
    let mut trigger = rows(broker.bootstrap(), "since", "a");
    trigger.retain(|(key, _)| *key != "offsetResetPolicy");
    api.apply(&ScaledJob::new(&namespace, "job", &trigger).yaml()).await;
    broker.produce_all("since", ["a"; 3].map(Message::of_type)).await;
    let operator = Operator::granting(api, &["warm-up"]).await;
    for replica in 0..2 {
        let sift = Sift::with(operator.watching(&[&namespace])).await;
        sift.until_ready().await;
        let polled = polled(&sift, &namespace, "job", &trigger);
        assert_eq!(polled.count().await, 3, "replica {replica}");
    }
}
