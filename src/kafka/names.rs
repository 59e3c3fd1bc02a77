//! What Kafka calls things: topics and consumer groups, which are both text and must not be taken
//! for each other.
//!
//! A name is cheap to clone. Displayed it is one line: Kafka lets a group have any character in its
//! name.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::metadata::{one_line, quoted};

/// The number of a partition within its topic, from 0.
pub type Partition = i32;

/// Where a record stands in a partition, from 0. As an end it is exclusive: the next offset.
pub type Offset = u64;

/// The name of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

/// The name of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Arc<str>);

/// Why a text names no topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Longer than Kafka allows.
    #[error("{} has more than {max} characters; give the name of a topic", quoted(.0), max = Topic::MAX_LENGTH)]
    TooLong(String),
    /// A character that Kafka does not allow, or a name that is only `.` or `..`.
    #[error("{} is no name for a topic; give letters, digits, '.', '_' and '-'", quoted(.0))]
    NotAllowed(String),
}

impl Topic {
    /// Characters of the longest name Kafka allows.
    pub const MAX_LENGTH: usize = 249;

    /// The topic of this name, if Kafka allows it.
    ///
    /// # Errors
    /// The name is empty, too long, `.` or `..`, or has another character than ASCII letters,
    /// digits, `.`, `_`, `-`.
    pub fn parse(name: &str) -> Result<Self, TopicError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if matches!(name, "" | "." | "..") || !name.chars().all(allowed) {
            return Err(TopicError::NotAllowed(name.to_owned()));
        }
        if name.len() > Self::MAX_LENGTH {
            return Err(TopicError::TooLong(name.to_owned()));
        }
        Ok(Self::from(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Group {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<&str> for Group {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Group {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.0, usize::MAX))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.0, usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_only_what_kafka_allows() {
        for name in ["uploads", "a.b_c-D9", &"a".repeat(249)] {
            assert!(Topic::parse(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\n", "a\0"] {
            assert!(matches!(Topic::parse(name), Err(TopicError::NotAllowed(_))), "{name:?}");
        }
        let long = "a".repeat(250);
        assert_eq!(Topic::parse(&long), Err(TopicError::TooLong(long)));
    }

    #[test]
    fn a_name_is_displayed_as_one_line() {
        assert_eq!(Group::from("jobs\n1\u{7}").to_string(), "jobs 1\\u{7}");
    }
}
