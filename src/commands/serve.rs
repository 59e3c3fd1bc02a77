//! `keda-sift serve`: answers KEDA until it is told to end.
//!
//! The wiring of the whole program, top down. Listening comes first: what a broker does, or does not,
//! must not keep a start waiting.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{info, warn};
use tracing_subscriber::filter::Targets;

use super::duration::{parse, parse_positive};
use super::memory;
use super::signals::Signals;
use crate::identity::{self, Hosts, Identities, TokenEndpoints};
use crate::kafka::{self, Kafka};
use crate::kubernetes::{Addresses, Changes, Events, Kubernetes, Name, Watch};
use crate::scaler::{self, Cluster, Scaler, Sources};
use crate::server::{self, Ending, Listener, Listeners, Shutdown, Tls, TlsError};
use crate::service_bus::{self, ServiceBus};
use crate::telemetry::{self, LogFormat};
use crate::web::{self, Web};

/// Answers KEDA over gRPC, until SIGTERM or Ctrl-C.
///
/// Needs no settings: what to count is in the triggers of your ScaledJobs, with `scalerAddress` pointing
/// here. Each option can be given as an environment variable instead.
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
    /// Where KEDA calls, over gRPC: a trigger's `scalerAddress`. Without TLS unless a certificate is given.
    #[arg(long, env = "SIFT_GRPC_LISTEN", value_name = "ADDRESS", default_value = "[::]:9090")]
    grpc_listen: SocketAddr,

    /// Where Kubernetes asks whether this is alive and ready, and Prometheus for metrics, over HTTP without
    /// TLS: `/healthz`, `/readyz` and `/metrics`.
    #[arg(long, env = "SIFT_HTTP_LISTEN", value_name = "ADDRESS", default_value = "[::]:9091")]
    http_listen: SocketAddr,

    /// The server's certificate for gRPC, followed by its intermediates, as PEM. Read again when it changes.
    #[arg(long, env = "SIFT_TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,

    /// The private key of that certificate, as PEM, not locked by a password.
    #[arg(long, env = "SIFT_TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,

    /// Certificate authorities as PEM: a client needs a certificate by one of them. Without this anyone may
    /// call.
    #[arg(long, env = "SIFT_TLS_CLIENT_CA_FILE", value_name = "FILE", requires = "tls_cert_file")]
    tls_client_ca_file: Option<PathBuf>,

    /// How long a call may wait for a count, such as 500ms or 10s. After that KEDA gets the lower bound
    /// known by then, or an error.
    #[arg(long, env = "SIFT_MEASURE_TIMEOUT", value_name = "TIME", default_value = "10s",
          value_parser = parse_positive)]
    measure_timeout: Duration,

    /// How long to follow a trigger that KEDA no longer asks about, such as 15m. More than the longest
    /// pollingInterval, or each poll begins anew.
    #[arg(long, env = "SIFT_FORGET_AFTER", value_name = "TIME", default_value = "15m",
          value_parser = parse_positive)]
    forget_after: Duration,

    /// How much memory triggers may make this hold, such as 128Mi: records under way, matches, what is kept of
    /// each. A namespace may take as much of it as it leaves to the others. Without this half of what the container
    /// may take, or 512Mi.
    #[arg(long, env = "SIFT_MEMORY_LIMIT", value_name = "SIZE", value_parser = memory::parse)]
    memory_limit: Option<usize>,

    /// More hosts that may have tokens of an Azure identity, by the suffix of their names, such as
    /// servicebus.cloudapi.de; Azure's own are allowed. A trigger says where its namespace is, and whoever
    /// writes one must not have our token sent to a host of theirs.
    #[arg(long, env = "SIFT_AZURE_ALLOW_SUFFIX", value_name = "SUFFIX", value_delimiter = ',')]
    azure_allow_suffix: Vec<String>,

    /// The only namespaces that may have tokens of an Azure identity, by host name, such as
    /// orders.servicebus.windows.net. Without this any namespace of Azure's may, anyone's; list yours where triggers are
    /// written by people whom you would not give the identity.
    #[arg(long, env = "SIFT_AZURE_NAMESPACE", value_name = "HOST", value_delimiter = ',')]
    azure_namespace: Vec<String>,

    /// A host that a trigger's oauthTokenEndpointUri may be at, such as login.example.com. Without this any https
    /// host is, as what is sent there is the trigger's own secret; and outside of a Pod this machine without TLS.
    #[arg(long, env = "SIFT_OAUTH_ALLOW_HOST", value_name = "HOST", value_delimiter = ',')]
    oauth_allow_host: Vec<String>,

    /// A file of certificate authorities to trust besides the system's, as PEM: those of a private cloud, or of
    /// a proxy that looks into TLS. Not for Kafka, where a trigger has ca.
    #[arg(long, env = "SIFT_AZURE_CA_FILE", value_name = "FILE")]
    azure_ca_file: Option<PathBuf>,

    /// How to reach the Kubernetes API from outside of a cluster, such as ~/.kube/config. In a Pod with a service account
    /// that is not needed; without either, triggers with serviceAccountName or triggerAuthentication are errors.
    #[arg(long, env = "SIFT_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The names by which a trigger's scalerAddress means this server, such as keda-sift.keda-sift (service.namespace; any
    /// port). With it, triggers of ScaledJobs and ScaledObjects are found and warmed before this is ready, and followed.
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

    /// Whether the errors of a trigger are told as Events on its ScaledJob too; needs --scaler-address.
    #[arg(long, env = "SIFT_EVENTS", value_name = "BOOLEAN", default_value_t = true,
          action = clap::ArgAction::Set)]
    events: bool,

    /// How long connections are still taken after SIGTERM, while health says NOT_SERVING, such as 5s: a cluster
    /// needs a moment to stop sending them here.
    #[arg(long, env = "SIFT_DRAIN_DELAY", value_name = "TIME", default_value = "0s",
          value_parser = parse)]
    drain_delay: Duration,

    /// How long calls under way may take to finish after that, such as 15s. Both together are less than the
    /// Pod's terminationGracePeriodSeconds.
    #[arg(long, env = "SIFT_GRACE_PERIOD", value_name = "TIME", default_value = "15s",
          value_parser = parse)]
    grace_period: Duration,

    /// What to log: error, warn, info, debug or trace, for all or for one part as in
    /// info,keda_sift=debug.
    #[arg(long, env = "SIFT_LOG", value_name = "FILTER", default_value = "info")]
    log: Targets,

    /// How a log line looks.
    #[arg(long, env = "SIFT_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
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
    telemetry::init(args.log.clone(), args.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ending = runtime.block_on(serve(args));
    // What was abandoned may block a thread for ever.
    runtime.shutdown_background();
    ending
}

async fn serve(args: Args) -> Result<Ending, Box<dyn Error>> {
    let signals = Signals::catch()?;
    let tls = tls(&args)?;
    let listeners = Listeners {
        grpc: Listener::open("--grpc-listen", args.grpc_listen).await?,
        http: Listener::open("--http-listen", args.http_listen).await?,
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        grpc = %listeners.grpc.address(),
        http = %listeners.http.address(),
        "serving"
    );

    let shutdown = Shutdown::new();
    let request_timeout = args.measure_timeout;
    let memory_limit = args.memory_limit.unwrap_or_else(memory::default_limit);
    let hosts = Hosts::new(&args.azure_allow_suffix)
        .map_err(|error| format!("--azure-allow-suffix: {error}"))?
        .listing(&args.azure_namespace);
    let web = web(args.azure_ca_file.as_deref())?;
    let kubernetes = Kubernetes::connect(args.kubeconfig.as_deref()).await?;
    let identities = Identities::new(identity::Options::from_env(), &web, kubernetes.clone());
    let logins = kafka::Logins {
        identities: Arc::clone(&identities),
        hosts: hosts.clone(),
        endpoints: TokenEndpoints::new(&args.oauth_allow_host).in_pod(is_in_pod()),
    };
    let kafka = Kafka::with_logins(kafka::Options { request_timeout }, logins);
    let service_bus = service_bus::Options { request_timeout, hosts };
    let service_bus = ServiceBus::new(service_bus, web, Arc::clone(&identities));
    let sources = Sources::new(kafka, service_bus);
    let options = scaler::Options {
        measure_timeout: args.measure_timeout,
        forget_after: args.forget_after,
        memory_limit,
    };
    let changes = watch(&args, &kubernetes);
    let events = match (&changes, args.events) {
        (Some(_), true) => Events::new(&kubernetes),
        _ => Events::off(),
    };
    let cluster = Cluster::new(kubernetes, events);
    let scaler = Arc::new(Scaler::in_cluster(sources, cluster, options, shutdown.stop()));
    let mut warming = JoinSet::new();
    if let Some(changes) = changes {
        let ready = shutdown.warming();
        let scaler = Arc::clone(&scaler);
        warming.spawn(scaler.keep_warm(changes, args.warm_timeout, || ready.set()));
    }

    let grace = args.grace_period;
    let options = server::Options { tls, drain_delay: args.drain_delay, grace };
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

/// As Kubernetes tells its Pods.
fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn tls(args: &Args) -> Result<Option<Tls>, TlsError> {
    let (Some(cert), Some(key)) = (&args.tls_cert_file, &args.tls_key_file) else {
        return Ok(None);
    };
    let (cert, key) = (cert.clone(), key.clone());
    let client_ca = args.tls_client_ca_file.clone();
    Tls::read(server::Files { cert, key, client_ca }).map(Some)
}

/// The objects to warm and follow, if it is said how they name us and there is an API server that knows them.
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

fn web(ca: Option<&Path>) -> Result<Web, Box<dyn Error>> {
    let said = |error: &dyn std::fmt::Display| format!("--azure-ca-file: {error}");
    let ca = ca.map(std::fs::read_to_string).transpose().map_err(|error| said(&error))?;
    let options = web::Options { ca, ..web::Options::default() };
    Ok(Web::new(&options).map_err(|error| said(&error))?)
}
