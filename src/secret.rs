//! A secret that can be compared, so that it can be part of what tells clusters, namespaces and
//! clients apart: a changed secret is another one.

use std::fmt;
use std::hash::{Hash, Hasher};

use secrecy::{ExposeSecret, SecretString};

/// A secret. Shown by nothing, and handed out only by name.
#[derive(Clone)]
pub struct Secret(pub(crate) SecretString);

impl Secret {
    /// Without the blanks at its ends, as KEDA takes user names and passwords: files often end in a
    /// line break.
    pub(crate) fn trimmed(secret: &SecretString) -> Self {
        Self::from(secret.expose_secret().trim())
    }

    /// The secret itself.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(SecretString::from(text))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
