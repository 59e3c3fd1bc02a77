//! What stays open between KEDA and the scaler, on the real broker: streams, health, reflection.

use std::time::Duration;

use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{IsActiveResponse, ScaledObjectRef};
use sift_harness::{Broker, Message, PATIENCE, Sift, Trigger};
use tokio::time::{Instant, timeout};
use tokio_stream::{StreamExt as _, once};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How often an open stream looks, and time for the look itself.
const A_LOOK: Duration = Duration::from_millis(2_500);

/// The stream of an external-push trigger.
struct Activity(Streaming<IsActiveResponse>);

impl Activity {
    async fn of(sift: &Sift, trigger: &Trigger) -> Self {
        let stream = sift.client.clone().stream_is_active(trigger.reference()).await;
        Self(stream.expect("a trigger that can be read").into_inner())
    }

    /// What it says next.
    async fn next(&mut self) -> bool {
        let next = timeout(PATIENCE, self.0.message()).await.expect("a message in time");
        next.expect("no error").expect("an open stream").result
    }

    /// Whether it says nothing while it looks at least twice.
    async fn is_silent(&mut self) -> bool {
        timeout(2 * A_LOOK, self.0.message()).await.is_err()
    }
}

async fn connect(sift: &Sift) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", sift.address)).expect("a URL");
    endpoint.connect().await.expect("the scaler listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_trigger_is_told_its_state_at_once_and_each_change() {
    let broker = Broker::shared();
    broker.topic("push").partitions(2).create().await;
    broker.catch_up("push", "push").await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "push", "push").with("eventType", "wanted");

    let mut activity = Activity::of(&sift, &trigger).await;
    assert!(!activity.next().await, "nothing waits at first");
    broker.produce("push", Message::of_type("unwanted").partition(0)).await;
    assert!(activity.is_silent().await, "a message of another type is no change");

    let produced = Instant::now();
    broker.produce("push", Message::of_type("wanted").partition(1)).await;
    assert!(activity.next().await);
    assert!(produced.elapsed() < A_LOOK, "told after {:?}", produced.elapsed());
    broker.produce("push", Message::of_type("wanted").partition(1)).await;
    assert!(activity.is_silent().await, "one more of what waits already is no change");

    broker.commit("push", "push", [(1, 1)]).await;
    assert_eq!(trigger.count().await, 1);
    broker.commit("push", "push", [(1, 2)]).await;
    assert!(!activity.next().await, "all is done");
    broker.produce("push", Message::of_type("wanted")).await;
    assert!(activity.next().await, "and so on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_trigger_is_active_above_its_threshold_from_the_first_message_on() {
    let broker = Broker::shared();
    broker.topic("push-waiting").create().await;
    broker.produce_all("push-waiting", (0..5).map(|_| Message::new())).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "push-waiting", "push-waiting");
    let mut above = Activity::of(&sift, &trigger.clone().with("activationLagThreshold", "4")).await;
    let mut at = Activity::of(&sift, &trigger.with("activationLagThreshold", "5")).await;
    assert!(above.next().await);
    assert!(!at.next().await);
    broker.produce("push-waiting", Message::new()).await;
    assert!(at.next().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_never_told_as_inactive() {
    let broker = Broker::shared();
    let sift = Sift::start().await;
    // Active as soon as the topic is there: a group that has committed nothing is to come.
    let trigger = sift.trigger(broker.bootstrap(), "push-later", "push-later");
    let trigger = trigger.with("offsetResetPolicy", "latest");
    assert_eq!(trigger.active().await.unwrap_err().code(), Code::NotFound);
    let mut activity = Activity::of(&sift, &trigger).await;
    assert!(activity.is_silent().await, "an unknown is not told as inactive");
    broker.topic("push-later").create().await;
    assert!(activity.next().await, "the first that is told is what was measured");

    broker.delete_topic("push-later").await;
    assert!(activity.is_silent().await, "what is no longer known leaves the last state standing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_trigger_that_cannot_be_read_ends_with_every_complaint() {
    let sift = Sift::start().await;
    let trigger = sift.trigger("kafka:9092", "push", "push").with("lagThreshold", "ten");
    let status = stream_error(&sift, trigger.reference()).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    let expected = "lagThreshold: \"ten\" is not a whole number; give 1 or more";
    assert_eq!(status.message(), expected);
}

async fn stream_error(sift: &Sift, reference: ScaledObjectRef) -> Status {
    match sift.client.clone().stream_is_active(reference).await {
        Ok(stream) => stream.into_inner().message().await.expect_err("metadata that is wrong"),
        Err(status) => status,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn specs_are_streamed_at_once_as_they_are_told_and_the_stream_stays_open() {
    let sift = Sift::start().await;
    let complete = sift.trigger("127.0.0.1:9", "specs", "specs").with("lagThreshold", "7");
    let unreadable = complete.clone().with("lagThreshold", "ten");
    let rows = [(&complete, "kafka-specs", 7), (&unreadable, "keda-sift-invalid-trigger", 1)];
    for (trigger, name, target) in rows {
        let stream = sift.client.clone().stream_metric_spec(trigger.reference()).await;
        let mut stream = stream.expect("a stream, whatever the metadata").into_inner();
        let first = timeout(PATIENCE, stream.message()).await.expect("at once");
        let specs = first.expect("no error").expect("a first message").metric_specs;
        assert_eq!(specs, [trigger.spec().await]);
        assert_eq!((specs[0].metric_name.as_str(), specs[0].target_size), (name, target));
        let more = timeout(Duration::from_millis(500), stream.message()).await;
        assert!(more.is_err(), "KEDA takes the end of the stream for that of the scaler: {more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_of_one_connection_hold_up_no_poll() {
    let broker = Broker::shared();
    broker.topic("push-many").create().await;
    broker.produce("push-many", Message::of_type("a")).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "push-many", "push-many");
    let mut streams = Vec::new();
    for n in 0..300 {
        streams.push(Activity::of(&sift, &trigger.clone().named(&n.to_string())).await);
    }
    for stream in &mut streams {
        assert!(stream.next().await);
    }
    let asked = Instant::now();
    assert_eq!(trigger.count().await, 1);
    assert!(asked.elapsed() < A_LOOK, "{:?}", asked.elapsed());
    broker.catch_up("push-many", "push-many").await;
    for stream in &mut streams {
        assert!(!stream.next().await);
    }
}

#[tokio::test]
async fn health_is_told_of_the_server_and_of_the_scaler() {
    let sift = Sift::start().await;
    let mut health = HealthClient::new(connect(&sift).await);
    for service in ["", "externalscaler.ExternalScaler"] {
        let asked = HealthCheckRequest { service: service.to_owned() };
        let checked = health.check(asked.clone()).await.unwrap().into_inner();
        assert_eq!(checked.status(), ServingStatus::Serving, "{service:?}");
        let mut watch = health.watch(asked).await.unwrap().into_inner();
        let first = timeout(PATIENCE, watch.message()).await.expect("at once").unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest { service: "externalscaler".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

/// What `grpcurl list` and `grpcurl describe` ask, in either version of reflection.
macro_rules! reflected {
    ($version:ident, $channel:expr, $request:ident($text:expr) => $answer:ident($found:ident) $give:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let asked = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::$request($text.to_owned())),
        };
        let mut client = ServerReflectionClient::new($channel.clone());
        let mut answers = client.server_reflection_info(once(asked)).await.unwrap().into_inner();
        match answers.next().await.unwrap().unwrap().message_response {
            Some(MessageResponse::$answer($found)) => $give,
            answer => panic!("{answer:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_lists_every_service_and_describes_every_call() {
    let sift = Sift::start().await;
    let channel = connect(&sift).await;
    let listed = [
        reflected!(v1, channel, ListServices("") => ListServicesResponse(list) list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()),
        reflected!(v1alpha, channel, ListServices("") => ListServicesResponse(list) list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()),
    ];
    for services in listed {
        for service in ["externalscaler.ExternalScaler", "grpc.health.v1.Health"] {
            assert!(
                services.iter().any(|listed| listed == service),
                "no {service} in {services:?}"
            );
        }
    }

    let scaler = "externalscaler.ExternalScaler";
    let described = [
        reflected!(v1, channel, FileContainingSymbol(scaler) => FileDescriptorResponse(found) found.file_descriptor_proto.concat()),
        reflected!(v1alpha, channel, FileContainingSymbol(scaler) => FileDescriptorResponse(found) found.file_descriptor_proto.concat()),
    ];
    for file in described {
        let file = String::from_utf8_lossy(&file).into_owned();
        for call in
            ["IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics", "StreamMetricSpec"]
        {
            assert!(file.contains(call), "no {call} in {file:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_its_streams_leaves_the_scaler_whole() {
    let broker = Broker::shared();
    broker.topic("push-left").create().await;
    broker.produce("push-left", Message::new()).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "push-left", "push-left");
    let mut leaving = ExternalScalerClient::new(connect(&sift).await);
    for _ in 0..100 {
        leaving.stream_is_active(trigger.reference()).await.unwrap();
        leaving.stream_metric_spec(trigger.reference()).await.unwrap();
    }
    drop(leaving);
    assert_eq!(trigger.count().await, 1);
    assert!(Activity::of(&sift, &trigger).await.next().await);
}
