//! How logs are written, and what is counted.
//!
//! Logs are lines for people or JSON, to standard error. A level is ERROR only where an operator
//! must act. What went wrong with one trigger is told to KEDA, not logged: who can mend it reads it
//! there.
//!
//! Metrics have the names below. None has a label that a trigger's author could fill: there is a
//! series for each rpc, source and code, however many triggers there are.
//!
//! # References
//! - <https://prometheus.io/docs/specs/om/open_metrics_spec/>

#[cfg(target_os = "linux")]
mod process;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, prometheus_text, text,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

/// Calls of KEDA's that have ended, by `rpc` and gRPC `code`; on the page with `_total` behind it.
/// A call whose caller went away has the code Canceled. A stream is one call.
pub const POLLS: &str = "keda_sift_polls";

/// How long those calls took, by `rpc`; on the page with `_seconds` behind it.
pub const POLL_DURATION: &str = "keda_sift_poll_duration";

/// Triggers that are kept, by `source`: kafka, azure-servicebus, or unreadable for those whose
/// metadata is wrong.
pub const TRIGGERS: &str = "keda_sift_triggers";

/// Of those, the ones that count 0 though other messages wait, and for which nothing has ever
/// matched, by `source`.
pub const UNMATCHED: &str = "keda_sift_unmatched_triggers";

/// Triggers found by warm-up, by `state`, which is one of [`WARM_UP_STATES`]. There is none without
/// warm-up.
pub const WARM_UP: &str = "keda_sift_warm_up_triggers";

/// Being measured; measured, with a count or without; and those whose metadata is not known before
/// KEDA polls them.
pub const WARM_UP_STATES: [&str; 3] = ["waiting", "ready", "unknown"];

/// Measurements that gave no count, by `source` and gRPC `code`; on the page with `_total` behind
/// it.
pub const MEASUREMENT_FAILURES: &str = "keda_sift_measurement_failures";

/// Memory that triggers make this hold, as far as it is counted, and how much of it there may be;
/// on the page with `_bytes` behind it.
pub const MEMORY: [&str; 2] = ["keda_sift_memory_held", "keda_sift_memory_limit"];

/// Which release runs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Which commit it was built from, where the build was told.
pub const COMMIT: &str = match option_env!("REVISION") {
    Some(commit) => commit,
    None => "unknown",
};

/// 1, with the `version` and the `commit` that runs; on the page with `_info` behind it.
pub const BUILD: &str = "keda_sift_build";

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
    polls: Family<Ended, Counter>,
    durations: Family<Rpc, Histogram>,
    triggers: Family<Source, Gauge<u64, AtomicU64>>,
    unmatched: Family<Source, Gauge<u64, AtomicU64>>,
    warm_up: Family<WarmUp, Gauge<u64, AtomicU64>>,
    measurement_failures: Family<Failed, Counter>,
    /// Held, and the limit.
    memory: [Gauge<u64, AtomicU64>; MEMORY.len()],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    rpc: &'static str,
    code: GrpcCode,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rpc {
    rpc: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: &'static str,
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

/// Writes logs from here on.
///
/// # Errors
/// When the process writes logs already.
pub fn init(filter: Targets, format: LogFormat) -> Result<(), TryInitError> {
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(filter).try_init()
}

impl Metrics {
    /// Nothing is counted yet. What can be is there as 0, so that its first increase is seen as
    /// one.
    pub fn new(sources: impl IntoIterator<Item = &'static str>) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            polls: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            triggers: Family::default(),
            unmatched: Family::default(),
            warm_up: Family::default(),
            measurement_failures: Family::default(),
            memory: Default::default(),
        };
        let Self {
            registry,
            polls,
            durations,
            triggers,
            unmatched,
            warm_up,
            measurement_failures,
            memory,
        } = &mut metrics;
        registry.register(POLLS, "Calls that have ended", polls.clone());
        registry.register_with_unit(
            POLL_DURATION,
            "How long calls took",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register(TRIGGERS, "Triggers that are kept", triggers.clone());
        registry.register(
            UNMATCHED,
            "Triggers that count 0 though other messages wait",
            unmatched.clone(),
        );
        registry.register(WARM_UP, "Triggers found by warm-up", warm_up.clone());
        registry.register(
            MEASUREMENT_FAILURES,
            "Measurements that gave no count",
            measurement_failures.clone(),
        );
        let helps = ["Memory that triggers make this hold", "How much of it there may be"];
        for ((name, help), gauge) in MEMORY.into_iter().zip(helps).zip(memory) {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        let build = Info::new([("version", VERSION), ("commit", COMMIT)]);
        registry.register(BUILD, "What runs", build);
        #[cfg(target_os = "linux")]
        registry.register_collector(Box::new(process::Process));
        for rpc in RPCS {
            drop(durations.get_or_create(&Rpc { rpc }));
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
        self.polls.get_or_create(&Ended { rpc, code: GrpcCode(code) }).inc();
        self.durations.get_or_create(&Rpc { rpc }).observe(took.as_secs_f64());
    }

    /// So many triggers of a source are kept now.
    pub fn triggers_kept(&self, source: &'static str, count: u64) {
        self.triggers.get_or_create(&Source { source }).set(count);
    }

    /// So many of them count 0 though other messages wait.
    pub fn triggers_unmatched(&self, source: &'static str, count: u64) {
        self.unmatched.get_or_create(&Source { source }).set(count);
    }

    /// How many triggers that warm-up has found are in each of [`WARM_UP_STATES`].
    pub fn warm_up(&self, counts: [usize; WARM_UP_STATES.len()]) {
        for (state, count) in WARM_UP_STATES.into_iter().zip(counts) {
            self.warm_up.get_or_create(&WarmUp { state }).set(count as u64);
        }
    }

    /// The same back: triggers in each of [`WARM_UP_STATES`]; `None` without warm-up.
    pub fn warmed_up(&self) -> Option<[u64; WARM_UP_STATES.len()]> {
        let of = |state| self.warm_up.get(&WarmUp { state }).map(|gauge| gauge.get());
        let [waiting, ready, unknown] = WARM_UP_STATES.map(of);
        Some([waiting?, ready?, unknown?])
    }

    /// Triggers make this hold so many bytes, of so many that there may be.
    pub fn memory(&self, held: usize, limit: usize) {
        for (gauge, bytes) in self.memory.iter().zip([held, limit]) {
            gauge.set(bytes as u64);
        }
    }

    /// A measurement of a source gave no count.
    pub fn measurement_failed(&self, source: &'static str, code: Code) {
        self.measurement_failures.get_or_create(&Failed { source, code: GrpcCode(code) }).inc();
    }

    /// All of it.
    pub fn page(&self, format: PageFormat) -> String {
        let mut page = String::new();
        match format {
            PageFormat::OpenMetrics => text::encode(&mut page, &self.registry),
            PageFormat::Prometheus => prometheus_text::encode(&mut page, &self.registry),
        }
        .expect("a String takes everything");
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
