//! Events: the errors of a trigger where `kubectl describe scaledjob` shows them, in the words that
//! KEDA gets.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use keda_sift::kubernetes::{Addresses, Name, Watch};
use keda_sift::scaler::proto::ScaledObjectRef;
use kube::Api;
use kubernetes_api::ApiServer;
use sift_harness::{Broker, Message, Settings, Sift, Trigger, free_port, until};

use crate::operator::{ADDRESS, Operator, ScaledJob};

const WRONG: &[(&str, &str)] =
    &[("source", "kafka"), ("bootstrapServers", "127.0.0.1:9"), ("topic", "uploads")];

async fn events(api: &ApiServer, namespace: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(api.admin(), namespace);
    events.list(&kube::api::ListParams::default()).await.expect("Events").items
}

async fn until_told(api: &ApiServer, namespace: &str) -> Vec<Event> {
    let mut told = Vec::new();
    until("something is told", async || {
        told = events(api, namespace).await;
        !told.is_empty()
    })
    .await;
    told
}

fn wrong(sift: &Sift, namespace: &str) -> Trigger {
    let trigger = sift.trigger("127.0.0.1:9", "group", "uploads").without("consumerGroup");
    let trigger = trigger.without("lagThreshold").without("allowIdleConsumers");
    let trigger = trigger.without("offsetResetPolicy").with("scalerAddress", ADDRESS);
    trigger.named("thumbnails").within(namespace)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_trigger_that_cannot_be_read_is_told_on_its_scaled_job_once() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("media").await;
    let applied = api.apply(&ScaledJob::new(&namespace, "thumbnails", WRONG).yaml()).await;
    let operator = Operator::granting(api, &["warm-up", "events"]).await;
    // Two replicas, which tell of one thing together.
    let sifts = [
        Sift::with(operator.watching(&[&namespace])).await,
        Sift::with(operator.watching(&[&namespace])).await,
    ];
    until_told(api, &namespace).await;
    let mut words = String::new();
    for sift in &sifts {
        sift.until_ready().await;
        for _ in 0..5 {
            words = wrong(sift, &namespace).error().await.1;
        }
    }
    // Each replica has told its part when the second one has changed the Event.
    let told =
        api.requests().by(&operator.account.user()).resource("events").in_namespace(&namespace);
    assert!(told.len() <= 3, "{told:?}");
    let [event] = &events(api, &namespace).await[..] else { panic!("more than one Event") };
    assert_eq!(event.message.as_deref(), Some(words.as_str()));
    assert!(words.starts_with("consumerGroup: is missing"), "{words}");
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.involved_object.uid.as_deref(), applied[0]["metadata"]["uid"].as_str());
    let described = api.kubectl(&["describe", "scaledjob", "thumbnails", "-n", &namespace]).await;
    let described = described.expect("kubectl describes it");
    assert!(
        described.contains("TriggerFailed") && described.contains("consumerGroup: is missing"),
        "{described}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn what_waits_where_nothing_matches_is_told() {
    let (api, broker) = (ApiServer::shared().await, Broker::start());
    let namespace = api.namespace("media").await;
    broker.topic("uploads").create().await;
    broker.produce("uploads", Message::of_type("image.uploaded")).await;
    let rows = [
        ("source", "kafka"),
        ("bootstrapServers", broker.bootstrap()),
        ("consumerGroup", "thumbnails"),
        ("topic", "uploads"),
        ("offsetResetPolicy", "earliest"),
        ("eventType", r"image\..*"),
    ];
    api.apply(&ScaledJob::new(&namespace, "thumbnails", &rows).yaml()).await;
    let operator = Operator::granting(api, &["warm-up", "events"]).await;
    let sift = Sift::with(operator.watching(&[&namespace])).await;
    sift.until_ready().await;
    let asked = ScaledObjectRef {
        name: "thumbnails".to_owned(),
        namespace: namespace.to_string(),
        scaler_metadata: rows.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    };
    let trigger = sift.asking(asked);
    let first = trigger.note().await.expect("another message waits");
    let [event] = &until_told(api, &namespace).await[..] else { panic!("more than one Event") };
    assert_eq!(event.reason.as_deref(), Some("NothingMatches"));
    assert_eq!(event.message.as_deref(), Some(first.as_str()));
    assert!(first.contains("1 \"image.uploaded\"; eventType"), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn what_keda_cannot_reach_is_told_and_not_what_another_replica_answers() {
    let (api, broker) = (ApiServer::shared().await, Broker::shared());
    let namespace = api.namespace("media").await;
    broker.topic("never-polled").create().await;
    let polled = Sift::start().await;
    let (polled, nowhere) = (polled.address.to_string(), format!("127.0.0.1:{}", free_port()));
    let job = |name: &str, address: &str| {
        let rows = [
            ("scalerAddress", address),
            ("source", "kafka"),
            ("bootstrapServers", broker.bootstrap()),
            ("consumerGroup", name),
            ("topic", "never-polled"),
            ("offsetResetPolicy", "earliest"),
        ];
        ScaledJob::new(&namespace, name, &rows).polled_every(1).yaml()
    };
    api.apply(&job("reached", &polled)).await;
    api.apply(&job("unreached", &nowhere)).await;
    let mut keda = api.keda(&namespace).await;
    keda.until("KEDA has asked a replica", async || {
        let path = "{.status.triggersActivity}";
        let arguments =
            ["get", "scaledjob", "reached", "-n", &namespace, "-o", &format!("jsonpath={path}")];
        api.kubectl(&arguments).await.is_ok_and(|names| names.contains("s0-kafka-never-polled"))
    })
    .await;
    // Another replica, which KEDA asks nothing.
    let operator = Operator::granting(api, &["warm-up", "events"]).await;
    let watch = Watch {
        addresses: Addresses::new(&["127.0.0.1"]),
        namespaces: vec![Name::parse(&namespace).expect("a name")],
    };
    let settings = Settings {
        kubernetes: operator.kubernetes(),
        watch: Some(watch),
        unpolled_after: Duration::from_secs(3),
        ..Settings::default()
    };
    let _silent = Sift::with(settings).await;
    let never_polled = async || {
        let told = events(api, &namespace).await.into_iter();
        let told = told.filter(|event| event.reason.as_deref() == Some("NeverPolled"));
        told.map(|event| (event.involved_object.name, event.message)).collect::<Vec<_>>()
    };
    keda.until("it is told", async || !never_polled().await.is_empty()).await;
    // Both have been looked at together.
    let told = never_polled().await;
    let [(of, Some(words))] = &told[..] else { panic!("{told:?}") };
    assert_eq!(of.as_deref(), Some("unreached"));
    assert!(words.contains("trigger 0 (kafka topic never-polled"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn without_the_right_nothing_is_told_and_all_else_goes_on() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("media").await;
    api.apply(&ScaledJob::new(&namespace, "thumbnails", WRONG).yaml()).await;
    let operator = Operator::granting(api, &["warm-up"]).await;
    let sift = Sift::with(operator.watching(&[&namespace])).await;
    sift.until_ready().await;
    let refused = || {
        api.requests()
            .by(&operator.account.user())
            .resource("events")
            .in_namespace(&namespace)
            .forbidden()
            .len()
    };
    until("it tries to tell", async || {
        let (_, words) = wrong(&sift, &namespace).error().await;
        assert!(words.starts_with("consumerGroup: is missing"), "{words}");
        refused() > 0
    })
    .await;
    assert!(events(api, &namespace).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_switch_turns_it_off() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("media").await;
    api.apply(&ScaledJob::new(&namespace, "thumbnails", WRONG).yaml()).await;
    let operator = Operator::granting(api, &["warm-up", "events"]).await;
    let another = Operator::granting(api, &["warm-up", "events"]).await;
    let settings = Settings { events: false, ..operator.watching(&[&namespace]) };
    let silent = Sift::with(settings).await;
    silent.until_ready().await;
    wrong(&silent, &namespace).error().await;
    // By the time that another one has told it, this one would have too.
    let _telling = Sift::with(another.watching(&[&namespace])).await;
    until_told(api, &namespace).await;
    let told = api.requests().by(&operator.account.user()).resource("events");
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn what_no_object_is_known_of_is_told_nowhere() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("media").await;
    let operator = Operator::granting(api, &["events"]).await;
    let settings = Settings { watch: None, ..operator.watching(&[&namespace]) };
    let sift = Sift::with(settings).await;
    wrong(&sift, &namespace).error().await;
    let told = api.requests().by(&operator.account.user()).resource("events");
    assert!(told.is_empty(), "{told:?}");
}
