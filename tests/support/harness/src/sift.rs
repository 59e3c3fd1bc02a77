//! The scaler as KEDA meets it: a server on a port of its own, and triggers that are polled over
//! gRPC.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use azure_stand_ins::ServiceBus as Namespace;
use keda_sift::diagnostics::Access;
use keda_sift::diagnostics::proto::diagnostics_client::DiagnosticsClient;
use keda_sift::identity::{self, Hosts, TokenEndpoints};
use keda_sift::kubernetes::{Events, Kubernetes, Watch};
use keda_sift::ledger::DEFAULT_LIMIT;
use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, MetricSpec, MetricValue, ScaledObjectRef};
use keda_sift::scaler::{self, KubernetesContext, Scaler};
use keda_sift::server::{self, Ending, Listener, Listeners, Shutdown};
use keda_sift::sources::Sources;
use keda_sift::telemetry::PageFormat;
use keda_sift::web;
use keda_sift::wiring;
use test_basics::{LOOK, PATIENCE, until};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// A running scaler and a connection to it. It ends with the test.
#[derive(Clone)]
pub struct Sift {
    /// What KEDA calls it by.
    pub client: ExternalScalerClient<Channel>,
    /// Where it listens.
    pub address: SocketAddr,
    /// None where the scaler is another process.
    scaler: Option<Arc<Scaler>>,
    /// Ends with the last clone.
    _server: Arc<JoinSet<Ending>>,
}

/// What a scaler is started with; the defaults are those of `keda-sift serve`.
pub struct Settings {
    /// How long it may measure.
    pub measure_timeout: Duration,
    /// How long it keeps a trigger that nobody polls.
    pub forget_after: Duration,
    /// What it may hold of messages, in bytes.
    pub memory_limit: usize,
    /// What the pod's environment says.
    pub identity: identity::Options,
    /// Whom it trusts, and where hosts are.
    pub web: web::Options,
    /// Suffixes of hosts that the operator allows to have tokens.
    pub allowed: Vec<String>,
    /// Hosts that the operator allows to be token endpoints; none means any.
    pub oauth_hosts: Vec<String>,
    /// The API server it may ask.
    pub kubernetes: Kubernetes,
    /// What it looks for there before it is ready.
    pub watch: Option<Watch>,
    /// How long that may take.
    pub warm_timeout: Duration,
    /// Whether it tells errors there.
    pub events: bool,
    /// How long nobody may poll a trigger before that is told there.
    pub unpolled_after: Duration,
}

/// A trigger as a user writes it.
#[derive(Clone)]
pub struct Trigger {
    sift: Sift,
    name: String,
    namespace: String,
    metadata: HashMap<String, String>,
}

/// What one poll of KEDA's learns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Poll {
    /// What `GetMetrics` says.
    pub value: i64,
    /// What `IsActive` says.
    pub active: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            measure_timeout: Duration::from_secs(10),
            forget_after: Duration::from_secs(900),
            memory_limit: DEFAULT_LIMIT,
            identity: identity::Options::default(),
            web: web::Options::default(),
            allowed: Vec::new(),
            oauth_hosts: Vec::new(),
            kubernetes: Kubernetes::none(),
            watch: None,
            warm_timeout: PATIENCE,
            events: true,
            unpolled_after: Duration::from_secs(300),
        }
    }
}

impl Settings {
    /// All sources of a scaler with these settings.
    pub fn sources(&self) -> Sources {
        let options = wiring::Options {
            request_timeout: self.measure_timeout,
            hosts: Hosts::new(&self.allowed).expect("suffixes"),
            endpoints: TokenEndpoints::new(&self.oauth_hosts),
            identity: self.identity.clone(),
            web: self.web.clone(),
            kubernetes: self.kubernetes.clone(),
        };
        wiring::sources(options).expect("authorities that are certificates").sources
    }
}

impl Sift {
    /// A scaler with the defaults of `keda-sift serve`.
    pub async fn start() -> Sift {
        Sift::with(Settings::default()).await
    }

    /// A scaler with a measure timeout and a time after which it forgets triggers.
    pub async fn start_with(measure_timeout: Duration, forget_after: Duration) -> Sift {
        Sift::with(Settings { measure_timeout, forget_after, ..Settings::default() }).await
    }

    /// A scaler with these settings.
    pub async fn with(settings: Settings) -> Sift {
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let grpc = Listener::open("grpc", loopback).await.expect("a free port");
        let http = Listener::open("http", loopback).await.expect("a free port");
        let address = grpc.address();
        let shutdown = Shutdown::new();
        let Settings { measure_timeout, forget_after, memory_limit, .. } = settings;
        let options = scaler::Options {
            measure_timeout,
            forget_after,
            memory_limit,
            trigger_metrics: true,
            is_told: true,
            unpolled_after: settings.unpolled_after,
        };
        let sources = settings.sources();
        let Settings { kubernetes, watch, warm_timeout, events, .. } = settings;
        let events = if events { Events::new(&kubernetes) } else { Events::off() };
        let cluster = KubernetesContext::new(kubernetes.clone(), events);
        let scaler = Arc::new(Scaler::in_cluster(sources, cluster, options, shutdown.stop()));
        let (kept, mut servers) = (Arc::clone(&scaler), JoinSet::new());
        if let Some(watch) = watch {
            let (ready, scaler) = (shutdown.warming(), Arc::clone(&scaler));
            let changes = kubernetes.watch(&watch).expect("an API server");
            let warm = scaler.keep_warm(changes, warm_timeout, || ready.set());
            servers.spawn(async move {
                warm.await;
                Ending::Clean
            });
        }
        servers.spawn(server::serve(
            Listeners { grpc, http },
            scaler,
            shutdown,
            server::Options {
                diagnostics: Some(Access::by_connection()),
                ..server::Options::default()
            },
            std::future::pending(),
        ));
        let channel = Channel::from_shared(format!("http://{address}")).expect("a URL");
        let channel = channel.connect().await.expect("the scaler listens");
        let _server = Arc::new(servers);
        let client = ExternalScalerClient::new(channel);
        Sift { client, address, scaler: Some(kept), _server }
    }

    /// The scaler that another process serves there.
    pub async fn at(address: SocketAddr) -> Sift {
        let channel = Channel::from_shared(format!("http://{address}")).expect("a URL");
        let channel = channel.connect().await.expect("the scaler listens");
        let client = ExternalScalerClient::new(channel);
        Sift { client, address, scaler: None, _server: Arc::default() }
    }

    /// A client that asks what is known of triggers.
    pub async fn diagnostics(&self) -> DiagnosticsClient<Channel> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).expect("a URL");
        DiagnosticsClient::new(channel.connect().await.expect("the scaler listens"))
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let channel = Channel::from_shared(format!("http://{}", self.address)).expect("a URL");
        let mut health = HealthClient::new(channel.connect().await.expect("the scaler listens"));
        let service = "externalscaler.ExternalScaler".to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.expect("an answer");
        answer.into_inner().status() == ServingStatus::Serving
    }

    /// Waits until it is ready.
    pub async fn until_ready(&self) {
        until("the scaler is ready", async || self.is_ready().await).await;
    }

    /// How many triggers of a source it keeps.
    pub fn kept(&self, source: &str) -> usize {
        self.metric(&format!("keda_sift_triggers{{source=\"{source}\"}} "))
    }

    /// How many triggers that it has found are in this state.
    pub fn found(&self, state: &str) -> usize {
        self.metric(&format!("keda_sift_warm_up_triggers{{state=\"{state}\"}} "))
    }

    /// Its page of metrics.
    pub fn metrics(&self, format: PageFormat) -> String {
        let scaler = self.scaler.as_ref().expect("a scaler in this process");
        scaler.metrics_page(format)
    }

    fn metric(&self, line: &str) -> usize {
        let page = self.metrics(PageFormat::OpenMetrics);
        let value = page.lines().find_map(|row| row.strip_prefix(line));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {line} in {page}"))
    }

    /// What KEDA would ask with this.
    pub fn asking(&self, asked: ScaledObjectRef) -> Trigger {
        let ScaledObjectRef { name, namespace, scaler_metadata: metadata } = asked;
        Trigger { sift: self.clone(), name, namespace, metadata }
    }

    /// A trigger on a queue of a stand-in for Service Bus, let in by its root key; 1 message a Job.
    pub fn queue(&self, namespace: &Namespace, queue: &str) -> Trigger {
        self.empty()
            .with("source", "azure-servicebus")
            .with("connectionFromEnv", &namespace.connection_string())
            .with("queueName", queue)
            .with("messageCount", "1")
    }

    /// A trigger on a subscription, likewise.
    pub fn subscription(&self, namespace: &Namespace, topic: &str, name: &str) -> Trigger {
        let trigger = self.queue(namespace, name).without("queueName");
        trigger.with("topicName", topic).with("subscriptionName", name)
    }

    /// A trigger with the least it needs; 1 message a Job, as many as there are messages.
    pub fn trigger(&self, bootstrap: &str, group: &str, topic: &str) -> Trigger {
        self.empty()
            .with("source", "kafka")
            .with("bootstrapServers", bootstrap)
            .with("consumerGroup", group)
            .with("topic", topic)
            .with("lagThreshold", "1")
            .with("allowIdleConsumers", "true")
            .with("offsetResetPolicy", "earliest")
    }

    fn empty(&self) -> Trigger {
        let metadata = HashMap::new();
        let (name, namespace) = ("job".to_owned(), "default".to_owned());
        let trigger = Trigger { sift: self.clone(), name, namespace, metadata };
        trigger.with("scalerAddress", "keda-sift.keda-sift:9090")
    }
}

impl Trigger {
    /// With one more key, or another value.
    pub fn with(mut self, key: &str, value: &str) -> Trigger {
        self.metadata.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Without a key.
    pub fn without(mut self, key: &str) -> Trigger {
        self.metadata.remove(key);
        self
    }

    /// Of another ScaledJob.
    pub fn named(mut self, name: &str) -> Trigger {
        self.name = name.to_owned();
        self
    }

    /// Of a ScaledJob in another namespace.
    pub fn within(mut self, namespace: &str) -> Trigger {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// What KEDA sends of it.
    pub fn reference(&self) -> ScaledObjectRef {
        ScaledObjectRef {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            scaler_metadata: self.metadata.clone(),
        }
    }

    /// What `GetMetricSpec` says.
    pub async fn spec(&self) -> MetricSpec {
        let mut client = self.sift.client.clone();
        let reply = client.get_metric_spec(self.reference()).await;
        let mut specs = reply.expect("a spec, whatever the metadata").into_inner().metric_specs;
        assert_eq!(specs.len(), 1, "one trigger, one spec: {specs:?}");
        specs.remove(0)
    }

    /// What `GetMetrics` says.
    pub async fn metric(&self) -> Result<MetricValue, Status> {
        Ok(self.reply().await?.0)
    }

    /// Why the value is 0, as the reply's header says; `None` where it says nothing.
    pub async fn note(&self) -> Option<String> {
        let (metric, note) = self.reply().await.expect("a value");
        assert_eq!(metric.metric_value, 0, "{note:?}");
        note
    }

    async fn reply(&self) -> Result<(MetricValue, Option<String>), Status> {
        let mut client = self.sift.client.clone();
        let request = GetMetricsRequest {
            scaled_object_ref: Some(self.reference()),
            metric_name: String::new(),
        };
        let reply = client.get_metrics(request).await?;
        let note = reply.metadata().get("keda-sift-note");
        let note = note.map(|note| note.to_str().expect("it is ASCII").to_owned());
        let mut values = reply.into_inner().metric_values;
        assert_eq!(values.len(), 1, "one trigger, one value: {values:?}");
        Ok((values.remove(0), note))
    }

    /// The value that `GetMetrics` says.
    pub async fn value(&self) -> Result<i64, Status> {
        let metric = self.metric().await?;
        assert_eq!(metric.metric_value as f64, metric.metric_value_float);
        Ok(metric.metric_value)
    }

    /// What `IsActive` says.
    pub async fn active(&self) -> Result<bool, Status> {
        let mut client = self.sift.client.clone();
        Ok(client.is_active(self.reference()).await?.into_inner().result)
    }

    /// What one poll of KEDA's learns.
    pub async fn poll(&self) -> Result<Poll, Status> {
        Ok(Poll { value: self.value().await?, active: self.active().await? })
    }

    /// The value, of a trigger that must have one.
    pub async fn count(&self) -> i64 {
        self.value().await.expect("a count")
    }

    /// The error, of a trigger that must have none but that.
    pub async fn error(&self) -> (Code, String) {
        match self.value().await {
            Ok(value) => panic!("counted {value} where an error was due"),
            Err(status) => (status.code(), status.message().to_owned()),
        }
    }

    /// Polls until the value is this one. Errors may come before it; another value, only where
    /// `before` allows it.
    pub async fn until(&self, expected: i64, before: impl Fn(i64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.value().await {
                Ok(value) if value == expected => return,
                Ok(value) => assert!(before(value), "{value} on the way to {expected}"),
                Err(status) => assert!(Instant::now() < deadline, "{status}"),
            }
            assert!(Instant::now() < deadline, "never came to {expected}");
            sleep(LOOK).await;
        }
    }
}
