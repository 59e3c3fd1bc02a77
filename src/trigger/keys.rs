//! Keys that are no parameters, and what their users mean: KEDA's older names, those of its other
//! scalers and of Kafka's clients, and what stands elsewhere in a ScaledJob.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers` and `apis/keda/v1alpha1` (`ScaleTriggers`, `ScaledJobSpec`,
//!   `ScaledObjectSpec`); KEDA 1.5 for `brokerList` and `queueLength`

use crate::metadata::Keys;

/// For a trigger on Kafka.
pub(super) const KAFKA: Keys = Keys {
    usual: "bootstrapServers, consumerGroup, topic, offsetResetPolicy, lagThreshold, eventType, \
            eventTypeFrom, filter",
    by_heart: &[
        ("brokerList", "is not a parameter; give bootstrapServers"),
        ("brokers", "is not a parameter; give bootstrapServers"),
        ("broker", "is not a parameter; give bootstrapServers"),
        ("kafkaBrokers", "is not a parameter; give bootstrapServers"),
        ("bootstrap.servers", "is not a parameter; give bootstrapServers"),
        ("groupId", "is not a parameter; give consumerGroup"),
        ("group.id", "is not a parameter; give consumerGroup"),
        ("consumerGroupId", "is not a parameter; give consumerGroup"),
        ("auto.offset.reset", "is not a parameter; give offsetResetPolicy"),
        ("autoOffsetReset", "is not a parameter; give offsetResetPolicy"),
        ("security.protocol", "is not a parameter; give tls and sasl"),
        ("sasl.mechanism", "is not a parameter; give sasl"),
        ("insecureSkipVerify", "is not a parameter; give brokerUnsafeSsl"),
        ("threshold", "is not a parameter; give lagThreshold"),
        ("queueLength", "is not a parameter; give lagThreshold"),
        ("activationThreshold", "is not a parameter; give activationLagThreshold"),
        ("messageCount", "is a parameter of azure-servicebus; give lagThreshold"),
        (
            "activationMessageCount",
            "is a parameter of azure-servicebus; give activationLagThreshold",
        ),
        ("topicName", "is a parameter of azure-servicebus; give topic"),
        ("subscriptionName", "is a parameter of azure-servicebus; give consumerGroup"),
        ("queueName", "is a parameter of azure-servicebus; give topic"),
        ("namespace", "is a parameter of azure-servicebus; give bootstrapServers"),
        (
            "connection",
            "is a parameter of azure-servicebus; give bootstrapServers, sasl and passwordFromEnv",
        ),
        ("useRegex", "is a parameter of azure-servicebus; give topic as a list"),
        ("operation", "is a parameter of azure-servicebus"),
        ("cloud", "is a parameter of azure-servicebus"),
        ("endpointSuffix", "is a parameter of azure-servicebus"),
        ("transport", "is a parameter of azure-servicebus"),
    ],
};

/// For a trigger on Azure Service Bus.
pub(super) const SERVICE_BUS: Keys = Keys {
    usual: "namespace or connectionFromEnv, queueName or topicName and subscriptionName, \
            messageCount, eventType, eventTypeFrom, filter",
    by_heart: &[
        ("queueLength", "is not a parameter; give messageCount"),
        ("activationQueueLength", "is not a parameter; give activationMessageCount"),
        ("threshold", "is not a parameter; give messageCount"),
        ("activationThreshold", "is not a parameter; give activationMessageCount"),
        ("queue", "is not a parameter; give queueName"),
        ("subscription", "is not a parameter; give subscriptionName"),
        ("topic", "is a parameter of kafka; give topicName"),
        ("connectionString", "is not a parameter; give connectionFromEnv"),
        ("fullyQualifiedNamespace", "is not a parameter; give namespace"),
        ("host", "is not a parameter; give namespace"),
        ("entityPath", "is not a parameter; give queueName"),
        ("lagThreshold", "is a parameter of kafka; give messageCount"),
        ("activationLagThreshold", "is a parameter of kafka; give activationMessageCount"),
        ("bootstrapServers", "is a parameter of kafka; give namespace"),
        ("consumerGroup", "is a parameter of kafka; give subscriptionName with topicName"),
        ("offsetResetPolicy", "is a parameter of kafka"),
        ("allowIdleConsumers", "is a parameter of kafka"),
        ("partitionLimitation", "is a parameter of kafka"),
        ("sasl", "is a parameter of kafka; give connectionFromEnv, or namespace"),
        ("tls", "is a parameter of kafka"),
    ],
};

/// For a trigger on whatever source.
pub(super) const EVERYWHERE: &[(&str, &str)] = &[
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
