//! A Kafka record as selections see it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::OnceLock;

use super::names::{Partition, Topic};
use super::wire::records::{BatchError, Record};
use crate::selection::{Message, Variable};

/// A record and where it came from.
pub(super) struct KafkaMessage<'a> {
    topic: &'a Topic,
    partition: Partition,
    record: Record<'a>,
    /// What is wrong with its headers, once they have been looked at.
    wrong: OnceLock<BatchError>,
}

impl<'a> KafkaMessage<'a> {
    pub(super) fn new(
        topic: &'a Topic,
        partition: Partition,
        record: Record<'a>,
    ) -> KafkaMessage<'a> {
        KafkaMessage { topic, partition, record, wrong: OnceLock::new() }
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
}

impl Message for KafkaMessage<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.record.key
    }

    /// Records have no subject but that of CloudEvents.
    fn subject(&self) -> Option<&str> {
        str::from_utf8(self.value("ce_subject")?).ok()
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.value(name).map(Cow::Borrowed)
    }

    /// A name whose last value is null has none.
    fn each_header(&self, each: &mut dyn FnMut(&str, &[u8])) {
        let mut null = HashSet::new();
        let read = self.record.each_header(&mut |name, value| match value {
            None => drop(null.insert(name)),
            Some(_) => drop(null.remove(name)),
        });
        let read = read.and_then(|()| {
            self.record.each_header(&mut |name, value| {
                if let Some(value) = value.filter(|_| !null.contains(name)) {
                    each(name, value);
                }
            })
        });
        if let Err(error) = read {
            self.wrong.get_or_init(|| error);
        }
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
