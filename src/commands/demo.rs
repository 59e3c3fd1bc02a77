//! `keda-sift demo`: the scaler at work on an embedded Kafka, to look at.
//!
//! Everything is real but the broker, which is librdkafka's own mock cluster inside the process:
//! producers write three types of events at different rates, two groups commit now and then what
//! they would have done, and each line of the table is asked over gRPC as KEDA asks.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::Status;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::signals::Signals;
use crate::kafka::{self, Kafka};
use crate::scaler::proto::external_scaler_client::ExternalScalerClient;
use crate::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use crate::scaler::{self, Scaler, Sources};
use crate::server::{self, Ending, Listener, Listeners, Shutdown};
use crate::telemetry::{self, LogFormat};

const TOPIC: &str = "uploads";
const PARTITIONS: i32 = 3;

/// Event types with how many a second there are, in tenths.
const EVENTS: &[(&str, u32)] =
    &[("image.uploaded", 40), ("image.replaced", 10), ("video.uploaded", 5)];

/// ScaledJobs, the types each handles, how many messages a Job takes, and after how many seconds its
/// group has done all that waits; 0 is never.
const JOBS: &[(&str, &str, u32, u64)] = &[
    ("thumbnails", "image.uploaded,image.replaced", 10, 8),
    ("transcode", "video.*", 1, 20),
    ("audit", "*", 25, 0),
];

const MAX_REPLICA_COUNT: i64 = 10;

const EVERY: Duration = Duration::from_secs(1);

/// What a broker in the same process may take to do something.
const SOON: Duration = Duration::from_secs(10);

/// Shows the scaler at work on an embedded Kafka, until Ctrl-C.
///
/// Three types of events are written to one topic. The table shows for three ScaledJobs how many of
/// their own messages wait, and the Jobs KEDA would start for them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
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

/// One line of the table.
struct Row {
    job: &'static str,
    types: &'static str,
    backlog: Result<i64, Status>,
    target: i64,
}

/// The embedded Kafka and what goes on in it.
struct Stage {
    // Clients before their broker, as they are dropped in this order.
    producer: BaseProducer,
    groups: Vec<(Arc<BaseConsumer>, u64)>,
    cluster: MockCluster<'static, DefaultProducerContext>,
    begun: Instant,
    written: Vec<u64>,
}

/// Runs the demo to its end.
pub(super) fn run(args: &Args) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("error: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &Args) -> Result<(), Box<dyn Error>> {
    // Not what librdkafka says when the embedded broker ends before its clients.
    let ours = Targets::new().with_target("keda_sift", LevelFilter::ERROR);
    telemetry::init(ours, LogFormat::Text)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shown = runtime.block_on(show(args));
    runtime.shutdown_background();
    shown
}

async fn show(args: &Args) -> Result<(), Box<dyn Error>> {
    let signals = Signals::catch()?;
    let listeners = Listeners {
        grpc: Listener::open("--grpc-listen", args.grpc_listen).await?,
        http: Listener::open("the demo's health page", ([127, 0, 0, 1], 0).into()).await?,
    };
    let address = listeners.grpc.address();
    let shutdown = Shutdown::new();
    let sources = Sources::new(Kafka::new(kafka::Options::default()));
    let options = scaler::Options {
        measure_timeout: Duration::from_secs(10),
        forget_after: Duration::from_secs(900),
    };
    let scaler = Arc::new(Scaler::new(sources, options, shutdown.stop()));

    let mut stage = Stage::set()?;
    let table = async {
        let shown = stage.play(address, args.once).await;
        (shown, stage)
    };
    tokio::pin!(table);
    let mut ended = None;
    let told = async {
        tokio::select! {
            () = signals.told() => {}
            (shown, stage) = &mut table => ended = Some((shown, stage)),
        }
    };
    let ending = server::serve(listeners, scaler, shutdown, Duration::from_secs(1), told).await;
    if ending == Ending::Broken {
        return Err("the server ended by itself; run with serve to see why".into());
    }
    match ended {
        Some((shown, _)) => shown,
        None => {
            println!("\nThe demo has ended.");
            Ok(())
        }
    }
}

impl Stage {
    fn set() -> Result<Stage, Box<dyn Error>> {
        let cluster = MockCluster::new(1)?;
        cluster.create_topic(TOPIC, PARTITIONS, 1)?;
        let config = |group: &str| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", group);
            config
        };
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("linger.ms", "1")
            .create()?;
        let mut groups = Vec::new();
        for (job, _, _, every) in JOBS {
            let consumer: BaseConsumer = config(job).create()?;
            groups.push((Arc::new(consumer), *every));
        }
        let written = vec![0; EVENTS.len()];
        Ok(Stage { producer, groups, cluster, begun: Instant::now(), written })
    }

    /// Writes events, commits for groups, and shows the table, every second or once.
    async fn play(&mut self, address: SocketAddr, once: bool) -> Result<(), Box<dyn Error>> {
        let mut scaler = ExternalScalerClient::connect(format!("http://{address}")).await?;
        // What waits when the curtain rises.
        self.write(30)?;
        let live = stdout().is_terminal() && !once;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let seconds = self.begun.elapsed().as_secs();
            self.write(30 + seconds)?;
            self.commit(seconds).await?;
            let mut rows = Vec::new();
            for (job, types, target, _) in JOBS {
                let backlog = self.ask(&mut scaler, job, types, *target).await;
                rows.push(Row { job, types, backlog, target: i64::from(*target) });
            }
            let clear = if live { "\x1b[H\x1b[2J" } else { "" };
            let text = format!("{clear}{}", self.text(&rows, address));
            stdout().write_all(text.as_bytes())?;
            stdout().flush()?;
            if once {
                let failed = rows.into_iter().find_map(|row| row.backlog.err());
                return failed.map_or(Ok(()), |status| Err(status.message().to_owned().into()));
            }
        }
    }

    /// Writes as many events as there are to be after so many seconds.
    fn write(&mut self, seconds: u64) -> Result<(), Box<dyn Error>> {
        for ((event_type, rate), written) in EVENTS.iter().zip(&mut self.written) {
            while *written < seconds * u64::from(*rate) / 10 {
                let header = Header { key: "ce_type", value: Some(*event_type) };
                let key = written.to_string();
                let record = BaseRecord::to(TOPIC)
                    .key(&key)
                    .payload("{}")
                    .headers(OwnedHeaders::new().insert(header));
                self.producer.send(record).map_err(|(error, _)| error)?;
                *written += 1;
            }
        }
        Ok(self.producer.flush(SOON)?)
    }

    /// Commits for each group whose turn it is all that there is by now.
    async fn commit(&self, seconds: u64) -> Result<(), Box<dyn Error>> {
        for (group, every) in &self.groups {
            if seconds == 0 || *every == 0 || !seconds.is_multiple_of(*every) {
                continue;
            }
            let group = Arc::clone(group);
            let commit = spawn_blocking(move || {
                let mut offsets = TopicPartitionList::new();
                for partition in 0..PARTITIONS {
                    let (_, end) = group.fetch_watermarks(TOPIC, partition, SOON)?;
                    offsets.add_partition_offset(TOPIC, partition, Offset::Offset(end))?;
                }
                group.commit(&offsets, CommitMode::Sync)
            });
            timeout(SOON, commit).await???;
        }
        Ok(())
    }

    /// Asks as KEDA does.
    async fn ask(
        &self,
        scaler: &mut ExternalScalerClient<tonic::transport::Channel>,
        job: &str,
        types: &str,
        target: u32,
    ) -> Result<i64, Status> {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(ScaledObjectRef {
                name: job.to_owned(),
                namespace: "demo".to_owned(),
                scaler_metadata: self.metadata(job, types, target),
            }),
            metric_name: String::new(),
        };
        let reply = scaler.get_metrics(request).await?.into_inner();
        let value = reply.metric_values.first().map(|value| value.metric_value);
        value.ok_or_else(|| Status::internal("a reply without a value"))
    }

    fn metadata(
        &self,
        job: &str,
        types: &str,
        target: u32,
    ) -> std::collections::HashMap<String, String> {
        let target = target.to_string();
        let servers = self.cluster.bootstrap_servers();
        [
            ("source", "kafka"),
            ("bootstrapServers", &servers),
            ("consumerGroup", job),
            ("topic", TOPIC),
            ("lagThreshold", &target),
            ("offsetResetPolicy", "earliest"),
            ("allowIdleConsumers", "true"),
            ("eventType", types),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    fn text(&self, rows: &[Row], address: SocketAddr) -> String {
        let written: Vec<String> = EVENTS
            .iter()
            .zip(&self.written)
            .map(|((event_type, _), written)| format!("{written} {event_type}"))
            .collect();
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "ScaledJob",
            "event types",
            "backlog",
            "messages a Job",
            "Jobs KEDA would start",
        ]);
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in rows {
            let (backlog, jobs) = match &row.backlog {
                Ok(backlog) => (backlog.to_string(), row.jobs(*backlog).to_string()),
                Err(status) => (status.message().to_owned(), "none".to_owned()),
            };
            let target = row.target.to_string();
            table.add_row([row.job, row.types, &backlog, &target, &jobs]);
        }
        let metadata = self.metadata(JOBS[0].0, JOBS[0].1, JOBS[0].2);
        let mut metadata: Vec<_> =
            metadata.iter().map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
        metadata.sort();
        format!(
            "keda-sift demo: topic {TOPIC}, {PARTITIONS} partitions, one broker inside this process\n\
             written so far: {}\n\n{table}\n\n\
             Ask it yourself:\n  grpcurl -plaintext -d '{{\"scaledObjectRef\":{{\"scalerMetadata\":{{{}}}}}}}' \\\n    \
             {address} externalscaler.ExternalScaler/GetMetrics\n",
            written.join(", "),
            metadata.join(","),
        )
    }
}

impl Row {
    /// What KEDA makes of it with `maxReplicaCount` 10 and nothing running.
    fn jobs(&self, backlog: i64) -> i64 {
        (backlog + self.target - 1).div_euclid(self.target).min(MAX_REPLICA_COUNT)
    }
}
