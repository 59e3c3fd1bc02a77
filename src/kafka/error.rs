//! What can keep a Kafka backlog from being known, in words for the trigger's user.

use rdkafka::types::RDKafkaErrorCode as Code;

use super::librdkafka::Fault;
use super::names::{Group, Offset, Topic};

/// Why there is no answer. None of these is ever 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No broker answers, or none in time.
    #[error("kafka cluster {cluster} cannot be reached: {reason}")]
    Unreachable {
        /// The cluster's bootstrap servers.
        cluster: String,
        /// What librdkafka last said of it.
        reason: String,
    },
    /// A broker refused our login or certificate, or we refused its certificate.
    #[error("kafka cluster {cluster} refused the connection: {reason}")]
    Refused {
        /// The cluster's bootstrap servers.
        cluster: String,
        /// What librdkafka said of it.
        reason: String,
    },
    /// The topic is not there.
    #[error("topic {topic} does not exist on kafka cluster {cluster}")]
    TopicNotFound {
        /// The topic asked for.
        topic: Topic,
        /// The cluster's bootstrap servers.
        cluster: String,
    },
    /// The login is good, but not for this.
    #[error("kafka denies {what}: {reason}")]
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
    /// `partitionLimitation` leaves no partition of the topic.
    #[error("topic {topic} has no partition left by partitionLimitation: {asked}")]
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
    /// A broker answered with an error of its own.
    #[error("kafka cannot give {what}: {reason}")]
    Broker {
        /// What was asked for.
        what: String,
        /// The broker's word.
        reason: String,
    },
    /// librdkafka does not take the settings that the trigger's parameters make.
    #[error("the trigger's connection settings do not work: {reason}")]
    Config {
        /// librdkafka's word.
        reason: String,
    },
}

/// What to make of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The brokers are in motion; asking again soon may give an answer.
    Passing,
    /// Login or certificate.
    Refused,
    /// Rights.
    Denied,
    /// There is no such topic or partition.
    Missing,
    /// No answer.
    Silent,
    /// Anything else.
    Other,
}

impl Fault {
    pub(super) fn kind(&self) -> Kind {
        match self.code {
            Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::ReplicaNotAvailable
            | Code::BrokerNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::UnstableOffsetCommit
            | Code::NoEnt
            | Code::RequestTimedOut
            | Code::BrokerTransportFailure
            | Code::NetworkException => Kind::Passing,
            Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed => Kind::Refused,
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed => Kind::Denied,
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::UnknownTopicId
            | Code::InvalidTopic => Kind::Missing,
            Code::OperationTimedOut | Code::Resolve | Code::AllBrokersDown => Kind::Silent,
            _ => Kind::Other,
        }
    }

    /// The reason in the same words each time: librdkafka adds how long and how often.
    pub(super) fn steady(&self) -> String {
        let text = self.reason.split_once(" (after ").map_or(&*self.reason, |(text, _)| text);
        // A log prefix such as `sasl_plaintext://broker:9092/bootstrap: ` names what is known.
        text.trim_end_matches(['.', ':', ' ']).to_owned()
    }
}
