//! Which trigger an entry is, for people: names and an id that no secret is part of.

use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::proto::ScaledObjectRef;
use crate::metadata::one_line;
use crate::trigger;

/// Bytes of a name: what Kubernetes gives.
const NAME_BYTES: usize = 253;

/// Stands between a key and its value, and behind a value. Neither has any: both are on one line.
const BETWEEN: char = '\t';
const BEHIND: char = '\n';

/// One trigger, as it may be named and shown.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    /// Follows from all else here.
    pub(crate) number: u64,
    pub(crate) known_since: SystemTime,
    /// The metadata in one text, as there may be many triggers; empty where nobody may ask.
    shown: Box<str>,
}

impl Identity {
    /// Of the trigger that a request names; its metadata is kept where somebody may ask for it.
    pub(crate) fn of(asked: &ScaledObjectRef, known_since: SystemTime, is_kept: bool) -> Self {
        let namespace = one_line(&asked.namespace, NAME_BYTES);
        let name = one_line(&asked.name, NAME_BYTES);
        let mut shown = String::new();
        for (key, value) in trigger::shown(&asked.scaler_metadata) {
            shown.push_str(&key);
            shown.push(BETWEEN);
            shown.push_str(&value);
            shown.push(BEHIND);
        }
        let mut digest = Sha256::new();
        for text in [&namespace, &name, &shown] {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let number = u64::from_be_bytes(std::array::from_fn(|index| digest[index]));
        let (namespace, name) = (namespace.into(), name.into());
        let shown = if is_kept { shown.into() } else { Box::default() };
        Self { namespace, name, number, known_since, shown }
    }

    /// What names it, the same in each replica and after a restart.
    pub(crate) fn id(&self) -> String {
        format!("{:016x}", self.number)
    }

    /// Its metadata as it may be shown, in the order of the keys.
    pub(crate) fn metadata(&self) -> Vec<(String, String)> {
        let lines = self.shown.split_terminator(BEHIND);
        let entries = lines.filter_map(|line| line.split_once(BETWEEN));
        entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::trigger::HIDDEN;

    fn identity(namespace: &str, name: &str, metadata: &[(&str, &str)]) -> Identity {
        let asked = ScaledObjectRef {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            scaler_metadata: test_basics::metadata(metadata),
        };
        Identity::of(&asked, UNIX_EPOCH, true)
    }

    #[test]
    fn no_secret_is_part_of_it() {
        let of =
            |password| identity("media", "thumbnails", &[("topic", "a"), ("password", password)]);
        let (one, other) = (of("hunter2"), of("hunter3"));
        assert_eq!(one.id(), other.id());
        let expected = [("password", HIDDEN), ("topic", "a")];
        assert_eq!(one.metadata(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn triggers_that_differ_in_what_is_shown_have_different_ids() {
        let base = identity("media", "thumbnails", &[("topic", "uploads")]).id();
        for (case, other) in [
            ("namespace", identity("mail", "thumbnails", &[("topic", "uploads")])),
            ("name", identity("media", "previews", &[("topic", "uploads")])),
            ("value", identity("media", "thumbnails", &[("topic", "downloads")])),
            ("a border moved", identity("mediat", "humbnails", &[("topic", "uploads")])),
            (
                "a value that looks like another key",
                identity("media", "thumbnails", &[("topic", "uploads\nx\ty")]),
            ),
        ] {
            assert_ne!(base, other.id(), "{case}");
        }
        assert_eq!(base, identity("media", "thumbnails", &[("topic", "uploads")]).id());
    }
}
