//! Traces of `keda-sift serve`, as a collector gets them: OpenTelemetry's own messages judge them.

use std::time::Duration;

use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use sift_harness::program::Program;
use sift_harness::{PATIENCE, metadata};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

/// Takes spans and hands them on.
struct Collector(mpsc::Sender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            self.0.send(span).await.map_err(|_| Status::unavailable("nobody looks"))?;
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector, its address and what it gets.
async fn collector() -> (JoinSet<()>, String, mpsc::Receiver<Span>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let (spans, got) = mpsc::channel(1_000);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let service = TraceServiceServer::new(Collector(spans));
        let served = Server::builder().add_service(service);
        served.serve_with_incoming(TcpIncoming::from(listener)).await.expect("it serves");
    });
    (serving, endpoint, got)
}

async fn poll(program: &Program, traceparent: Option<&'static str>) {
    let channel = Channel::from_shared(format!("http://{}", program.grpc)).expect("a URL");
    let mut client = ExternalScalerClient::new(channel.connect().await.expect("it listens"));
    let rows = [
        ("source", "kafka"),
        ("bootstrapServers", "127.0.0.1:1"),
        ("consumerGroup", "g"),
        ("topic", "t"),
        ("passwordFromEnv", "hunter2"),
    ];
    let asked = ScaledObjectRef {
        name: "thumbnails".to_owned(),
        namespace: "media".to_owned(),
        scaler_metadata: metadata(&rows),
    };
    let asked = GetMetricsRequest { scaled_object_ref: Some(asked), metric_name: String::new() };
    let mut asked = Request::new(asked);
    if let Some(traceparent) = traceparent {
        asked.metadata_mut().insert("traceparent", traceparent.parse().expect("ASCII"));
    }
    client.get_metrics(asked).await.expect_err("there is no broker");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_is_a_span_of_its_callers_trace_with_its_steps_below() {
    let (_serving, endpoint, mut got) = collector().await;
    let program = Program::serving(&["--otlp-endpoint", &endpoint]);
    poll(&program, Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")).await;
    poll(&program, None).await;
    // What is left is sent at the end.
    assert_eq!(program.end(), Some(0));
    let mut spans = Vec::new();
    while spans.iter().filter(|span: &&Span| span.name == "GetMetrics").count() < 2 {
        spans.push(timeout(PATIENCE, got.recv()).await.expect("in time").expect("it serves"));
    }
    let of_caller = |span: &&Span| hex(&span.trace_id) == "0af7651916cd43dd8448eb211c80319c";
    let poll = spans.iter().find(|span| span.name == "GetMetrics" && of_caller(span));
    let poll = poll.unwrap_or_else(|| panic!("{spans:?}"));
    assert_eq!(hex(&poll.parent_span_id), "b7ad6b7169203331");
    let told = format!("{:?}", poll.attributes);
    for text in ["media", "thumbnails", "externalscaler.ExternalScaler"] {
        assert!(told.contains(text), "{told}");
    }
    assert_eq!(poll.status.as_ref().map(|status| status.code), Some(2), "an error");
    let step = spans.iter().find(|span| span.name == "read the TriggerAuthentication");
    assert!(step.is_some_and(|step| spans.iter().any(|span| span.span_id == step.parent_span_id)));
    assert!(!format!("{spans:?}").contains("hunter2"));
    // The other one has a trace of its own.
    assert!(spans.iter().any(|span| span.name == "GetMetrics" && !of_caller(&span)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_holds_nothing_up() {
    let program = Program::serving(&["--otlp-endpoint", "http://127.0.0.1:1"]);
    for _ in 0..20 {
        timeout(Duration::from_secs(5), poll(&program, None)).await.expect("as fast as without");
    }
    assert_eq!(program.end(), Some(0));
}
