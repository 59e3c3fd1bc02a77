//! SCRAM: a proof that the client knows the password, and one that the broker does.
//!
//! The client's message is checked by a broker that has the right hash of the password; the
//! broker's signature is checked here, in constant time, before the login is good.
//!
//! The broker says how many rounds the password is hashed for. Fewer than 4,096 would make it cheap
//! for a false broker to guess the password from the proof. Kafka itself takes 4,096 to 16,384, and so
//! do we, because the rounds are done on the thread that runs the connection: the most that a broker
//! can have done is some 20 ms of work per login, which needs no thread of its own.
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

use super::{Mechanism, SaslError, Step, reason, text};
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
mod tests {
    use super::*;

    /// What a broker knows of its users, and the one it says it is.
    struct Broker {
        hash: Hash,
        password: &'static str,
        salt: &'static str,
        rounds: &'static str,
        nonce: fn(&str) -> String,
        signature: fn(Vec<u8>) -> String,
    }

    impl Broker {
        fn of(hash: Hash) -> Broker {
            Broker {
                hash,
                password: "hunter2",
                salt: "QSXCR+Q6sek8bf92",
                rounds: "4096",
                nonce: |nonce| format!("{nonce}3rfcNHYJY1ZVvWVs7j"),
                signature: |signature| format!("v={}", BASE64_STANDARD.encode(signature)),
            }
        }

        /// A login by this broker's rules, to its end.
        fn login(&self, mut client: Scram) -> Result<Step, SaslError> {
            let first = sent(client.respond(b"")?);
            let bare = first.strip_prefix("n,,").expect("no channel");
            let nonce = bare.rsplit_once("r=").expect("a nonce").1;
            let server = format!("r={},s={},i={}", (self.nonce)(nonce), self.salt, self.rounds);
            let last = sent(client.respond(server.as_bytes())?);
            let (unproven, proof) = last.rsplit_once(",p=").expect("a proof");
            let message = format!("{bare},{server},{unproven}");

            // The broker's side of RFC 5802, section 3: it knows the stored key, and not the client's.
            let rounds = self.rounds.parse().expect("a number");
            let salt = decode(self.salt).expect("base64");
            let salted = self.hash.salted(self.password, &salt, rounds);
            let mac = |key: &[u8], text: &[u8]| self.hash.mac(key, text).expect("a key");
            let stored = self.hash.digest(&mac(&salted, b"Client Key"));
            let signature = mac(&stored, message.as_bytes());
            let proof = decode(proof).expect("base64");
            let key: Vec<u8> = proof.iter().zip(signature.iter()).map(|(a, b)| a ^ b).collect();
            if *self.hash.digest(&key) != *stored {
                return client.respond(b"e=invalid-proof");
            }
            let server_key = mac(&salted, b"Server Key");
            let signature = mac(&server_key, message.as_bytes());
            client.respond((self.signature)(signature.to_vec()).as_bytes())
        }
    }

    fn sent(step: Step) -> String {
        match step {
            Step::Send(message) => String::from_utf8(message.to_vec()).expect("text"),
            step => panic!("{step:?}"),
        }
    }

    fn client(hash: Hash, password: &str) -> Scram {
        Scram::new(hash, Secret::from("a,lice=1"), Secret::from(password))
    }

    /// The first is RFC 7677's own; the second was reckoned by Python's `hashlib` and `hmac`.
    #[test]
    fn messages_are_those_of_the_standard() {
        let rows = [
            (
                Hash::Sha256,
                ("user", "pencil", "rOprNGfwEbeRWgbNEkqO"),
                "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
            (
                Hash::Sha512,
                ("a=,b", "pässword\u{aa}", "fyko+d2lbbFgONRv9qkxdawL"),
                "n,,n=a=3D=2Cb,r=fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=UVNYQ1IrUTZzZWs4YmY5Mg==,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,\
                 p=Lo/zwqD36Uyi3l8FYU5gRVMD1A+yiiaf2WEXkDPOsHBH9BNfdKQGN7SbsDccSMenqQD22iUUwQI/SHdat7EpZA==",
                "v=g2njelXjpbLnaMfVKb3tv/crRbE5HVZ72QVgxMPM6grZFoojUMYOU99gsOaCllTdb77Ru5jDIlNE+H2PRyd4Zg==",
            ),
        ];
        for (hash, (username, password, nonce), first, challenge, last, signature) in rows {
            let mut client = Scram::new(hash, Secret::from(username), Secret::from(password));
            assert_eq!(sent(client.start(nonce.to_owned()).expect("a first message")), first);
            let proven = client.respond(challenge.as_bytes()).expect("a proof");
            assert_eq!(sent(proven), last);
            assert_eq!(client.respond(signature.as_bytes()), Ok(Step::Done));
            assert!(client.respond(signature.as_bytes()).is_err(), "a login ends once");
        }
    }

    #[test]
    fn a_login_is_good_where_both_know_the_password() {
        for hash in [Hash::Sha256, Hash::Sha512] {
            let mut broker = Broker::of(hash);
            assert_eq!(broker.login(client(hash, "hunter2")), Ok(Step::Done));
            broker.rounds = "16384";
            assert_eq!(broker.login(client(hash, "hunter2")), Ok(Step::Done));
            let refused = broker.login(client(hash, "guessed")).expect_err("another password");
            let reason = "invalid-proof".to_owned();
            assert_eq!(refused, SaslError::Refused { mechanism: hash.name(), reason });
            assert!(refused.is_refusal());
        }
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_found_out() {
        let name = Hash::Sha256.name();
        let sha256 = || Broker::of(Hash::Sha256);
        let problem = |problem| SaslError::Challenge { mechanism: name, problem };
        let rounds = |rounds: &str| SaslError::Rounds {
            mechanism: name,
            rounds: rounds.to_owned(),
            fits: ROUNDS_FIT,
        };
        let wrong = SaslError::Signature { mechanism: name };
        let rows: Vec<(&str, Broker, SaslError)> = vec![
            (
                "another signature",
                Broker {
                    signature: |mut signature| {
                        signature[31] ^= 1;
                        format!("v={}", BASE64_STANDARD.encode(signature))
                    },
                    ..sha256()
                },
                wrong.clone(),
            ),
            (
                "a part of the signature",
                Broker {
                    signature: |signature| {
                        format!("v={}", BASE64_STANDARD.encode(&signature[..16]))
                    },
                    ..sha256()
                },
                wrong.clone(),
            ),
            ("an empty signature", Broker { signature: |_| "v=".to_owned(), ..sha256() }, wrong),
            (
                "no signature",
                Broker { signature: |_| String::new(), ..sha256() },
                problem("no signature"),
            ),
            (
                "a signature of other letters",
                Broker { signature: |_| "v=***".to_owned(), ..sha256() },
                problem("no base64 for signature"),
            ),
            (
                "a nonce of its own",
                Broker { nonce: |_| "fyko+d2lbbFgONRv9qkxdawL3rfc".to_owned(), ..sha256() },
                problem("its nonce does not go on from ours"),
            ),
            (
                "our nonce alone",
                Broker { nonce: str::to_owned, ..sha256() },
                problem("its nonce does not go on from ours"),
            ),
            (
                "a nonce with a line break",
                Broker { nonce: |nonce| format!("{nonce}\na"), ..sha256() },
                problem("its nonce is not printable"),
            ),
            ("few rounds", Broker { rounds: "4095", ..sha256() }, rounds("4095")),
            ("no round", Broker { rounds: "0", ..sha256() }, rounds("0")),
            ("many rounds", Broker { rounds: "65537", ..sha256() }, rounds("65537")),
            ("all rounds", Broker { rounds: "4294967296", ..sha256() }, rounds("4294967296")),
            (
                "a number without end",
                Broker { rounds: "99999999999999999999999999", ..sha256() },
                rounds("99999999999999999999…"),
            ),
            ("rounds back", Broker { rounds: "-5000", ..sha256() }, problem("no rounds")),
            ("rounds in words", Broker { rounds: "many", ..sha256() }, problem("no rounds")),
            ("no salt", Broker { salt: "", ..sha256() }, problem("a salt of no use")),
            ("a salt of other letters", Broker { salt: "*", ..sha256() }, problem("no salt")),
        ];
        for (name, broker, expected) in rows {
            let error = broker.login(client(broker.hash, "hunter2")).expect_err(name);
            assert_eq!(error, expected, "{name}");
            assert!(error.to_string().len() <= 200, "{name}: {error}");
        }
    }

    #[test]
    fn a_first_message_of_another_kind_is_refused() {
        let long = format!("r=a,s=QQ==,i=4096,x={}", "x".repeat(20_000));
        let salt = format!("r=a,s={},i=4096", "QUFB".repeat(400));
        let rows: &[(&str, &[u8], &str)] = &[
            ("an extension", b"m=1,r=a,s=QQ==,i=4096", "an extension that is not known"),
            ("an error", b"e=unknown-user", "refused the SCRAM-SHA-256 login: unknown-user"),
            ("nothing", b"", "no nonce"),
            ("fields the other way round", b"s=QQ==,r=a,i=4096", "no nonce"),
            ("no text", b"\xff\xfe", "it is not text"),
            ("a long one", long.as_bytes(), "it is too long"),
            ("a long salt", salt.as_bytes(), "a salt of no use"),
            ("the broker's proof at once", b"v=QQ==", "no nonce"),
        ];
        for (name, challenge, expected) in rows {
            let mut client = client(Hash::Sha256, "hunter2");
            client.respond(b"").expect("a first message");
            let told = client.respond(challenge).expect_err(name).to_string();
            assert!(told.contains(expected), "{name}: {told}");
            assert!(client.respond(b"v=").is_err(), "{name}: it went on");
        }
    }

    #[test]
    fn each_login_has_a_nonce_of_its_own() {
        let (one, other) = (random_nonce().expect("random"), random_nonce().expect("random"));
        assert_ne!(one, other);
        assert!(one.len() == 32 && !one.contains(','), "{one}");
    }

    #[test]
    fn nothing_of_a_login_is_shown() {
        let mut client = client(Hash::Sha256, "hunter2");
        client.respond(b"").expect("a first message");
        let shown = format!("{client:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("lice"), "{shown}");
    }
}
