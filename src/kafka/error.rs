//! What can keep a Kafka backlog from being known, in words for the trigger's user.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::librdkafka::{Fault, Unmade};
use super::names::{Group, Offset, Topic};
use crate::identity::{self, HostError};

/// How OpenSSL tells that the other side refused.
const TLS_ALERT: &str = ": SSL alert number ";

/// How a broker refuses a token (RFC 7628, section 3.2.2).
const TOKEN_REFUSED: &str = "{\"status\":";

const CHECK_LOGIN: &str = "check sasl, usernameFromEnv and passwordFromEnv";

const CHECK_CLIENT: &str = "check the client's rights and scopes";

const WANTS_MORE: &str =
    "where that stays, this port wants TLS or a login: give tls and sasl, or another port";

/// Where librdkafka's advice begins, and ours in its place.
const ADVICE: &[(&str, &str)] = &[
    (
        ": broker certificate could not be verified",
        "give the CA of the brokers' certificate as caFromEnv, and servers by a name in it",
    ),
    (TLS_ALERT, "give a certificate that the brokers trust as certFromEnv, with keyFromEnv"),
    (
        ": connecting to a PLAINTEXT",
        "this port does not speak TLS: leave out tls, or give another port",
    ),
    (": connection closed by peer", WANTS_MORE),
    (": SSL connection closed by peer", WANTS_MORE),
];

/// librdkafka's settings that a trigger's parameters make, with their names.
const SETTINGS: &[(&str, &str)] = &[
    ("ssl.ca.pem", "ca"),
    ("ssl.certificate.pem", "cert"),
    ("ssl.key.pem", "key"),
    ("ssl.key.password", "keyPassword"),
];

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
    /// librdkafka does not take the settings that the trigger's parameters make.
    #[error(
        "the trigger's connection settings do not work: {reason}; give caFromEnv, certFromEnv and keyFromEnv as PEM, and keyPasswordFromEnv that opens the key"
    )]
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

impl Error {
    /// What keeps a handle of this cluster from being made; settings are told without their values.
    pub(super) fn unmade(error: &Unmade, cluster: String) -> Error {
        let said = match error {
            Unmade::Settings(KafkaError::ClientConfig(_, said, key, _)) => {
                format!("{said} for {key}")
            }
            Unmade::Settings(KafkaError::ClientCreation(said)) => said.clone(),
            Unmade::Settings(error) => error.to_string(),
            Unmade::Otherwise(reason) => {
                return Error::Unreachable { cluster, reason: reason.clone() };
            }
        };
        let parameter = |said: String, (theirs, ours): &(&str, &str)| said.replace(theirs, ours);
        let reason = SETTINGS.iter().fold(said, parameter);
        Error::Config { reason }
    }
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
            | Code::NetworkException => {
                // With TLS 1.3 a broker refuses a certificate only after the handshake.
                if self.reason.contains(TLS_ALERT) { Kind::Refused } else { Kind::Passing }
            }
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

    /// The reason in the same words each time: without the connection it was, how long and how often,
    /// and with advice that names a trigger's parameters in place of librdkafka's settings.
    pub(super) fn steady(&self) -> String {
        let text = self.reason.split_once(" (after ").map_or(&*self.reason, |(text, _)| text);
        // Such as `sasl_ssl://kafka:9093/bootstrap: `.
        let text = match text.split_once(": ") {
            Some((connection, rest)) if connection.contains('/') => rest,
            _ => text,
        };
        // Such as `LISTCONSUMERGROUPOFFSETS worker coordinator request failed: `.
        let text = text.split_once("request failed: ").map_or(text, |(_, rest)| rest);
        let (said, advice) = match self.code {
            Code::Authentication | Code::SaslAuthenticationFailed
                if text.contains(TOKEN_REFUSED) =>
            {
                (text, Some(CHECK_CLIENT))
            }
            Code::Authentication | Code::SaslAuthenticationFailed => (text, Some(CHECK_LOGIN)),
            _ => ADVICE
                .iter()
                .find_map(|(theirs, ours)| Some((text.split_once(theirs)?.0, Some(*ours))))
                .unwrap_or((text, None)),
        };
        let said = said.trim_end_matches(['.', ':', ' ']);
        advice.map_or_else(|| said.to_owned(), |advice| format!("{said}; {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: Code, reason: &str) -> Fault {
        Fault { code, reason: reason.to_owned() }
    }

    #[test]
    fn a_reason_reads_the_same_each_time_and_ends_in_what_to_do() {
        let rows = [
            (
                Code::BrokerTransportFailure,
                "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused \
                 (after 0ms in state CONNECT, 3 identical error(s) suppressed)",
                "Connect to ipv4#127.0.0.1:9 failed: Connection refused",
            ),
            (
                Code::GroupAuthorizationFailed,
                "LISTCONSUMERGROUPOFFSETS worker coordinator request failed: Broker: Group authorization failed",
                "Broker: Group authorization failed",
            ),
            (
                Code::Authentication,
                "sasl_ssl://a:1/bootstrap: SASL authentication error: Invalid username (after 9ms in state AUTH_REQ)",
                "SASL authentication error: Invalid username; check sasl, usernameFromEnv and passwordFromEnv",
            ),
            (
                Code::Authentication,
                "sasl_ssl://a:1/bootstrap: SASL authentication error: {\"status\":\"invalid_token\"} (after 9ms)",
                "SASL authentication error: {\"status\":\"invalid_token\"}; check the client's rights and scopes",
            ),
            (Code::AllBrokersDown, "1/1 brokers are down", "1/1 brokers are down"),
        ];
        for (code, reason, expected) in rows {
            assert_eq!(fault(code, reason).steady(), expected);
        }
    }

    #[test]
    fn only_settings_are_told_to_be_wrong_and_without_their_value() {
        let no_thread = Unmade::Otherwise("Failed to create thread".to_owned());
        assert_eq!(
            Error::unmade(&no_thread, "kafka:9092".to_owned()).to_string(),
            "kafka cluster kafka:9092 cannot be reached: Failed to create thread"
        );
        let error = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "Invalid value".to_owned(),
            "ssl.key.pem".to_owned(),
            "hunter2".to_owned(),
        );
        assert_eq!(
            Error::unmade(&Unmade::Settings(error), "kafka:9092".to_owned()).to_string(),
            "the trigger's connection settings do not work: Invalid value for key; \
             give caFromEnv, certFromEnv and keyFromEnv as PEM, and keyPasswordFromEnv that opens the key"
        );
    }
}
