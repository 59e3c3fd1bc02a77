//! What an object may be called: checked before a name becomes part of a request's path.
//!
//! # References
//! - Kubernetes, "Object Names and IDs": DNS subdomain names

use std::fmt;

/// The longest name of an object.
const MAX_BYTES: usize = 253;

/// A name that an object can have. It holds no `/`, so that no path made of it leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// A text that no object can have as its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not the name of an object; give lower-case letters, digits, '-' and '.'")]
pub struct NameError;

/// A service account, which is always one of the trigger's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceAccount {
    /// The trigger's namespace.
    pub namespace: Name,
    /// Its name there.
    pub name: Name,
}

impl Name {
    /// The name, if it is one.
    ///
    /// # Errors
    /// The text is not a DNS subdomain of at most 253 characters.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let label = |label: &str| {
            label.bytes().all(|byte| letter(byte) || byte == b'-')
                && label.bytes().next().is_some_and(letter)
                && label.bytes().last().is_some_and(letter)
        };
        let good = text.len() <= MAX_BYTES && text.split('.').all(label);
        good.then(|| Name(text.to_owned())).ok_or(NameError)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_kubernetes_takes() {
        for good in ["a", "0", "media", "media-2", "kafka.auth", "a.b-c.d"] {
            assert_eq!(Name::parse(good).as_ref().map(Name::as_str), Ok(good));
        }
        let long = "a".repeat(254);
        for bad in [
            "", ".", "..", "a.", ".a", "-a", "a-", "A", "a/b", "../b", "a%2fb", "a b", "ä", "a\n",
            &long,
        ] {
            assert_eq!(Name::parse(bad), Err(NameError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_its_path(text in ".{0,30}") {
            if let Ok(name) = Name::parse(&text) {
                let url = url::Url::parse(&format!("https://api/namespaces/media/secrets/{name}")).expect("a URL");
                prop_assert_eq!(url.path(), format!("/namespaces/media/secrets/{text}"));
                prop_assert_eq!(url.query(), None);
            }
        }
    }
}
