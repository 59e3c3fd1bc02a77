//! What can keep a token from being had, in words for the trigger's user.

use std::time::Duration;

use crate::failure::Class;
use crate::kubernetes;

/// Why there is no token. The same cause reads the same each time, and none tells an assertion or a
/// token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The workload identity webhook has told the pod nothing.
    #[error(
        "keda-sift's own pod has no workload identity: {variable} is not set; label that pod, not the Job's, azure.workload.identity/use=true, as the component workload-identity does"
    )]
    NotConfigured {
        /// The environment variable that is missing.
        variable: &'static str,
    },
    /// It has told the pod something that cannot be.
    #[error("{variable} cannot be used: {reason}")]
    Misconfigured {
        /// The environment variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The service account's token, which is to be exchanged, is not there.
    #[error("the service account's token in {path} cannot be read: {reason}")]
    TokenFile {
        /// The file's path.
        path: String,
        /// The system's word.
        reason: String,
    },
    /// What the service account is to say of its identity is missing, or cannot be.
    #[error("service account {account} {problem}")]
    Account {
        /// Which one.
        account: String,
        /// What is wrong with it, and what fits.
        problem: String,
    },
    /// Kubernetes does not give what is asked of the service account.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// Entra, or another token endpoint, gives no token.
    #[error("{by} refuses {whom}: {reason}")]
    Refused {
        /// Who refuses.
        by: String,
        /// Whom: an identity by its client and tenant, or a client.
        whom: String,
        /// Its word, without what differs each time.
        reason: String,
    },
    /// It wants to be left alone for a while, and is.
    #[error("{by} is throttling {whom}: {reason}; it is asked again when it allows")]
    Throttled {
        /// Who throttles.
        by: String,
        /// Whom.
        whom: String,
        /// Its word.
        reason: String,
        /// For how long after the answer it is not asked.
        wait: Duration,
    },
    /// There is no answer, or none in time, or one that makes no sense.
    #[error("{by} cannot be reached: {reason}")]
    Unreachable {
        /// Who, with the host.
        by: String,
        /// What went wrong on the way.
        reason: String,
    },
}

impl Error {
    /// What mends it.
    pub fn class(&self) -> Class {
        match self {
            Self::NotConfigured { .. }
            | Self::Misconfigured { .. }
            | Self::TokenFile { .. }
            | Self::Account { .. } => Class::Precondition,
            Self::Kubernetes(error) => error.class(),
            Self::Refused { .. } => Class::Unauthenticated,
            Self::Throttled { .. } | Self::Unreachable { .. } => Class::Unavailable,
        }
    }
}
