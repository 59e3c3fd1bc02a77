//! What a token of the Entra stand-in looks like, and whether one is genuine.
//!
//! The Service Bus stand-in believes what the Entra stand-in has signed: HS256 with a key both
//! know. Times are seconds since 1970.
//!
//! # References
//! - RFC 7519: JSON Web Token

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const KEY: &[u8] = b"shared by the stand-ins of Entra and of Service Bus";

/// What a token says that a service looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Whom the token is for: `https://servicebus.azure.net`.
    pub(crate) aud: String,
    /// The client id of whom it speaks for.
    pub(crate) appid: String,
    /// When it ends, in seconds since 1970.
    pub(crate) exp: u64,
}

/// A signed token.
pub(crate) fn sign(claims: &Claims) -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "typ": "JWT", "alg": "HS256" }));
    let payload = part(json!({ "aud": claims.aud, "appid": claims.appid, "exp": claims.exp }));
    let signed = format!("{header}.{payload}");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(mac(&signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// What a token says, if it was signed here; whether it has ended is for the caller to see.
pub(crate) fn verify(token: &str) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    mac(signed).verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
    let payload: Value = serde_json::from_slice(&payload).ok()?;
    Some(Claims {
        aud: payload["aud"].as_str()?.to_owned(),
        appid: payload["appid"].as_str()?.to_owned(),
        exp: payload["exp"].as_u64()?,
    })
}

fn mac(signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("a key of any length will do");
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_here_is_believed() {
        let claims =
            Claims { aud: "https://servicebus.azure.net".into(), appid: "a".into(), exp: 7 };
        let token = sign(&claims);
        assert_eq!(verify(&token), Some(claims));
        assert_eq!(verify(&token.replacen('.', ".x", 1)), None);
        assert_eq!(verify(&token[..token.len() - 2]), None);
        assert_eq!(verify("opaque"), None);
    }
}
