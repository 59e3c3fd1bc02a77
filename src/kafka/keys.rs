//! Keys that are no parameters of a trigger on Kafka, and what their users mean: KEDA's older names, those of
//! its other scalers and of Kafka's clients.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers`; KEDA 1.5 for `brokerList`

use crate::metadata::Keys;

/// What a user is told about them.
pub(super) const KEYS: Keys = Keys {
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
