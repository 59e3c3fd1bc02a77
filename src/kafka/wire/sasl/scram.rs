//! SCRAM: a proof that the client knows the password, and one that the broker does.
//!
//! The client's message is checked by a broker that has the right hash of the password; the
//! broker's signature is checked here, in constant time, before the login is good.
//!
//! The broker says how many rounds the password is hashed for. Fewer than 4,096 would make it cheap
//! for a false broker to guess the password from the proof. Kafka itself takes 4,096 to 16,384, and
//! so do we, because the rounds are done on the thread that runs the connection: the most that a
//! broker can have done is some 20 ms of work per login, which needs no thread of its own.
//!
//! Name and password are sent and hashed as the UTF-8 that they are. RFC 5802 would have them
//! prepared by SASLprep, but Kafka's brokers and its tools do not: a password that SASLprep changes
//! could not log in.
//!
//! # References
//! - RFC 5802, "Salted Challenge Response Authentication Mechanism"; RFC 7677, SHA-256
//! - Kafka's `ScramFormatter` (names and passwords) and `ScramMechanism` (rounds)

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

use super::mechanism::{Mechanism, SaslError, Step, reason, text};
use crate::metadata::one_line;
use crate::secret::Secret;

/// The rounds that are done for a broker.
const ROUNDS: RangeInclusive<u32> = 4_096..=16_384;

/// [`ROUNDS`] in words.
const ROUNDS_FIT: &str = "4096 to 16384";

/// Random bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// Bytes of the longest salt; Kafka's have some 26.
const MAX_SALT: usize = 1_024;

/// The header of a client that binds to no channel, `n,,`, in base64.
const NO_CHANNEL: &str = "biws";

/// What is hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

pub(super) struct Scram {
    hash: Hash,
    username: Secret,
    password: Secret,
    state: State,
}

/// How far the login has come.
enum State {
    Start,
    /// The first message is sent. `bare` is what is signed of it.
    First {
        nonce: String,
        bare: Zeroizing<String>,
    },
    /// The proof is sent.
    Final {
        server: ServerProof,
    },
    Over,
}

/// What the broker's signature has to be.
struct ServerProof {
    key: Zeroizing<Vec<u8>>,
    message: Zeroizing<String>,
}

/// The broker's first message, read.
#[derive(Debug, PartialEq, Eq)]
struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    rounds: u32,
}

impl Hash {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// H.
    fn digest(self, data: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        })
    }

    /// HMAC.
    fn mac(self, key: &[u8], message: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        fn with<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
            let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
            mac.update(message);
            Some(Zeroizing::new(mac.finalize().into_bytes().to_vec()))
        }
        match self {
            Self::Sha256 => with::<Hmac<Sha256>>(key, message),
            Self::Sha512 => with::<Hmac<Sha512>>(key, message),
        }
    }

    /// Whether `signature` is the HMAC, in a time that does not tell how much of it is right.
    fn verify(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        fn with<M: Mac + KeyInit>(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
            <M as KeyInit>::new_from_slice(key).is_ok_and(|mut mac| {
                mac.update(message);
                mac.verify_slice(signature).is_ok()
            })
        }
        match self {
            Self::Sha256 => with::<Hmac<Sha256>>(key, message, signature),
            Self::Sha512 => with::<Hmac<Sha512>>(key, message, signature),
        }
    }

    /// Hi: the password, salted and hashed.
    fn salted(self, password: &str, salt: &[u8], rounds: u32) -> Zeroizing<Vec<u8>> {
        let mut salted = Zeroizing::new(vec![0; self.length()]);
        let password = password.as_bytes();
        match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut salted),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut salted),
        }
        salted
    }
}

impl Scram {
    pub(super) fn new(hash: Hash, username: Secret, password: Secret) -> Self {
        Self { hash, username, password, state: State::Start }
    }

    fn problem(&self, problem: &'static str) -> SaslError {
        SaslError::Challenge { mechanism: self.hash.name(), problem }
    }

    fn start(&mut self, nonce: String) -> Result<Step, SaslError> {
        let username = self.username.expose();
        if username.contains('\0') {
            return Err(SaslError::Unfit { mechanism: self.hash.name(), what: "username" });
        }
        let bare = Zeroizing::new(format!("n={},r={nonce}", *escaped(username)));
        let message = Zeroizing::new(format!("n,,{}", *bare).into_bytes());
        self.state = State::First { nonce, bare };
        Ok(Step::Send(message))
    }

    fn prove(&mut self, nonce: &str, bare: &str, challenge: &[u8]) -> Result<Step, SaslError> {
        let hash = self.hash;
        let said = text(hash.name(), challenge)?;
        let server = server_first(hash, said)?;
        if !server.nonce.starts_with(nonce) || server.nonce.len() == nonce.len() {
            return Err(self.problem("its nonce does not go on from ours"));
        }
        let unproven = format!("c={NO_CHANNEL},r={}", server.nonce);
        let message = Zeroizing::new(format!("{bare},{said},{unproven}"));
        let salted = hash.salted(self.password.expose(), &server.salt, server.rounds);
        let mac = |key: &[u8], message: &[u8]| {
            hash.mac(key, message).ok_or_else(|| self.problem("its salt is no key"))
        };
        let client_key = mac(&salted, b"Client Key")?;
        let signature = mac(&hash.digest(&client_key), message.as_bytes())?;
        let proof = client_key.iter().zip(signature.iter()).map(|(key, sign)| key ^ sign);
        let proof = Zeroizing::new(proof.collect::<Vec<u8>>());
        let key = mac(&salted, b"Server Key")?;
        let last = format!("{unproven},p={}", BASE64_STANDARD.encode(&*proof));
        self.state = State::Final { server: ServerProof { key, message } };
        Ok(Step::Send(Zeroizing::new(last.into_bytes())))
    }

    fn verify(&self, server: &ServerProof, challenge: &[u8]) -> Result<Step, SaslError> {
        let mechanism = self.hash.name();
        let said = text(mechanism, challenge)?;
        let first = said.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(SaslError::Refused { mechanism, reason: reason(error.as_bytes()) });
        }
        let signature = first.strip_prefix("v=").ok_or_else(|| self.problem("no signature"))?;
        let signature = decode(signature).ok_or_else(|| self.problem("no base64 for signature"))?;
        if self.hash.verify(&server.key, server.message.as_bytes(), &signature) {
            Ok(Step::Done)
        } else {
            Err(SaslError::Signature { mechanism })
        }
    }
}

impl Mechanism for Scram {
    fn name(&self) -> &'static str {
        self.hash.name()
    }

    /// The rounds are work that the broker has us do.
    fn rest(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start => self.start(random_nonce()?),
            State::First { nonce, bare } => self.prove(&nonce, &bare, challenge),
            State::Final { server } => self.verify(&server, challenge),
            State::Over => Err(self.problem("the login is over")),
        }
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// `r=…,s=…,i=…`, and after it whatever else there is.
fn server_first(hash: Hash, said: &str) -> Result<ServerFirst<'_>, SaslError> {
    let mechanism = hash.name();
    let problem = |problem| SaslError::Challenge { mechanism, problem };
    let mut fields = said.split(',');
    let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name));
    // In place of the nonce.
    if said.starts_with("m=") {
        return Err(problem("it has an extension that is not known"));
    }
    if let Some(error) = said.strip_prefix("e=") {
        return Err(SaslError::Refused { mechanism, reason: reason(error.as_bytes()) });
    }
    let nonce = field("r=").ok_or_else(|| problem("no nonce"))?;
    if !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(problem("its nonce is not printable"));
    }
    let salt = field("s=").and_then(decode).ok_or_else(|| problem("no salt"))?;
    if salt.is_empty() || salt.len() > MAX_SALT {
        return Err(problem("a salt of no use"));
    }
    let asked = field("i=").ok_or_else(|| problem("no rounds"))?;
    if asked.is_empty() || !asked.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(problem("no rounds"));
    }
    let rounds = asked.parse().ok().filter(|rounds| ROUNDS.contains(rounds));
    let rounds = rounds.ok_or_else(|| SaslError::Rounds {
        mechanism,
        rounds: one_line(asked, 20),
        fits: ROUNDS_FIT,
    })?;
    Ok(ServerFirst { nonce, salt, rounds })
}

/// Base64, with its padding or without.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// A name in which nothing ends it.
fn escaped(username: &str) -> Zeroizing<String> {
    let mut name = Zeroizing::new(String::with_capacity(3 * username.len()));
    for c in username.chars() {
        match c {
            '=' => name.push_str("=3D"),
            ',' => name.push_str("=2C"),
            c => name.push(c),
        }
    }
    name
}

fn random_nonce() -> Result<String, SaslError> {
    let mut bytes = [0; NONCE_BYTES];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| SaslError::Random)?;
    Ok(BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests;
