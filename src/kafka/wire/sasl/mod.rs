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

mod mechanism;
mod oauthbearer;
mod plain;
mod scram;

pub(in crate::kafka) use self::mechanism::{Mechanism, SaslError, Step};
use self::oauthbearer::OAuthBearer;
use self::plain::Plain;
use self::scram::{Hash, Scram};
use crate::secret::Secret;

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
