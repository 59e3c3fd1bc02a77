//! A trigger's metadata as it may be shown to who has not written it.

use std::collections::HashMap;

use crate::metadata::{FROM_ENV, one_line};
use crate::source::PARAMETERS;
use crate::sources::Sources;

/// Stands for a value that may be a secret.
pub const HIDDEN: &str = "(hidden)";

/// Bytes of a key, and of a value.
const KEY_BYTES: usize = 100;
const VALUE_BYTES: usize = 400;

/// The keys in order, with their values, each on one line and cut.
///
/// Hidden is what may be a secret: the value of a `FromEnv` key, of a parameter that any source
/// calls a secret, of a key that nobody knows and which may be mistyped, and what has an `@`, before
/// which a URL has a password.
pub fn shown(metadata: &HashMap<String, String>) -> Vec<(String, String)> {
    let mut shown: Vec<_> = metadata
        .iter()
        .map(|(key, value)| {
            let value = match may_be_shown(key) && !value.contains('@') {
                true => one_line(value, VALUE_BYTES),
                false => HIDDEN.to_owned(),
            };
            (one_line(key, KEY_BYTES), value)
        })
        .collect();
    shown.sort_unstable();
    shown
}

fn may_be_shown(key: &str) -> bool {
    let tables = || [&PARAMETERS].into_iter().chain(Sources::tables().map(|(_, table)| table));
    let mut known = tables().filter_map(|table| table.get(key)).peekable();
    !key.ends_with(FROM_ENV) && known.peek().is_some() && known.all(|known| !known.is_secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_hidden() {
        let rows = [
            ("topic", "uploads", "uploads"),
            ("topic", "two\nlines", "two lines"),
            ("filter", "body.a == 'b'", "body.a == 'b'"),
            ("password", "hunter2", HIDDEN),
            ("passwordFromEnv", "hunter2", HIDDEN),
            ("topicFromEnv", "hunter2", HIDDEN),
            ("pasword", "hunter2", HIDDEN),
            ("connection", "Endpoint=sb://a/;SharedAccessKey=hunter2", HIDDEN),
            ("bootstrapServers", "user:hunter2@kafka:9092", HIDDEN),
            ("bootstrapServers", "kafka:9092", "kafka:9092"),
        ];
        for (key, value, expected) in rows {
            let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(shown(&metadata), [(key.to_owned(), expected.to_owned())], "{value:?}");
        }
    }

    #[test]
    fn no_text_is_long() {
        let metadata = HashMap::from([("x".repeat(10_000), String::new())]);
        assert!(shown(&metadata)[0].0.len() < 200);
        let metadata = HashMap::from([("topic".to_owned(), "x".repeat(10_000))]);
        assert!(shown(&metadata)[0].1.len() < 500);
    }
}
