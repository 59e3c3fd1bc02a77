//! The scaler at work on an embedded Kafka and a stand-in for Azure Service Bus, to look at.
//!
//! Everything is real but what is counted in: librdkafka's own mock cluster and the tests'
//! namespace, both inside this process. Events of several types come at different rates, those who
//! handle them work some off now and then, and each line of the table is asked over gRPC as KEDA
//! asks.
//!
//! | file | answers |
//! |---|---|
//! | `script` | which events come, and who handles them |
//! | `kafka` | what goes on in the topic |
//! | `service_bus` | what goes on in the queue |
//! | `table` | how it looks |

mod kafka;
mod script;
mod service_bus;
mod table;

use std::error::Error;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use keda_sift::scaler::{self, Scaler};
use keda_sift::server::{self, Ending, Listener, Listeners, Shutdown};
use keda_sift::telemetry::{self, LogFormat};
use keda_sift::wiring::{self, Wired};
use script::Trigger;
use table::Row;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Status;
use tonic::transport::Channel;
use tracing_subscriber::filter::{LevelFilter, Targets};

const EVERY: Duration = Duration::from_secs(1);

/// For how many seconds events have come when the curtain rises.
const BEFORE: u64 = 30;

/// Shows keda-sift at work on an embedded Kafka and a stand-in for Azure Service Bus, until Ctrl-C.
///
/// Three types of events are written to a topic, and three sent to a queue. The table shows for six
/// ScaledJobs how many of their own messages wait, and the Jobs KEDA would start for them.
#[derive(Debug, clap::Parser)]
#[command(name = "demo")]
struct Args {
    /// Print the table once, and end.
    #[arg(long)]
    once: bool,

    /// Where to serve, for grpcurl. With --once any free port will do.
    #[arg(
        long,
        env = "SIFT_GRPC_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9090",
        default_value_if("once", "true", "127.0.0.1:0")
    )]
    grpc_listen: SocketAddr,
}

/// What is counted in, and since when.
struct Stage {
    topic: kafka::Topic,
    queue: service_bus::Queue,
    begun: Instant,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("error: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    // Not what librdkafka says when the embedded broker ends before its clients.
    let ours = Targets::new().with_target("keda_sift", LevelFilter::ERROR);
    telemetry::init(ours, LogFormat::Text, None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shown = runtime.block_on(show(args));
    runtime.shutdown_background();
    shown
}

async fn show(args: &Args) -> Result<(), Box<dyn Error>> {
    // Caught from the start: a signal before that would end it rudely.
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let listeners = Listeners {
        grpc: Listener::open("--grpc-listen", args.grpc_listen).await?,
        http: Listener::open("the demo's health page", ([127, 0, 0, 1], 0).into()).await?,
    };
    let address = listeners.grpc.address();
    let shutdown = Shutdown::new();
    let options = scaler::Options {
        measure_timeout: Duration::from_secs(10),
        forget_after: Duration::from_secs(900),
        ..scaler::Options::default()
    };
    // Nothing here needs an identity: the queue is opened with a key.
    let Wired { sources, .. } = wiring::sources(wiring::Options::default())?;
    let scaler = Arc::new(Scaler::new(sources, options, shutdown.stop()));

    let mut stage = Stage::set().await?;
    let table = async {
        let shown = stage.play(address, args.once).await;
        (shown, stage)
    };
    tokio::pin!(table);
    // What is counted in must outlive the server.
    let mut ended = None;
    let told = async {
        tokio::select! {
            () = told(signals) => {}
            shown = &mut table => ended = Some(shown),
        }
    };
    let options = server::Options { grace: Duration::from_secs(1), ..server::Options::default() };
    let ending = server::serve(listeners, scaler, shutdown, options, told).await;
    if ending == Ending::Broken {
        return Err("the server ended by itself".into());
    }
    match ended {
        Some((shown, _)) => shown,
        None => {
            println!("\nThe demo has ended.");
            Ok(())
        }
    }
}

/// Waits for SIGTERM or Ctrl-C.
async fn told([mut terminate, mut interrupt]: [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

impl Stage {
    async fn set() -> Result<Stage, Box<dyn Error>> {
        let topic = kafka::Topic::create()?;
        let queue = service_bus::Queue::create().await;
        Ok(Stage { topic, queue, begun: Instant::now() })
    }

    /// Lets events come and be handled, and shows the table, every second or once.
    async fn play(&mut self, address: SocketAddr, once: bool) -> Result<(), Box<dyn Error>> {
        let mut scaler = ExternalScalerClient::connect(format!("http://{address}")).await?;
        self.topic.write(BEFORE)?;
        self.queue.send(BEFORE);
        let live = stdout().is_terminal() && !once;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let seconds = self.begun.elapsed().as_secs();
            self.topic.write(BEFORE + seconds)?;
            self.topic.commit(seconds).await?;
            self.queue.send(BEFORE + seconds);
            self.queue.receive(seconds);

            let (in_topic, in_queue) = (self.topic.triggers(), self.queue.triggers());
            let mut rows = Vec::new();
            for trigger in in_topic.iter().chain(&in_queue) {
                rows.push(Row { trigger, backlog: ask(&mut scaler, trigger).await });
            }
            let scenes = [self.topic.scene(), self.queue.scene()];
            let examples = [&in_topic[0], &in_queue[0]];
            let clear = if live { "\x1b[H\x1b[2J" } else { "" };
            let text = format!("{clear}{}", table::text(&scenes, &rows, &examples, address));
            stdout().write_all(text.as_bytes())?;
            stdout().flush()?;
            if once {
                let failed = rows.into_iter().find_map(|row| row.backlog.err());
                return failed.map_or(Ok(()), |status| Err(status.message().to_owned().into()));
            }
        }
    }
}

/// Asks as KEDA does.
async fn ask(scaler: &mut ExternalScalerClient<Channel>, trigger: &Trigger) -> Result<i64, Status> {
    let request = GetMetricsRequest {
        scaled_object_ref: Some(ScaledObjectRef {
            name: trigger.job.name.to_owned(),
            namespace: "demo".to_owned(),
            scaler_metadata: trigger.metadata.clone(),
        }),
        metric_name: String::new(),
    };
    let reply = scaler.get_metrics(request).await?.into_inner();
    let value = reply.metric_values.first().map(|value| value.metric_value);
    value.ok_or_else(|| Status::internal("a reply without a value"))
}
