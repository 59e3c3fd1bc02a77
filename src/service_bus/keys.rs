//! Keys that are no parameters of a trigger on Service Bus, and what their users mean: KEDA's older names, those of
//! its other scalers and of Azure's clients.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers`; KEDA 1.5 for `queueLength`

use crate::metadata::Keys;

/// What a user is told about them.
pub(super) const KEYS: Keys = Keys {
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
