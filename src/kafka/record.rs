//! A Kafka record as selections see it.
//!
//! Azure Event Hubs gives the properties of an event that came by AMQP, HTTPS, Event Grid or IoT
//! Hub to Kafka's consumers as headers whose values are AMQP 1.0 encodings. Such a value is decoded
//! where it is one without doubt:
//!
//! - It is one whole AMQP value, and no printable text: not UTF-8, or with control characters. A
//!   string begins with a byte that no UTF-8 text begins with, and so do most other values.
//! - Or it is one whole AMQP value that is printable text as well (`41` is `true`, and `A`), all
//!   headers of the record are AMQP values, and one of them is a string or a symbol of printable
//!   text. Event Hubs encodes all or none.
//!
//! # References
//! - Azure documentation, "Exchange events between consumers and producers that use different
//!   protocols"
//! - CloudEvents, AMQP protocol binding 1.0.2, section 3.1: `cloudEvents:type`

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::OnceLock;

use super::names::{Partition, Topic};
use super::wire::records::{BatchError, Record};
use crate::amqp::{self, Value, Values};
use crate::selection::{Message, Variable, utf8};

/// A record and where it came from.
pub(super) struct KafkaMessage<'a> {
    topic: &'a Topic,
    partition: Partition,
    record: Record<'a>,
    /// What is wrong with its headers, once they have been looked at.
    wrong: OnceLock<BatchError>,
    /// Whether its headers are AMQP, once that has mattered.
    is_encoded: OnceLock<bool>,
}

impl<'a> KafkaMessage<'a> {
    pub(super) fn new(
        topic: &'a Topic,
        partition: Partition,
        record: Record<'a>,
    ) -> KafkaMessage<'a> {
        KafkaMessage {
            topic,
            partition,
            record,
            wrong: OnceLock::new(),
            is_encoded: OnceLock::new(),
        }
    }

    /// Whether all that was asked of it could be read.
    ///
    /// # Errors
    /// [`BatchError`] of its headers.
    pub(super) fn check(self) -> Result<(), BatchError> {
        self.wrong.into_inner().map_or(Ok(()), Err)
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        match self.record.header(name) {
            Ok(value) => value,
            Err(error) => {
                self.wrong.get_or_init(|| error);
                None
            }
        }
    }

    /// What a header's value says; `None` where that is nothing.
    fn decoded<'v>(&self, value: &'v [u8]) -> Option<Cow<'v, [u8]>> {
        match Values::new(value).sole() {
            Some(encoded) if !is_printable(value) || self.is_encoded() => amqp::text(encoded),
            _ => Some(Cow::Borrowed(value)),
        }
    }

    /// An attribute of CloudEvents, as the binding to Kafka names it, or else that to AMQP, which
    /// events have that Event Hubs took by AMQP.
    fn attribute(&self, kafka: &str, amqp: [&str; 2]) -> Option<Cow<'_, [u8]>> {
        let bound = self.header(kafka);
        if bound.is_some() {
            return bound;
        }
        let mut found = [None; 2];
        let read = self.record.each_header(&mut |name, value| {
            if let Some(at) = amqp.iter().position(|wanted| *wanted == name) {
                found[at] = value;
            }
        });
        // What is wrong with the headers is told by now.
        read.ok()?;
        found.into_iter().flatten().find_map(|value| self.decoded(value))
    }

    /// Whether all headers are AMQP values, and one is so without doubt.
    fn is_encoded(&self) -> bool {
        *self.is_encoded.get_or_init(|| {
            let (mut all, mut one) = (true, false);
            let read = self.record.each_header(&mut |_, value| {
                let value = value.unwrap_or_default();
                match Values::new(value).sole() {
                    Some(Value::Text(text)) => one |= is_printable(text.as_bytes()),
                    encoded => all &= encoded.is_some(),
                }
            });
            read.is_ok() && all && one
        })
    }
}

/// Whether bytes are text that someone may have meant: UTF-8 without control characters, but for
/// blanks.
fn is_printable(bytes: &[u8]) -> bool {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    str::from_utf8(bytes).is_ok_and(|text| !text.contains(is_odd))
}

impl Message for KafkaMessage<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.record.key
    }

    /// Records have no subject but that of CloudEvents.
    fn subject(&self) -> Option<Cow<'_, str>> {
        utf8(self.attribute("ce_subject", ["cloudEvents:subject", "cloudEvents_subject"])?)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.decoded(self.value(name)?)
    }

    fn header_count(&self) -> usize {
        usize::try_from(self.record.headers.count()).unwrap_or(usize::MAX)
    }

    /// A name whose last value is null has none, and so has one whose last value says nothing.
    fn each_header(&self, each: &mut dyn FnMut(&str, &[u8])) {
        let mut absent = HashSet::new();
        let read = self.record.each_header(&mut |name, value| match value
            .and_then(|value| self.decoded(value))
        {
            None => drop(absent.insert(name)),
            Some(_) => drop(absent.remove(name)),
        });
        let read = read.and_then(|()| {
            self.record.each_header(&mut |name, value| {
                let value = value.filter(|_| !absent.contains(name));
                if let Some(value) = value.and_then(|value| self.decoded(value)) {
                    each(name, &value);
                }
            })
        });
        if let Err(error) = read {
            self.wrong.get_or_init(|| error);
        }
    }

    fn cloud_event_type(&self) -> Option<Cow<'_, [u8]>> {
        self.attribute("ce_type", ["cloudEvents:type", "cloudEvents_type"])
    }

    fn content_type(&self) -> Option<Cow<'_, [u8]>> {
        self.header("content-type")
    }

    fn plain_event_type(&self) -> Option<&str> {
        None
    }

    fn body(&self) -> Option<&[u8]> {
        self.record.value
    }

    fn time(&self) -> Option<i64> {
        self.record.timestamp
    }

    fn size(&self) -> usize {
        self.record.value.map_or(0, <[u8]>::len)
    }

    fn source_variable(&self, name: &str) -> Option<Variable<'_>> {
        match name {
            "topic" => Some(Variable::Text(Cow::Borrowed(self.topic.as_str()))),
            "partition" => Some(Variable::Integer(self.partition.into())),
            "offset" => i64::try_from(self.record.offset).ok().map(Variable::Integer),
            _ => None,
        }
    }
}
