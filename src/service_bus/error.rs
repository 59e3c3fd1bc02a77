//! What can keep a Service Bus backlog from being known, in words for the trigger's user.
//!
//! The service ends what it says with ids and times of the one request. They are left out, so that
//! the same cause has the same words; see [`steady`].

use std::fmt::{self, Display};

use crate::failure::{Class, Failure};
use crate::identity::{self, HostError};
use crate::metadata;

/// Bytes of the service's own words in an error.
const REASON_BYTES: usize = 400;

/// Where the service's words end and what tells one request from another begins.
const REQUEST_IDS: &[&str] = &["TrackingId:", "Reference:", "SystemTracker:", "Timestamp:"];

/// Why there is no answer. None of these is ever 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answers there, or not in time, or not with TLS that we trust.
    #[error("service bus namespace {namespace} cannot be reached: {reason}")]
    Unreachable {
        /// The namespace's host.
        namespace: String,
        /// What last went wrong.
        reason: String,
    },
    /// The login is not accepted for this. The management endpoint says so of a good one as well,
    /// if it lacks the claim.
    #[error("service bus does not accept the login for {entity}: {reason}; {}", advice(*right, reason))]
    Unauthorized {
        /// What was asked for.
        entity: String,
        /// What asking for it takes.
        right: Right,
        /// The service's word.
        reason: String,
    },
    /// The login is good, but not for this, or not from here.
    #[error("service bus denies {entity}: {reason}; {}", advice(*right, reason))]
    Denied {
        /// What was asked for.
        entity: String,
        /// What asking for it takes.
        right: Right,
        /// The service's word.
        reason: String,
    },
    /// The entity is not there.
    #[error(
        "{entity} does not exist in service bus namespace {namespace}; create it, or correct its name"
    )]
    NotFound {
        /// What was asked for.
        entity: String,
        /// The namespace's host.
        namespace: String,
    },
    /// A list without any entity to hold a pattern against. That none matches of those there are is
    /// no error, but 0 as for KEDA.
    #[error(
        "service bus namespace {namespace} lists nothing at all for {entities}; create what is to be counted, or correct topicName"
    )]
    NothingListed {
        /// What was asked for, the pattern included.
        entities: String,
        /// The namespace's host.
        namespace: String,
    },
    /// The name is one of a topic, which holds no messages itself.
    #[error("{topic} is a topic; give it as topicName, with subscriptionName")]
    Topic {
        /// Its name.
        topic: String,
    },
    /// A survey looks at one queue or subscription.
    #[error("useRegex names several; give one queue or subscription to look at")]
    Several,
    /// The service asks for quiet, so nothing is asked until it has had it.
    #[error("service bus throttles {entity}: {reason}; it is asked again once it allows that")]
    Throttled {
        /// What was asked for.
        entity: String,
        /// The service's word.
        reason: String,
    },
    /// An answer without the counts that it ought to have.
    #[error(
        "service bus describes {entity} without its message counts, as a throttled namespace does; they are asked for again"
    )]
    Incomplete {
        /// What was asked for.
        entity: String,
    },
    /// The service answered with an error of its own, or with something else than an answer.
    #[error("service bus cannot give {entity}: {reason}")]
    Service {
        /// What was asked for.
        entity: String,
        /// The service's word.
        reason: String,
    },
    /// The entity has not been read far enough to know of one match.
    #[error("{entity} is still being read: {judged} messages judged")]
    StillReading {
        /// The entity being read.
        entity: String,
        /// How many messages have been judged.
        judged: u64,
    },
    /// No token may be sent to that host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no token.
    #[error(transparent)]
    Identity(#[from] identity::Error),
}

/// What a login must be allowed to do; displayed as what to grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// For the management endpoint.
    Manage,
    /// For its lists, which nothing else gives.
    List,
    /// For peeking.
    Listen,
}

impl Error {
    /// What mends it.
    pub fn class(&self) -> Class {
        match self {
            Self::Host(_) | Self::Topic { .. } | Self::Several => Class::Invalid,
            Self::Unauthorized { .. } => Class::Unauthenticated,
            Self::Denied { .. } => Class::Denied,
            Self::NotFound { .. } | Self::NothingListed { .. } => Class::NotFound,
            Self::Unreachable { .. }
            | Self::Throttled { .. }
            | Self::Incomplete { .. }
            | Self::Service { .. } => Class::Unavailable,
            Self::StillReading { .. } => Class::Reading,
            Self::Identity(error) => error.class(),
        }
    }

    /// Whether another login, or more rights for this one, would help.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::Denied { .. })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.class(), error)
    }
}

impl Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manage => {
                "counts take the Manage claim (role Azure Service Bus Data Owner); grant it, or give \
                 countFrom: peek, which takes Listen"
            }
            Self::List => {
                "lists take the Manage claim (role Azure Service Bus Data Owner); grant it, or name one \
                 entity and leave out useRegex"
            }
            Self::Listen => {
                "peeking takes the Listen claim (role Azure Service Bus Data Receiver); grant it"
            }
        })
    }
}

/// What helps against a refusal. Where the service says that it is the signature, no claim would.
///
/// Its words are those that its clients' users report: `InvalidSignature`, `ExpiredToken` and
/// `InvalidAudience` over AMQP and as the detail of a 401, which may have a number instead.
fn advice(right: Right, reason: &str) -> String {
    let reason = reason.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["invalidsignature", "invalid signature", "token signature", "malformedtoken"]) {
        return "the key or the signature in connection is wrong or cut; give it as Azure shows it"
            .to_owned();
    }
    if says(&["expiredtoken", "expired", "lifetime"]) {
        return "the signature in connection has ended; give a new one, or a key".to_owned();
    }
    if says(&["invalidaudience", "wrong audience"]) {
        return "the signature in connection is for something else; give one for this".to_owned();
    }
    right.to_string()
}

/// The service's own words on one line, the same each time for the same cause.
pub(super) fn steady(said: &str) -> String {
    let end = REQUEST_IDS.iter().filter_map(|id| said.find(id)).min().unwrap_or(said.len());
    let said = said[..end].trim_end_matches(|c: char| c.is_whitespace() || ".,:;(".contains(c));
    let words: Vec<_> = said.split_whitespace().collect();
    metadata::one_line(&words.join(" "), REASON_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_the_same_each_time() {
        let rows = [
            (
                "management",
                "Manage,EntityRead claims required for this operation. TrackingId:b786d4d1_G22, SystemTracker:x, Timestamp:2019-12-27T13:12:40",
                "Manage,EntityRead claims required for this operation",
            ),
            (
                "links",
                "Unauthorized access. 'Listen' claim(s) are required to perform this operation. Resource: 'sb://a/b'.. TrackingId:1, SystemTracker:NoSystemTracker",
                "Unauthorized access. 'Listen' claim(s) are required to perform this operation. Resource: 'sb://a/b'",
            ),
            ("the other order", "Gone. Reference:1, TrackingId:2", "Gone"),
            ("lines", " a\r\n\tb ", "a b"),
            ("nothing", "", ""),
        ];
        for (name, said, expected) in rows {
            assert_eq!(steady(said), expected, "{name}");
        }
        assert!(steady(&"x".repeat(100_000)).len() <= REASON_BYTES + '…'.len_utf8());
    }

    #[test]
    fn a_refusal_says_what_to_grant() {
        let error = Error::Denied {
            entity: "queue orders".to_owned(),
            right: Right::Manage,
            reason: "Forbidden".to_owned(),
        };
        assert!(error.is_refusal());
        assert_eq!(
            error.to_string(),
            "service bus denies queue orders: Forbidden; counts take the Manage claim (role Azure Service \
             Bus Data Owner); grant it, or give countFrom: peek, which takes Listen"
        );
    }

    #[test]
    fn a_signature_that_is_wrong_is_no_missing_claim() {
        let rows = [
            ("InvalidSignature: The token has an invalid signature", "is wrong or cut"),
            ("40103: Invalid authorization token signature", "is wrong or cut"),
            ("ExpiredToken: The token is expired", "has ended"),
            ("InvalidAudience: The token has a wrong audience", "is for something else"),
            ("Unauthorized access. 'Listen' claim(s) are required", "takes the Listen claim"),
            ("", "takes the Listen claim"),
        ];
        for (reason, expected) in rows {
            let error = Error::Unauthorized {
                entity: "queue orders".to_owned(),
                right: Right::Listen,
                reason: reason.to_owned(),
            };
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
