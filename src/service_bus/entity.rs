//! Which entities a trigger counts: a queue, a subscription, or all whose name a pattern matches.
//!
//! A name becomes part of a URL and of an AMQP address, and is written by tenants. So it holds
//! nothing but what Azure allows in one (letters, digits, `.`, `-`, `_`, `~`, and `/` between
//! parts), and no part that a URL would take for a step up.
//!
//! # References
//! - Azure's naming rules for `Microsoft.ServiceBus/namespaces/queues`, `/topics`,
//!   `/subscriptions`.
//! - KEDA 2.20 `azure_servicebus_scaler.go`: `regexp.Compile` with `Longest`, the match being the
//!   whole name.

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex::Regex;

use crate::metadata::quoted;
use crate::re2;

/// Characters of the longest name of a queue or topic.
const NAME_CHARS: usize = 260;
/// Bytes of the longest pattern.
const PATTERN_BYTES: usize = 1_000;
/// Bytes of a compiled pattern.
const PATTERN_SIZE: usize = 1 << 20;
/// Stands behind the path of an entity for its dead-letter queue, in any case.
const DEAD_LETTERS: &str = "/$DeadLetterQueue";
/// Stands between a topic and its subscription, in any case.
const SUBSCRIPTIONS: &str = "subscriptions";

/// What a trigger counts in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entities {
    /// One entity.
    One(Entity),
    /// Those of a namespace or topic whose name matches.
    Matching(Matching),
}

/// What messages can be received from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entity {
    /// A queue.
    Queue(Name),
    /// A subscription of a topic.
    Subscription {
        /// The topic.
        topic: Name,
        /// The subscription.
        name: Name,
    },
    /// The dead-letter queue of another one.
    DeadLetters(Box<Entity>),
}

/// Entities by a pattern, and what becomes of their counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matching {
    /// The topic whose subscriptions are meant; `None`: the namespace's queues.
    pub topic: Option<Name>,
    /// What their names must match.
    pub pattern: Pattern,
    /// How their counts become one.
    pub operation: Operation,
}

/// How the counts of several entities become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Operation {
    /// Their sum.
    #[default]
    Sum,
    /// The largest.
    Max,
    /// The mean, rounded down.
    Avg,
}

/// The name of a queue, topic or subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Azure allows no such character, or not there.
    #[error(
        "{} is not a name; give letters, digits, '.', '-', '_' and '~', with '/' between parts",
        quoted(.0)
    )]
    Characters(String),
    /// Longer than any.
    #[error("{} is too long for a name; give at most {NAME_CHARS} characters", quoted(.0))]
    Length(String),
    /// The path of a subscription, where a queue is asked for.
    #[error("{} is a subscription; give topicName and subscriptionName", quoted(.0))]
    Subscription(String),
}

/// A regular expression that matches whole names.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: Arc<str>,
    whole: Regex,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not compile.
    #[error("{} is not a regular expression: {reason}; give one such as orders-.*", quoted(.text))]
    Syntax {
        /// The pattern.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It would take too much memory.
    #[error("{} is too large a pattern; give a shorter one", quoted(.0))]
    Size(String),
}

impl Entity {
    /// The queue or subscription at an address such as `orders` or `orders/Subscriptions/eu`.
    ///
    /// # Errors
    /// A part of it is no name.
    pub fn parse(path: &str) -> Result<Self, NameError> {
        match split_subscription(path) {
            Some((topic, name)) => {
                Ok(Self::Subscription { topic: Name::parse(topic)?, name: Name::parse(name)? })
            }
            None => Ok(Self::Queue(Name::parse(path)?)),
        }
    }

    /// The text without what makes a dead-letter queue of it, where it has that.
    pub fn strip_dead_letters(text: &str) -> Option<&str> {
        let (entity, suffix) =
            text.split_at_checked(text.len().checked_sub(DEAD_LETTERS.len())?)?;
        suffix.eq_ignore_ascii_case(DEAD_LETTERS).then_some(entity)
    }

    /// The entity whose description has the count of this one: of a dead-letter queue that whose it
    /// is.
    pub fn described_by(&self) -> &Entity {
        match self {
            Self::DeadLetters(of) => of,
            _ => self,
        }
    }

    /// Its address within the namespace, with nothing in it that a URL would change.
    pub fn path(&self) -> String {
        match self {
            Self::Queue(queue) => queue.to_string(),
            Self::Subscription { topic, name } => format!("{topic}/Subscriptions/{name}"),
            Self::DeadLetters(of) => format!("{}{DEAD_LETTERS}", of.path()),
        }
    }
}

impl Operation {
    /// What becomes of `counts`; of none 0.
    pub fn apply(self, counts: impl Iterator<Item = u64>) -> u64 {
        let mut number = 0_u64;
        let (mut sum, mut max) = (0_u64, 0_u64);
        for count in counts {
            number += 1;
            sum = sum.saturating_add(count);
            max = max.max(count);
        }
        match self {
            Self::Sum => sum,
            Self::Max => max,
            Self::Avg => sum.checked_div(number).unwrap_or(0),
        }
    }
}

impl Name {
    /// A name as Azure allows it.
    ///
    /// # Errors
    /// It has other characters, an empty part, or one of dots alone; it is longer than any name; or
    /// it is the path of a subscription.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fits = |part: &str| {
            let characters =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
            part.chars().all(characters) && part.chars().any(|c| c != '.')
        };
        if !text.split('/').all(fits) {
            return Err(NameError::Characters(text.to_owned()));
        }
        if text.len() > NAME_CHARS {
            return Err(NameError::Length(text.to_owned()));
        }
        if split_subscription(text).is_some() {
            return Err(NameError::Subscription(text.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both name the same entity: to Azure, case does not count.
    pub fn is_same(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// Topic and subscription of a path that has both.
fn split_subscription(path: &str) -> Option<(&str, &str)> {
    let (rest, name) = path.rsplit_once('/')?;
    let (topic, between) = rest.rsplit_once('/')?;
    between.eq_ignore_ascii_case(SUBSCRIPTIONS).then_some((topic, name))
}

impl Pattern {
    /// A pattern in RE2's syntax, as Go has it.
    ///
    /// # Errors
    /// It does not compile, or would take too much memory.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let too_large = || PatternError::Size(text.to_owned());
        if text.len() > PATTERN_BYTES {
            return Err(too_large());
        }
        let syntax = |reason: String| PatternError::Syntax { text: text.to_owned(), reason };
        let spelt = re2::translated(text).map_err(|error| syntax(error.to_string()))?;
        // A longest match that begins leftmost is the whole name exactly if some match is.
        let whole = spelt.compiled_whole(|builder| {
            builder.size_limit(PATTERN_SIZE);
        });
        let whole = whole.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => too_large(),
            _ => syntax("not understood".to_owned()),
        })?;
        Ok(Self { text: Arc::from(text), whole })
    }

    /// Whether it matches the whole of `name`.
    pub fn is_match(&self, name: &str) -> bool {
        self.whole.is_match(name)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Display for Entities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(entity) => entity.fmt(f),
            Self::Matching(matching) => matching.fmt(f),
        }
    }
}

impl Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue {queue}"),
            Self::Subscription { topic, name } => write!(f, "subscription {topic}/{name}"),
            Self::DeadLetters(of) => write!(f, "{of}{DEAD_LETTERS}"),
        }
    }
}

impl Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic {
            None => write!(f, "queues {}", self.pattern),
            Some(topic) => write!(f, "subscriptions {} of topic {topic}", self.pattern),
        }
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.text))
    }
}

#[cfg(test)]
mod tests;
