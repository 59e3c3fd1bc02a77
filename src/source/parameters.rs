//! The parameters that every trigger has, whatever its source: what each means is said once, here.
//! And keys that are parameters of no source, because what they say stands elsewhere in a ScaledJob
//! or is said otherwise.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers/external_scaler.go`: the keys of its link to an external scaler
//! - KEDA 2.20 `apis/keda/v1alpha1`: `ScaleTriggers`, `ScaledJobSpec`, `ScaledObjectSpec`

use crate::metadata::{ByHeart, Parameter, Table};

/// The parameters, and what is said of other keys.
pub const TABLE: Table = Table { parameters: PARAMETERS, usual: USUAL, by_heart: BY_HEART };

const PARAMETERS: &[Parameter] = &[
    Parameter::ignored("scalerAddress", "where KEDA finds keda-sift"),
    Parameter::ignored("enableTLS", "KEDA uses TLS to `scalerAddress`"),
    Parameter::ignored("tlsCertFile", "a file in KEDA's container"),
    Parameter::ignored("unsafeSsl", "KEDA does not check the certificate of `scalerAddress`"),
    Parameter::of_authentication(
        "caCert",
        "the authority that signed the certificate of `scalerAddress`",
    ),
    Parameter::of_authentication("tlsClientCert", "KEDA's client certificate for `scalerAddress`"),
    Parameter::of_authentication("tlsClientKey", "its private key"),
    Parameter::new("source", "derived from the keys", "`kafka` or `azure-servicebus`"),
    Parameter::new(
        "triggerAuthentication",
        "",
        "the name of a TriggerAuthentication in the trigger's namespace",
    ),
    Parameter::new(
        "metricName",
        "see [Metric names](#metric-names)",
        "the metric's name, at most 253 bytes without control characters",
    ),
    Parameter::new(
        "eventType",
        "all messages, also those without a type",
        "list of event types that count, at most 1,000",
    ),
    Parameter::new("eventTypeFrom", "where CloudEvents puts it", "where a message keeps its type"),
    Parameter::new(
        "filter",
        "",
        "a [CEL](https://cel.dev) expression that must hold for a message to count",
    ),
    Parameter::new("countLimit", "none", "stop counting here: a number above"),
];

const USUAL: &str = "";

const BY_HEART: ByHeart = &[
    (
        "authenticationRef",
        "is not a parameter; it stands beside metadata, where KEDA keeps it to itself; give triggerAuthentication",
    ),
    ("metricType", "is not a parameter; it stands beside metadata"),
    ("useCachedMetrics", "is not a parameter; it stands beside metadata"),
    (
        "type",
        "is not a parameter; the trigger's stands beside metadata; for messages give eventType",
    ),
    (
        "pollingInterval",
        "is not a parameter; it stands in the spec of the ScaledJob or ScaledObject",
    ),
    ("cooldownPeriod", "is not a parameter; it stands in the spec of the ScaledObject"),
    (
        "minReplicaCount",
        "is not a parameter; it stands in the spec of the ScaledJob or ScaledObject",
    ),
    (
        "maxReplicaCount",
        "is not a parameter; it stands in the spec of the ScaledJob or ScaledObject",
    ),
    ("idleReplicaCount", "is not a parameter; it stands in the spec of the ScaledObject"),
    ("scalingStrategy", "is not a parameter; it stands in the spec of the ScaledJob"),
    ("successfulJobsHistoryLimit", "is not a parameter; it stands in the spec of the ScaledJob"),
    ("failedJobsHistoryLimit", "is not a parameter; it stands in the spec of the ScaledJob"),
    ("podIdentity", "is not a parameter; it stands in a TriggerAuthentication"),
    ("expression", "is not a parameter; give filter"),
    ("celExpression", "is not a parameter; give filter"),
];
