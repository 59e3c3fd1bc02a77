//! Whether two requests mean the same trigger: a digest of its namespace, name and whole metadata.
//!
//! Secrets count, so that a changed secret is a new trigger and nothing kept for the old one
//! answers for it; a digest, so that no secret is kept as a key. Every text goes in behind its
//! length, so that no two triggers run together into one.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::proto::ScaledObjectRef;

/// Stands for one trigger of one ScaledJob or ScaledObject.
///
/// Two triggers of one object with equal metadata have one key: KEDA's request does not tell them
/// apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TriggerKey([u8; 32]);

impl TriggerKey {
    /// The key of the trigger that a request names.
    pub(crate) fn of(asked: &ScaledObjectRef) -> Self {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        };
        add(&asked.namespace);
        add(&asked.name);
        for (key, value) in sorted(&asked.scaler_metadata) {
            add(key);
            add(value);
        }
        Self(digest.finalize().into())
    }
}

fn sorted(metadata: &HashMap<String, String>) -> Vec<(&String, &String)> {
    let mut entries: Vec<_> = metadata.iter().collect();
    entries.sort_unstable();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str, metadata: &[(&str, &str)]) -> TriggerKey {
        TriggerKey::of(&ScaledObjectRef {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            scaler_metadata: test_basics::metadata(metadata),
        })
    }

    #[test]
    fn the_order_of_the_metadata_does_not_matter() {
        let forwards: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|k| (k, "1")).into();
        let backwards: Vec<_> = forwards.iter().rev().copied().collect();
        assert_eq!(key("n", "o", &forwards), key("n", "o", &backwards));
    }

    #[test]
    fn triggers_that_differ_have_different_keys() {
        let base = key("media", "thumbnails", &[("topic", "uploads")]);
        let rows = [
            ("another namespace", key("mail", "thumbnails", &[("topic", "uploads")])),
            ("another name", key("media", "previews", &[("topic", "uploads")])),
            ("another value", key("media", "thumbnails", &[("topic", "downloads")])),
            ("another key", key("media", "thumbnails", &[("topics", "uploads")])),
            ("one entry more", key("media", "thumbnails", &[("topic", "uploads"), ("x", "")])),
            ("texts that run together", key("media", "thumbnails", &[("topicu", "ploads")])),
            ("a border moved", key("mediat", "humbnails", &[("topic", "uploads")])),
            ("no metadata", key("media", "thumbnails", &[])),
        ];
        for (case, other) in rows {
            assert_ne!(base, other, "{case}");
        }
    }
}
