//! PLAIN: the name and the password as they are.
//!
//! # References
//! - RFC 4616, "The PLAIN SASL Mechanism"

use zeroize::Zeroizing;

use super::mechanism::{Mechanism, SaslError, Step, reason};
use crate::secret::Secret;

pub(super) const NAME: &str = "PLAIN";

#[derive(Debug)]
pub(super) struct Plain {
    username: Secret,
    password: Secret,
    sent: bool,
}

impl Plain {
    pub(super) fn new(username: Secret, password: Secret) -> Self {
        Self { username, password, sent: false }
    }
}

impl Mechanism for Plain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        if self.sent {
            // A broker that refuses does so by an error code. What it says besides is no yes.
            return if challenge.is_empty() {
                Ok(Step::Done)
            } else {
                Err(SaslError::Refused { mechanism: NAME, reason: reason(challenge) })
            };
        }
        let (username, password) = (self.username.expose(), self.password.expose());
        // It ends a field.
        for (what, text) in [("username", username), ("password", password)] {
            if text.contains('\0') {
                return Err(SaslError::Unfit { mechanism: NAME, what });
            }
        }
        let mut message = Zeroizing::new(Vec::with_capacity(username.len() + password.len() + 2));
        for part in [&b"\0"[..], username.as_bytes(), b"\0", password.as_bytes()] {
            message.extend_from_slice(part);
        }
        self.sent = true;
        Ok(Step::Send(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(username: &str, password: &str) -> Plain {
        Plain::new(Secret::from(username), Secret::from(password))
    }

    #[test]
    fn name_and_password_are_sent_once() {
        let mut login = plain("älice", "hunter 2");
        let first = login.respond(b"").expect("a first message");
        assert_eq!(first, Step::Send(Zeroizing::new("\0älice\0hunter 2".into())));
        assert_eq!(login.respond(b""), Ok(Step::Done));
    }

    #[test]
    fn what_a_broker_says_besides_is_a_no() {
        let mut login = plain("alice", "hunter2");
        login.respond(b"").expect("a first message");
        let error = login.respond(b"go\naway").expect_err("a refusal");
        assert_eq!(error.to_string(), "the broker refused the PLAIN login: go away");
        assert!(error.is_refusal());
    }

    #[test]
    fn a_nul_does_not_make_another_login() {
        for (username, password, what) in [("a\0root", "x", "username"), ("a", "x\0y", "password")]
        {
            let error = plain(username, password).respond(b"").expect_err(what);
            assert_eq!(error, SaslError::Unfit { mechanism: NAME, what });
        }
    }
}
