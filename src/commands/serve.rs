//! `keda-sift serve`: answers KEDA until it is told to end.
//!
//! The whole program, top down. Listening comes first: what a broker does, or does not,
//! must not keep a start waiting.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{info, warn};
use tracing_subscriber::filter::Targets;

use super::connections::Connections;
use super::duration::{parse, parse_positive};
use super::memory;
use super::signals::Signals;
use crate::diagnostics::Access;
use crate::kubernetes::{Addresses, Changes, Events, Kubernetes, Name, Watch};
use crate::scaler::{self, KubernetesContext, Scaler};
use crate::server::{self, Ending, Listener, Listeners, Shutdown, Tls, TlsError};
use crate::telemetry::{self, LogFormat, Traces};
use crate::version::VERSION;
use crate::wiring::Wired;

/// Answers KEDA over gRPC, until SIGTERM or Ctrl-C.
///
/// Needs no settings: what to count is in the triggers of your ScaledJobs, with `scalerAddress`
/// pointing here. Each option can be given as an environment variable instead.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  keda-sift serve --grpc-listen 127.0.0.1:9090 --log keda_sift=debug
  grpcurl -plaintext 127.0.0.1:9090 list

Ask how many messages of one type wait in a topic:
  grpcurl -plaintext -d '{\"scaledObjectRef\":{\"scalerMetadata\":{\"source\":\"kafka\",
    \"bootstrapServers\":\"127.0.0.1:9092\",\"consumerGroup\":\"thumbnails\",\"topic\":\"uploads\",
    \"eventType\":\"image.uploaded\"}}}' 127.0.0.1:9090 externalscaler.ExternalScaler/GetMetrics")]
pub(super) struct Args {
    /// Where KEDA calls, over gRPC: a trigger's `scalerAddress`. Without TLS unless a certificate
    /// is given.
    #[arg(long, env = "SIFT_GRPC_LISTEN", value_name = "ADDRESS", default_value = "[::]:9090")]
    grpc_listen: SocketAddr,

    /// Where Kubernetes asks whether this is alive and ready, and Prometheus for metrics, over HTTP
    /// without TLS: `/healthz`, `/readyz` and `/metrics`.
    #[arg(long, env = "SIFT_HTTP_LISTEN", value_name = "ADDRESS", default_value = "[::]:9091")]
    http_listen: SocketAddr,

    /// The server's certificate for gRPC, followed by its intermediates, as PEM. Read again when it
    /// changes.
    #[arg(long, env = "SIFT_TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,

    /// The private key of that certificate, as PEM, not locked by a password.
    #[arg(long, env = "SIFT_TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,

    /// Certificate authorities as PEM: a client needs a certificate by one of them. Without this
    /// anyone may call.
    #[arg(long, env = "SIFT_TLS_CLIENT_CA_FILE", value_name = "FILE", requires = "tls_cert_file")]
    tls_client_ca_file: Option<PathBuf>,

    /// How long a call may wait for a count, such as 500ms or 10s. After that KEDA gets the lower
    /// bound known by then, or an error.
    #[arg(long, env = "SIFT_MEASURE_TIMEOUT", value_name = "TIME", default_value = "10s",
          value_parser = parse_positive)]
    measure_timeout: Duration,

    /// How long to follow a trigger that KEDA no longer asks about, such as 15m. More than the
    /// longest pollingInterval, or each poll begins anew.
    #[arg(long, env = "SIFT_FORGET_AFTER", value_name = "TIME", default_value = "15m",
          value_parser = parse_positive)]
    forget_after: Duration,

    /// How much memory triggers may make this hold, such as 128Mi: records under way, matches, what
    /// is kept of each. A namespace may take as much of it as it leaves to the others. Without this
    /// half of what the container may take, or 512Mi.
    #[arg(long, env = "SIFT_MEMORY_LIMIT", value_name = "SIZE", value_parser = memory::parse)]
    memory_limit: Option<usize>,

    #[command(flatten)]
    connections: Connections,

    /// The names by which a trigger's scalerAddress means this server, such as keda-sift.keda-sift
    /// (service.namespace; any port). With it, triggers of ScaledJobs and ScaledObjects are found
    /// and warmed before this is ready, and followed.
    #[arg(long, env = "SIFT_SCALER_ADDRESS", value_name = "HOST", value_delimiter = ',')]
    scaler_address: Vec<String>,

    /// The only namespaces to look for them in; without this all.
    #[arg(long, env = "SIFT_WATCH_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',',
          value_parser = Name::parse)]
    watch_namespace: Vec<Name>,

    /// How long triggers are warmed before this is ready all the same, such as 60s.
    #[arg(long, env = "SIFT_WARM_TIMEOUT", value_name = "TIME", default_value = "60s",
          value_parser = parse)]
    warm_timeout: Duration,

    /// Whether the errors of a trigger are told as Events on its ScaledJob too; needs
    /// --scaler-address.
    #[arg(long, env = "SIFT_EVENTS", value_name = "BOOLEAN", default_value_t = true,
          action = clap::ArgAction::Set)]
    events: bool,

    /// Whether /metrics has series for each trigger: its value, age, polls and progress, labelled
    /// with its namespace and object. Of 10,000 triggers at most.
    #[arg(long, env = "SIFT_TRIGGER_METRICS", value_name = "BOOLEAN", default_value_t = false,
          default_missing_value = "true", num_args = 0..=1, action = clap::ArgAction::Set)]
    trigger_metrics: bool,

    /// Who may ask over gRPC what is known of the triggers (sift.v1.Diagnostics): nobody, whoever
    /// has a client certificate, or whoever shows a token. Secrets are hidden in any case.
    #[arg(long, env = "SIFT_DIAGNOSTICS", value_name = "WHO", default_value = "off")]
    diagnostics: Askers,

    /// A file with the token that diagnostics ask for, one line; read again at each call.
    #[arg(
        long,
        env = "SIFT_DIAGNOSTICS_TOKEN_FILE",
        value_name = "FILE",
        required_if_eq("diagnostics", "token")
    )]
    diagnostics_token_file: Option<PathBuf>,

    /// The only namespaces whose triggers diagnostics tell of; without this all.
    #[arg(long, env = "SIFT_DIAGNOSTICS_NAMESPACE", value_name = "NAMESPACE",
          value_delimiter = ',', value_parser = Name::parse)]
    diagnostics_namespace: Vec<Name>,

    /// How long KEDA may not have polled a trigger at all before an Event on its object says so,
    /// such as 5m; twice its pollingInterval at least. Needs --scaler-address and --events.
    #[arg(long, env = "SIFT_UNPOLLED_AFTER", value_name = "TIME", default_value = "5m",
          value_parser = parse_positive)]
    unpolled_after: Duration,

    /// How long connections are still taken after SIGTERM, while health says NOT_SERVING, such as
    /// 5s: a cluster needs a moment to stop sending them here.
    #[arg(long, env = "SIFT_DRAIN_DELAY", value_name = "TIME", default_value = "0s",
          value_parser = parse)]
    drain_delay: Duration,

    /// How long calls under way may take to finish after that, such as 15s. Both together are less
    /// than the Pod's terminationGracePeriodSeconds.
    #[arg(long, env = "SIFT_GRACE_PERIOD", value_name = "TIME", default_value = "15s",
          value_parser = parse)]
    grace_period: Duration,

    /// A collector to send traces of polls to by OTLP over gRPC, such as http://collector:4317.
    /// Headers, sampling and the like are set by OpenTelemetry's own OTEL_* variables.
    #[arg(long, env = "SIFT_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,

    /// What to log: error, warn, info, debug or trace, for all or for one part as in
    /// info,keda_sift=debug.
    #[arg(long, env = "SIFT_LOG", value_name = "FILTER", default_value = "info")]
    log: Targets,

    /// How a log line looks.
    #[arg(long, env = "SIFT_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Who may ask what is known of triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Askers {
    /// Nobody: there is no such service.
    Off,
    /// Whoever can connect, which takes a certificate by --tls-client-ca-file.
    ClientCertificate,
    /// Whoever shows the token of --diagnostics-token-file.
    Token,
}

/// Serves to the end. Fails where it could not begin, or a fault of ours ended it.
pub(super) fn run(args: Args) -> ExitCode {
    match try_run(args) {
        Ok(Ending::Broken) => ExitCode::FAILURE,
        Ok(Ending::Clean | Ending::Cancelled | Ending::Abandoned) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("error: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: Args) -> Result<Ending, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ending = runtime.block_on(async {
        let traces = args.otlp_endpoint.as_deref().map(Traces::to).transpose();
        let traces = traces.map_err(|error| format!("--otlp-endpoint: {error}"))?;
        telemetry::init(args.log.clone(), args.log_format, traces.as_ref())?;
        let ending = serve(args).await;
        if let Some(traces) = traces {
            traces.end().await;
        }
        ending
    });
    // What was abandoned may block a thread for ever.
    runtime.shutdown_background();
    ending
}

async fn serve(args: Args) -> Result<Ending, Box<dyn Error>> {
    let signals = Signals::catch()?;
    let tls = tls(&args)?;
    let diagnostics = diagnostics(&args)?;
    let listeners = Listeners {
        grpc: Listener::open("--grpc-listen", args.grpc_listen).await?,
        http: Listener::open("--http-listen", args.http_listen).await?,
    };
    info!(
        version = VERSION,
        grpc = %listeners.grpc.address(),
        http = %listeners.http.address(),
        "serving"
    );

    let shutdown = Shutdown::new();
    let memory_limit = args.memory_limit.unwrap_or_else(memory::default_limit);
    let kubernetes = args.connections.kubernetes().await?;
    let Wired { sources, identities } =
        args.connections.wire(args.measure_timeout, kubernetes.clone())?;
    let options = scaler::Options {
        measure_timeout: args.measure_timeout,
        forget_after: args.forget_after,
        memory_limit,
        trigger_metrics: args.trigger_metrics,
        is_told: diagnostics.is_some(),
        unpolled_after: args.unpolled_after,
    };
    let changes = watch(&args, &kubernetes);
    let events = match (&changes, args.events) {
        (Some(_), true) => Events::new(&kubernetes),
        _ => Events::off(),
    };
    let cluster = KubernetesContext::new(kubernetes, events);
    let scaler = Arc::new(Scaler::in_cluster(sources, cluster, options, shutdown.stop()));
    let tokens = Arc::clone(&identities);
    scaler.metrics().also(move || tokens.figures());
    let mut warming = JoinSet::new();
    if let Some(changes) = changes {
        let ready = shutdown.warming();
        let scaler = Arc::clone(&scaler);
        warming.spawn(scaler.keep_warm(changes, args.warm_timeout, || ready.set()));
    }

    let grace = args.grace_period;
    let options = server::Options { tls, diagnostics, drain_delay: args.drain_delay, grace };
    let ending = server::serve(listeners, scaler, shutdown, options, signals.told()).await;
    identities.shutdown().await;
    match ending {
        Ending::Clean => info!("ended: every call was answered"),
        Ending::Cancelled => warn!(?grace, "ended: calls were cancelled after the grace period"),
        Ending::Abandoned => {
            warn!(?grace, "ended: connections were dropped after the grace period");
        }
        Ending::Broken => {}
    }
    Ok(ending)
}

fn tls(args: &Args) -> Result<Option<Tls>, TlsError> {
    let (Some(cert), Some(key)) = (&args.tls_cert_file, &args.tls_key_file) else {
        return Ok(None);
    };
    let (cert, key) = (cert.clone(), key.clone());
    let client_ca = args.tls_client_ca_file.clone();
    Tls::read(server::Files { cert, key, client_ca }).map(Some)
}

fn diagnostics(args: &Args) -> Result<Option<Access>, Box<dyn Error>> {
    let access = match (args.diagnostics, &args.diagnostics_token_file) {
        (Askers::Off, _) => return Ok(None),
        (Askers::ClientCertificate, _) if args.tls_client_ca_file.is_none() => {
            return Err("--diagnostics client-certificate: needs --tls-client-ca-file".into());
        }
        (Askers::ClientCertificate, _) => Access::by_connection(),
        (Askers::Token, Some(file)) => Access::by_token(file.clone())
            .map_err(|error| format!("--diagnostics-token-file {error}"))?,
        (Askers::Token, None) => return Err("--diagnostics-token-file: is missing".into()),
    };
    Ok(Some(access.within(args.diagnostics_namespace.clone())))
}

/// The objects to warm and follow, if it is said how they name us and there is an API server that
/// knows them.
fn watch(args: &Args, kubernetes: &Kubernetes) -> Option<Changes> {
    if args.scaler_address.is_empty() {
        return None;
    }
    let watch = Watch {
        addresses: Addresses::new(&args.scaler_address),
        namespaces: args.watch_namespace.clone(),
    };
    let watching = kubernetes.watch(&watch);
    watching
        .inspect_err(|error| info!(%error, "triggers are not warmed before they are polled"))
        .ok()
}
