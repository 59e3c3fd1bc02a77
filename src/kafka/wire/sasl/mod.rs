//! What a client and a broker say to each other while the client logs in.
//!
//! A [`Mechanism`] makes the client's messages out of the broker's and does no I/O: whoever owns
//! the connection wraps them into SaslAuthenticate requests. Another way to log in is a module
//! beside these, a [`Login`] and a line in [`mechanism`].
//!
//! Nothing here waits. The dearest step is SCRAM's, whose rounds are bounded; see [`scram`].
//!
//! # References
//! - RFC 4422, "Simple Authentication and Security Layer"
//! - KIP-43 (SASL mechanisms), KIP-84 (SCRAM), KIP-255 and KIP-342 (OAUTHBEARER)

mod oauthbearer;
mod plain;
mod scram;

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use self::oauthbearer::OAuthBearer;
use self::plain::Plain;
use self::scram::{Hash, Scram};
use crate::metadata::one_line;
use crate::secret::Secret;

/// The longest message of a broker that is looked at. Real ones take some hundred bytes.
const MAX_CHALLENGE: usize = 16 * 1024;

/// Bytes of a broker's reason that are shown.
const REASON_BYTES: usize = 100;

/// A way to log in by a name and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::kafka) enum PasswordMechanism {
    /// The password as it is.
    Plain,
    /// A proof of it, by SHA-256.
    ScramSha256,
    /// A proof of it, by SHA-512.
    ScramSha512,
}

/// What a client logs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) enum Login {
    /// A name and a password.
    Password {
        /// How the password is shown.
        mechanism: PasswordMechanism,
        /// The user's name.
        username: Secret,
        /// The user's password.
        password: Secret,
    },
    /// A token, and what is said besides: OAUTHBEARER.
    Token {
        /// The token, as it was fetched.
        token: Secret,
        /// Names with their values.
        extensions: Vec<(String, String)>,
    },
}

/// One login as it goes on. It serves for one: to log in again, on the same connection too, make
/// another one.
pub(in crate::kafka) trait Mechanism: Send {
    /// Its name, as a broker lists it.
    fn name(&self) -> &'static str;

    /// How long after a login the next one on a connection comes at the soonest, whatever the
    /// broker says of its sessions. Kafka's brokers refuse one within a second (`KafkaChannel`).
    fn rest(&self) -> Duration {
        Duration::from_millis(1_100)
    }

    /// The answer to what the broker said. The first call gives the client's first message, and its
    /// `challenge` is empty.
    ///
    /// # Errors
    /// The broker's message is not one that belongs here, or says that the login is refused. The
    /// login is over then.
    fn respond(&mut self, challenge: &[u8]) -> Result<Step, SaslError>;
}

/// What to do next. Its `Debug` does not show messages.
#[derive(PartialEq, Eq)]
pub(in crate::kafka) enum Step {
    /// Send this, and hand the broker's answer to the next call.
    Send(Zeroizing<Vec<u8>>),
    /// The login is good.
    Done,
    /// Send this, because the broker waits for it. Whatever it answers, the login is refused.
    Refused {
        /// The last message.
        last: &'static [u8],
        /// Why the login is refused.
        error: SaslError,
    },
}

/// Why a login came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum SaslError {
    /// The broker says no.
    #[error("the broker refused the {mechanism} login: {reason}")]
    Refused {
        /// The mechanism's name.
        mechanism: &'static str,
        /// The broker's reason, shortened and escaped.
        reason: String,
    },
    /// The broker could not show that it knows the password.
    #[error(
        "the broker does not prove that it knows the password: its {mechanism} signature is wrong"
    )]
    Signature {
        /// The mechanism's name.
        mechanism: &'static str,
    },
    /// The broker wants fewer rounds than are safe, or more than are done for it.
    #[error("the broker asks for {rounds} rounds of {mechanism}, and {fits} are taken")]
    Rounds {
        /// The mechanism's name.
        mechanism: &'static str,
        /// The number of rounds that it wants, cut where it is long.
        rounds: String,
        /// The numbers that are taken.
        fits: &'static str,
    },
    /// The broker's message is not one of the mechanism's.
    #[error("the broker's {mechanism} message is not understood: {problem}")]
    Challenge {
        /// The mechanism's name.
        mechanism: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What is to be sent would be read as something else.
    #[error("the {what} has a character that {mechanism} cannot carry")]
    Unfit {
        /// The mechanism's name.
        mechanism: &'static str,
        /// What has it.
        what: &'static str,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, which a login needs")]
    Random,
}

/// The mechanism of a login.
pub(in crate::kafka) fn mechanism(login: &Login) -> Box<dyn Mechanism> {
    match login {
        Login::Password { mechanism, username, password } => {
            let (username, password) = (username.clone(), password.clone());
            match mechanism {
                PasswordMechanism::Plain => Box::new(Plain::new(username, password)),
                PasswordMechanism::ScramSha256 => {
                    Box::new(Scram::new(Hash::Sha256, username, password))
                }
                PasswordMechanism::ScramSha512 => {
                    Box::new(Scram::new(Hash::Sha512, username, password))
                }
            }
        }
        Login::Token { token, extensions } => {
            Box::new(OAuthBearer::new(token.clone(), extensions.clone()))
        }
    }
}

#[cfg(test)]
impl PasswordMechanism {
    /// Its name, as a broker lists it.
    pub(in crate::kafka) fn name(self) -> &'static str {
        match self {
            Self::Plain => plain::NAME,
            Self::ScramSha256 => Hash::Sha256.name(),
            Self::ScramSha512 => Hash::Sha512.name(),
        }
    }
}

impl Login {
    /// The name of its mechanism, as a broker lists it.
    #[cfg(test)]
    pub(in crate::kafka) fn mechanism_name(&self) -> &'static str {
        match self {
            Self::Password { mechanism, .. } => mechanism.name(),
            Self::Token { .. } => oauthbearer::NAME,
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(_) => f.write_str("Send([secret])"),
            Self::Done => f.write_str("Done"),
            Self::Refused { error, .. } => f.debug_tuple("Refused").field(error).finish(),
        }
    }
}

impl SaslError {
    /// Whether name and password, or token, are what to look at. All else is the broker's doing.
    pub(in crate::kafka) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Signature { .. } | Self::Unfit { .. } => true,
            Self::Rounds { .. } | Self::Challenge { .. } | Self::Random => false,
        }
    }
}

/// A broker's own words, fit to be shown.
fn reason(words: &[u8]) -> String {
    // Cut before it is copied: a reason may be long, and each byte may become four.
    let start = words.get(..REASON_BYTES * 4).unwrap_or(words);
    one_line(&String::from_utf8_lossy(start), REASON_BYTES)
}

/// A broker's message as text, of a length that real ones have.
fn text<'a>(mechanism: &'static str, challenge: &'a [u8]) -> Result<&'a str, SaslError> {
    if challenge.len() > MAX_CHALLENGE {
        return Err(SaslError::Challenge { mechanism, problem: "it is too long" });
    }
    std::str::from_utf8(challenge)
        .map_err(|_| SaslError::Challenge { mechanism, problem: "it is not text" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logins() -> Vec<Login> {
        let password = |mechanism| Login::Password {
            mechanism,
            username: Secret::from("alice"),
            password: Secret::from("hunter2"),
        };
        vec![
            password(PasswordMechanism::Plain),
            password(PasswordMechanism::ScramSha256),
            password(PasswordMechanism::ScramSha512),
            Login::Token {
                token: Secret::from("hunter2"),
                extensions: vec![("logicalCluster".to_owned(), "lkc-1".to_owned())],
            },
        ]
    }

    #[test]
    fn each_login_has_the_mechanism_that_brokers_list() {
        let names: Vec<_> = logins().iter().map(|login| mechanism(login).name()).collect();
        assert_eq!(names, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]);
        let same: Vec<_> = logins().iter().map(Login::mechanism_name).collect();
        assert_eq!(names, same);
    }

    #[test]
    fn no_secret_is_shown() {
        for login in logins() {
            let mut mechanism = mechanism(&login);
            let step = mechanism.respond(b"").expect("a first message");
            let shown = format!("{login:?} {step:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        }
    }

    #[test]
    fn a_brokers_words_are_cut_and_escaped() {
        let shown = reason(&[b'\x1b'; 5_000]);
        assert!(shown.len() <= REASON_BYTES + 3 && shown.starts_with("\\u{1b}"), "{shown}");
        let error = SaslError::Refused { mechanism: "SCRAM-SHA-512", reason: shown };
        assert!(error.to_string().len() <= 200, "{error}");
    }

    proptest! {
        /// Whatever a broker says, as often as it likes: a login never ends well by it, and never
        /// in a panic. Only PLAIN and OAUTHBEARER take an empty message for a yes.
        #[test]
        fn nothing_that_a_broker_says_is_taken_for_more_than_it_is(
            challenges in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 1..200),
                    "[rsivem]=[A-Za-z0-9+/=,]{0,80}".prop_map(String::into_bytes),
                    "\\{\"status\":\".{0,40}\"\\}?".prop_map(String::into_bytes),
                ],
                1..4,
            ),
        ) {
            for login in logins() {
                let mut mechanism = mechanism(&login);
                prop_assert!(matches!(mechanism.respond(b""), Ok(Step::Send(_))));
                for challenge in &challenges {
                    let step = mechanism.respond(challenge);
                    prop_assert!(!matches!(step, Ok(Step::Done)), "{:?}", login);
                    if let Err(error) | Ok(Step::Refused { error, .. }) = step {
                        let line = error.to_string();
                        prop_assert!(line.len() <= 200 && !line.contains(char::is_control));
                    }
                }
            }
        }
    }
}
