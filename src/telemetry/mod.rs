//! How logs are written, and what is counted.
//!
//! Logs are lines for people or JSON, to standard error. A level is ERROR only where an operator
//! must act. What went wrong with one trigger is told to KEDA, not logged: who can mend it reads it
//! there.
//!
//! `catalog` names the metrics. Unless an operator asks for series of each trigger, none has a label
//! that a trigger's author could fill: there is a series for each rpc, source and code, however many
//! triggers there are.
//!
//! # References
//! - <https://prometheus.io/docs/specs/om/open_metrics_spec/>

mod catalog;
mod families;
#[cfg(target_os = "linux")]
mod process;
mod traces;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, prometheus_text, text,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as By;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tonic::Code;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

pub use self::catalog::*;
use self::families::Families;
pub use self::families::{Family, Labels, Value};
pub use self::traces::{POLL, Traces, continue_trace};
use crate::lock::lock;
use crate::version::COMMIT;

/// States of the triggers that warm-up has found: being measured; measured, with a count or without;
/// and those whose metadata is not known before KEDA polls them.
pub const WARM_UP_STATES: [&str; 3] = ["waiting", "ready", "unknown"];

/// KEDA's calls, each of which has series from the start.
pub const RPCS: [&str; 5] =
    ["GetMetrics", "GetMetricSpec", "IsActive", "StreamIsActive", "StreamMetricSpec"];

/// How calls end besides in one of [`FAILURES`]: they are answered, or their callers go away.
const ENDINGS: [Code; 2] = [Code::Ok, Code::Cancelled];

/// How measurements fail, and the calls that they are for.
const FAILURES: [Code; 7] = [
    Code::InvalidArgument,
    Code::NotFound,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Unavailable,
    Code::Unauthenticated,
];

/// The form of a page of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFormat {
    /// OpenMetrics' text, for who asks for it.
    OpenMetrics,
    /// Prometheus' older text, which everything reads.
    Prometheus,
}

/// Upper ends of the histogram of durations, in seconds: from a count that lies ready to beyond the
/// default of the measure timeout. What ends because of it takes a little longer than that itself.
const BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// What is counted, of one scaler.
pub struct Metrics {
    registry: Registry,
    polls: By<Ended, Counter>,
    durations: By<Ended, Histogram>,
    warm_up: By<WarmUp, Gauge<u64, AtomicU64>>,
    measurement_failures: By<Failed, Counter>,
    /// Who else is asked for figures.
    others: Mutex<Vec<Box<Figures>>>,
}

type Figures = dyn Fn() -> Vec<Family> + Send + Sync;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    rpc: &'static str,
    code: GrpcCode,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WarmUp {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    source: &'static str,
    code: GrpcCode,
}

/// A code as KEDA prints it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct GrpcCode(Code);

/// Writes logs from here on, and sends traces if there is a collector.
///
/// # Errors
/// When the process writes logs already.
pub fn init(
    filter: Targets,
    format: LogFormat,
    traces: Option<&Traces>,
) -> Result<(), TryInitError> {
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let filter = filter.with_target(POLL, LevelFilter::OFF);
    match traces {
        None => tracing_subscriber::registry().with(lines).with(filter).try_init(),
        Some(traces) => tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(traces.layer())
            .try_init(),
    }
}

impl Metrics {
    /// Nothing is counted yet. What can be is there as 0, so that its first increase is seen as
    /// one.
    pub fn new(sources: impl IntoIterator<Item = &'static str>) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            polls: By::default(),
            durations: By::new_with_constructor(|| Histogram::new(BUCKETS)),
            warm_up: By::default(),
            measurement_failures: By::default(),
            others: Mutex::default(),
        };
        let Self { registry, polls, durations, warm_up, measurement_failures, .. } = &mut metrics;
        registry.register(POLLS.name, POLLS.help, polls.clone());
        registry.register_with_unit(
            POLL_DURATION.name,
            POLL_DURATION.help,
            Unit::Seconds.into(),
            durations.clone(),
        );
        registry.register(WARM_UP.name, WARM_UP.help, warm_up.clone());
        let failures = measurement_failures.clone();
        registry.register(MEASUREMENT_FAILURES.name, MEASUREMENT_FAILURES.help, failures);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", COMMIT)]);
        registry.register(BUILD.name, BUILD.help, build);
        #[cfg(target_os = "linux")]
        registry.register_collector(Box::new(process::Process));
        for rpc in RPCS {
            // A histogram is many series: of other codes there is one once they occur, which the
            // counter tells of.
            drop(durations.get_or_create(&Ended { rpc, code: GrpcCode(Code::Ok) }));
            for code in ENDINGS.into_iter().chain(FAILURES) {
                drop(polls.get_or_create(&Ended { rpc, code: GrpcCode(code) }));
            }
        }
        for source in sources {
            for code in FAILURES {
                let failed = Failed { source, code: GrpcCode(code) };
                drop(measurement_failures.get_or_create(&failed));
            }
        }
        metrics
    }

    /// A call of KEDA's has ended.
    pub fn poll_ended(&self, rpc: &'static str, code: Code, took: Duration) {
        let ended = Ended { rpc, code: GrpcCode(code) };
        self.polls.get_or_create(&ended).inc();
        self.durations.get_or_create(&ended).observe(took.as_secs_f64());
    }

    /// Asks for these figures too, whenever a page is asked for.
    pub fn also(&self, figures: impl Fn() -> Vec<Family> + Send + Sync + 'static) {
        lock(&self.others).push(Box::new(figures));
    }

    /// How many triggers that warm-up has found are in each of [`WARM_UP_STATES`].
    pub fn warm_up(&self, counts: [usize; WARM_UP_STATES.len()]) {
        for (state, count) in WARM_UP_STATES.into_iter().zip(counts) {
            self.warm_up.get_or_create(&WarmUp { state }).set(count as u64);
        }
    }

    /// A measurement of a source gave no count.
    pub fn measurement_failed(&self, source: &'static str, code: Code) {
        self.measurement_failures.get_or_create(&Failed { source, code: GrpcCode(code) }).inc();
    }

    /// All of it, and these figures.
    pub fn page(&self, format: PageFormat, mut families: Vec<Family>) -> String {
        families.extend(lock(&self.others).iter().flat_map(|figures| figures()));
        let mut read = Registry::default();
        read.register_collector(Box::new(Families(families)));
        let mut page = String::new();
        let encode = |page: &mut String| match format {
            PageFormat::OpenMetrics => {
                text::encode_registry(page, &self.registry)?;
                text::encode_registry(page, &read)?;
                text::encode_eof(page)
            }
            PageFormat::Prometheus => {
                prometheus_text::encode(page, &self.registry)?;
                prometheus_text::encode(page, &read)
            }
        };
        encode(&mut page).expect("a String takes everything");
        page
    }
}

impl PageFormat {
    /// What an `Accept` header wants. OpenMetrics only where it is named: who names nothing may not
    /// know it.
    pub fn accepted(accept: &str) -> Self {
        let is_refused = |parameters: &str| {
            parameters
                .split(';')
                .any(|one| matches!(one.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        };
        let wants = accept.split(',').any(|range| {
            let (media_type, parameters) = range.split_once(';').unwrap_or((range, ""));
            media_type.trim().eq_ignore_ascii_case("application/openmetrics-text")
                && !is_refused(parameters)
        });
        if wants { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// What the page is.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl EncodeLabelValue for GrpcCode {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self.0 {
            Code::Ok => encoder.write_str("OK"),
            Code::Cancelled => encoder.write_str("Canceled"),
            code => write!(encoder, "{code:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let rows = [
            ("Prometheus", prometheus, PageFormat::OpenMetrics),
            ("nothing", "", PageFormat::Prometheus),
            ("anything", "*/*", PageFormat::Prometheus),
            ("a browser", "text/html,*/*;q=0.8", PageFormat::Prometheus),
            ("plain text", "text/plain; version=0.0.4", PageFormat::Prometheus),
            ("refused", "application/openmetrics-text;q=0, text/plain", PageFormat::Prometheus),
        ];
        for (name, accept, expected) in rows {
            assert_eq!(PageFormat::accepted(accept), expected, "{name}");
        }
    }
}
