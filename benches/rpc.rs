//! Ten thousand triggers with a group each, over a hundred topics, on one connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keda_sift::kafka::baseline::Pair;
use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use keda_sift::scaler::proto::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use sift_harness::{Broker, Commit, Message};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server as Tonic};
use tonic::{Request, Response, Status};

use super::memory::Server;
use super::report::{Goal, Report, figure, median, quantile, resident};

pub(super) const TRIGGERS: usize = 10_000;
const TOPICS: usize = 100;
pub(super) const ROUNDS: usize = 5;

pub(super) type Scaler = ExternalScalerClient<Channel>;

pub(crate) async fn run(report: &mut Report) {
    println!("rpc: {TRIGGERS} triggers with a group each over {TOPICS} topics");
    let broker = Broker::for_benchmarks();
    for topic in 0..TOPICS {
        let topic = format!("rpc-{topic}");
        broker.topic(&topic).partitions(1).create().await;
        let messages =
            (0..100).map(|n| Message::of_type(if n % 2 == 0 { "wanted" } else { "other" }));
        broker.produce_all(&topic, messages).await;
    }
    let commits = (0..TRIGGERS).map(|n| Commit {
        group: format!("group-{n}"),
        topic: format!("rpc-{}", n % TOPICS),
        offsets: vec![(0, 50)],
    });
    broker.commit_all(commits).await;
    let triggers: Arc<Vec<ScaledObjectRef>> =
        Arc::new((0..TRIGGERS).map(|n| trigger(broker.bootstrap(), n)).collect());
    warm_up(&triggers).await;
    let server = Server::start();
    let scaler = connect(&server.1).await;

    let mut bursts = Vec::new();
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        burst(&scaler, &triggers).await;
        let took = begun.elapsed().as_secs_f64();
        println!("  all at once: {took:.2} s{}", if round == 0 { ", cold" } else { "" });
        bursts.push(took);
    }
    report.add("rpc 10,000 polls at once, cold", bursts.remove(0), "s", Goal::AtMost(1.2));
    report.add("rpc 10,000 polls at once", median(bursts), "s", Goal::AtMost(0.6));
    report.add("rpc connections to the broker", broker.connections() as f64, "", Goal::AtMost(6.0));

    let (mut tails, mut of_pair) = (Vec::new(), Vec::new());
    let pair = Arc::new(Pair::new(broker.bootstrap(), "group-0", "rpc-0", 1));
    pair.ask().await;
    for _ in 0..ROUNDS {
        let call = |n: usize| measure(scaler.clone(), triggers[n * 7 % triggers.len()].clone());
        let mut times = steadily(call, 1_000, 5).await;
        let (middle, tail) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        println!("  at 1,000 a second: p50 {middle:.2} ms, p99 {tail:.2} ms");
        tails.push(tail);
        let pair = |_| {
            let pair = Arc::clone(&pair);
            async move { pair.ask().await }
        };
        let mut times = steadily(pair, 1_000, 5).await;
        let (middle, bare) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        println!("  the bare pair at 1,000 a second: p50 {middle:.2} ms, p99 {bare:.2} ms");
        of_pair.push(tail / bare);
    }
    println!("  p99 of that of the bare pair: {:.2}", median(of_pair));
    report.add("rpc GetMetrics p99 at 1,000 a second", median(tails), "ms", Goal::AtMost(5.0));
    report.add("rpc memory", resident(server.0.id()), "MB", Goal::AtMost(48.0));

    super::watched::run(report, &triggers).await;

    // Last, as the broker's request log stays on.
    let requests = broker.requests().await;
    burst(&scaler, &triggers).await;
    let asked = requests.all().await;
    // Fetches are those of the tails, which go on by themselves.
    let asked = asked.iter().filter(|asked| asked.client == CLIENT && asked.api != "FETCH").count();
    report.add("rpc requests for 10,000 polls at once", asked as f64, "", Goal::AtMost(300.0));
    report.add(
        "rpc threads beyond tokio's with 100 clusters",
        threads(&broker).await,
        "",
        Goal::AtMost(4.0),
    );

    let constant = constant().await;
    let constant = connect(&constant).await;
    let mut bare = Vec::new();
    for _ in 0..ROUNDS {
        let metrics = |mut scaler: Scaler, trigger: ScaledObjectRef| async move {
            let request =
                GetMetricsRequest { scaled_object_ref: Some(trigger), metric_name: String::new() };
            scaler.get_metrics(request).await.map(drop)
        };
        bare.push(TRIGGERS as f64 / rate(&constant, &triggers, metrics).await);
    }
    println!("  10,000 calls of a constant, 64 at a time: {:.2} s", median(bare));
    let (mut specs, mut actives) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let spec = |mut scaler: Scaler, trigger: ScaledObjectRef| async move {
            scaler.get_metric_spec(trigger).await.map(drop)
        };
        specs.push(rate(&scaler, &triggers, spec).await / rate(&constant, &triggers, spec).await);
        let active = |mut scaler: Scaler, trigger: ScaledObjectRef| async move {
            scaler.is_active(trigger).await.map(drop)
        };
        // A snapshot of each, so that IsActive is answered as it is after GetMetrics.
        burst(&scaler, &triggers[..FRESH]).await;
        let of_scaler = rate(&scaler, &triggers[..FRESH], active).await;
        actives.push(of_scaler / rate(&constant, &triggers[..FRESH], active).await);
    }
    report.add("rpc GetMetricSpec, of a constant's rate", median(specs), "", Goal::AtLeast(0.5));
    report.add("rpc IsActive, of a constant's rate", median(actives), "", Goal::AtLeast(0.5));
}

/// Has the broker compile what the bursts take of it, by another scaler: it takes a quarter of the
/// machine for that.
async fn warm_up(triggers: &[ScaledObjectRef]) {
    let server = Server::start();
    let scaler = connect(&server.1).await;
    for _ in 0..2 * ROUNDS {
        burst(&scaler, triggers).await;
    }
}

/// What the scaler calls itself to brokers.
const CLIENT: &str = "keda-sift";

/// Threads of a server that is asked about 100 clusters, over those of one that is asked about
/// none.
async fn threads(broker: &Broker) -> f64 {
    let server = Server::start();
    let scaler = connect(&server.1).await;
    let before = figure(server.0.id(), "Threads:");
    for n in 0..100 {
        // Another server that is none makes another cluster of it.
        let bootstrap = format!("{},127.0.0.1:{}", broker.bootstrap(), 1 + n);
        let mut trigger = trigger(&bootstrap, n);
        trigger.scaler_metadata.insert("countFrom".to_owned(), "offsets".to_owned());
        trigger.scaler_metadata.remove("eventType");
        let request =
            GetMetricsRequest { scaled_object_ref: Some(trigger), metric_name: String::new() };
        scaler.clone().get_metrics(request).await.expect("a count");
    }
    figure(server.0.id(), "Threads:") - before
}

/// Triggers whose snapshots are all used within the second that they last.
const FRESH: usize = 500;

fn trigger(bootstrap: &str, n: usize) -> ScaledObjectRef {
    let metadata = [
        ("scalerAddress", "keda-sift.keda-sift:9090".to_owned()),
        ("source", "kafka".to_owned()),
        ("bootstrapServers", bootstrap.to_owned()),
        ("consumerGroup", format!("group-{n}")),
        ("topic", format!("rpc-{}", n % TOPICS)),
        ("lagThreshold", "1".to_owned()),
        ("allowIdleConsumers", "true".to_owned()),
        ("eventType", "wanted".to_owned()),
    ];
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ScaledObjectRef {
        name: format!("job-{n}"),
        namespace: "bench".to_owned(),
        scaler_metadata: metadata,
    }
}

pub(super) async fn connect(address: &str) -> Scaler {
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URL");
    ExternalScalerClient::new(channel.connect().await.expect("it listens"))
}

async fn measure(mut scaler: Scaler, trigger: ScaledObjectRef) {
    let request =
        GetMetricsRequest { scaled_object_ref: Some(trigger), metric_name: String::new() };
    let reply = scaler.get_metrics(request).await.expect("a count").into_inner();
    assert_eq!(reply.metric_values[0].metric_value, 25);
}

pub(super) async fn burst(scaler: &Scaler, triggers: &[ScaledObjectRef]) {
    let mut calls = JoinSet::new();
    for trigger in triggers {
        calls.spawn(measure(scaler.clone(), trigger.clone()));
    }
    calls.join_all().await;
}

/// The times of calls in ms, at so many a second for so many seconds.
async fn steadily<R>(call: impl Fn(usize) -> R, a_second: u32, seconds: u32) -> Vec<f64>
where
    R: Future<Output = ()> + Send + 'static,
{
    let mut ticks = interval(Duration::from_secs(1) / a_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    for n in 0..(a_second * seconds) as usize {
        ticks.tick().await;
        let call = call(n);
        calls.spawn(async move {
            let begun = Instant::now();
            call.await;
            begun.elapsed().as_secs_f64() * 1_000.0
        });
    }
    calls.join_all().await
}

/// Calls a second, 64 at a time.
async fn rate<R>(
    scaler: &Scaler,
    triggers: &[ScaledObjectRef],
    call: impl Fn(Scaler, ScaledObjectRef) -> R + Copy + Send + 'static,
) -> f64
where
    R: Future<Output = Result<(), Status>> + Send,
{
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    let share = triggers.len().div_ceil(64);
    for chunk in triggers.chunks(share) {
        let (scaler, chunk) = (scaler.clone(), chunk.to_vec());
        workers.spawn(async move {
            for trigger in chunk {
                call(scaler.clone(), trigger).await.expect("an answer");
            }
        });
    }
    workers.join_all().await;
    triggers.len() as f64 / begun.elapsed().as_secs_f64()
}

/// A service that answers the same whatever it is asked; gives its address.
async fn constant() -> String {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let incoming = incoming.with_nodelay(Some(true));
    let address = incoming.local_addr().expect("an address").to_string();
    let service = ExternalScalerServer::new(Constant);
    #[expect(clippy::disallowed_methods, reason = "it ends with the benchmark")]
    tokio::spawn(Tonic::builder().add_service(service).serve_with_incoming(incoming));
    address
}

struct Constant;

type Stream<T> = tokio_stream::Empty<Result<T, Status>>;

#[tonic::async_trait]
impl ExternalScaler for Constant {
    type StreamIsActiveStream = Stream<IsActiveResponse>;
    type StreamMetricSpecStream = Stream<GetMetricSpecResponse>;

    async fn is_active(
        self: Arc<Self>,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        Ok(Response::new(IsActiveResponse { result: true }))
    }

    async fn get_metric_spec(
        self: Arc<Self>,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        Ok(Response::new(GetMetricSpecResponse::default()))
    }

    async fn get_metrics(
        self: Arc<Self>,
        _: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        Ok(Response::new(GetMetricsResponse::default()))
    }

    async fn stream_is_active(
        self: Arc<Self>,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        Err(Status::unimplemented("it answers a constant"))
    }

    async fn stream_metric_spec(
        self: Arc<Self>,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        Err(Status::unimplemented("it answers a constant"))
    }
}
