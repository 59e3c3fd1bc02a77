//! What can keep a Kafka backlog from being known, in words for the trigger's user.

use super::names::{Group, Offset, Topic};
use super::trigger::MAX_TOPICS;
use crate::failure::{Class, Failure};
use crate::identity::{self, HostError};

/// Why there is no answer. None of these is ever 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No broker answers, or none in time.
    #[error("kafka cluster {cluster} cannot be reached: {reason}")]
    Unreachable {
        /// The cluster's bootstrap servers.
        cluster: String,
        /// What its connections last complained of.
        reason: String,
    },
    /// A broker refused our login or certificate, or we refused its certificate.
    #[error("kafka cluster {cluster} refused the connection: {reason}")]
    Refused {
        /// The cluster's bootstrap servers.
        cluster: String,
        /// The reason.
        reason: String,
    },
    /// The topic is not there.
    #[error("topic {topic} does not exist on kafka cluster {cluster}; create it, or correct topic")]
    TopicNotFound {
        /// The topic asked for.
        topic: Topic,
        /// The cluster's bootstrap servers.
        cluster: String,
    },
    /// The login is good, but not for this.
    #[error(
        "kafka denies {what}: {reason}; grant the login Read on the topic and Describe on the group"
    )]
    Denied {
        /// What was asked for.
        what: String,
        /// The broker's word.
        reason: String,
    },
    /// The trigger names no topic, and its group has committed nothing that would name one.
    #[error(
        "group {group} has committed no offsets, so there is no topic to count; name one with topic"
    )]
    NothingCommitted {
        /// The trigger's group.
        group: Group,
    },
    /// A survey reads the topics that it is given.
    #[error("topic is missing; give the topic to look at")]
    NoTopic,
    /// The trigger's group is a share group (KIP-932).
    #[error(
        "group {group} is a share group, which commits no offsets to count from; give a consumer group as consumerGroup"
    )]
    ShareGroup {
        /// The trigger's group.
        group: Group,
    },
    /// The trigger names no topic, and its group has committed on more than a trigger may count.
    #[error(
        "group {group} has committed on {topics} topics, more than the {MAX_TOPICS} that a trigger counts; name those to count with topic"
    )]
    TooManyTopics {
        /// The trigger's group.
        group: Group,
        /// How many there are.
        topics: usize,
    },
    /// `partitionLimitation` leaves no partition of the topic.
    #[error(
        "topic {topic} has none of the partitions {asked}; give some that it has as partitionLimitation"
    )]
    NoPartition {
        /// The topic asked for.
        topic: Topic,
        /// The trigger's `partitionLimitation`.
        asked: String,
    },
    /// The topic has not been read far enough to know of one match.
    #[error("topic {topic} is still being read: {judged} offsets judged, {behind} to go")]
    Warming {
        /// The topic being read.
        topic: Topic,
        /// How many offsets have been judged of those that the answer needs.
        judged: Offset,
        /// How many have not.
        behind: Offset,
    },
    /// What the count takes would be more than the namespace's share of memory.
    #[error("there is no memory for {what}: {reason}")]
    Memory {
        /// What it is needed for.
        what: String,
        /// Who holds what.
        reason: String,
    },
    /// A broker answered with an error of its own.
    #[error("kafka cannot give {what}: {reason}")]
    Broker {
        /// What was asked for.
        what: String,
        /// The broker's word.
        reason: String,
    },
    /// The token that is to let in cannot be had.
    #[error(transparent)]
    Token(#[from] identity::Error),
    /// A token of the scaler's must not go to these servers.
    #[error(transparent)]
    Untrusted(#[from] HostError),
    /// The operator says which hosts tokens may be fetched from.
    #[error(
        "oauthTokenEndpointUri: the operator does not allow {host:?}; give an endpoint at another host, or have this one allowed with --oauth-allow-host"
    )]
    EndpointNotAllowed {
        /// The endpoint's host.
        host: String,
    },
    /// This scaler was started without anyone who fetches tokens.
    #[error("sasl: this scaler cannot fetch tokens, so give another one")]
    NoTokens,
    /// TLS cannot be had with the settings that the trigger's parameters make.
    #[error(
        "the trigger's connection settings do not work: {reason}; give caFromEnv, certFromEnv and keyFromEnv as PEM, and keyPasswordFromEnv that opens the key"
    )]
    Config {
        /// What is wrong with them.
        reason: String,
    },
}

impl Error {
    /// What mends it.
    pub fn class(&self) -> Class {
        match self {
            Self::Config { .. }
            | Self::Untrusted(_)
            | Self::EndpointNotAllowed { .. }
            | Self::NoTokens
            | Self::NoTopic => Class::Invalid,
            Self::Refused { .. } => Class::Unauthenticated,
            Self::Denied { .. } => Class::Denied,
            Self::TopicNotFound { .. } => Class::NotFound,
            Self::NothingCommitted { .. }
            | Self::ShareGroup { .. }
            | Self::TooManyTopics { .. }
            | Self::NoPartition { .. } => Class::Precondition,
            Self::Memory { .. } => Class::Exhausted,
            Self::Unreachable { .. } | Self::Broker { .. } => Class::Unavailable,
            Self::Warming { .. } => Class::Reading,
            Self::Token(error) => error.class(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.class(), error)
    }
}
