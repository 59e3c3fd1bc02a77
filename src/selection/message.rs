//! What a selection can ask of a message, whichever source it waits in.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};

/// A message as every source shows it.
///
/// Nothing is parsed or decoded until it is asked for, and a selection asks only for what it needs.
pub trait Message: Sync {
    /// The key as bytes; `None` where the message has none.
    fn key(&self) -> Option<&[u8]>;

    /// The subject; `None` where the message has none, or its source knows no subjects.
    fn subject(&self) -> Option<Cow<'_, str>>;

    /// The value of the last header called `name`, case and all.
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>>;

    /// Calls `each` with the name and value of every header, in the message's order. Headers are
    /// left out whose name [`header`](Message::header) gives no value for.
    fn each_header(&self, each: &mut dyn FnMut(&str, &[u8]));

    /// How many headers there are, at most: a look-up of one may pass over as many.
    fn header_count(&self) -> usize;

    /// The CloudEvents attribute `type`, where the source's binding of binary mode keeps it.
    fn cloud_event_type(&self) -> Option<Cow<'_, [u8]>>;

    /// The media type of the body.
    fn content_type(&self) -> Option<Cow<'_, [u8]>>;

    /// What serves as the event type of a message that is no CloudEvent; `None` where nothing does.
    fn plain_event_type(&self) -> Option<&str>;

    /// The body; `None` for a message without one, such as a tombstone.
    fn body(&self) -> Option<&[u8]>;

    /// When the message was produced or accepted, in milliseconds since 1970; `None` where it does
    /// not say.
    fn time(&self) -> Option<i64>;

    /// The size of the body in bytes.
    fn size(&self) -> usize;

    /// The value of a variable that only this source has; `None` where the message has no such
    /// value.
    fn source_variable(&self, name: &str) -> Option<Variable<'_>>;
}

/// The value of a variable that only one source has, by its type in a filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Variable<'a> {
    /// `null`.
    Null,
    /// A bool.
    Boolean(bool),
    /// An int.
    Integer(i64),
    /// A uint.
    Unsigned(u64),
    /// A double.
    Double(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A timestamp.
    Time(DateTime<Utc>),
    /// A duration.
    Duration(TimeDelta),
    /// A map with strings as keys.
    Map(Vec<(&'a str, Variable<'a>)>),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message that a test spells out.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Sample {
        pub(crate) key: Option<Vec<u8>>,
        pub(crate) subject: Option<String>,
        pub(crate) headers: Vec<(String, Vec<u8>)>,
        pub(crate) body: Option<Vec<u8>>,
        pub(crate) time: Option<i64>,
        pub(crate) plain_event_type: Option<String>,
    }

    impl Sample {
        pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
            self.headers.push((name.to_owned(), value.as_ref().to_vec()));
            self
        }

        pub(crate) fn key(mut self, key: impl AsRef<[u8]>) -> Self {
            self.key = Some(key.as_ref().to_vec());
            self
        }

        pub(crate) fn subject(mut self, subject: &str) -> Self {
            self.subject = Some(subject.to_owned());
            self
        }

        pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
            self.body = Some(body.as_ref().to_vec());
            self
        }

        pub(crate) fn time(mut self, milliseconds: i64) -> Self {
            self.time = Some(milliseconds);
            self
        }
    }

    impl Message for Sample {
        fn key(&self) -> Option<&[u8]> {
            self.key.as_deref()
        }

        fn subject(&self) -> Option<Cow<'_, str>> {
            self.subject.as_deref().map(Cow::Borrowed)
        }

        fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            let last = self.headers.iter().rfind(|(held, _)| held == name)?;
            Some(Cow::Borrowed(&last.1))
        }

        fn each_header(&self, each: &mut dyn FnMut(&str, &[u8])) {
            for (name, value) in &self.headers {
                each(name, value);
            }
        }

        fn header_count(&self) -> usize {
            self.headers.len()
        }

        fn cloud_event_type(&self) -> Option<Cow<'_, [u8]>> {
            self.header("ce_type")
        }

        fn content_type(&self) -> Option<Cow<'_, [u8]>> {
            self.header("content-type")
        }

        fn plain_event_type(&self) -> Option<&str> {
            self.plain_event_type.as_deref()
        }

        fn body(&self) -> Option<&[u8]> {
            self.body.as_deref()
        }

        fn time(&self) -> Option<i64> {
            self.time
        }

        fn size(&self) -> usize {
            self.body.as_ref().map_or(0, Vec::len)
        }

        fn source_variable(&self, name: &str) -> Option<Variable<'_>> {
            match name {
                "topic" => Some(Variable::Text("uploads".into())),
                "partition" => Some(Variable::Integer(3)),
                "properties" => Some(Variable::Map(vec![
                    ("count", Variable::Integer(3)),
                    ("ratio", Variable::Double(1.5)),
                    ("many", Variable::Unsigned(u64::MAX)),
                    ("urgent", Variable::Boolean(true)),
                    ("nothing", Variable::Null),
                    ("name", Variable::Text("a".into())),
                    (
                        "at",
                        Variable::Time(DateTime::from_timestamp_nanos(1_700_000_000_000_000_000)),
                    ),
                    ("takes", Variable::Duration(TimeDelta::seconds(90))),
                    ("forever", Variable::Duration(TimeDelta::MAX)),
                ])),
                _ => None,
            }
        }
    }
}
