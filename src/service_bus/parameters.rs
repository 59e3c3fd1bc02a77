//! The parameters of a trigger on Service Bus beside those that every trigger has: what each means
//! is said once, here. And keys that are none, with what their users mean: KEDA's older names,
//! those of its other scalers and of Azure's clients.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers`; KEDA 1.5 for `queueLength`

use crate::metadata::{ByHeart, Parameter, Table};

/// The parameters, and what is said of other keys.
pub(super) const TABLE: Table = Table { parameters: PARAMETERS, usual: USUAL, by_heart: BY_HEART };

const PARAMETERS: &[Parameter] = &[
    Parameter::new("queueName", "", "the queue to count"),
    Parameter::new("topicName", "", "the topic"),
    Parameter::new("subscriptionName", "", "the subscription of the topic that is counted"),
    Parameter::new(
        "useRegex",
        "false",
        "`true`: `queueName`, or else `subscriptionName`, is a regular expression in Go's syntax",
    ),
    Parameter::new("operation", "`sum`", "how their counts are combined"),
    Parameter::new(
        "namespace",
        "",
        "the namespace, by its short name `shop` or its host `shop.servicebus.windows.net`",
    ),
    Parameter::new("cloud", "`AzurePublicCloud`", "which cloud the namespace is in"),
    Parameter::new("endpointSuffix", "the cloud's", "what follows the namespace's short name"),
    Parameter::new(
        "identityId",
        "keda-sift's own",
        "client ID of another identity that keda-sift's service account federates with",
    ),
    Parameter::new("identityTenantId", "keda-sift's own", "the tenant of that identity"),
    Parameter::secret("connection", "", "a connection string, instead of `namespace`"),
    Parameter::new("transport", "`amqp`", "how messages are read"),
    Parameter::new(
        "serviceAccountName",
        "",
        "a service account of the trigger's namespace with whose identity to log in",
    ),
    Parameter::new("countFrom", "`auto`", "who counts"),
    Parameter::new("countBy", "`messages`", "what a message counts as"),
    Parameter::new("messageCount", "5", "messages for one replica or Job, 1 or more"),
    Parameter::new(
        "activationMessageCount",
        "0",
        "the trigger is active while more messages wait than this",
    ),
];

const USUAL: &str = "namespace or connectionFromEnv, queueName or topicName and subscriptionName, \
            messageCount, eventType, eventTypeFrom, filter";

const BY_HEART: ByHeart = &[
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
];
