//! What it costs to be looked at: the same polls of a server that nobody watches, and of one whose
//! metrics have series for each trigger and are scraped each second, and which sends traces.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use keda_sift::scaler::proto::ScaledObjectRef;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::transport::Server as Tonic;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::memory::Server;
use super::report::{Goal, Report, median};
use super::rpc::{ROUNDS, TRIGGERS, burst, connect};

pub(crate) async fn run(report: &mut Report, triggers: &[ScaledObjectRef]) {
    let (collector, endpoint) = collector().await;
    let bare = Server::start();
    let watched = Server::start_with(&["--trigger-metrics", "--otlp-endpoint", &endpoint]);
    let (of_bare, of_watched) = (connect(&bare.1).await, connect(&watched.1).await);
    // Both know all triggers from here on.
    burst(&of_bare, triggers).await;
    burst(&of_watched, triggers).await;
    let mut scrapes = JoinSet::new();
    scrapes.spawn(each_second(watched.2.clone(), "/metrics"));
    let mut ratios = Vec::new();
    for _ in 0..2 * ROUNDS {
        let times = [&of_bare, &of_watched].map(|scaler| async {
            let begun = Instant::now();
            burst(scaler, triggers).await;
            begun.elapsed().as_secs_f64()
        });
        let [unwatched, looked_at] = times;
        let (unwatched, looked_at) = (unwatched.await, looked_at.await);
        println!("  all at once: {unwatched:.2} s, {looked_at:.2} s while it is watched");
        ratios.push(unwatched / looked_at);
    }
    report.add(
        "rpc rate while it is watched, of one that is not",
        median(ratios),
        "",
        Goal::AtLeast(0.95),
    );
    scrapes.shutdown().await;
    let begun = Instant::now();
    let page = get(&watched.2, "/metrics").expect("a page");
    let took = begun.elapsed().as_secs_f64();
    println!("  the page of metrics of {TRIGGERS} triggers has {} bytes", page.len());
    report.add("rpc scrape of 10,000 triggers", took, "s", Goal::AtMost(2.0));
    drop(collector);
}

/// Asks for a page each second, until it is dropped.
async fn each_second(address: String, path: &'static str) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let address = address.clone();
        let got = spawn_blocking(move || get(&address, path)).await;
        got.expect("no panic").expect("a page");
    }
}

fn get(address: &str, path: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    write!(connection, "GET {path} HTTP/1.0\r\nhost: x\r\n\r\n")?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    Ok(reply)
}

/// A collector that keeps nothing, and its address.
async fn collector() -> (JoinSet<()>, String) {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let endpoint = format!("http://{}", incoming.local_addr().expect("an address"));
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let served = Tonic::builder().add_service(TraceServiceServer::new(Collector));
        served.serve_with_incoming(incoming).await.expect("it serves");
    });
    (serving, endpoint)
}

struct Collector;

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
