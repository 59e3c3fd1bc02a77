//! `/metrics` of `keda-sift serve`: what a poll changes, and that Prometheus can read it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use keda_sift::telemetry::{
    ALWAYS, BY_TRIGGER, CERTIFICATE_EXPIRY, EVENTS, Kind, Metric, TRIGGER_LIMIT_REACHED,
    TRIGGER_READ_BEHIND, TRIGGER_READ_POSITION, TRIGGER_VALUE, WARM_UP,
};
use sift_harness::program::Program;
use sift_harness::{PATIENCE, holds_within, metadata};
use test_basics::promtool_approves;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A page of metrics.
#[derive(Debug)]
struct Page {
    /// The type of each family.
    types: BTreeMap<String, String>,
    /// The value of each series, by its name and labels as they stand there.
    values: BTreeMap<String, f64>,
}

impl Page {
    /// Reads a page by the rules of OpenMetrics, as far as they apply to ours.
    fn of(program: &Program) -> Page {
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let (head, body) = program.page_as("/metrics", accept);
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        let content_type =
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(head.lines().any(|line| line == content_type), "{head}");
        let body = body.strip_suffix("# EOF\n").expect("the end is marked");
        let mut page = Page { types: BTreeMap::new(), values: BTreeMap::new() };
        let mut family = String::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let words: Vec<_> = comment.splitn(3, ' ').collect();
                let [word, name, rest] = words[..] else { panic!("{line}") };
                match word {
                    "TYPE" => {
                        name.clone_into(&mut family);
                        assert!(
                            page.types.insert(family.clone(), rest.to_owned()).is_none(),
                            "{line}"
                        );
                    }
                    "HELP" | "UNIT" => assert!(!rest.is_empty(), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().unwrap_or_default();
            let suffixes: &[&str] = match page.types.get(&family).map(String::as_str) {
                Some("counter") => &["_total"],
                Some("gauge") => &[""],
                Some("histogram") => &["_bucket", "_count", "_sum"],
                Some("info") => &["_info"],
                other => panic!("{line}: {other:?}"),
            };
            let suffix = name.strip_prefix(&family).expect("it stands below its family");
            assert!(suffixes.contains(&suffix), "{line}");
            let value: f64 = value.parse().expect("a number");
            assert!(page.values.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
        page
    }

    /// The names of all series and the labels of each, but for those of the process.
    fn names(&self) -> BTreeMap<&str, Vec<&str>> {
        let of_series = self.values.keys().map(|series| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0));
            (name, labels.filter(|label| *label != "le").collect())
        });
        of_series.filter(|(name, _)| !name.starts_with("process_")).collect()
    }

    fn value(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// All series of this name that are above 0.
    fn counted(&self, name: &str) -> Vec<(&str, f64)> {
        self.series(name).filter(|(_, value)| *value > 0.0).collect()
    }

    /// All series of this name.
    fn series(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let start = format!("{name}{{");
        let of_name = move |(series, _): &(&String, &f64)| series.starts_with(&start);
        self.values.iter().filter(of_name).map(|(series, value)| (series.as_str(), *value))
    }
}

/// What series of these metrics are called, and the labels of each.
fn described(
    metrics: impl IntoIterator<Item = &'static Metric>,
) -> BTreeMap<String, Vec<&'static str>> {
    let mut described = BTreeMap::new();
    for metric in metrics {
        let suffixes: &[_] = match metric.kind {
            Kind::Histogram => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        for suffix in suffixes {
            described.insert(metric.in_queries() + suffix, metric.labels.to_vec());
        }
    }
    described
}

/// The page, once a series has this value.
async fn page_where(program: &Program, series: &str, value: f64) -> Page {
    let mut page = Page::of(program);
    let has_it = holds_within(PATIENCE, async || {
        page = Page::of(program);
        page.value(series) == Some(value)
    });
    assert!(has_it.await, "never {series} {value}: {page:?}");
    page
}

fn trigger(name: &str, rows: &[(&str, &str)]) -> ScaledObjectRef {
    ScaledObjectRef {
        name: name.to_owned(),
        namespace: "media".to_owned(),
        scaler_metadata: metadata(rows),
    }
}

fn kafka(bootstrap: &str) -> ScaledObjectRef {
    trigger(
        "kafka",
        &[
            ("source", "kafka"),
            ("bootstrapServers", bootstrap),
            ("consumerGroup", "thumbnails"),
            ("topic", "uploads"),
        ],
    )
}

fn metrics(trigger: ScaledObjectRef) -> GetMetricsRequest {
    GetMetricsRequest { scaled_object_ref: Some(trigger), metric_name: String::new() }
}

async fn channel(program: &Program) -> Channel {
    let url = format!("http://{}", program.grpc);
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn polls_are_counted_and_timed_by_rpc_and_code_and_failures_by_source() {
    let program = Program::serving(&["--measure-timeout", "500ms"]);
    let mut client = ExternalScalerClient::new(channel(&program).await);
    // Takes connections and never answers.
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = kafka(&broker.local_addr().unwrap().to_string());

    let page = Page::of(&program);
    assert_eq!(page.counted("keda_sift_polls_total"), [], "{page:?}");
    assert_eq!(page.counted("keda_sift_measurement_failures_total"), [], "{page:?}");
    // What can be counted is there as 0, so that the first increase is seen as one.
    assert_eq!(page.value("keda_sift_polls_total{rpc=\"IsActive\",code=\"OK\"}"), Some(0.0));
    for source in ["kafka", "azure-servicebus", "unreadable"] {
        let kept = format!("keda_sift_triggers{{source=\"{source}\"}}");
        assert_eq!(page.value(&kept), Some(0.0), "{page:?}");
    }
    let build: Vec<_> = page.series("keda_sift_build_info").collect();
    let version =
        format!("keda_sift_build_info{{version=\"{}\",commit=\"", env!("CARGO_PKG_VERSION"));
    assert!(build.len() == 1 && build[0].0.starts_with(&version), "{build:?}");
    let process = [
        "cpu_seconds_total",
        "start_time_seconds",
        "resident_memory_bytes",
        "virtual_memory_bytes",
        "open_fds",
        "max_fds",
    ];
    for name in process {
        let value = page.value(&format!("process_{name}"));
        assert!(
            value.is_some_and(|value| value > 0.0 || name == "cpu_seconds_total"),
            "{name}: {value:?}"
        );
    }
    let (head, body) = program.page("/metrics");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(
        !body.contains("# EOF") && body.contains("# TYPE keda_sift_polls_total counter"),
        "{body}"
    );

    for _ in 0..3 {
        client.get_metric_spec(broker.clone()).await.unwrap();
    }
    let status = client.get_metrics(metrics(broker)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let unreadable = trigger("unreadable", &[("source", "carrier pigeon")]);
    let status = client.get_metrics(metrics(unreadable)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");

    let rows = [
        ("keda_sift_polls_total{rpc=\"GetMetricSpec\",code=\"OK\"}", 3.0),
        ("keda_sift_polls_total{rpc=\"GetMetrics\",code=\"Unavailable\"}", 1.0),
        ("keda_sift_polls_total{rpc=\"GetMetrics\",code=\"InvalidArgument\"}", 1.0),
        ("keda_sift_poll_duration_seconds_count{rpc=\"GetMetricSpec\",code=\"OK\"}", 3.0),
        ("keda_sift_poll_duration_seconds_count{rpc=\"GetMetrics\",code=\"Unavailable\"}", 1.0),
        ("keda_sift_trigger_states{state=\"failing\"}", 2.0),
        ("keda_sift_trigger_states{state=\"unpolled\"}", 0.0),
        ("keda_sift_measurement_failures_total{source=\"kafka\",code=\"Unavailable\"}", 1.0),
        ("keda_sift_triggers{source=\"kafka\"}", 1.0),
        ("keda_sift_triggers{source=\"unreadable\"}", 1.0),
    ];
    for (series, value) in rows {
        page_where(&program, series, value).await;
    }
    let page = Page::of(&program);
    assert_eq!(page.counted("keda_sift_polls_total").len(), 3, "{page:?}");
    assert_eq!(page.counted("keda_sift_measurement_failures_total").len(), 1, "{page:?}");
    let waited = "rpc=\"GetMetrics\",code=\"Unavailable\"";
    let took = page.value(&format!("keda_sift_poll_duration_seconds_sum{{{waited}}}")).unwrap();
    assert!(took >= 0.4, "it waited for the broker: {page:?}");
    let within = |end: &str| {
        let bucket = "keda_sift_poll_duration_seconds_bucket";
        page.value(&format!("{bucket}{{le=\"{end}\",{waited}}}")).unwrap()
    };
    assert!(within("0.25") == 0.0 && within("+Inf") == 1.0, "{page:?}");
    // One for each rpc from the start, and the two that calls have ended with.
    let buckets = page.series("keda_sift_poll_duration_seconds_bucket");
    assert_eq!(buckets.count(), (5 + 2) * 16, "{page:?}");
    // None has a label of a tenant's where nobody asked for that.
    assert!(page.values.keys().all(|series| !series.contains("thumbnails")), "{page:?}");
}

#[tokio::test]
async fn each_trigger_has_series_where_that_is_asked_for() {
    let program = Program::serving(&["--trigger-metrics", "--measure-timeout", "500ms"]);
    let mut client = ExternalScalerClient::new(channel(&program).await);
    let at = |topic: &str| {
        let mut trigger = kafka("127.0.0.1:1");
        trigger.scaler_metadata.insert("topic".to_owned(), topic.to_owned());
        trigger.scaler_metadata.insert("lagThreshold".to_owned(), "7".to_owned());
        trigger
    };
    // What a tenant may write.
    for topic in ["uploads", "up\"}\n loads"] {
        client.get_metrics(metrics(at(topic))).await.unwrap_err();
    }
    let page = Page::of(&program);
    let targets = page.counted("keda_sift_trigger_target");
    let [(series, target)] = targets[..] else { panic!("{targets:?}") };
    assert_eq!(target, 7.0);
    for label in ["namespace=\"media\"", "object=\"kafka\"", "metric=\"kafka-uploads\""] {
        assert!(series.contains(label), "{series}");
    }
    assert_eq!(page.counted("keda_sift_trigger_value"), [], "it is not known: {page:?}");
    assert_eq!(page.counted("keda_sift_trigger_failing_since_timestamp_seconds").len(), 1);
    assert_eq!(page.counted("keda_sift_trigger_last_poll_timestamp_seconds").len(), 1);
    assert_eq!(page.value("keda_sift_trigger_series_omitted"), Some(0.0));
    assert_eq!(page.value("keda_sift_triggers{source=\"unreadable\"}"), Some(1.0));
    promtool_approves(&program.page("/metrics").1);

    // What there is to say of it takes an answer, certificates, or a cluster.
    let unsaid = [
        &TRIGGER_VALUE,
        &TRIGGER_LIMIT_REACHED,
        &TRIGGER_READ_POSITION,
        &TRIGGER_READ_BEHIND,
        &CERTIFICATE_EXPIRY,
        &EVENTS,
        &WARM_UP,
    ];
    let unsaid: BTreeSet<_> = unsaid.into_iter().map(Metric::in_queries).collect();
    let mut described = described(ALWAYS.into_iter().chain(BY_TRIGGER));
    described.retain(|name, _| !unsaid.contains(name));
    let names = page.names().into_iter().map(|(name, labels)| (name.to_owned(), labels));
    assert_eq!(names.collect::<BTreeMap<_, _>>(), described);
}

#[tokio::test]
async fn a_call_whose_caller_went_away_is_counted_as_cancelled_and_a_stream_when_it_ends() {
    let program = Program::serving(&["--measure-timeout", "10m"]);
    let mut client = ExternalScalerClient::new(channel(&program).await);
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = kafka(&broker.local_addr().unwrap().to_string());

    let mut other = client.clone();
    let call = other.get_metrics(metrics(broker.clone()));
    tokio::select! {
        ended = call => panic!("{ended:?}"),
        _ = page_where(&program, "keda_sift_triggers{source=\"kafka\"}", 1.0) => {}
    }
    let cancelled = "keda_sift_polls_total{rpc=\"GetMetrics\",code=\"Canceled\"}";
    page_where(&program, cancelled, 1.0).await;

    let stream = client.stream_metric_spec(broker).await.unwrap();
    let mut stream = stream.into_inner();
    stream.message().await.unwrap().unwrap();
    let page = Page::of(&program);
    assert_eq!(page.counted("keda_sift_polls_total").len(), 1, "it has not ended: {page:?}");
    drop(stream);
    let cancelled = "keda_sift_polls_total{rpc=\"StreamMetricSpec\",code=\"Canceled\"}";
    page_where(&program, cancelled, 1.0).await;
}

#[tokio::test]
async fn what_is_no_call_of_kedas_makes_no_series() {
    let program = Program::serving::<&str>(&[]);
    let channel = channel(&program).await;
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = "/externalscaler.ExternalScaler/MadeUp".parse().unwrap();
    let request = tonic::Request::new(ScaledObjectRef::default());
    let codec = tonic_prost::ProstCodec::<ScaledObjectRef, ScaledObjectRef>::default();
    let status = grpc.unary(request, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    ExternalScalerClient::new(channel).get_metric_spec(ScaledObjectRef::default()).await.unwrap();

    let one = "keda_sift_polls_total{rpc=\"GetMetricSpec\",code=\"OK\"}";
    let page = page_where(&program, one, 1.0).await;
    assert_eq!(page.counted("keda_sift_polls_total"), [(one, 1.0)], "{page:?}");
    assert!(page.series("keda_sift_polls_total").all(|(series, _)| !series.contains("MadeUp")));
}
