//! A message of Service Bus as peeking gives it: what a selection sees of it, and what says whether
//! a receiver could get it.
//!
//! A peeked message may be scheduled or deferred, or past its time to live and not swept yet; none
//! of these waits for a receiver. One that a receiver holds locked does. Times are milliseconds
//! since 1970, by the clock of Service Bus.
//!
//! # References
//! - OASIS AMQP 1.0, part 3, section 3.2: the sections of a message
//! - "AMQP 1.0 in Azure Service Bus protocol guide", message annotations `x-opt-…`
//! - CloudEvents, AMQP protocol binding 1.0.2, section 3.1: `cloudEvents:type`, and
//!   `cloudEvents_type` for clients that take no colon

use std::borrow::Cow;
use std::sync::OnceLock;

use chrono::TimeDelta;

use crate::amqp::{self, Value, Values};
use crate::selection::{Message, Variable};

/// The sections of a message, by their descriptors.
const HEADER: u64 = 0x70;
const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
const APPLICATION_PROPERTIES: u64 = 0x74;
const DATA: u64 = 0x75;
const SEQUENCE: u64 = 0x76;
const VALUE: u64 = 0x77;

/// A message that was peeked.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::service_bus) struct Peeked<'a> {
    /// Where it stands.
    pub(in crate::service_bus) position: QueuePosition,
    time_to_live: Option<i64>,
    delivery_count: i64,
    message_id: Value<'a>,
    to: Option<&'a str>,
    subject: Option<&'a str>,
    reply_to: Option<&'a str>,
    correlation_id: Value<'a>,
    content_type: Option<&'a str>,
    absolute_expiry: Option<i64>,
    session: Option<&'a str>,
    partition_key: Option<&'a str>,
    properties: Option<Values<'a>>,
    body: Body<'a>,
}

/// What a message says, as AMQP's sections have it.
#[derive(Debug, Clone, PartialEq)]
enum Body<'a> {
    None,
    Bytes(Cow<'a, [u8]>),
    /// Any other value, which is JSON once someone asks for it; then `None` where it is none.
    Value(Value<'a>, OnceLock<Option<String>>),
    /// Lists that are one list, likewise.
    Sequence(Vec<Values<'a>>, OnceLock<Option<String>>),
}

/// Where a message stands in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service_bus) struct QueuePosition {
    /// Its sequence number.
    pub(in crate::service_bus) sequence: u64,
    /// When it was enqueued. With the number it names the message: a queue that was made again uses
    /// the same numbers for others.
    pub(in crate::service_bus) enqueued: i64,
    /// What a receiver would make of it.
    pub(in crate::service_bus) state: State,
}

/// Whether a receiver could get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service_bus) enum State {
    /// It could, or holds it locked.
    Active,
    /// Only one that asks for its number.
    Deferred,
    /// Not before it is due, then under another number.
    Scheduled,
}

impl<'a> Peeked<'a> {
    /// The message that these bytes encode, as far as they do; `None` if that is not as far as its
    /// sequence number.
    pub(in crate::service_bus) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut sections = Values::new(bytes);
        let mut message = Self {
            position: QueuePosition { sequence: 0, enqueued: 0, state: State::Active },
            time_to_live: None,
            delivery_count: 0,
            message_id: Value::Null,
            to: None,
            subject: None,
            reply_to: None,
            correlation_id: Value::Null,
            content_type: None,
            absolute_expiry: None,
            session: None,
            partition_key: None,
            properties: None,
            body: Body::None,
        };
        let mut sequence = None;
        while !sections.is_empty() {
            // What cannot be read makes the message one that cannot be judged, not the queue.
            let Some(section) = sections.next_described() else { break };
            match section {
                (HEADER, Value::List(fields)) => message.read_header(fields),
                (MESSAGE_ANNOTATIONS, Value::Map(entries)) => {
                    sequence = message.read_annotations(entries);
                }
                (PROPERTIES, Value::List(fields)) => message.read_properties(fields),
                (APPLICATION_PROPERTIES, Value::Map(entries)) => message.properties = Some(entries),
                (DATA, Value::Binary(data)) => message.add_data(data),
                (SEQUENCE, Value::List(list)) => message.add_list(list),
                (VALUE, value) => message.body = Body::of(value),
                _ => {}
            }
        }
        message.position.sequence = sequence?;
        Some(message)
    }

    /// When it expires, if it ever does.
    pub(in crate::service_bus) fn expires(&self) -> Option<i64> {
        let lives = self.time_to_live.map(|lives| self.position.enqueued.saturating_add(lives));
        self.absolute_expiry.or(lives)
    }

    /// The session it belongs to.
    pub(in crate::service_bus) fn session(&self) -> Option<&'a str> {
        self.session
    }

    fn read_header(&mut self, mut fields: Values<'a>) {
        // durable, priority, ttl, first-acquirer, delivery-count
        for index in 0..5 {
            let Some(value) = fields.next() else { return };
            match index {
                2 => self.time_to_live = value.integer(),
                4 => self.delivery_count = value.integer().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn read_annotations(&mut self, mut entries: Values<'a>) -> Option<u64> {
        let mut sequence = None;
        while let (Some(name), Some(value)) = (entries.next(), entries.next()) {
            match name.text() {
                Some("x-opt-sequence-number") => {
                    // A partition above 32,767 makes it negative.
                    sequence = match value {
                        Value::Signed(number) => Some(number.cast_unsigned()),
                        Value::Unsigned(number) => Some(number),
                        _ => None,
                    };
                }
                Some("x-opt-partition-key") => self.partition_key = value.text(),
                Some("x-opt-enqueued-time") => {
                    self.position.enqueued = value.integer().unwrap_or(0);
                }
                Some("x-opt-message-state") => {
                    self.position.state = match value.integer() {
                        Some(1) => State::Deferred,
                        Some(2) => State::Scheduled,
                        _ => State::Active,
                    };
                }
                _ => {}
            }
        }
        sequence
    }

    fn read_properties(&mut self, mut fields: Values<'a>) {
        // message-id, user-id, to, subject, reply-to, correlation-id, content-type,
        // content-encoding, absolute-expiry-time, creation-time, group-id, …
        for index in 0..11 {
            let Some(value) = fields.next() else { return };
            match index {
                0 => self.message_id = value,
                2 => self.to = value.text(),
                3 => self.subject = value.text(),
                4 => self.reply_to = value.text(),
                5 => self.correlation_id = value,
                6 => self.content_type = value.text(),
                8 => self.absolute_expiry = value.integer(),
                10 => self.session = value.text(),
                _ => {}
            }
        }
    }

    /// A body may come in several pieces.
    fn add_data(&mut self, data: &'a [u8]) {
        match &mut self.body {
            Body::Bytes(body) => body.to_mut().extend_from_slice(data),
            body => *body = Body::Bytes(Cow::Borrowed(data)),
        }
    }

    /// A list too.
    fn add_list(&mut self, list: Values<'a>) {
        match &mut self.body {
            Body::Sequence(lists, _) => lists.push(list),
            body => *body = Body::Sequence(vec![list], OnceLock::new()),
        }
    }

    /// Shows `each` every application property.
    fn each_property(&self, mut each: impl FnMut(&'a str, Value<'a>)) {
        let Some(mut entries) = self.properties else { return };
        while let (Some(name), Some(value)) = (entries.next(), entries.next()) {
            if let Some(name) = name.text() {
                each(name, value);
            }
        }
    }

    fn property(&self, name: &str) -> Option<Value<'a>> {
        let mut found = None;
        self.each_property(|held, value| {
            if held == name {
                found = Some(value);
            }
        });
        found
    }
}

impl<'a> Message for Peeked<'a> {
    /// Service Bus has none.
    fn key(&self) -> Option<&[u8]> {
        None
    }

    fn subject(&self) -> Option<Cow<'_, str>> {
        self.subject.map(Cow::Borrowed)
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.property(name).and_then(amqp::text)
    }

    fn each_header(&self, each: &mut dyn FnMut(&str, &[u8])) {
        self.each_property(|name, value| {
            if let Some(value) = amqp::text(value) {
                each(name, &value);
            }
        });
    }

    fn header_count(&self) -> usize {
        let mut count = 0;
        self.each_property(|_, _| count += 1);
        count
    }

    fn cloud_event_type(&self) -> Option<Cow<'_, [u8]>> {
        self.header("cloudEvents:type").or_else(|| self.header("cloudEvents_type"))
    }

    fn content_type(&self) -> Option<Cow<'_, [u8]>> {
        self.content_type.map(|content_type| content_type.as_bytes().into())
    }

    fn plain_event_type(&self) -> Option<&str> {
        self.subject
    }

    fn body(&self) -> Option<&[u8]> {
        self.body.bytes()
    }

    fn time(&self) -> Option<i64> {
        Some(self.position.enqueued)
    }

    fn size(&self) -> usize {
        self.body.bytes().map_or(0, <[u8]>::len)
    }

    fn source_variable(&self, name: &str) -> Option<Variable<'_>> {
        let id = |id: Value<'_>| {
            let id = amqp::text(id).and_then(|id| String::from_utf8(id.into_owned()).ok());
            Variable::Text(id.unwrap_or_default().into())
        };
        let text = |text: Option<&'a str>| Some(Variable::Text(text.unwrap_or_default().into()));
        match name {
            "sessionId" => text(self.session),
            "contentType" => text(self.content_type),
            "to" => text(self.to),
            "replyTo" => text(self.reply_to),
            "partitionKey" => text(self.partition_key),
            "timeToLive" => {
                let lives = self.expires()?.saturating_sub(self.position.enqueued);
                TimeDelta::try_milliseconds(lives).map(Variable::Duration)
            }
            "messageId" => Some(id(self.message_id)),
            "correlationId" => Some(id(self.correlation_id)),
            "deliveryCount" => Some(Variable::Integer(self.delivery_count)),
            "sequenceNumber" => Some(Variable::Integer(self.position.sequence.cast_signed())),
            "properties" => {
                let mut properties = Vec::new();
                self.each_property(|name, value| properties.push((name, variable(value))));
                Some(Variable::Map(properties))
            }
            _ => None,
        }
    }
}

impl<'a> Body<'a> {
    /// The body that a value is.
    fn of(value: Value<'a>) -> Self {
        match value {
            Value::Null => Body::None,
            Value::Binary(bytes) => Body::Bytes(bytes.into()),
            Value::Text(text) => Body::Bytes(text.as_bytes().into()),
            value => Body::Value(value, OnceLock::new()),
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        let json = match self {
            Body::None => return None,
            Body::Bytes(bytes) => return Some(bytes),
            Body::Value(value, json) => json.get_or_init(|| amqp::json(*value)),
            Body::Sequence(lists, json) => json.get_or_init(|| amqp::json_of_list(lists)),
        };
        json.as_deref().map(str::as_bytes)
    }
}

/// A property as a filter has it; what CEL has no type for is null.
fn variable(value: Value<'_>) -> Variable<'_> {
    match value {
        Value::Boolean(answer) => Variable::Boolean(answer),
        Value::Signed(number) => Variable::Integer(number),
        // A filter's own numbers are ints, so `properties.count == 3` is to hold whatever its type.
        Value::Unsigned(number) => {
            i64::try_from(number).map_or(Variable::Unsigned(number), Variable::Integer)
        }
        Value::Float(_) | Value::Double(_) | Value::Decimal(_) => {
            amqp::number(value).map_or(Variable::Null, Variable::Double)
        }
        Value::Text(text) => Variable::Text(text.into()),
        Value::Timestamp(_) | Value::DateTimeOffset(_) => {
            amqp::date_time(value).map_or(Variable::Null, Variable::Time)
        }
        Value::TimeSpan(_) => amqp::time_delta(value).map_or(Variable::Null, Variable::Duration),
        Value::Char(character) => Variable::Text(character.to_string().into()),
        Value::Uuid(id) => Variable::Text(amqp::hyphenated(id).into()),
        Value::Null
        | Value::Binary(_)
        | Value::List(_)
        | Value::Map(_)
        | Value::Array(_)
        | Value::Other => Variable::Null,
    }
}

#[cfg(test)]
mod tests;
