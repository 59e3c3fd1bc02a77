//! What the management endpoint answers with: an Atom entry or feed that describes entities, read
//! for their counts.
//!
//! A count is messages that are active: those that a receiver could get or holds locked, and those
//! that it has deferred; without scheduled and dead-lettered ones. An entry may lack it, as it does
//! when the namespace is throttled, and is then no count of 0. Prefixes of elements are not looked
//! at. A text that ends early is an error, whatever it had told by then.
//!
//! # References
//! - Microsoft Learn, REST API of Azure Service Bus, "Entities discovery" and "Get queue"
//! - RFC 4287, The Atom Syndication Format
//! - `internal/atom/models.go` of azure-sdk-for-go's azservicebus

use std::str;

use quick_xml::de;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An answer, as far as counting needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    /// One entity.
    Entry(Entry),
    /// A page of entities. It is also what comes, empty, where nothing is.
    Feed(Vec<Entry>),
}

/// One entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name; of a subscription without its topic.
    pub(super) name: String,
    /// What it is.
    pub(super) description: Description,
}

/// What an entry describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Description {
    /// A queue, with its messages.
    Queue(Counts),
    /// A subscription, with its messages.
    Subscription(Counts),
    /// A topic, which has messages in its subscriptions only.
    Topic,
    /// Nothing that is known.
    Unknown,
}

/// Why a text is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its answer is no Atom document, or ends early")]
pub(super) struct NoAtom;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Root {
    Entry(Element),
    Feed(Page),
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    entry: Vec<Element>,
}

#[derive(Deserialize)]
struct Element {
    title: Option<Text>,
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Text {
    #[serde(default, rename = "$text")]
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    queue_description: Option<Details>,
    subscription_description: Option<Details>,
    topic_description: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    count_details: Option<Counts>,
}

/// How many messages an entity has, as far as it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Counts {
    /// Those that are active.
    #[serde(rename = "ActiveMessageCount")]
    pub(super) active: Option<u64>,
    /// Those in its dead-letter queue.
    #[serde(rename = "DeadLetterMessageCount")]
    pub(super) dead: Option<u64>,
}

/// What the service says of an error.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    detail: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// It is no Atom document, or not the whole of one.
pub(super) fn parse(body: &[u8]) -> Result<Document, NoAtom> {
    match de::from_str(text(body)?).map_err(|_| NoAtom)? {
        Root::Entry(entry) => Ok(Document::Entry(entry.into())),
        Root::Feed(page) => Ok(Document::Feed(page.entry.into_iter().map(Entry::from).collect())),
    }
}

/// What an error's body says, if it is one of the service's.
pub(super) fn detail(body: &[u8]) -> Option<String> {
    de::from_str::<Refusal>(text(body).ok()?).ok()?.detail
}

fn text(body: &[u8]) -> Result<&str, NoAtom> {
    let text = str::from_utf8(body).map_err(|_| NoAtom)?;
    Ok(text.trim_start_matches('\u{feff}'))
}

impl From<Element> for Entry {
    fn from(element: Element) -> Self {
        let counts = |details: Details| details.count_details.unwrap_or_default();
        let description = match element.content {
            Some(Content { queue_description: Some(details), .. }) => {
                Description::Queue(counts(details))
            }
            Some(Content { subscription_description: Some(details), .. }) => {
                Description::Subscription(counts(details))
            }
            Some(Content { topic_description: Some(_), .. }) => Description::Topic,
            _ => Description::Unknown,
        };
        let name = element.title.map_or_else(String::new, |title| title.text.trim().to_owned());
        Self { name, description }
    }
}

#[cfg(test)]
mod tests;
