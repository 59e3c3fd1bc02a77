//! Whether a service account's token is one that this server signed, and what it says: as another
//! program finds out, by the server's public key.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

use crate::server::ApiServer;

/// What a token says. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// Who gave it (`iss`): [`ApiServer::issuer`].
    pub issuer: String,
    /// Whose it is (`sub`): `system:serviceaccount:<namespace>:<name>`.
    pub subject: String,
    /// Whom it is for (`aud`).
    pub audiences: Vec<String>,
    /// When it was given (`iat`).
    pub issued_at: u64,
    /// Until when it holds (`exp`).
    pub expires_at: u64,
    /// All of it.
    pub all: Value,
}

/// What another program needs to judge tokens: a value of its own, that can go anywhere.
#[derive(Clone, Debug)]
pub struct TokenVerifier {
    issuer: String,
    public_key: Vec<u8>,
}

impl ApiServer {
    /// What judges its tokens.
    pub fn token_verifier(&self) -> TokenVerifier {
        TokenVerifier {
            issuer: self.issuer().to_owned(),
            public_key: self.token_key().public_key_raw().to_vec(),
        }
    }

    /// What a token says, if this server gave it and it has not expired. Whom it is for is left to
    /// the caller.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify_token(&self, token: &str) -> Result<Claims, String> {
        self.token_verifier().verify(token)
    }

    /// The keys of its tokens as a JSON Web Key Set, as it publishes them.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn jwks(&self) -> Value {
        let request =
            http::Request::get("/openid/v1/jwks").body(Vec::new()).expect("a valid request");
        let keys = self.admin().request_text(request).await.expect("the server publishes its keys");
        serde_json::from_str(&keys).expect("a key set is JSON")
    }
}

impl TokenVerifier {
    /// As [`ApiServer::verify_token`].
    ///
    /// # Errors
    /// What is wrong with the token.
    pub fn verify(&self, token: &str) -> Result<Claims, String> {
        let (signed, signature) = token.rsplit_once('.').ok_or("not a token")?;
        let (header, payload) = signed.split_once('.').ok_or("not a token")?;
        let header: Value = parse(header)?;
        if header["alg"] != "ES256" {
            return Err(format!("signed with {}", header["alg"]));
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public_key);
        key.verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| "not signed by this server")?;

        let all: Value = parse(payload)?;
        let text =
            |claim: &str| all[claim].as_str().map(str::to_owned).ok_or(format!("no {claim}"));
        let time = |claim: &str| all[claim].as_u64().ok_or(format!("no {claim}"));
        let audiences = all["aud"].as_array().into_iter().flatten();
        let claims = Claims {
            issuer: text("iss")?,
            subject: text("sub")?,
            audiences: audiences.filter_map(Value::as_str).map(str::to_owned).collect(),
            issued_at: time("iat")?,
            expires_at: time("exp")?,
            all,
        };
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
        if claims.issuer != self.issuer {
            return Err(format!("given by {}", claims.issuer));
        }
        if claims.expires_at <= now.as_secs() {
            return Err(format!("expired {} s ago", now.as_secs() - claims.expires_at));
        }
        Ok(claims)
    }
}

/// A new key to sign tokens with.
pub(crate) fn key() -> KeyPair {
    crate::authority::key()
}

fn parse(part: &str) -> Result<Value, String> {
    serde_json::from_slice(&decode(part)?).map_err(|error| error.to_string())
}

fn decode(part: &str) -> Result<Vec<u8>, String> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string())
}
