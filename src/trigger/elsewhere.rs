//! Keys that are parameters of no source, because what they say stands elsewhere in a ScaledJob or is said
//! otherwise.
//!
//! # References
//! - KEDA 2.20 `apis/keda/v1alpha1` (`ScaleTriggers`, `ScaledJobSpec`, `ScaledObjectSpec`)

use crate::metadata::ByHeart;

/// What a user is told about them.
pub(super) const KEYS: ByHeart = &[
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
