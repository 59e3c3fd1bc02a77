//! The server as a whole, on ports of its own; a memory is what every trigger is measured by.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{Ending, Listener, Listeners, Options as Serving, Ready, Shutdown, serve};
use crate::backlog::Backlog;
use crate::memory::Memory;
use crate::scaler::proto::external_scaler_client::ExternalScalerClient;
use crate::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use crate::scaler::{Options, Scaler};
use crate::wiring;

const LONG: Duration = Duration::from_secs(60);

const SCALER: &str = "externalscaler.ExternalScaler";

/// A server under way.
struct Running {
    grpc: SocketAddr,
    http: SocketAddr,
    channel: Channel,
    end: CancellationToken,
    task: JoinSet<Ending>,
}

impl Running {
    async fn measuring_by(memory: &Memory, grace: Duration) -> Self {
        let serving = Serving { grace, ..Serving::default() };
        Self::with(memory, Shutdown::new(), serving).await
    }

    /// A server that is not ready until the handle says so.
    async fn warming() -> (Self, Ready) {
        let shutdown = Shutdown::new();
        let ready = shutdown.warming();
        let serving = Serving { grace: LONG, ..Serving::default() };
        (Self::with(&held(), shutdown, serving).await, ready)
    }

    async fn with(memory: &Memory, shutdown: Shutdown, serving: Serving) -> Self {
        let free = "127.0.0.1:0".parse().unwrap();
        let grpc = Listener::open("--grpc-listen", free).await.unwrap();
        let http = Listener::open("--http-listen", free).await.unwrap();
        let addresses = (grpc.address(), http.address());
        let url = format!("http://{}", grpc.address());
        let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();

        let options = Options { measure_timeout: LONG, forget_after: LONG, ..Options::default() };
        let mut sources = wiring::sources(wiring::Options::default()).unwrap().sources;
        sources.memory = memory.clone();
        let scaler = Arc::new(Scaler::new(sources, options, shutdown.stop()));
        let end = CancellationToken::new();
        let told = end.clone().cancelled_owned();
        let listeners = Listeners { grpc, http };
        let mut task = JoinSet::new();
        task.spawn(serve(listeners, scaler, shutdown, serving, told));
        Self { grpc: addresses.0, http: addresses.1, channel, end, task }
    }

    async fn ending(mut self) -> Ending {
        self.task.join_next().await.unwrap().unwrap()
    }

    /// The value that a poll of a trigger gives, to be awaited wherever.
    fn poll(&self, name: &str) -> impl Future<Output = Result<i64, Status>> + use<> {
        let mut client = ExternalScalerClient::new(self.channel.clone());
        let asked = GetMetricsRequest {
            scaled_object_ref: Some(trigger(name)),
            metric_name: String::new(),
        };
        async move {
            let reply = client.get_metrics(asked).await?;
            Ok(reply.into_inner().metric_values[0].metric_value)
        }
    }

    async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let asked = HealthCheckRequest { service: service.to_owned() };
        let reply = HealthClient::new(self.channel.clone()).check(asked).await?;
        Ok(reply.into_inner().status())
    }

    async fn watch_health(&self, service: &str) -> Streaming<HealthCheckResponse> {
        let asked = HealthCheckRequest { service: service.to_owned() };
        HealthClient::new(self.channel.clone()).watch(asked).await.unwrap().into_inner()
    }

    /// The first line of what a page answers.
    async fn page(&self, path: &str) -> String {
        let (http, path) = (self.http, path.to_owned());
        let ask = move || {
            let mut connection = TcpStream::connect(http).unwrap();
            write!(connection, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .unwrap();
            let mut reply = String::new();
            connection.read_to_string(&mut reply).unwrap();
            reply.lines().next().unwrap_or_default().to_owned()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }
}

fn trigger(name: &str) -> ScaledObjectRef {
    let metadata = [("source", "memory"), ("topic", "uploads")];
    ScaledObjectRef {
        name: name.to_owned(),
        namespace: "media".to_owned(),
        scaler_metadata: test_basics::metadata(&metadata),
    }
}

/// What a watch says next; nothing once it has ended.
async fn next(health: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    Some(health.next().await?.unwrap().status())
}

fn held() -> Memory {
    let memory = Memory::saying(Ok(Backlog::Exact(3)));
    memory.hold();
    memory
}

#[tokio::test]
async fn health_is_that_of_the_server_and_of_the_scaler() {
    let server = Running::measuring_by(&held(), LONG).await;
    assert_eq!(server.health("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(server.health(SCALER).await.unwrap(), ServingStatus::Serving);
    assert_eq!(server.health("Other").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn there_is_a_page_for_each_question_and_no_other() {
    let server = Running::measuring_by(&held(), LONG).await;
    for page in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.page(page).await, "HTTP/1.1 200 OK", "{page}");
    }
    assert_eq!(server.page("/").await, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn a_server_that_warms_up_is_alive_and_answers_but_is_not_ready() {
    let (server, ready) = Running::warming().await;
    let mut health = server.watch_health(SCALER).await;
    assert_eq!(next(&mut health).await, Some(ServingStatus::NotServing));
    assert_eq!(server.health(SCALER).await.unwrap(), ServingStatus::NotServing);
    assert_eq!(server.health("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(server.page("/readyz").await, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(server.page("/healthz").await, "HTTP/1.1 200 OK");
    let mut client = ExternalScalerClient::new(server.channel.clone());
    client.get_metric_spec(trigger("one")).await.unwrap();

    ready.set();
    assert_eq!(next(&mut health).await, Some(ServingStatus::Serving));
    assert_eq!(server.health(SCALER).await.unwrap(), ServingStatus::Serving);
    assert_eq!(server.page("/readyz").await, "HTTP/1.1 200 OK");

    server.end.cancel();
    assert_eq!(next(&mut health).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut health).await, None);
    assert_eq!(server.ending().await, Ending::Clean);
}

#[tokio::test]
async fn a_server_that_is_told_to_end_while_it_warms_up_ends() {
    let (server, ready) = Running::warming().await;
    let mut of_all = server.watch_health("").await;
    let mut of_scaler = server.watch_health(SCALER).await;
    assert_eq!(next(&mut of_all).await, Some(ServingStatus::Serving));
    assert_eq!(next(&mut of_scaler).await, Some(ServingStatus::NotServing));

    server.end.cancel();
    assert_eq!(next(&mut of_all).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut of_all).await, None);
    assert_eq!(next(&mut of_scaler).await, None, "it has said so already");
    ready.set();
    assert_eq!(server.ending().await, Ending::Clean);
}

#[tokio::test]
async fn during_the_drain_delay_it_says_that_it_leaves_and_takes_connections_all_the_same() {
    let memory = Memory::saying(Ok(Backlog::Exact(3)));
    let serving = Serving { drain_delay: LONG, ..Serving::default() };
    let server = Running::with(&memory, Shutdown::new(), serving).await;
    let mut health = server.watch_health("").await;
    let mut client = ExternalScalerClient::new(server.channel.clone());
    let mut active = client.stream_is_active(trigger("one")).await.unwrap().into_inner();
    assert_eq!(next(&mut health).await, Some(ServingStatus::Serving));

    server.end.cancel();
    assert_eq!(next(&mut health).await, Some(ServingStatus::NotServing));
    assert_eq!(server.health(SCALER).await.unwrap(), ServingStatus::NotServing);
    for page in ["/healthz", "/readyz"] {
        assert_eq!(server.page(page).await, "HTTP/1.1 503 Service Unavailable", "{page}");
    }
    let late = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    let late = Running { channel: late.connect().await.unwrap(), ..server };
    assert_eq!(late.poll("thumbnails").await.unwrap(), 3);
    assert!(active.message().await.unwrap().unwrap().result, "streams go on");
}

#[tokio::test]
async fn after_the_drain_delay_it_drains() {
    let drain_delay = Duration::from_millis(50);
    let serving = Serving { drain_delay, grace: LONG, tls: None, diagnostics: None, page: None };
    let server = Running::with(&held(), Shutdown::new(), serving).await;
    let mut health = server.watch_health(SCALER).await;
    assert_eq!(next(&mut health).await, Some(ServingStatus::Serving));
    let told = tokio::time::Instant::now();
    server.end.cancel();
    assert_eq!(next(&mut health).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut health).await, None);
    assert_eq!(server.ending().await, Ending::Clean);
    assert!(told.elapsed() >= drain_delay);
}

#[tokio::test]
async fn reflection_lists_all_services() {
    let server = Running::measuring_by(&held(), LONG).await;

    macro_rules! listed_by {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };
            let list = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(server.channel.clone());
            let reply = client.server_reflection_info(tokio_stream::once(list)).await.unwrap();
            let answer = reply.into_inner().next().await.unwrap().unwrap().message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = answer else {
                panic!("no list: {answer:?}")
            };
            list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
        }};
    }
    for (version, mut listed) in [("v1", listed_by!(v1)), ("v1alpha", listed_by!(v1alpha))] {
        listed.sort();
        let expected = [
            SCALER,
            "grpc.health.v1.Health",
            &format!("grpc.reflection.{version}.ServerReflection"),
        ];
        assert_eq!(listed, expected);
    }
}

#[tokio::test]
async fn a_call_under_way_is_answered_during_the_grace_period() {
    let memory = held();
    let server = Running::measuring_by(&memory, LONG).await;
    let mut health = server.watch_health("").await;
    assert_eq!(next(&mut health).await, Some(ServingStatus::Serving));
    let mut call = JoinSet::new();
    call.spawn(server.poll("thumbnails"));
    memory.asked_times(1).await;

    server.end.cancel();
    assert_eq!(next(&mut health).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut health).await, None, "the watch would hold up the shutdown");
    assert_eq!(server.page("/healthz").await, "HTTP/1.1 503 Service Unavailable");

    memory.release();
    assert_eq!(call.join_next().await.unwrap().unwrap().unwrap(), 3);
    assert_eq!(server.ending().await, Ending::Clean);
}

#[tokio::test]
async fn no_connection_is_taken_once_the_shutdown_has_begun() {
    let memory = held();
    let server = Running::measuring_by(&memory, LONG).await;
    let mut health = server.watch_health("").await;
    let mut call = JoinSet::new();
    call.spawn(server.poll("thumbnails"));
    memory.asked_times(1).await;

    server.end.cancel();
    while health.next().await.is_some() {}
    while TcpStream::connect(server.grpc).is_ok() {
        tokio::task::yield_now().await;
    }
    memory.release();
    call.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cancelled_after_the_grace_period() {
    let memory = held();
    let server = Running::measuring_by(&memory, Duration::from_millis(50)).await;
    let mut call = JoinSet::new();
    call.spawn(server.poll("thumbnails"));
    memory.asked_times(1).await;

    server.end.cancel();
    assert_eq!(call.join_next().await.unwrap().unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(server.ending().await, Ending::Cancelled);
}

#[tokio::test]
async fn open_streams_do_not_hold_up_the_shutdown() {
    let server = Running::measuring_by(&held(), LONG).await;
    let mut client = ExternalScalerClient::new(server.channel.clone());
    let mut spec = client.stream_metric_spec(trigger("one")).await.unwrap().into_inner();
    let mut active = client.stream_is_active(trigger("one")).await.unwrap().into_inner();
    spec.message().await.unwrap().unwrap();

    server.end.cancel();
    assert_eq!(spec.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(active.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(server.ending().await, Ending::Clean);
}

#[tokio::test]
async fn ten_thousand_polls_at_once_over_one_connection_are_all_under_way_and_answered() {
    let memory = held();
    let server = Running::measuring_by(&memory, LONG).await;
    // The client learns the limit on streams with the first answer.
    server.health("").await.unwrap();
    let polls: JoinSet<_> = (0..10_000).map(|n| server.poll(&n.to_string())).collect();
    memory.asked_times(polls.len()).await;
    memory.release();
    for value in polls.join_all().await {
        assert_eq!(value.unwrap(), 3);
    }
}

#[tokio::test]
async fn ten_thousand_cancelled_polls_do_not_close_the_connection() {
    let memory = held();
    let server = Running::measuring_by(&memory, LONG).await;
    server.health("").await.unwrap();
    let mut waits = JoinSet::new();
    waits.spawn(server.poll("waits"));
    memory.asked_times(1).await;
    let mut cancelled: JoinSet<_> = (0..10_000).map(|n| server.poll(&n.to_string())).collect();
    memory.asked_times(1_000).await;
    cancelled.shutdown().await;
    memory.release();
    assert_eq!(waits.join_next().await.unwrap().unwrap().unwrap(), 3);
}
