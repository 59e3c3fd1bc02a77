//! The parameters of a trigger on Kafka beside those that every trigger has: what each means is
//! said once, here. And keys that are none, with what their users mean: KEDA's older names, those
//! of its other scalers and of Kafka's clients.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers`; KEDA 1.5 for `brokerList`

use crate::metadata::{ByHeart, Parameter, Table};

/// The parameters, and what is said of other keys.
pub(super) const TABLE: Table = Table { parameters: PARAMETERS, usual: USUAL, by_heart: BY_HEART };

const PARAMETERS: &[Parameter] = &[
    Parameter::new("bootstrapServers", "required", "list of `host:port`, at most 64"),
    Parameter::new("consumerGroup", "required", "the group that the workload reads with"),
    Parameter::new(
        "topic",
        "all that the group has committed offsets for",
        "list of topics, at most 1,000",
    ),
    Parameter::new(
        "partitionLimitation",
        "all",
        "the partitions of each topic that count, such as `1-4,8,10-12`",
    ),
    Parameter::new("version", "", "the broker's version, such as `2.8.0` or `0.11.0.2`"),
    Parameter::new(
        "fullMetadata",
        "`true`",
        "whether KEDA's client keeps the metadata of the whole cluster, in KEDA after 2.20",
    ),
    Parameter::new("countFrom", "`records`", "what a backlog is made of"),
    Parameter::new("countBy", "`messages`", "what a message counts as"),
    Parameter::new("lagThreshold", "10", "messages for one replica or Job, 1 or more"),
    Parameter::new(
        "activationLagThreshold",
        "0",
        "the trigger is active while more messages wait than this",
    ),
    Parameter::new(
        "allowIdleConsumers",
        "false",
        "`true` lifts the bound by the number of partitions",
    ),
    Parameter::new(
        "limitToPartitionsWithLag",
        "false",
        "bounds by the number of partitions that have a message that counts",
    ),
    Parameter::new(
        "ensureEvenDistributionOfPartitions",
        "false",
        "rounds up, so that every replica gets the same number of partitions",
    ),
    Parameter::new("excludePersistentLag", "false", "leaves out partitions that make no progress"),
    Parameter::new(
        "offsetResetPolicy",
        "`latest`",
        "`latest` or `earliest`, as the consumer's `auto.offset.reset`",
    ),
    Parameter::new(
        "scaleToZeroOnInvalidOffset",
        "false",
        "`true`: such a partition counts 0, whatever the policy",
    ),
    Parameter::new("tls", "`disable`", "`enable` or `disable`"),
    Parameter::secret(
        "ca",
        "the system's",
        "PEM of the authorities that may sign the brokers' certificates",
    ),
    Parameter::secret("cert", "", "PEM of the client certificate"),
    Parameter::secret("key", "", "PEM of the certificate's private key, as PKCS#8, PKCS#1 or SEC1"),
    Parameter::secret("keyPassword", "", "opens an encrypted `key`"),
    Parameter::new(
        "brokerUnsafeSsl",
        "false",
        "`true`: the brokers' certificate and name are not checked",
    ),
    Parameter::new("sasl", "`none`", "how to log in"),
    Parameter::secret("username", "", "the user to log in as"),
    Parameter::secret("password", "", "the user's password"),
    Parameter::new("saslTokenProvider", "`bearer`", "who issues tokens"),
    Parameter::new("oauthTokenEndpointUri", "required", "the https URL that issues tokens"),
    Parameter::new("scopes", "none", "a list of what the token is for"),
    Parameter::new("oauthExtensions", "none", "a list of `name=value` that brokers are also told"),
    Parameter::new(
        "identityId",
        "the scaler's",
        "the client ID of another identity, one that the scaler's service account is federated with",
    ),
    Parameter::new(
        "identityTenantId",
        "the scaler's",
        "the identity's tenant, a GUID or a domain name",
    ),
    Parameter::new(
        "serviceAccountName",
        "",
        "a service account of the trigger's namespace with whose identity to log in",
    ),
    Parameter::ignored("keytab", "`gssapi`"),
    Parameter::ignored("realm", "`gssapi`"),
    Parameter::ignored("kerberosConfig", "`gssapi`"),
    Parameter::ignored("kerberosServiceName", "`gssapi`"),
    Parameter::ignored("kerberosDisableFAST", "`gssapi`"),
    Parameter::ignored("awsRegion", "`aws_msk_iam`"),
];

const USUAL: &str = "bootstrapServers, consumerGroup, topic, offsetResetPolicy, lagThreshold, eventType, \
            eventTypeFrom, filter";

const BY_HEART: ByHeart = &[
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
    ("activationMessageCount", "is a parameter of azure-servicebus; give activationLagThreshold"),
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
];
