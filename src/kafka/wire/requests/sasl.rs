//! Which SASL mechanism will be used, and what do both sides say in it?
//!
//! The handshake names a mechanism; then the mechanism's own messages go back and forth. They are
//! secrets: they are zeroed on drop and never shown.
//!
//! # References
//! - `SaslHandshake*.json`, `SaslAuthenticate*.json` · KIP-43, KIP-152
//! - KIP-368: a session that is to be authenticated again before it ends

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Refusal, Request, error};
use crate::kafka::wire::error_code::ErrorCode;
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::ApiKey;
use crate::kafka::wire::writer::Writer;
use crate::metadata::one_line;

/// The most mechanisms of a broker; Kafka itself knows five.
const MAX_MECHANISMS: usize = 32;

/// Bytes of a mechanism's name that are kept; SASL allows twenty.
const MECHANISM_BYTES: usize = 64;

/// Names the mechanism of the login that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslHandshake {
    /// Its name, such as `SCRAM-SHA-512`.
    pub mechanism: String,
}

/// Whether the broker takes the mechanism.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslHandshakeReply {
    /// Why it does not.
    pub error: Option<ErrorCode>,
    /// The mechanisms it takes, each in one line and cut.
    pub mechanisms: Vec<String>,
}

/// One message of a login.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslAuthenticate {
    /// The mechanism's message.
    pub auth_bytes: Zeroizing<Vec<u8>>,
}

/// The broker's message.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslAuthenticateReply {
    /// Why the login is refused.
    pub refusal: Option<Refusal>,
    /// The mechanism's message, which may be empty.
    pub auth_bytes: Zeroizing<Vec<u8>>,
    /// How long the login holds, if it ends. The broker closes the connection then.
    pub session_lifetime: Option<Duration>,
}

impl Request for SaslHandshake {
    const KEY: ApiKey = ApiKey::SaslHandshake;

    type Reply = SaslHandshakeReply;

    fn encode(&self, _version: i16, to: &mut Writer) {
        to.string(&self.mechanism);
        to.tags();
    }

    fn decode(&self, _version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        const WHAT: &str = "mechanisms";
        let error = error(from)?;
        let count = from.count(WHAT, 2)?;
        if count > MAX_MECHANISMS {
            return Err(DecodeError::Limit { what: WHAT, count, max: MAX_MECHANISMS });
        }
        let mut mechanisms = Vec::with_capacity(count);
        for _ in 0..count {
            mechanisms.push(one_line(from.string("mechanism")?, MECHANISM_BYTES));
        }
        from.tags()?;
        Ok(SaslHandshakeReply { error, mechanisms })
    }
}

impl fmt::Debug for SaslAuthenticate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslAuthenticate").field("auth_bytes", &Hidden).finish()
    }
}

impl Request for SaslAuthenticate {
    const KEY: ApiKey = ApiKey::SaslAuthenticate;

    type Reply = SaslAuthenticateReply;

    fn encode(&self, _version: i16, to: &mut Writer) {
        to.secret(&self.auth_bytes);
        to.tags();
    }

    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        let error = error(from)?;
        let message = from.nullable_string("error message")?;
        let auth_bytes = Zeroizing::new(from.bytes("auth bytes")?.to_vec());
        let millis = if version >= 1 { from.i64("session lifetime")? } else { 0 };
        from.tags()?;
        // 0 is a login that does not end.
        let millis = u64::try_from(millis).ok().filter(|millis| *millis > 0);
        Ok(SaslAuthenticateReply {
            refusal: error.map(|code| Refusal::new(code, message)),
            auth_bytes,
            session_lifetime: millis.map(Duration::from_millis),
        })
    }
}

impl fmt::Debug for SaslAuthenticateReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslAuthenticateReply")
            .field("refusal", &self.refusal)
            .field("auth_bytes", &Hidden)
            .field("session_lifetime", &self.session_lifetime)
            .finish()
    }
}

/// What is shown of a secret.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::wire::{decode_frame, request_frame};

    #[test]
    fn no_message_of_a_login_is_shown() {
        let secret = b"hunter2".to_vec();
        let request = SaslAuthenticate { auth_bytes: secret.clone().into() };
        let frame = request_frame(&request, 1, 7, "keda-sift").unwrap();
        let reply = [&[0, 0, 0, 7, 0, 0, 0xff, 0xff, 0, 0, 0, 7][..], &secret, &[0; 8]].concat();
        let reply = decode_frame(&request, 1, &reply).unwrap();
        assert_eq!(*reply.reply.auth_bytes, secret);
        for shown in [format!("{request:?}"), format!("{frame:?}"), format!("{reply:?}")] {
            assert!(shown.contains("[secret]"), "{shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        }
    }
}
