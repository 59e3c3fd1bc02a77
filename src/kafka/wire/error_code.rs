//! What does a broker mean by an error code?
//!
//! A code is shown by Kafka's own name for it, which is what a reader will look for.
//!
//! # References
//! - [Error codes](https://kafka.apache.org/protocol#protocol_error_codes)
//! - `Errors.java` in apache/kafka

use std::fmt;

/// A code other than 0, by which a broker says what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

/// What to make of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The brokers are in motion; asking again soon may give an answer.
    Moving,
    /// The login is good, but not for this.
    Denied,
    /// The login was refused.
    Refused,
    /// There is no such topic or partition.
    Missing,
    /// The broker does not speak the version asked for.
    Unsupported,
    /// Anything else.
    Other,
}

/// Kafka's names of the codes from 0 on.
const NAMES: [&str; 134] = [
    "NONE",
    "OFFSET_OUT_OF_RANGE",
    "CORRUPT_MESSAGE",
    "UNKNOWN_TOPIC_OR_PARTITION",
    "INVALID_FETCH_SIZE",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_OR_FOLLOWER",
    "REQUEST_TIMED_OUT",
    "BROKER_NOT_AVAILABLE",
    "REPLICA_NOT_AVAILABLE",
    "MESSAGE_TOO_LARGE",
    "STALE_CONTROLLER_EPOCH",
    "OFFSET_METADATA_TOO_LARGE",
    "NETWORK_EXCEPTION",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "INVALID_TOPIC_EXCEPTION",
    "RECORD_LIST_TOO_LARGE",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "INVALID_REQUIRED_ACKS",
    "ILLEGAL_GENERATION",
    "INCONSISTENT_GROUP_PROTOCOL",
    "INVALID_GROUP_ID",
    "UNKNOWN_MEMBER_ID",
    "INVALID_SESSION_TIMEOUT",
    "REBALANCE_IN_PROGRESS",
    "INVALID_COMMIT_OFFSET_SIZE",
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "INVALID_TIMESTAMP",
    "UNSUPPORTED_SASL_MECHANISM",
    "ILLEGAL_SASL_STATE",
    "UNSUPPORTED_VERSION",
    "TOPIC_ALREADY_EXISTS",
    "INVALID_PARTITIONS",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_REPLICA_ASSIGNMENT",
    "INVALID_CONFIG",
    "NOT_CONTROLLER",
    "INVALID_REQUEST",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    "POLICY_VIOLATION",
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "DUPLICATE_SEQUENCE_NUMBER",
    "INVALID_PRODUCER_EPOCH",
    "INVALID_TXN_STATE",
    "INVALID_PRODUCER_ID_MAPPING",
    "INVALID_TRANSACTION_TIMEOUT",
    "CONCURRENT_TRANSACTIONS",
    "TRANSACTION_COORDINATOR_FENCED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "SECURITY_DISABLED",
    "OPERATION_NOT_ATTEMPTED",
    "KAFKA_STORAGE_ERROR",
    "LOG_DIR_NOT_FOUND",
    "SASL_AUTHENTICATION_FAILED",
    "UNKNOWN_PRODUCER_ID",
    "REASSIGNMENT_IN_PROGRESS",
    "DELEGATION_TOKEN_AUTH_DISABLED",
    "DELEGATION_TOKEN_NOT_FOUND",
    "DELEGATION_TOKEN_OWNER_MISMATCH",
    "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    "DELEGATION_TOKEN_EXPIRED",
    "INVALID_PRINCIPAL_TYPE",
    "NON_EMPTY_GROUP",
    "GROUP_ID_NOT_FOUND",
    "FETCH_SESSION_ID_NOT_FOUND",
    "INVALID_FETCH_SESSION_EPOCH",
    "LISTENER_NOT_FOUND",
    "TOPIC_DELETION_DISABLED",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "UNSUPPORTED_COMPRESSION_TYPE",
    "STALE_BROKER_EPOCH",
    "OFFSET_NOT_AVAILABLE",
    "MEMBER_ID_REQUIRED",
    "PREFERRED_LEADER_NOT_AVAILABLE",
    "GROUP_MAX_SIZE_REACHED",
    "FENCED_INSTANCE_ID",
    "ELIGIBLE_LEADERS_NOT_AVAILABLE",
    "ELECTION_NOT_NEEDED",
    "NO_REASSIGNMENT_IN_PROGRESS",
    "GROUP_SUBSCRIBED_TO_TOPIC",
    "INVALID_RECORD",
    "UNSTABLE_OFFSET_COMMIT",
    "THROTTLING_QUOTA_EXCEEDED",
    "PRODUCER_FENCED",
    "RESOURCE_NOT_FOUND",
    "DUPLICATE_RESOURCE",
    "UNACCEPTABLE_CREDENTIAL",
    "INCONSISTENT_VOTER_SET",
    "INVALID_UPDATE_VERSION",
    "FEATURE_UPDATE_FAILED",
    "PRINCIPAL_DESERIALIZATION_FAILURE",
    "SNAPSHOT_NOT_FOUND",
    "POSITION_OUT_OF_RANGE",
    "UNKNOWN_TOPIC_ID",
    "DUPLICATE_BROKER_REGISTRATION",
    "BROKER_ID_NOT_REGISTERED",
    "INCONSISTENT_TOPIC_ID",
    "INCONSISTENT_CLUSTER_ID",
    "TRANSACTIONAL_ID_NOT_FOUND",
    "FETCH_SESSION_TOPIC_ID_ERROR",
    "INELIGIBLE_REPLICA",
    "NEW_LEADER_ELECTED",
    "OFFSET_MOVED_TO_TIERED_STORAGE",
    "FENCED_MEMBER_EPOCH",
    "UNRELEASED_INSTANCE_ID",
    "UNSUPPORTED_ASSIGNOR",
    "STALE_MEMBER_EPOCH",
    "MISMATCHED_ENDPOINT_TYPE",
    "UNSUPPORTED_ENDPOINT_TYPE",
    "UNKNOWN_CONTROLLER_ID",
    "UNKNOWN_SUBSCRIPTION_ID",
    "TELEMETRY_TOO_LARGE",
    "INVALID_REGISTRATION",
    "TRANSACTION_ABORTABLE",
    "INVALID_RECORD_STATE",
    "SHARE_SESSION_NOT_FOUND",
    "INVALID_SHARE_SESSION_EPOCH",
    "FENCED_STATE_EPOCH",
    "INVALID_VOTER_KEY",
    "DUPLICATE_VOTER",
    "VOTER_NOT_FOUND",
    "INVALID_REGULAR_EXPRESSION",
    "REBOOTSTRAP_REQUIRED",
    "STREAMS_INVALID_TOPOLOGY",
    "STREAMS_INVALID_TOPOLOGY_EPOCH",
    "STREAMS_TOPOLOGY_FENCED",
    "SHARE_SESSION_LIMIT_REACHED",
];

impl ErrorCode {
    /// The broker does not know what went wrong.
    pub const UNKNOWN_SERVER_ERROR: Self = Self(-1);
    /// The offset is not in the log.
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// The broker has no such topic or partition, or does not show it to us.
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    /// The partition has no leader now.
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    /// Another broker leads the partition.
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    /// The broker waited in vain for something.
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    /// The broker is not there.
    pub const BROKER_NOT_AVAILABLE: Self = Self(8);
    /// The replica is not there.
    pub const REPLICA_NOT_AVAILABLE: Self = Self(9);
    /// A connection between brokers ended.
    pub const NETWORK_EXCEPTION: Self = Self(13);
    /// The coordinator still reads what its groups committed.
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    /// No broker coordinates the group now.
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    /// Another broker coordinates the group.
    pub const NOT_COORDINATOR: Self = Self(16);
    /// The topic's name is not allowed.
    pub const INVALID_TOPIC_EXCEPTION: Self = Self(17);
    /// No right to the topic.
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    /// No right to the group.
    pub const GROUP_AUTHORIZATION_FAILED: Self = Self(30);
    /// No right to the cluster.
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    /// The broker does not have the SASL mechanism.
    pub const UNSUPPORTED_SASL_MECHANISM: Self = Self(33);
    /// The login is not at the step that the request belongs to.
    pub const ILLEGAL_SASL_STATE: Self = Self(34);
    /// The broker does not speak the version asked for.
    pub const UNSUPPORTED_VERSION: Self = Self(35);
    /// Another broker is the controller.
    pub const NOT_CONTROLLER: Self = Self(41);
    /// The broker finds the request malformed.
    pub const INVALID_REQUEST: Self = Self(42);
    /// No right to the transactional id.
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Self = Self(53);
    /// The broker's disk fails.
    pub const KAFKA_STORAGE_ERROR: Self = Self(56);
    /// The login was refused.
    pub const SASL_AUTHENTICATION_FAILED: Self = Self(58);
    /// No right to the delegation token.
    pub const DELEGATION_TOKEN_AUTHORIZATION_FAILED: Self = Self(65);
    /// The broker has no such fetch session; a new one is to be begun.
    pub const FETCH_SESSION_ID_NOT_FOUND: Self = Self(70);
    /// The broker is at another step of the fetch session; a new one is to be begun.
    pub const INVALID_FETCH_SESSION_EPOCH: Self = Self(71);
    /// The leader does not listen where the client came in.
    pub const LISTENER_NOT_FOUND: Self = Self(72);
    /// The client knows an older leader of the partition.
    pub const FENCED_LEADER_EPOCH: Self = Self(74);
    /// The client knows a newer leader of the partition than the broker does.
    pub const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    /// A new leader does not know yet how far the log goes.
    pub const OFFSET_NOT_AVAILABLE: Self = Self(78);
    /// The preferred replica cannot lead now.
    pub const PREFERRED_LEADER_NOT_AVAILABLE: Self = Self(80);
    /// No replica can lead now.
    pub const ELIGIBLE_LEADERS_NOT_AVAILABLE: Self = Self(83);
    /// A transaction that commits offsets is open.
    pub const UNSTABLE_OFFSET_COMMIT: Self = Self(88);
    /// We asked too much for our quota.
    pub const THROTTLING_QUOTA_EXCEEDED: Self = Self(89);
    /// The broker has no topic of this id.
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    /// The topic's id is another one.
    pub const INCONSISTENT_TOPIC_ID: Self = Self(103);
    /// The fetch session names topics by id and the question by name, or the other way round.
    pub const FETCH_SESSION_TOPIC_ID_ERROR: Self = Self(106);
    /// What we know of the cluster is too old; begin at the bootstrap servers.
    pub const REBOOTSTRAP_REQUIRED: Self = Self(129);

    /// The error of this code on the wire, where 0 is none.
    pub fn from_wire(code: i16) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// Kafka's name for it, if it has one.
    pub fn name(self) -> Option<&'static str> {
        if self == Self::UNKNOWN_SERVER_ERROR {
            return Some("UNKNOWN_SERVER_ERROR");
        }
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }

    /// Whether a broker knows no such fetch session, or knows it otherwise.
    pub fn is_of_session(self) -> bool {
        [
            Self::FETCH_SESSION_ID_NOT_FOUND,
            Self::INVALID_FETCH_SESSION_EPOCH,
            Self::FETCH_SESSION_TOPIC_ID_ERROR,
        ]
        .contains(&self)
    }

    /// What to make of it.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::LEADER_NOT_AVAILABLE
            | Self::NOT_LEADER_OR_FOLLOWER
            | Self::REQUEST_TIMED_OUT
            | Self::BROKER_NOT_AVAILABLE
            | Self::REPLICA_NOT_AVAILABLE
            | Self::NETWORK_EXCEPTION
            | Self::COORDINATOR_LOAD_IN_PROGRESS
            | Self::COORDINATOR_NOT_AVAILABLE
            | Self::NOT_COORDINATOR
            | Self::NOT_CONTROLLER
            | Self::KAFKA_STORAGE_ERROR
            | Self::LISTENER_NOT_FOUND
            | Self::FENCED_LEADER_EPOCH
            | Self::UNKNOWN_LEADER_EPOCH
            | Self::OFFSET_NOT_AVAILABLE
            | Self::PREFERRED_LEADER_NOT_AVAILABLE
            | Self::ELIGIBLE_LEADERS_NOT_AVAILABLE
            | Self::UNSTABLE_OFFSET_COMMIT
            | Self::THROTTLING_QUOTA_EXCEEDED
            | Self::REBOOTSTRAP_REQUIRED => ErrorKind::Moving,
            Self::TOPIC_AUTHORIZATION_FAILED
            | Self::GROUP_AUTHORIZATION_FAILED
            | Self::CLUSTER_AUTHORIZATION_FAILED
            | Self::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            | Self::DELEGATION_TOKEN_AUTHORIZATION_FAILED => ErrorKind::Denied,
            Self::UNSUPPORTED_SASL_MECHANISM
            | Self::ILLEGAL_SASL_STATE
            | Self::SASL_AUTHENTICATION_FAILED => ErrorKind::Refused,
            Self::UNKNOWN_TOPIC_OR_PARTITION
            | Self::INVALID_TOPIC_EXCEPTION
            | Self::UNKNOWN_TOPIC_ID => ErrorKind::Missing,
            Self::UNSUPPORTED_VERSION => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;

    use super::*;

    #[test]
    fn each_code_has_the_name_that_kafka_gives_it() {
        let length = i16::try_from(NAMES.len()).unwrap();
        for code in (-1..length).filter(|code| *code != 0) {
            let theirs = format!("{:?}", ResponseError::try_from_code(code).unwrap());
            let ours = ErrorCode(code).to_string();
            assert_eq!(ours.replace('_', ""), theirs.to_uppercase(), "{code}");
        }
        for unknown in [length, 999, -2, i16::MIN, i16::MAX] {
            assert_eq!(ErrorCode(unknown).to_string(), format!("error code {unknown}"));
        }
    }

    #[test]
    fn each_kind_has_its_codes() {
        let rows = [
            (ErrorKind::Moving, &[5, 6, 7, 8, 9, 13, 14, 15, 16, 41, 56, 72, 74, 75, 78][..]),
            (ErrorKind::Moving, &[80, 83, 88, 89, 129]),
            (ErrorKind::Denied, &[29, 30, 31, 53, 65]),
            (ErrorKind::Refused, &[33, 34, 58]),
            (ErrorKind::Missing, &[3, 17, 100]),
            (ErrorKind::Unsupported, &[35]),
            (ErrorKind::Other, &[-1, 1, 2, 42, 103, 999, i16::MIN]),
        ];
        for (kind, codes) in rows {
            for code in codes {
                assert_eq!(ErrorCode(*code).kind(), kind, "{code}");
            }
        }
    }

    #[test]
    fn no_error_is_none() {
        assert_eq!(ErrorCode::from_wire(0), None);
        assert_eq!(ErrorCode::from_wire(-1), Some(ErrorCode::UNKNOWN_SERVER_ERROR));
    }
}
