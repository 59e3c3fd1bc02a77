//! How does a question travel, and which bytes of a frame are the reply?
//!
//! A frame is four bytes of length, a header, and the request or reply. The caller reads the
//! length, bounds it, and hands over the payload after it. Replies come in the order of their
//! questions; the caller compares [`correlation_id`] before it decodes.
//!
//! A request in a flexible version has header version 2, any other has 1. A reply has 1 or 0. The
//! reply to ApiVersions always has 0, because the client cannot know yet what the broker speaks.
//!
//! # References
//! - `RequestHeader.json` and `ResponseHeader.json` in apache/kafka

use std::fmt;
use std::time::Duration;

use super::reader::{DecodeError, Reader};
use super::requests::Request;
use super::versions::ApiKey;
use super::writer::{Buffer, EncodeError, Writer};

/// A question as it is sent, length and header included. Zeroed on drop if it holds a secret.
pub struct Frame(Buffer);

/// A reply, and what every reply may say besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<T> {
    /// The reply.
    pub reply: T,
    /// How long to wait before more is sent on this connection; zero is the rule.
    pub throttle: Duration,
}

impl Frame {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Frame").field(&self.0).finish()
    }
}

/// The question as bytes to send.
///
/// # Errors
/// We do not speak the version, the version cannot ask this, or a name is too long for it.
pub fn request_frame<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> Result<Frame, EncodeError> {
    if !R::KEY.versions().contains(&version) {
        return Err(EncodeError::Version { key: R::KEY, version });
    }
    let mut to = Writer::new(R::KEY.is_flexible(version));
    to.i16(R::KEY.number());
    to.i16(version);
    to.i32(correlation_id);
    to.plain_string(client_id);
    to.tags();
    request.encode(version, &mut to);
    to.finish().map(Frame)
}

/// The number of the question that this payload answers.
///
/// # Errors
/// The payload is shorter than that.
pub fn correlation_id(payload: &[u8]) -> Result<i32, DecodeError> {
    Reader::new(payload, false).i32("correlation id")
}

/// What a payload, the frame without its length, says in reply to this request.
///
/// # Errors
/// The payload is no reply to this request in this version.
pub fn decode_frame<R: Request>(
    request: &R,
    version: i16,
    payload: &[u8],
) -> Result<Decoded<R::Reply>, DecodeError> {
    let mut from = Reader::new(payload, R::KEY.is_flexible(version));
    from.i32("correlation id")?;
    if R::KEY != ApiKey::ApiVersions {
        from.tags()?;
    }
    let reply = request.decode(version, &mut from)?;
    let throttle = from.throttled();
    from.finish()?;
    Ok(Decoded { reply, throttle })
}
