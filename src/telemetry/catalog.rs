//! Which metrics there are. Each is described once, here: docs/operating.md has the same table, and
//! nothing else is on a page but for what the kernel says of the process.

use prometheus_client::registry;

/// A metric, as the page and docs/operating.md describe it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, without what its kind and its unit put behind it.
    pub name: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// What it counts; nothing where that is things.
    pub unit: Option<Unit>,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// What it is, in one line.
    pub help: &'static str,
}

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It may go up and down.
    Gauge,
    /// How often something was how large.
    Histogram,
    /// It is 1, and its labels say something.
    Info,
}

/// What a metric counts, if not things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of memory.
    Bytes,
    /// Of time.
    Seconds,
}

/// What each trigger's series are labelled with: its ScaledJob or ScaledObject, the name of its
/// metric, and which of several triggers with that name it is.
const TRIGGER: &[&str] = &["namespace", "object", "metric", "trigger"];

/// KEDA's calls. A stream is one call.
pub const POLLS: Metric = counter(
    "keda_sift_polls",
    &["rpc", "code"],
    "KEDA's calls that have ended; Canceled if the caller went away",
);

/// Of the same calls.
pub const POLL_DURATION: Metric = Metric {
    name: "keda_sift_poll_duration",
    kind: Kind::Histogram,
    unit: Some(Unit::Seconds),
    labels: &["rpc", "code"],
    help: "How long those calls took",
};

/// By the state that the latest answer gave.
pub const STATES: Metric = gauge(
    "keda_sift_trigger_states",
    &["state"],
    "Triggers by state: failing, unpolled, reading, waiting or zero",
);

/// By source, or `unreadable`.
pub const TRIGGERS: Metric = gauge(
    "keda_sift_triggers",
    &["source"],
    "Triggers that are kept: of kafka, azure-servicebus, or unreadable if the metadata is wrong",
);

/// Of those, the ones whose selection may be wrong.
pub const UNMATCHED: Metric = gauge(
    "keda_sift_unmatched_triggers",
    &["source"],
    "Triggers at 0 while other messages wait, and for which nothing has ever matched",
);

/// By one of [`WARM_UP_STATES`](super::WARM_UP_STATES). There is none without warm-up.
pub const WARM_UP: Metric = gauge(
    "keda_sift_warm_up_triggers",
    &["state"],
    "Triggers that warm-up has found: waiting, ready, or unknown until KEDA polls them",
);

/// By the code that the poll got.
pub const MEASUREMENT_FAILURES: Metric = counter(
    "keda_sift_measurement_failures",
    &["source", "code"],
    "Measurements that gave no count",
);

/// As far as it is counted.
pub const MEMORY_HELD: Metric = bytes(gauge(
    "keda_sift_memory_held",
    &["use"],
    "Memory that triggers take up: for asking, reading or keeping",
));

/// Of the ledger.
pub const MEMORY_LIMIT: Metric =
    bytes(gauge("keda_sift_memory_limit", &[], "Memory that triggers may take up"));

/// By source.
pub const CONNECTIONS: Metric =
    gauge("keda_sift_connections", &["source"], "Open connections to brokers and namespaces");

/// Connections to brokers, and namespaces.
pub const THROTTLED: Metric = gauge(
    "keda_sift_throttled",
    &["source"],
    "Brokers and namespaces that are left alone now because they asked for that",
);

/// Of all identities and clients.
pub const TOKENS: Metric = gauge(
    "keda_sift_tokens",
    &[],
    "Tokens of Azure identities and OAuth clients that are held and good",
);

/// For such tokens.
pub const TOKEN_REQUESTS: Metric = counter(
    "keda_sift_token_requests",
    &["result"],
    "Requests for such tokens that have ended: given or refused",
);

/// Of several authorities the one that ends first.
pub const CERTIFICATE_EXPIRY: Metric = seconds(gauge(
    "keda_sift_certificate_expiry_timestamp",
    &["certificate"],
    "When a certificate of the gRPC port ends, since 1970: server or client_authority",
));

/// Nothing without a right to write them.
pub const EVENTS: Metric = counter(
    "keda_sift_events",
    &["result"],
    "Kubernetes Events about triggers: told, dropped because too many waited, or failed",
);

/// What runs.
pub const BUILD: Metric = Metric {
    name: "keda_sift_build",
    kind: Kind::Info,
    unit: None,
    labels: &["version", "commit"],
    help: "1, with what runs",
};

/// Absent while the latest answer is an error.
pub const TRIGGER_VALUE: Metric =
    gauge("keda_sift_trigger_value", TRIGGER, "Messages that KEDA was told of last");

/// As the trigger says it.
pub const TRIGGER_TARGET: Metric =
    gauge("keda_sift_trigger_target", TRIGGER, "Messages per Job or replica");

/// Absent while the latest answer is an error.
pub const TRIGGER_LIMIT_REACHED: Metric = gauge(
    "keda_sift_trigger_limit_reached",
    TRIGGER,
    "1 if counting stopped at its limit, 0 if it did not",
);

/// Whatever the answer was.
pub const TRIGGER_LAST_POLL: Metric = seconds(gauge(
    "keda_sift_trigger_last_poll_timestamp",
    TRIGGER,
    "When KEDA was answered last, since 1970",
));

/// Absent while answers are numbers.
pub const TRIGGER_FAILING_SINCE: Metric = seconds(gauge(
    "keda_sift_trigger_failing_since_timestamp",
    TRIGGER,
    "Since when each answer is an error, since 1970; absent if the latest is a number",
));

/// Of those that are known; 0 where none waits.
pub const TRIGGER_OLDEST_AGE: Metric = seconds(gauge(
    "keda_sift_trigger_oldest_message_age",
    TRIGGER,
    "Age of the oldest message that counts; 0 if there is none",
));

/// A part of the messages that were looked at last.
pub const TRIGGER_INDETERMINATE: Metric = gauge(
    "keda_sift_trigger_indeterminate_messages",
    TRIGGER,
    "Messages that cannot be judged, among the 128 looked at last",
);

/// Absent where nothing is read.
pub const TRIGGER_READ_POSITION: Metric =
    gauge("keda_sift_trigger_read_position", TRIGGER, "Offsets read, over all partitions");

/// Absent where nothing is read.
pub const TRIGGER_READ_BEHIND: Metric = gauge(
    "keda_sift_trigger_read_behind",
    TRIGGER,
    "Offsets that the latest poll needed and that are still to be read",
);

/// Beyond what a page may hold.
pub const TRIGGER_SERIES_OMITTED: Metric = gauge(
    "keda_sift_trigger_series_omitted",
    &[],
    "Triggers beyond the 10,000 that have series of their own",
);

/// What every page has, if there is something to say.
pub const ALWAYS: [&Metric; 16] = [
    &POLLS,
    &POLL_DURATION,
    &STATES,
    &TRIGGERS,
    &UNMATCHED,
    &WARM_UP,
    &MEASUREMENT_FAILURES,
    &MEMORY_HELD,
    &MEMORY_LIMIT,
    &CONNECTIONS,
    &THROTTLED,
    &TOKENS,
    &TOKEN_REQUESTS,
    &CERTIFICATE_EXPIRY,
    &EVENTS,
    &BUILD,
];

/// What it has besides where each trigger has series of its own.
pub const BY_TRIGGER: [&Metric; 10] = [
    &TRIGGER_VALUE,
    &TRIGGER_TARGET,
    &TRIGGER_LIMIT_REACHED,
    &TRIGGER_LAST_POLL,
    &TRIGGER_FAILING_SINCE,
    &TRIGGER_OLDEST_AGE,
    &TRIGGER_INDETERMINATE,
    &TRIGGER_READ_POSITION,
    &TRIGGER_READ_BEHIND,
    &TRIGGER_SERIES_OMITTED,
];

impl Metric {
    /// Its name in queries. A histogram's series have `_bucket`, `_count` and `_sum` behind it.
    pub fn in_queries(&self) -> String {
        let unit = match self.unit {
            Some(Unit::Bytes) => "_bytes",
            Some(Unit::Seconds) => "_seconds",
            None => "",
        };
        let kind = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{unit}{kind}", self.name)
    }
}

impl From<Unit> for registry::Unit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Bytes => Self::Bytes,
            Unit::Seconds => Self::Seconds,
        }
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit: None, labels, help }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, unit: None, labels, help }
}

const fn bytes(metric: Metric) -> Metric {
    Metric { unit: Some(Unit::Bytes), ..metric }
}

const fn seconds(metric: Metric) -> Metric {
    Metric { unit: Some(Unit::Seconds), ..metric }
}
