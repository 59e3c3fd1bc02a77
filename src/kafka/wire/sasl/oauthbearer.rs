//! OAUTHBEARER: a token, and extensions beside it.
//!
//! A broker that takes the token answers with nothing. One that does not answers with JSON, waits
//! for one byte, and then answers with an error code. Its reason is in the JSON.
//!
//! Apache Kafka's brokers take names of extensions that are letters alone; others take more. Which
//! names a trigger may give is up to `kafka/sasl`; here is made sure that none can be read as
//! another field.
//!
//! # References
//! - RFC 7628, section 3
//! - RFC 5801, section 4: the header
//! - KIP-342: extensions

use serde::Deserialize;
use zeroize::Zeroizing;

use super::mechanism::{Mechanism, SaslError, Step, reason, text};
use crate::secret::Secret;

pub(super) const NAME: &str = "OAUTHBEARER";

/// What a client says when it has read why it is refused.
const SEEN: &[u8] = b"\x01";

/// What separates fields.
const SEPARATOR: char = '\x01';

#[derive(Debug)]
pub(super) struct OAuthBearer {
    token: Secret,
    extensions: Vec<(String, String)>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Sent,
    Over,
}

/// A broker's reason. Of what else it may hold nothing is used.
#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    status: std::borrow::Cow<'a, str>,
}

impl OAuthBearer {
    pub(super) fn new(token: Secret, extensions: Vec<(String, String)>) -> Self {
        Self { token, extensions, state: State::Start }
    }

    fn first(&self) -> Result<Zeroizing<Vec<u8>>, SaslError> {
        let unfit = |what| SaslError::Unfit { mechanism: NAME, what };
        let token = self.token.expose();
        // Whoever gives the token must not add fields to the message.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unfit("token"));
        }
        for (name, value) in &self.extensions {
            let is_name = |c: char| c.is_ascii_graphic() && c != '=';
            let is_value = |c: char| c.is_ascii_graphic() || matches!(c, ' ' | '\t' | '\r' | '\n');
            if name.is_empty() || name == "auth" || !name.chars().all(is_name) {
                return Err(unfit("name of an extension"));
            }
            if !value.chars().all(is_value) {
                return Err(unfit("value of an extension"));
            }
        }
        let pairs = self.extensions.iter().map(|(name, value)| name.len() + value.len() + 2);
        let length = token.len() + pairs.sum::<usize>() + 32;
        let mut message = Zeroizing::new(String::with_capacity(length));
        message.push_str("n,,\x01auth=Bearer ");
        message.push_str(token);
        for (name, value) in &self.extensions {
            message.push(SEPARATOR);
            for part in [name, "=", value] {
                message.push_str(part);
            }
        }
        message.push(SEPARATOR);
        message.push(SEPARATOR);
        Ok(Zeroizing::new(std::mem::take(&mut *message).into_bytes()))
    }
}

impl Mechanism for OAuthBearer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        match self.state {
            State::Start => {
                let first = self.first()?;
                self.state = State::Sent;
                Ok(Step::Send(first))
            }
            State::Sent if challenge.is_empty() => {
                self.state = State::Over;
                Ok(Step::Done)
            }
            State::Sent => {
                self.state = State::Over;
                let error = SaslError::Refused { mechanism: NAME, reason: status(challenge) };
                Ok(Step::Refused { last: SEEN, error })
            }
            State::Over => {
                Err(SaslError::Challenge { mechanism: NAME, problem: "the login is over" })
            }
        }
    }
}

/// Why a broker refuses: the status that it gives, else all that it says.
fn status(challenge: &[u8]) -> String {
    let failure = text(NAME, challenge).ok();
    let failure = failure.and_then(|text| serde_json::from_str::<Failure<'_>>(text).ok());
    reason(failure.as_ref().map_or(challenge, |failure| failure.status.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(token: &str, extensions: &[(&str, &str)]) -> OAuthBearer {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        OAuthBearer::new(Secret::from(token), extensions.iter().map(pair).collect())
    }

    #[test]
    fn a_token_goes_with_its_extensions() {
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);
        let rows: &[Row<'_>] = &[
            (&[], b"n,,\x01auth=Bearer abc.DEF-1==\x01\x01"),
            (
                &[("logicalCluster", "lkc-1"), ("identity_pool2", "pool=1 a")],
                b"n,,\x01auth=Bearer abc.DEF-1==\x01logicalCluster=lkc-1\x01identity_pool2=pool=1 a\x01\x01",
            ),
        ];
        for (extensions, expected) in rows {
            let mut login = login("abc.DEF-1==", extensions);
            let first = login.respond(b"").expect("a first message");
            assert_eq!(first, Step::Send(Zeroizing::new(expected.to_vec())));
            assert_eq!(login.respond(b""), Ok(Step::Done));
        }
    }

    #[test]
    fn a_refusal_is_acknowledged_and_told_by_its_status() {
        let long = format!("{{\"status\":\"{}\"}}", "x".repeat(5_000));
        let cut = format!("{}…", "x".repeat(100));
        let rows = [
            (
                "as RFC 7628 has it",
                "{\"status\":\"invalid_token\",\"scope\":\"kafka\",\"openid-configuration\":\"https://a\"}",
                "invalid_token",
            ),
            ("with escapes", "{\"status\":\"no\\n\\u001btoken\"}", "no \\u{1b}token"),
            ("no status", "{\"error\":1}", "{\"error\":1}"),
            ("no JSON", "go\r\naway", "go  away"),
            ("a long one", &long, &cut),
        ];
        for (name, said, told) in rows {
            let mut login = login("abc", &[]);
            login.respond(b"").expect("a first message");
            let Ok(Step::Refused { last, error }) = login.respond(said.as_bytes()) else {
                panic!("{name}: no refusal");
            };
            assert_eq!(last, b"\x01", "{name}");
            assert!(error.is_refusal(), "{name}");
            let expected = format!("the broker refused the OAUTHBEARER login: {told}");
            assert_eq!(error.to_string(), expected, "{name}");
            assert!(login.respond(b"").is_err(), "{name}: an empty message after a no is no yes");
        }
    }

    #[test]
    fn no_field_is_smuggled_in() {
        type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
        let rows: &[Row<'_>] = &[
            ("a separator in the token", "a\x01user=root", &[], "token"),
            ("a blank in the token", "a b", &[], "token"),
            ("no token", "", &[], "token"),
            ("another token", "a", &[("auth", "Bearer b")], "name of an extension"),
            ("a name with a value", "a", &[("a=b", "c")], "name of an extension"),
            ("a separator in a name", "a", &[("a\x01b", "c")], "name of an extension"),
            ("no name", "a", &[("", "c")], "name of an extension"),
            ("a separator in a value", "a", &[("a", "b\x01c=d")], "value of an extension"),
        ];
        for (name, token, extensions, what) in rows {
            let error = login(token, extensions).respond(b"").expect_err(name);
            assert_eq!(error, SaslError::Unfit { mechanism: NAME, what }, "{name}");
        }
    }
}
