//! The frames of a connection: what they are called, and what is in them.

use std::io;

use bytes::BufMut;
use uuid::Uuid;

use crate::codec::Value;

pub(super) const OPEN: u64 = 0x10;
pub(super) const BEGIN: u64 = 0x11;
pub(super) const ATTACH: u64 = 0x12;
pub(super) const FLOW: u64 = 0x13;
pub(super) const TRANSFER: u64 = 0x14;
pub(super) const DISPOSITION: u64 = 0x15;
pub(super) const DETACH: u64 = 0x16;
pub(super) const END: u64 = 0x17;
pub(super) const CLOSE: u64 = 0x18;
pub(super) const ERROR: u64 = 0x1d;
pub(super) const ACCEPTED: u64 = 0x24;
pub(super) const REJECTED: u64 = 0x25;
pub(super) const RELEASED: u64 = 0x26;
pub(super) const MODIFIED: u64 = 0x27;
pub(super) const COORDINATOR: u64 = 0x30;
pub(super) const SASL_MECHANISMS: u64 = 0x40;
pub(super) const SASL_INIT: u64 = 0x41;
pub(super) const SASL_OUTCOME: u64 = 0x44;

pub(super) fn framed(channel: u16, kind: u8, performative: &Value, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 64);
    frame.put_slice(&[0, 0, 0, 0, 2, kind]);
    frame.put_u16(channel);
    performative.encode(&mut frame);
    frame.put_slice(payload);
    let size = u32::try_from(frame.len()).expect("a frame is not as long as four gigabytes");
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

pub(super) fn error(condition: &str, description: &str) -> Value {
    // As the service does, so that a message can be found again in its logs.
    let description = format!("{description} TrackingId:{}", Uuid::new_v4());
    // All three fields: Python's SDK reads the third whether it is there or not.
    let fields = vec![Value::symbol(condition), Value::String(description), Value::Map(vec![])];
    Value::composite(ERROR, fields)
}

pub(super) fn number(performative: &Value, field: usize) -> Option<i64> {
    performative.fields().get(field).and_then(Value::number)
}

pub(super) fn sequence(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
