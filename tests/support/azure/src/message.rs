//! What a message holds, as a test writes it and as a queue keeps it.
//!
//! A queue keeps the bare message as the bytes it came in, so that nothing is lost that nobody here
//! looks into. What the service adds is written anew around it: the header, and the annotations
//! `x-opt-…`.
//!
//! # References
//! - OASIS AMQP 1.0, part 3, section 3.2: Message Format
//! - Microsoft Learn: AMQP 1.0 in Azure Service Bus protocol guide

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use crate::codec::{self, Malformed, Value};

const HEADER: u8 = 0x70;
const DELIVERY_ANNOTATIONS: u8 = 0x71;
const MESSAGE_ANNOTATIONS: u8 = 0x72;
const PROPERTIES: u8 = 0x73;
const APPLICATION_PROPERTIES: u8 = 0x74;
const DATA: u8 = 0x75;
const AMQP_VALUE: u8 = 0x77;

/// Where in the list of properties each of these stands.
const MESSAGE_ID: usize = 0;
const TO: usize = 2;
const SUBJECT: usize = 3;
const REPLY_TO: usize = 4;
const CORRELATION_ID: usize = 5;
const CONTENT_TYPE: usize = 6;
const ABSOLUTE_EXPIRY_TIME: usize = 8;
const CREATION_TIME: usize = 9;
const GROUP_ID: usize = 10;

/// A message as a test puts it into a queue.
#[derive(Debug, Clone, Default)]
pub struct Message {
    body: Vec<u8>,
    sections: Vec<(u8, Vec<u8>)>,
    application: Vec<(String, Property)>,
    id: Option<String>,
    subject: Option<String>,
    content_type: Option<String>,
    correlation_id: Option<String>,
    session: Option<String>,
    partition_key: Option<String>,
    time_to_live: Option<Duration>,
    due: Option<SystemTime>,
    to: Option<String>,
    reply_to: Option<String>,
}

/// The value of an application property.
#[derive(Debug, Clone, PartialEq)]
pub enum Property {
    /// A string.
    Text(String),
    /// A long.
    Number(i64),
    /// A double.
    Fraction(f64),
    /// A boolean.
    Truth(bool),
    /// A timestamp, in milliseconds since 1970.
    Time(i64),
    /// A value of any type, as AMQP encodes it.
    Encoded(Vec<u8>),
}

/// A message as it came, apart from what the service decides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) durable: bool,
    pub(crate) priority: Option<u8>,
    pub(crate) time_to_live: Option<u32>,
    /// Annotations that stay with the message.
    pub(crate) annotations: Vec<(Value, Value)>,
    pub(crate) due: Option<i64>,
    pub(crate) partition_key: Option<String>,
    pub(crate) session: Option<Arc<str>>,
    /// Properties, application properties, body, footer.
    pub(crate) bare: Vec<u8>,
}

/// What the service says of a message it hands out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) sequence: i64,
    pub(crate) enqueued: i64,
    pub(crate) state: State,
    pub(crate) deliveries: u32,
    pub(crate) time_to_live: Option<u32>,
    /// The lock that it is handed out under, and until when.
    pub(crate) lock: Option<(Uuid, i64)>,
}

/// Annotation `x-opt-message-state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Active = 0,
    Deferred = 1,
    Scheduled = 2,
}

/// What a request to a node says: a message taken apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) id: Option<Value>,
    pub(crate) reply_to: Option<String>,
    pub(crate) application: Vec<(Value, Value)>,
    pub(crate) body: Option<Value>,
}

impl Message {
    /// A message with this body and nothing else.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Adds a section of a body that is not bytes, by its number: a value (0x77) or a sequence
    /// (0x76), which holds what these bytes encode.
    pub fn section(mut self, code: u8, encoded: &[u8]) -> Self {
        self.sections.push((code, encoded.to_vec()));
        self
    }

    /// Sets where it is sent to.
    pub fn to(mut self, to: impl Into<String>) -> Self {
        self.to = Some(to.into());
        self
    }

    /// Sets where a reply goes.
    pub fn reply_to(mut self, reply_to: impl Into<String>) -> Self {
        self.reply_to = Some(reply_to.into());
        self
    }

    /// Adds an application property.
    pub fn property(mut self, name: &str, value: impl Into<Property>) -> Self {
        self.application.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the message id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the subject, which the SDKs also call label.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets the content type.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets the correlation id.
    pub fn correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = Some(correlation_id.into());
        self
    }

    /// Puts the message into a session: the property `group-id`.
    pub fn session(mut self, session: impl Into<String>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// Sets the key that picks the partition where there is no session.
    pub fn partition_key(mut self, key: impl Into<String>) -> Self {
        self.partition_key = Some(key.into());
        self
    }

    /// Sets how long the message lives once it is enqueued.
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(time_to_live);
        self
    }

    /// Schedules the message.
    pub fn due(mut self, due: SystemTime) -> Self {
        self.due = Some(due);
        self
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The value of an application property.
    pub fn get(&self, name: &str) -> Option<&Property> {
        self.application.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The subject.
    pub fn subject_text(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The session.
    pub fn session_id(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// What a queue keeps, as a test would have written it; what a test cannot write is left out.
    pub(crate) fn read(sent: &Sent) -> Self {
        let mut message = Self::default();
        let mut rest = &sent.bare[..];
        while let Ok(code) = section_code(rest)
            && let Ok(Value::Described(_, section)) = Value::decode(&mut rest)
        {
            match (code, *section) {
                (PROPERTIES, fields) => {
                    let text =
                        |at: usize| fields.items().get(at).and_then(Value::text).map(str::to_owned);
                    message.id = text(MESSAGE_ID);
                    message.subject = text(SUBJECT);
                    message.correlation_id = text(CORRELATION_ID);
                    message.content_type = text(CONTENT_TYPE);
                    message.session = text(GROUP_ID);
                }
                (APPLICATION_PROPERTIES, Value::Map(entries)) => {
                    for (name, value) in entries {
                        if let (Some(name), Some(value)) = (name.text(), Property::of(&value)) {
                            message.application.push((name.to_owned(), value));
                        }
                    }
                }
                (DATA, Value::Binary(bytes)) => message.body.put_slice(&bytes),
                (AMQP_VALUE, Value::String(text)) => message.body = text.into_bytes(),
                _ => {}
            }
        }
        message
    }

    pub(crate) fn into_sent(self) -> Sent {
        let mut bare = Vec::with_capacity(self.body.len() + 128);
        let text = |text: Option<String>| text.map_or(Value::Null, Value::String);
        let mut properties = vec![Value::Null; GROUP_ID + 1];
        properties[MESSAGE_ID] = Value::String(self.id.unwrap_or_else(new_id));
        properties[TO] = text(self.to);
        properties[SUBJECT] = text(self.subject);
        properties[REPLY_TO] = text(self.reply_to);
        properties[CORRELATION_ID] = text(self.correlation_id);
        properties[CONTENT_TYPE] = self.content_type.map_or(Value::Null, Value::Symbol);
        properties[GROUP_ID] = text(self.session.clone());
        Value::composite(PROPERTIES.into(), properties).encode(&mut bare);
        if !self.application.is_empty() {
            let entries = self
                .application
                .into_iter()
                .map(|(name, value)| (Value::String(name), value.into()));
            section(&mut bare, APPLICATION_PROPERTIES, &Value::Map(entries.collect()));
        }
        if self.sections.is_empty() {
            bare.put_slice(&[0x00, 0x53, DATA]);
            codec::put_binary(&mut bare, &self.body);
        }
        for (code, value) in self.sections {
            bare.put_slice(&[0x00, 0x53, code]);
            bare.put_slice(&value);
        }

        let mut sent = Sent {
            time_to_live: self
                .time_to_live
                .map(|ttl| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)),
            session: self.session.map(Into::into),
            bare,
            ..Sent::default()
        };
        if let Some(key) = self.partition_key {
            sent.annotations
                .push((Value::symbol("x-opt-partition-key"), Value::String(key.clone())));
            sent.partition_key = Some(key);
        }
        if let Some(due) = self.due {
            sent.due_at(milliseconds(due));
        }
        sent
    }
}

impl Sent {
    /// Takes a message apart.
    pub(crate) fn parse(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let mut sent = Self::default();
        let mut id = false;
        while !bytes.is_empty() {
            let whole = bytes;
            let code = section_code(bytes)?;
            match code {
                HEADER => {
                    let header = Value::decode(&mut bytes)?;
                    let field = |at: usize| header.fields().get(at);
                    sent.durable = field(0) == Some(&Value::Bool(true));
                    sent.priority =
                        field(1).and_then(Value::number).and_then(|n| n.try_into().ok());
                    sent.time_to_live =
                        field(2).and_then(Value::number).and_then(|n| n.try_into().ok());
                }
                DELIVERY_ANNOTATIONS => {
                    codec::skip(&mut bytes)?;
                }
                MESSAGE_ANNOTATIONS => {
                    if let Value::Described(_, map) = Value::decode(&mut bytes)?
                        && let Value::Map(entries) = *map
                    {
                        entries.into_iter().for_each(|(key, value)| sent.annotate(key, value));
                    }
                }
                PROPERTIES => {
                    let properties = Value::decode(&mut bytes)?;
                    id = properties.fields().first().is_some_and(|id| *id != Value::Null);
                    sent.session =
                        properties.fields().get(GROUP_ID).and_then(Value::text).map(Into::into);
                    sent.bare.put_slice(&whole[..whole.len() - bytes.len()]);
                }
                _ => {
                    let length = codec::skip(&mut bytes)?;
                    sent.bare.put_slice(&whole[..length]);
                }
            }
        }
        // The service gives an id to a message that has none; JavaScript's SDK settles no message
        // without.
        if !id {
            sent.set(&[(MESSAGE_ID, Value::String(new_id()))]);
        }
        Ok(sent)
    }

    /// The messages in the body of a batch: each data section is one.
    pub(crate) fn parse_batch(mut bytes: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut batch = Vec::new();
        while !bytes.is_empty() {
            if section_code(bytes)? != DATA {
                codec::skip(&mut bytes)?;
                continue;
            }
            if let Value::Described(_, body) = Value::decode(&mut bytes)?
                && let Value::Binary(message) = *body
            {
                batch.push(Self::parse(&message)?);
            }
        }
        Ok(batch)
    }

    fn annotate(&mut self, key: Value, value: Value) {
        match key.text() {
            Some("x-opt-scheduled-enqueue-time") => {
                if let Some(due) = value.number() {
                    self.due_at(due);
                }
            }
            // What the service itself says is not for a sender to say.
            Some(
                "x-opt-sequence-number"
                | "x-opt-enqueued-time"
                | "x-opt-locked-until"
                | "x-opt-message-state",
            ) => {}
            Some("x-opt-partition-key") => {
                self.partition_key = value.text().map(str::to_owned);
                self.annotations.push((key, value));
            }
            _ => self.annotations.push((key, value)),
        }
    }

    fn due_at(&mut self, due: i64) {
        self.due = Some(due);
        self.annotations
            .push((Value::symbol("x-opt-scheduled-enqueue-time"), Value::Timestamp(due)));
    }

    /// Writes into the properties when the message came and when it ends, as the service does for
    /// one that has a time to live.
    pub(crate) fn date(&mut self, created: i64, expires: i64) {
        self.set(&[
            (CREATION_TIME, Value::Timestamp(created)),
            (ABSOLUTE_EXPIRY_TIME, Value::Timestamp(expires)),
        ]);
    }

    /// Sets some of the properties.
    fn set(&mut self, to: &[(usize, Value)]) {
        self.edit(PROPERTIES, |properties| {
            let mut fields =
                properties.map_or_else(Vec::new, |properties| properties.fields().to_vec());
            fields.resize(fields.len().max(GROUP_ID + 1), Value::Null);
            to.iter().for_each(|(field, value)| fields[*field] = value.clone());
            Value::composite(PROPERTIES.into(), fields)
        });
    }

    /// Adds why the message was dead-lettered to its application properties.
    pub(crate) fn explain(&mut self, reason: Option<&str>, description: Option<&str>) {
        let named = [("DeadLetterReason", reason), ("DeadLetterErrorDescription", description)];
        let said = named.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let said: Vec<_> =
            said.map(|(name, text)| (Value::string(name), Value::string(text))).collect();
        self.modify(&said);
    }

    /// Sets some of the application properties.
    pub(crate) fn modify(&mut self, to: &[(Value, Value)]) {
        if to.is_empty() {
            return;
        }
        self.edit(APPLICATION_PROPERTIES, |map| {
            let mut entries = match map {
                Some(Value::Described(_, map)) => match *map {
                    Value::Map(entries) => entries,
                    _ => Vec::new(),
                },
                _ => Vec::new(),
            };
            for (name, value) in to {
                // As a client writes them on a link these names are symbols.
                let text = name.text().unwrap_or_default();
                entries.retain(|(key, _)| key.text() != Some(text));
                entries.push((Value::string(text), value.clone()));
            }
            let descriptor = Value::Ulong(APPLICATION_PROPERTIES.into());
            Value::Described(Box::new(descriptor), Box::new(Value::Map(entries)))
        });
    }

    /// Replaces a section of the bare message, or puts one where it belongs.
    fn edit(&mut self, code: u8, change: impl FnOnce(Option<Value>) -> Value) {
        let mut rest = &self.bare[..];
        let mut before = Vec::new();
        let mut old = None;
        while let Ok(found) = section_code(rest)
            && found <= code
        {
            let whole = rest;
            match Value::decode(&mut rest) {
                Ok(value) if found == code => old = Some(value),
                Ok(_) => before.put_slice(&whole[..whole.len() - rest.len()]),
                Err(Malformed) => break,
            }
        }
        change(old).encode(&mut before);
        before.put_slice(rest);
        self.bare = before;
    }

    /// The whole message as the service hands it out.
    pub(crate) fn encode(&self, stamp: Stamp) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bare.len() + 160);
        let header = vec![
            if self.durable { Value::Bool(true) } else { Value::Null },
            self.priority.map_or(Value::Null, Value::Ubyte),
            stamp.time_to_live.map_or(Value::Null, Value::Uint),
            Value::Null,
            Value::Uint(stamp.deliveries),
        ];
        Value::composite(HEADER.into(), header).encode(&mut out);
        // A deferred message comes in a reply, without a delivery whose tag could be the token.
        if let Some((token, _)) = stamp.lock
            && stamp.state == State::Deferred
        {
            let token = Value::symbols([("x-opt-lock-token", Value::Uuid(token))]);
            section(&mut out, DELIVERY_ANNOTATIONS, &token);
        }
        let mut annotations = vec![
            (Value::symbol("x-opt-enqueued-time"), Value::Timestamp(stamp.enqueued)),
            (Value::symbol("x-opt-sequence-number"), Value::Long(stamp.sequence)),
            (Value::symbol("x-opt-message-state"), Value::Int(stamp.state as i32)),
        ];
        if let Some((_, until)) = stamp.lock {
            annotations.push((Value::symbol("x-opt-locked-until"), Value::Timestamp(until)));
        }
        annotations.extend(self.annotations.iter().cloned());
        section(&mut out, MESSAGE_ANNOTATIONS, &Value::Map(annotations));
        out.put_slice(&self.bare);
        out
    }

    /// The message as an entry of a reply to a peek: a map of one key.
    pub(crate) fn peeked(&self, stamp: Stamp) -> Bytes {
        let message = self.encode(stamp);
        let mut body = Vec::with_capacity(message.len() + 16);
        codec::put_string(&mut body, "message");
        codec::put_binary(&mut body, &message);
        let mut entry = Vec::with_capacity(body.len() + 9);
        entry.put_u8(0xd1);
        entry.put_u32(
            u32::try_from(body.len() + 4).expect("a message is not as long as four gigabytes"),
        );
        entry.put_u32(2);
        entry.put_slice(&body);
        entry.into()
    }
}

impl Request {
    /// Takes a request apart; what is not understood is left out.
    pub(crate) fn parse(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let mut request = Self::default();
        while !bytes.is_empty() {
            let code = section_code(bytes)?;
            let section = Value::decode(&mut bytes)?;
            match code {
                PROPERTIES => {
                    request.id = section.fields().first().cloned();
                    request.reply_to =
                        section.fields().get(4).and_then(Value::text).map(str::to_owned);
                }
                APPLICATION_PROPERTIES => {
                    if let Value::Described(_, map) = section
                        && let Value::Map(entries) = *map
                    {
                        request.application = entries;
                    }
                }
                AMQP_VALUE | DATA => {
                    if let Value::Described(_, body) = section {
                        request.body = Some(*body);
                    }
                }
                _ => {}
            }
        }
        Ok(request)
    }

    /// The text of an application property.
    pub(crate) fn says(&self, key: &str) -> Option<&str> {
        self.application
            .iter()
            .find(|(name, _)| name.text() == Some(key))
            .and_then(|(_, value)| value.text())
    }
}

/// A reply of a node: what it says in application properties, and the encoded value that is its
/// body.
pub(crate) fn reply(to: &Request, application: Vec<(&str, Value)>, body: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.map_or(0, <[u8]>::len) + 160);
    let mut properties = vec![Value::Null; CORRELATION_ID + 1];
    properties[CORRELATION_ID] = to.id.clone().unwrap_or(Value::Null);
    Value::composite(PROPERTIES.into(), properties).encode(&mut out);
    section(&mut out, APPLICATION_PROPERTIES, &Value::strings(application));
    out.put_slice(&[0x00, 0x53, AMQP_VALUE]);
    match body {
        Some(body) => out.put_slice(body),
        None => Value::Null.encode(&mut out),
    }
    out
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).expect("no test is set before 1970");
    i64::try_from(since.as_millis()).expect("no test is set after the year 292,000,000")
}

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    milliseconds(SystemTime::now())
}

fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

fn section(out: &mut Vec<u8>, code: u8, value: &Value) {
    out.put_slice(&[0x00, 0x53, code]);
    value.encode(out);
}

/// Which section the bytes begin with.
fn section_code(bytes: &[u8]) -> Result<u8, Malformed> {
    let mut from = bytes.strip_prefix(&[0]).ok_or(Malformed)?;
    let descriptor = Value::decode(&mut from)?;
    descriptor.number().and_then(|code| code.try_into().ok()).ok_or(Malformed)
}

impl Property {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Bool(truth) => Self::Truth(*truth),
            Value::Double(fraction) => Self::Fraction(*fraction),
            Value::Float(fraction) => Self::Fraction((*fraction).into()),
            Value::Timestamp(time) => Self::Time(*time),
            other => match (other.text(), other.number()) {
                (Some(text), _) => Self::Text(text.to_owned()),
                (_, Some(number)) => Self::Number(number),
                _ => return None,
            },
        })
    }
}

impl From<&str> for Property {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Property {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Property {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<f64> for Property {
    fn from(fraction: f64) -> Self {
        Self::Fraction(fraction)
    }
}

impl From<bool> for Property {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<Property> for Value {
    fn from(property: Property) -> Self {
        match property {
            Property::Text(text) => Self::String(text),
            Property::Number(number) => Self::Long(number),
            Property::Fraction(fraction) => Self::Double(fraction),
            Property::Truth(truth) => Self::Bool(truth),
            Property::Time(time) => Self::Timestamp(time),
            Property::Encoded(bytes) => Self::decode(&mut &bytes[..]).expect("a value"),
        }
    }
}
