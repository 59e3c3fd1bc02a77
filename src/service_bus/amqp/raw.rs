//! One AMQP value as it came from Service Bus, undecoded.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// What tells serde_amqp to give a value as it came; its own name for it is private.
const LAZY_VALUE: &str = "__LAZY_VALUE";
/// A value as it came. The library's own `LazyValue` cannot be read from what a link receives.
pub(super) struct Raw(Vec<u8>);

struct RawVisitor;

impl Raw {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(LAZY_VALUE, RawVisitor)
    }
}

impl Visitor<'_> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encoded value")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Raw, E> {
        Ok(Raw(bytes.to_vec()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Raw, E> {
        Ok(Raw(bytes))
    }
}
