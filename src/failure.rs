//! Why there is no number: the words of whoever could not give it, and a class that says how a
//! caller is told.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Kinds of failure, by what mends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The metadata is wrong; asking again is useless until it changes.
    Invalid,
    /// The login is refused.
    Unauthenticated,
    /// The login is good, but not for this.
    Denied,
    /// What the trigger names is not there.
    NotFound,
    /// Something else has to be set up first.
    Precondition,
    /// The share of memory, or of what else there is a limit on, is used up.
    Exhausted,
    /// It may pass by itself.
    Unavailable,
    /// The source is still being read, so that the words differ each time; it passes by itself.
    Reading,
}

/// Why a source gives no number.
#[derive(Debug, Clone)]
pub struct Failure {
    class: Class,
    cause: Arc<dyn Error + Send + Sync>,
}

impl Failure {
    /// A failure in the words of `cause`.
    pub fn new(class: Class, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { class, cause: Arc::new(cause) }
    }

    /// What mends it.
    pub fn class(&self) -> Class {
        self.class
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}
