//! SASL from the broker's side: PLAIN and SCRAM-SHA-256, and the lies that can be told on the way.
//!
//! # References
//! - RFC 5802: SCRAM

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use sha2::{Digest as _, Sha256};

/// Who is let in.
pub const USER: &str = "alice";

/// The password of that user.
pub const PASSWORD: &str = "alice-secret";

const SALT: &[u8] = b"salt-of-the-earth";
const ITERATIONS: u32 = 4_096;
const SASL_AUTHENTICATION_FAILED: i16 = 58;
const UNSUPPORTED_MECHANISM: i16 = 33;

/// How a login is bent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It is not.
    Honest,
    /// The handshake names other mechanisms, and an error.
    OtherMechanisms,
    /// What the client begins with is answered as if that were all.
    SuccessAtOnce,
    /// The server's last word comes first.
    LastFirst,
    /// So many rounds of hashing are asked for.
    Iterations(&'static str),
    /// The nonce does not begin with the client's.
    OtherNonce,
    /// The server proves to know the password, wrongly.
    WrongSignature,
    /// It proves nothing.
    NoSignature,
    /// A proof is followed by more words, which the client did not ask for.
    Challenges,
    /// It refuses in the mechanism's own words, and says that all is well around them.
    RefusesInside,
    /// It refuses, with a text of 30,000 bytes and many lines.
    RefusesAtLength,
    /// It says this of how long the login holds, in milliseconds.
    Lifetime(i64),
    /// What it sends is no text.
    NoText,
}

impl Login {
    /// Whether the lie is in replies of this kind.
    pub(super) fn is_told_by(self, api: ApiKey) -> bool {
        match self {
            Self::Honest => false,
            Self::OtherMechanisms => api == ApiKey::SaslHandshake,
            _ => api == ApiKey::SaslAuthenticate,
        }
    }
}

/// One connection's login.
pub(super) struct Session {
    login: Login,
    mechanism: String,
    /// What has been said so far, as SCRAM signs it.
    said: Option<Said>,
    over: bool,
}

struct Said {
    client_first: String,
    server_first: String,
}

impl Session {
    pub(super) fn new(login: Login) -> Self {
        Self { login, mechanism: String::new(), said: None, over: false }
    }

    /// Whether the broker closes the connection now.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn handshake(&mut self, request: &SaslHandshakeRequest) -> SaslHandshakeResponse {
        self.mechanism = request.mechanism.to_string();
        self.said = None;
        let texts = |texts: &[&'static str]| {
            texts.iter().map(|text| StrBytes::from_static_str(text)).collect::<Vec<_>>()
        };
        let reply = SaslHandshakeResponse::default();
        if self.login == Login::OtherMechanisms {
            let mechanisms = texts(&["EVIL\r\nname", "GSSAPI"]);
            return reply.with_error_code(UNSUPPORTED_MECHANISM).with_mechanisms(mechanisms);
        }
        reply.with_mechanisms(texts(&["PLAIN", "SCRAM-SHA-256"]))
    }

    pub(super) fn authenticate(
        &mut self,
        request: &SaslAuthenticateRequest,
    ) -> SaslAuthenticateResponse {
        let lifetime = match self.login {
            Login::Lifetime(lifetime) => lifetime,
            _ => 0,
        };
        let honest = match self.login {
            Login::SuccessAtOnce => Ok(Bytes::new()),
            Login::LastFirst => Ok(format!("v={}", STANDARD.encode([7; 32])).into()),
            Login::RefusesInside => Ok(Bytes::from_static(b"e=other-error")),
            Login::NoText => Ok(Bytes::from_static(&[0xff; 300])),
            Login::RefusesAtLength => Err("no,\r\nno\u{1b}[31m\u{202e}".repeat(2_000)),
            _ if self.mechanism == "PLAIN" => plain(&request.auth_bytes),
            _ => self.scram(&request.auth_bytes),
        };
        let reply = SaslAuthenticateResponse::default().with_session_lifetime_ms(lifetime);
        match honest {
            Ok(bytes) => reply.with_auth_bytes(bytes),
            Err(why) => {
                self.over = true;
                reply
                    .with_error_code(SASL_AUTHENTICATION_FAILED)
                    .with_error_message(Some(StrBytes::from_string(why)))
            }
        }
    }

    fn scram(&mut self, said: &[u8]) -> Result<Bytes, String> {
        let text = std::str::from_utf8(said).map_err(|error| error.to_string())?;
        match self.said.take() {
            None => {
                let bare = text.strip_prefix("n,,").ok_or("no first message")?;
                let nonce = field(bare, 'r').ok_or("no nonce")?;
                let nonce = match self.login {
                    Login::OtherNonce => "somebody-elses-nonce".to_owned(),
                    _ => format!("{nonce}-and-the-servers"),
                };
                let iterations = match self.login {
                    Login::Iterations(count) => count.to_owned(),
                    _ => ITERATIONS.to_string(),
                };
                let salt = STANDARD.encode(SALT);
                let server_first = format!("r={nonce},s={salt},i={iterations}");
                let client_first = bare.to_owned();
                self.said = Some(Said { client_first, server_first: server_first.clone() });
                Ok(server_first.into())
            }
            Some(Said { client_first, server_first }) => {
                let (without_proof, proof) = text.rsplit_once(",p=").ok_or("no proof")?;
                let all = format!("{client_first},{server_first},{without_proof}");
                let salted = salted_password();
                let client_key = hmac(&salted, b"Client Key");
                let signature = hmac(&Sha256::digest(client_key), all.as_bytes());
                let right: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
                if STANDARD.decode(proof).ok() != Some(right) {
                    return Err("the password is wrong".to_owned());
                }
                let mut signature = hmac(&hmac(&salted, b"Server Key"), all.as_bytes());
                match self.login {
                    Login::WrongSignature => signature[0] ^= 1,
                    Login::NoSignature => return Ok(Bytes::new()),
                    Login::Challenges => return Ok(server_first.into()),
                    _ => {}
                }
                Ok(format!("v={}", STANDARD.encode(signature)).into())
            }
        }
    }
}

fn plain(said: &[u8]) -> Result<Bytes, String> {
    if said == format!("\0{USER}\0{PASSWORD}").as_bytes() {
        return Ok(Bytes::new());
    }
    Err("the password is wrong".to_owned())
}

fn field(text: &str, name: char) -> Option<&str> {
    text.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

/// PBKDF2 with one block.
fn salted_password() -> [u8; 32] {
    let mut block = hmac(PASSWORD.as_bytes(), &[SALT, &1_u32.to_be_bytes()].concat());
    let mut result = block;
    for _ in 1..ITERATIONS {
        block = hmac(PASSWORD.as_bytes(), &block);
        for (sum, byte) in result.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    result
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    hmac.update(data);
    hmac.finalize().into_bytes().into()
}
