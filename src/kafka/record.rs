//! A Kafka record as selections see it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::librdkafka::Record;
use crate::selection::{Message, Variable};

/// A record and the topic it came from.
pub(super) struct KafkaMessage<'a> {
    topic: &'a str,
    record: Record<'a>,
}

impl<'a> KafkaMessage<'a> {
    pub(super) fn new(topic: &'a str, record: Record<'a>) -> KafkaMessage<'a> {
        KafkaMessage { topic, record }
    }
}

impl Message for KafkaMessage<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    /// Records have no subject but that of CloudEvents.
    fn subject(&self) -> Option<&str> {
        str::from_utf8(self.record.header("ce_subject")?).ok()
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.record.header(name).map(Cow::Borrowed)
    }

    /// A name whose last value is null has none.
    fn each_header(&self, each: &mut dyn FnMut(&str, &[u8])) {
        let mut null = HashSet::new();
        self.record.each_header(&mut |name, value| match value {
            None => drop(null.insert(name)),
            Some(_) => drop(null.remove(name)),
        });
        self.record.each_header(&mut |name, value| {
            if let Some(value) = value.filter(|_| !null.contains(name)) {
                each(name, value);
            }
        });
    }

    fn cloud_event_type(&self) -> Option<Cow<'_, [u8]>> {
        self.header("ce_type")
    }

    fn content_type(&self) -> Option<Cow<'_, [u8]>> {
        self.header("content-type")
    }

    fn plain_event_type(&self) -> Option<&str> {
        None
    }

    fn body(&self) -> Option<&[u8]> {
        self.record.payload()
    }

    fn time(&self) -> Option<i64> {
        self.record.timestamp()
    }

    fn size(&self) -> usize {
        self.record.payload().map_or(0, <[u8]>::len)
    }

    fn source_variable(&self, name: &str) -> Option<Variable<'_>> {
        match name {
            "topic" => Some(Variable::Text(Cow::Borrowed(self.topic))),
            "partition" => Some(Variable::Integer(self.record.partition().into())),
            "offset" => i64::try_from(self.record.offset()).ok().map(Variable::Integer),
            _ => None,
        }
    }
}
