//! A message of Service Bus as peeking gives it: what a selection sees of it, and what says whether a
//! receiver could get it.
//!
//! A peeked message may be scheduled or deferred, or past its time to live and not swept yet; none of
//! these waits for a receiver. One that a receiver holds locked does. Times are milliseconds since 1970,
//! by the clock of Service Bus.
//!
//! # References
//! - OASIS AMQP 1.0, part 3, section 3.2: the sections of a message
//! - "AMQP 1.0 in Azure Service Bus protocol guide", message annotations `x-opt-…`
//! - CloudEvents, AMQP protocol binding 1.0.2, section 3.1: `cloudEvents:type`, and `cloudEvents_type` for
//!   clients that take no colon

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
    pub(in crate::service_bus) place: Place,
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
pub(in crate::service_bus) struct Place {
    /// Its sequence number.
    pub(in crate::service_bus) sequence: u64,
    /// When it was enqueued. With the number it names the message: a queue that was made again uses the
    /// same numbers for others.
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
    /// The message that these bytes encode, as far as they do; `None` if that is not as far as its sequence
    /// number.
    pub(in crate::service_bus) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut sections = Values::new(bytes);
        let mut message = Self {
            place: Place { sequence: 0, enqueued: 0, state: State::Active },
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
        message.place.sequence = sequence?;
        Some(message)
    }

    /// When it expires, if it ever does.
    pub(in crate::service_bus) fn expires(&self) -> Option<i64> {
        let lives = self.time_to_live.map(|lives| self.place.enqueued.saturating_add(lives));
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
                Some("x-opt-enqueued-time") => self.place.enqueued = value.integer().unwrap_or(0),
                Some("x-opt-message-state") => {
                    self.place.state = match value.integer() {
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
        // message-id, user-id, to, subject, reply-to, correlation-id, content-type, content-encoding,
        // absolute-expiry-time, creation-time, group-id, …
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
        Some(self.place.enqueued)
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
                let lives = self.expires()?.saturating_sub(self.place.enqueued);
                TimeDelta::try_milliseconds(lives).map(Variable::Duration)
            }
            "messageId" => Some(id(self.message_id)),
            "correlationId" => Some(id(self.correlation_id)),
            "deliveryCount" => Some(Variable::Integer(self.delivery_count)),
            "sequenceNumber" => Some(Variable::Integer(self.place.sequence.cast_signed())),
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
mod tests {
    use fe2o3_amqp_types::messaging as amqp;
    use serde_amqp::primitives::{Binary, Symbol, Timestamp, Uuid};
    use serde_amqp::{Value as Amqp, to_vec};

    use super::*;

    impl Peeked<'static> {
        /// A message that a test spells out.
        pub(in crate::service_bus) fn sample(
            place: Place,
            subject: &'static str,
            session: Option<&'static str>,
            absolute_expiry: Option<i64>,
            delivery_count: i64,
        ) -> Self {
            let empty = to_vec(&annotations(1, 0, None)).expect("annotations").leak();
            let message = Peeked::read(empty).expect("a message");
            Peeked {
                place,
                subject: Some(subject),
                session,
                absolute_expiry,
                delivery_count,
                ..message
            }
        }
    }

    fn annotations(sequence: i64, enqueued: i64, state: Option<i32>) -> amqp::MessageAnnotations {
        let mut entries = amqp::annotations::Annotations::new();
        entries.insert(Symbol::from("x-opt-sequence-number").into(), Amqp::Long(sequence));
        let enqueued = Amqp::Timestamp(Timestamp::from_milliseconds(enqueued));
        entries.insert(Symbol::from("x-opt-enqueued-time").into(), enqueued);
        if let Some(state) = state {
            entries.insert(Symbol::from("x-opt-message-state").into(), Amqp::Int(state));
        }
        amqp::MessageAnnotations(entries)
    }

    fn encoded(message: amqp::Message<amqp::Body<Amqp>>) -> Vec<u8> {
        to_vec(&amqp::message::__private::Serializable(message)).expect("a message")
    }

    fn data(bytes: &[u8]) -> amqp::Body<Amqp> {
        amqp::Body::Data(vec![amqp::Data(Binary::from(bytes.to_vec()))].into())
    }

    #[test]
    fn a_message_is_read_as_another_library_writes_it() {
        let properties = amqp::ApplicationProperties::builder()
            .insert("cloudEvents:type", "order.placed")
            .insert("count", 3_u32)
            .insert("ratio", 1.5_f64)
            .insert("urgent", true)
            .insert("id", Uuid::from(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes()))
            .insert("at", Timestamp::from_milliseconds(1_700_000_000_000))
            .build();
        let message = amqp::Message::builder()
            .header(amqp::Header { ttl: Some(5_000), delivery_count: 2, ..Default::default() })
            .message_annotations(annotations(42, 1_000, None))
            .properties(
                amqp::Properties::builder()
                    .message_id("m-1".to_owned())
                    .subject("a subject")
                    .correlation_id(7_u64)
                    .content_type("application/json")
                    .group_id("s-1".to_owned())
                    .build(),
            )
            .application_properties(properties)
            .body(data(b"{}"))
            .build();
        let bytes = encoded(message);
        let peeked = Peeked::read(&bytes).expect("a message");
        let place = Place { sequence: 42, enqueued: 1_000, state: State::Active };
        assert_eq!((peeked.place, peeked.expires()), (place, Some(6_000)));
        assert_eq!(
            (peeked.subject().as_deref(), peeked.session()),
            (Some("a subject"), Some("s-1"))
        );
        assert_eq!(
            (peeked.body(), peeked.size(), peeked.time()),
            (Some(&b"{}"[..]), 2, Some(1_000))
        );
        assert_eq!(peeked.content_type().as_deref(), Some(&b"application/json"[..]));
        assert_eq!(peeked.cloud_event_type().as_deref(), Some(&b"order.placed"[..]));
        assert_eq!(peeked.plain_event_type(), Some("a subject"));
        let mut headers = Vec::new();
        peeked.each_header(&mut |name, value| {
            headers.push(format!("{name}={}", String::from_utf8_lossy(value)));
        });
        headers.sort();
        let expected = [
            "at=2023-11-14T22:13:20Z",
            "cloudEvents:type=order.placed",
            "count=3",
            "id=01234567-89ab-cdef-0123-456789abcdef",
            "ratio=1.5",
            "urgent=true",
        ];
        assert_eq!(headers, expected);
        let variable = |name| peeked.source_variable(name);
        assert_eq!(variable("messageId"), Some(Variable::Text("m-1".into())));
        assert_eq!(variable("correlationId"), Some(Variable::Text("7".into())));
        assert_eq!(variable("deliveryCount"), Some(Variable::Integer(2)));
        assert_eq!(variable("sequenceNumber"), Some(Variable::Integer(42)));
        let a_time = chrono::DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time");
        let Some(Variable::Map(properties)) = variable("properties") else { panic!("no map") };
        assert!(properties.contains(&("count", Variable::Integer(3))), "{properties:?}");
        assert!(properties.contains(&("at", Variable::Time(a_time))), "{properties:?}");
    }

    #[test]
    fn states_and_expiry_are_told() {
        let rows = [
            ("no state", None, State::Active),
            ("active", Some(0), State::Active),
            ("deferred", Some(1), State::Deferred),
            ("scheduled", Some(2), State::Scheduled),
        ];
        for (name, state, expected) in rows {
            let message = amqp::Message::builder()
                .message_annotations(annotations(1, 1_000, state))
                .properties(
                    amqp::Properties::builder()
                        .absolute_expiry_time(Timestamp::from_milliseconds(9_000))
                        .build(),
                )
                .body(amqp::Body::Value(amqp::AmqpValue(Amqp::String("text".into()))))
                .build();
            let bytes = encoded(message);
            let peeked = Peeked::read(&bytes).expect(name);
            assert_eq!((peeked.place.state, peeked.expires()), (expected, Some(9_000)), "{name}");
            assert_eq!(peeked.body(), Some(&b"text"[..]), "{name}");
        }
    }

    #[test]
    fn a_body_in_pieces_is_one() {
        let pieces =
            [b"{\"a\"".as_slice(), b":1}"].map(|piece| amqp::Data(Binary::from(piece.to_vec())));
        let message = amqp::Message::builder()
            .message_annotations(annotations(1, 1, None))
            .body(amqp::Body::<Amqp>::Data(pieces.to_vec().into()))
            .build();
        let bytes = encoded(message);
        let peeked = Peeked::read(&bytes).expect("a message");
        assert_eq!(peeked.body(), Some(&b"{\"a\":1}"[..]));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let whole = encoded(
            amqp::Message::builder()
                .message_annotations(annotations(1, 1, None))
                .body(data(b"hello"))
                .build(),
        );
        assert!(Peeked::read(&whole).is_some());
        for length in 0..whole.len() {
            // The body takes ten bytes; a message without one, or with a broken one, still waits.
            let read = Peeked::read(&whole[..length]);
            assert_eq!(read.is_some(), length >= whole.len() - 10, "{length} bytes");
            assert!(read.is_none_or(|message| message.body().is_none()), "{length} bytes");
        }
        let no_number = encoded(amqp::Message::builder().body(data(b"hello")).build());
        assert_eq!(Peeked::read(&no_number), None);
    }
}
