//! What a trigger on Azure Service Bus asks for: its Service Bus parameters, decoded.
//!
//! Names, defaults and meanings are those of KEDA's scaler `azure-servicebus`, so that a trigger of
//! its goes on to mean what it meant. Thresholds and limits count messages, or what `countBy` names
//! instead.
//!
//! Whether a token may go to the namespace is not known here, since that is the operator's to say:
//! see `Access::trust`.
//!
//! # References
//! - KEDA 2.20 `pkg/scalers/azure_servicebus_scaler.go`, and `azure/azure_cloud_environment.go`.

use std::num::NonZeroU64;

use super::access::Access;
use super::connection_string::ConnectionString;
use super::entity::{Entities, Entity, Matching, Name, Operation, Pattern};
use crate::identity::{AzurePrincipal, Cloud, CloudError, HostError, Hosts};
use crate::metadata::Reader;
use crate::selection::{EventTypeFrom, Selection};
use crate::source::{Scaling, Wanted};

/// Where counting stops at the earliest of a trigger without `countLimit` whose messages are
/// peeked: few enough to look at again for each poll.
const DEFAULT_PEEK_LIMIT: u64 = 10_000;

/// And at the latest, as each match is kept.
const MOST_OF_ITSELF: u64 = 1_000_000;

/// How many Jobs the messages counted must at least be enough for: KEDA's `maxReplicaCount` where a
/// ScaledJob has none.
const DEFAULT_MAX_JOBS: u64 = 100;

const NAMESPACE: &str = "give the namespace's short name or its host name";
const NAME: &str = "give letters, digits, '.', '-', '_' and '~', with '/' between parts";
const PATTERN: &str = "give a regular expression such as orders-.*";

/// A trigger on Service Bus, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceBusTrigger {
    /// Where the namespace is, and how one is let in.
    pub access: Access,
    /// What is counted in.
    pub entities: Entities,
    /// When and how far to scale.
    pub scaling: Scaling,
    /// Who counts.
    pub count_from: CountFrom,
    /// What one message counts as.
    pub count_by: CountBy,
    /// What AMQP goes over.
    pub transport: Transport,
    /// Which messages count.
    pub selection: Selection,
}

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CountFrom {
    /// The management endpoint where it can and may, else peeking.
    #[default]
    Auto,
    /// The management endpoint alone.
    Management,
    /// We, by peeking.
    Peek,
}

/// What one message counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CountBy {
    /// Itself.
    #[default]
    Messages,
    /// Its session: distinct sessions are counted.
    Sessions,
}

/// What AMQP goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Transport {
    /// TCP, on a port of its own.
    #[default]
    Amqp,
    /// WebSocket, on the port of HTTPS.
    WebSocket,
}

impl ServiceBusTrigger {
    /// Where peeking stops if nobody says how many are enough; above the activation threshold, so
    /// that it always tells whether that is passed.
    pub fn peek_limit(&self) -> NonZeroU64 {
        let Scaling { target, activation, count_limit, .. } = self.scaling;
        let of_jobs = target.saturating_mul(DEFAULT_MAX_JOBS);
        let limit = of_jobs.clamp(DEFAULT_PEEK_LIMIT, MOST_OF_ITSELF);
        count_limit.unwrap_or(NonZeroU64::MIN.saturating_add(activation.max(limit - 1)))
    }
}

impl Wanted for ServiceBusTrigger {
    fn metric_name(reader: &mut Reader<'_>) -> String {
        let connection = connection(reader);
        let entities = entities(reader, connection.as_ref());
        entities.as_ref().map(metric_name).unwrap_or_default()
    }

    fn decode(reader: &mut Reader<'_>, scaling: Scaling, selection: Selection) -> Option<Self> {
        // No message would ever have a type.
        if selection.from == EventTypeFrom::Key {
            reader.complain(
                "eventTypeFrom",
                "is for Kafka, as these messages have no key; give header:<name>, subject or body:<path>",
            );
        }
        let connection = connection(reader);
        let access = access(reader, connection.as_ref());
        let entities = entities(reader, connection.as_ref());
        let count_by = reader.choice(
            "countBy",
            &[("messages", Some(CountBy::Messages)), ("sessions", Some(CountBy::Sessions))],
        );
        let count_by = count_by.unwrap_or_default();
        let count_from = count_from(reader, count_by);
        let transport = reader.choice(
            "transport",
            &[("amqp", Some(Transport::Amqp)), ("websocket", Some(Transport::WebSocket))],
        );
        Some(Self {
            access: access?,
            entities: entities?,
            scaling,
            count_from,
            count_by,
            transport: transport.unwrap_or_default(),
            selection,
        })
    }

    fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    fn selection(&self) -> &Selection {
        &self.selection
    }

    fn place(&self) -> String {
        self.entities.to_string()
    }

    fn default_limit(&self) -> Option<NonZeroU64> {
        Some(self.peek_limit())
    }
}

/// The connection string, if there is one. The entity that it is for is not a name unless it
/// parses.
fn connection(reader: &mut Reader<'_>) -> Option<ConnectionString> {
    let text = reader.secret("connection")?;
    ConnectionString::parse(&text).map_err(|error| reader.complain("connection", error)).ok()
}

/// By connection string, or else by identity.
fn access(reader: &mut Reader<'_>, connection: Option<&ConnectionString>) -> Option<Access> {
    let namespace = reader.text("namespace").map(str::trim);
    let who = AzurePrincipal::decode(reader);
    if reader.has("connection") {
        for key in ["namespace", "identityId", "identityTenantId", "serviceAccountName"] {
            if reader.has(key) {
                reader.complain(key, "does not go with connection; give one of the two");
            }
        }
        // As with KEDA, `cloud` and `endpointSuffix` mean nothing beside a connection string.
        let ConnectionString { endpoint, credential, .. } = connection?.clone();
        return Some(Access::SharedAccess { endpoint, credential });
    }
    if namespace.is_none() {
        reader.complain(
            "namespace",
            "is missing; give it to ask with workload identity, or a connection string as connectionFromEnv",
        );
    }
    let cloud = cloud(reader);
    let (namespace, cloud) = (namespace?, cloud?);
    // Whether the operator allows the host is not known here; whether it is one at all, is.
    let suffix = match Hosts::default().trust(namespace, &cloud) {
        Err(HostError::Namespace { suffix, .. }) => Some(suffix),
        Err(_) if namespace.contains(".privatelink.") => Some(cloud.suffix().to_owned()),
        _ => None,
    };
    if let Some(suffix) = suffix {
        let meant = namespace_meant(namespace, &suffix);
        // A connection string holds a key.
        match is_connection_string(namespace) {
            true => reader.complain_blindly("namespace", meant),
            false => reader.complain("namespace", meant),
        }
    }
    Some(Access::Identity { namespace: namespace.to_owned(), cloud, who: who? })
}

/// What is wrong with a text that is no namespace under its cloud's suffix, and what fits.
fn namespace_meant(given: &str, suffix: &str) -> String {
    if is_connection_string(given) {
        return "is a connection string; give it as connectionFromEnv".to_owned();
    }
    let (scheme, host) = given.split_once("://").unwrap_or(("", given));
    let host = host.split(['/', ':']).next().unwrap_or_default().trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    let (host, problem) = match host.split_once(".privatelink.") {
        Some((name, rest)) => (format!("{name}.{rest}"), "is the name of a private link"),
        None if scheme.is_empty() => (host, "is more than the name of a host"),
        None => (host, "has a scheme"),
    };
    let is_of = |cloud: &Cloud| Hosts::default().trust(&host, cloud).is_ok();
    for (cloud, name) in [
        (Cloud::Public, "AzurePublicCloud"),
        (Cloud::UsGovernment, "AzureUSGovernmentCloud"),
        (Cloud::China, "AzureChinaCloud"),
    ] {
        if host.contains('.') && cloud.suffix() != suffix && is_of(&cloud) {
            return format!("is in another cloud than {suffix}; give it with cloud: {name}");
        }
    }
    // A short name is one in every cloud.
    let is_whole = host.ends_with(suffix) || (!scheme.is_empty() && !host.contains('.'));
    if is_whole && is_of(&Cloud::Private(suffix.to_owned())) {
        return format!("{problem}; give {host}");
    }
    format!("is not a namespace under {suffix}; {NAMESPACE}")
}

fn is_connection_string(text: &str) -> bool {
    text.contains("SharedAccess") || text.contains("Endpoint=")
}

fn cloud(reader: &mut Reader<'_>) -> Option<Cloud> {
    let cloud = reader.text("cloud").map(str::trim);
    let suffix = reader.text("endpointSuffix").map(str::trim);
    match Cloud::parse(cloud, suffix) {
        Ok(cloud) => return Some(cloud),
        Err(CloudError::NoSuffix) => {
            reader.require("endpointSuffix", "cloud: Private needs the suffix of its namespaces");
        }
        Err(CloudError::Unknown(_)) => reader.complain(
            "cloud",
            "is not known; give AzurePublicCloud or AzureUSGovernmentCloud or AzureChinaCloud or Private",
        ),
    }
    None
}

fn entities(reader: &mut Reader<'_>, connection: Option<&ConnectionString>) -> Option<Entities> {
    let of_connection = entity_of_connection(reader, connection);
    let operation = reader.choice(
        "operation",
        &[
            ("sum", Some(Operation::Sum)),
            ("max", Some(Operation::Max)),
            ("avg", Some(Operation::Avg)),
        ],
    );
    let matching = reader.boolean("useRegex").then(|| operation.unwrap_or_default());
    let [queue, topic, subscription] =
        ["queueName", "topicName", "subscriptionName"].map(|key| reader.text(key).is_some());
    for (key, given) in [("topicName", topic), ("subscriptionName", subscription)] {
        if queue && given {
            reader.complain(key, "does not go with queueName; give one of the two");
        }
    }

    let (key, entities) = if queue {
        ("queueName", named(reader, "queueName", None, matching))
    } else if topic || subscription {
        let topic = topic_named(reader, of_connection.as_ref());
        reader.require("subscriptionName", "give the subscription of the topic");
        let entities = named(reader, "subscriptionName", topic.clone(), matching);
        ("subscriptionName", topic.and(entities))
    } else if of_connection.is_some() && matching.is_none() {
        // What a connection string is for need not be named again.
        return of_connection.map(Entities::One);
    } else {
        reader.require("queueName", "give a queue, or topicName and subscriptionName");
        return None;
    };
    let entities = entities?;
    if of_connection.is_some_and(|of_connection| !is_within(&entities, &of_connection)) {
        reader.complain(
            "connection",
            format_args!("has an EntityPath that {key} is not within; give the namespace's own"),
        );
    }
    Some(entities)
}

/// What `key` names: an entity, or a pattern where there is an operation for its matches.
fn named(
    reader: &mut Reader<'_>,
    key: &'static str,
    topic: Option<Name>,
    matching: Option<Operation>,
) -> Option<Entities> {
    if let Some(operation) = matching {
        refuse_with_regex(reader);
        let pattern = reader.parsed(key, PATTERN, Pattern::parse)?;
        return Some(Entities::Matching(Matching { topic, pattern, operation }));
    }
    let (name, is_dead) = reader.parsed(key, NAME, |text| {
        let of_dead = Entity::strip_dead_letters(text);
        Name::parse(of_dead.unwrap_or(text)).map(|name| (name, of_dead.is_some()))
    })?;
    let entity = match topic {
        Some(topic) => Entity::Subscription { topic, name },
        None => Entity::Queue(name),
    };
    Some(Entities::One(match is_dead {
        true => Entity::DeadLetters(Box::new(entity)),
        false => entity,
    }))
}

/// The topic of a subscription, which a connection string may be for.
fn topic_named(reader: &mut Reader<'_>, of_connection: Option<&Entity>) -> Option<Name> {
    if let (false, Some(Entity::Queue(topic))) = (reader.has("topicName"), of_connection) {
        return Some(topic.clone());
    }
    reader.require("topicName", "give the topic of the subscription");
    reader.parsed("topicName", NAME, Name::parse)
}

fn entity_of_connection(
    reader: &mut Reader<'_>,
    connection: Option<&ConnectionString>,
) -> Option<Entity> {
    let path = connection?.entity_path.as_deref()?;
    let entity = Entity::parse(path).ok();
    if entity.is_none() {
        reader
            .complain("connection", "has an EntityPath that is no name; give it as Azure shows it");
    }
    entity
}

/// Whether a connection string for an entity gets at these. A topic's is for its subscriptions too,
/// and looks like a queue's.
fn is_within(entities: &Entities, of_connection: &Entity) -> bool {
    let topic_is =
        |topic: &Name| matches!(of_connection, Entity::Queue(path) if path.is_same(topic));
    let is_within = |entity: &Entity| match (entity, of_connection) {
        (Entity::Queue(queue), _) => topic_is(queue),
        (Entity::Subscription { topic, .. }, Entity::Queue(path)) => path.is_same(topic),
        (
            Entity::Subscription { topic, name },
            Entity::Subscription { topic: of_topic, name: of_name },
        ) => of_topic.is_same(topic) && of_name.is_same(name),
        _ => false,
    };
    match entities {
        Entities::One(entity) => is_within(entity.described_by()),
        Entities::Matching(Matching { topic, .. }) => topic.as_ref().is_some_and(topic_is),
    }
}

/// A pattern's entities are listed by the management endpoint, which knows no messages.
fn refuse_with_regex(reader: &mut Reader<'_>) {
    for key in ["eventType", "filter"] {
        if reader.has(key) {
            reader.complain(
                "useRegex",
                format_args!(
                    "does not go with {key}, which needs messages read; give one of the two"
                ),
            );
        }
    }
    for (key, reads) in [("countBy", "sessions"), ("countFrom", "peek")] {
        if reader.text(key).is_some_and(|word| word.trim() == reads) {
            reader.complain(
                "useRegex",
                format_args!("does not go with {key}: {reads}, which needs messages read; give one of the two"),
            );
        }
    }
}

fn count_from(reader: &mut Reader<'_>, count_by: CountBy) -> CountFrom {
    let count_from = reader
        .choice(
            "countFrom",
            &[
                ("auto", Some(CountFrom::Auto)),
                ("management", Some(CountFrom::Management)),
                ("peek", Some(CountFrom::Peek)),
            ],
        )
        .unwrap_or_default();
    if count_from == CountFrom::Management {
        for key in ["eventType", "filter"] {
            if reader.has(key) {
                reader.complain(
                    "countFrom",
                    format_args!(
                        "does not go with {key}, which needs messages read; give auto or peek"
                    ),
                );
            }
        }
        if count_by != CountBy::Messages {
            reader.complain("countFrom", "goes with countBy messages alone; give auto or peek");
        }
    }
    count_from
}

/// As KEDA names it: by the queue or the topic, or by which of the two a pattern is for.
fn metric_name(entities: &Entities) -> String {
    let of = |entity: &Entity| match entity {
        Entity::Queue(queue) => queue.to_string(),
        Entity::Subscription { topic, .. } => topic.to_string(),
        Entity::DeadLetters(_) => String::new(),
    };
    let name = match entities {
        Entities::One(Entity::DeadLetters(entity)) => format!("{}-dead-letters", of(entity)),
        Entities::One(entity) => of(entity),
        Entities::Matching(Matching { topic: None, .. }) => "queue-regex".to_owned(),
        Entities::Matching(Matching { topic: Some(_), .. }) => "topic-regex".to_owned(),
    };
    format!("azure-servicebus-{name}")
}

#[cfg(test)]
mod tests;
