//! What can go wrong between us and the API server, in words for the trigger's user.

use crate::failure::Class;

/// Why the API server did not give what was asked for. The same cause reads the same each time, and
/// none tells a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no API server to ask: no service account is mounted.
    #[error(
        "keda-sift may not {verb} {resource}, as it has no access to the Kubernetes API; grant it with the component {component}, or outside of a cluster give --kubeconfig"
    )]
    NoAccess {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        resource: &'static str,
        /// The component of the manifests, and the value of the chart, that grants it.
        component: &'static str,
    },
    /// A right is missing.
    #[error(
        "keda-sift may not {verb} {resource} in namespace {namespace}; grant it with the component {component}"
    )]
    Forbidden {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        resource: &'static str,
        /// Where.
        namespace: String,
        /// The component of the manifests, and the value of the chart, that grants it.
        component: &'static str,
    },
    /// What was asked for is not there.
    #[error("{kind} {name} is not there in namespace {namespace}")]
    NotFound {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// It is there, and does not hold what is needed.
    #[error("{kind} {name} in namespace {namespace} {problem}")]
    Unfit {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where it is.
        namespace: String,
        /// What is wrong with it, and what fits.
        problem: String,
    },
    /// The API server refuses for a reason of its own.
    #[error("the Kubernetes API does not {verb} {resource}: {reason}")]
    Refused {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        resource: &'static str,
        /// Its words.
        reason: String,
    },
    /// The API server does not answer.
    #[error("the Kubernetes API does not answer: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// What mends it.
    pub fn class(&self) -> Class {
        match self {
            Self::Forbidden { .. } => Class::Denied,
            Self::NotFound { .. } => Class::NotFound,
            Self::NoAccess { .. } | Self::Unfit { .. } | Self::Refused { .. } => {
                Class::Precondition
            }
            Self::Unreachable { .. } => Class::Unavailable,
        }
    }

    /// Whether asking again may mend it without anybody changing something.
    pub fn passes(&self) -> bool {
        matches!(self, Error::Unreachable { .. })
    }
}
