//! Who may do what: keys, tokens, and the rights they carry.
//!
//! A claim covers the path it names and all below it, upper and lower case alike. Times are
//! milliseconds since 1970.
//!
//! # References
//! - Microsoft Learn: Service Bus access control with Shared Access Signatures
//! - Microsoft Learn: AMQP 1.0 in Azure Service Bus protocol guide, claims-based authorization

use std::collections::HashMap;
use std::ops::BitOr;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use crate::jwt;

/// For whom a token of Entra must be made.
const AUDIENCE: &str = "https://servicebus.azure.net";

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(u8);

/// Whose word is taken.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// By name: the key and what it may do.
    keys: HashMap<String, (String, Rights)>,
    /// By client id.
    clients: HashMap<String, Rights>,
}

/// What a token gives: rights to a path, until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Lower case, without a slash at either end; empty is the whole namespace.
    pub(crate) path: String,
    pub(crate) rights: Rights,
    pub(crate) ends: i64,
}

/// Why a token gives nothing, as the service puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// To receive and to peek.
    pub const LISTEN: Self = Self(1);
    /// To send and to schedule.
    pub const SEND: Self = Self(2);
    /// To read and change entities; it includes the other two.
    pub const MANAGE: Self = Self(7);
    /// Every right.
    pub const ALL: Self = Self(7);

    /// Whether all of these are among them.
    pub fn include(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether any of these is among them.
    pub(crate) fn touch(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LISTEN => "Listen",
            Self::SEND => "Send",
            _ => "Manage,EntityRead",
        }
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Keys {
    pub(crate) fn add(&mut self, name: &str, key: &str, rights: Rights) {
        self.keys.insert(name.to_owned(), (key.to_owned(), rights));
    }

    pub(crate) fn grant(&mut self, client: &str, rights: Rights) {
        self.clients.insert(client.to_owned(), rights);
    }

    /// What a shared access signature gives.
    pub(crate) fn signature(&self, token: &str, now: i64) -> Result<Claim, Refused> {
        let fields = token
            .strip_prefix("SharedAccessSignature ")
            .ok_or_else(|| Refused::malformed("no signature"))?;
        let fields: HashMap<&str, &str> =
            fields.split('&').filter_map(|field| field.split_once('=')).collect();
        let field = |name: &str| fields.get(name).copied().ok_or_else(|| Refused::malformed(name));
        let (resource, signature, ends, name) =
            (field("sr")?, field("sig")?, field("se")?, field("skn")?);

        let (key, rights) = self.keys.get(&decoded(name)).ok_or_else(Refused::signature)?;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key of any length will do");
        mac.update(format!("{resource}\n{ends}").as_bytes());
        let signature =
            BASE64_STANDARD.decode(decoded(signature)).map_err(|_| Refused::signature())?;
        mac.verify_slice(&signature).map_err(|_| Refused::signature())?;

        let ends = ends.parse::<i64>().map_err(|_| Refused::malformed("se"))?.saturating_mul(1000);
        let resource = decoded(resource);
        live(ends, now).map(|ends| Claim {
            path: path(&resource).to_lowercase(),
            rights: *rights,
            ends,
        })
    }

    /// What a token of Entra gives: its client's rights, everywhere.
    pub(crate) fn token(&self, token: &str, now: i64) -> Result<Claim, Refused> {
        let claims = jwt::verify(token)
            .ok_or_else(|| Refused("InvalidIssuer: Token issuer is invalid.".into()))?;
        if claims.aud.trim_end_matches('/') != AUDIENCE {
            return Err(Refused("InvalidAudience: The audience of the token is invalid.".into()));
        }
        let rights = self.clients.get(&claims.appid).copied().unwrap_or(Rights::NONE);
        let ends = i64::try_from(claims.exp).unwrap_or(i64::MAX).saturating_mul(1000);
        live(ends, now).map(|ends| Claim { path: String::new(), rights, ends })
    }
}

impl Claim {
    /// Whether the path is the claim's own or lies below it.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let path = path.to_lowercase();
        let below = path.strip_prefix(&self.path);
        self.path.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Refused {
    fn malformed(what: &str) -> Self {
        Self(format!("MalformedToken: The token is malformed: {what}"))
    }

    fn signature() -> Self {
        Self("InvalidSignature: The token has an invalid signature.".into())
    }
}

fn live(ends: i64, now: i64) -> Result<i64, Refused> {
    if ends > now { Ok(ends) } else { Err(Refused("ExpiredToken: The token is expired.".into())) }
}

/// The host of an address such as `sb://127.0.0.1:1234/orders`, without its port; `None` where it
/// is a bare path.
pub(crate) fn host(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    Some(authority.rsplit_once(':').map_or(authority, |(host, _)| host))
}

/// The path of an address, without a slash at either end. JavaScript's SDK signs a whole URL, query
/// included.
pub(crate) fn path(address: &str) -> &str {
    let address = address.split_once('?').map_or(address, |(address, _)| address);
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address,
    };
    path.trim_matches('/')
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A shared access signature for this resource, good until then.
pub(crate) fn sign(name: &str, key: &str, resource: &str, ends: SystemTime) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (resource, ends) = (encode(resource), crate::message::milliseconds(ends) / 1000);
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key of any length will do");
    mac.update(format!("{resource}\n{ends}").as_bytes());
    let signature = encode(&BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={ends}&skn={name}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_claim_covers_its_path_and_what_is_below() {
        let claim = |path: &str| Claim { path: path.into(), rights: Rights::ALL, ends: 0 };
        for (of, path, covered) in [
            ("", "orders", true),
            ("orders", "orders", true),
            ("orders", "Orders/$management", true),
            ("orders", "orders2", false),
            ("orders/$management", "orders", false),
        ] {
            assert_eq!(claim(of).covers(path), covered, "{of} over {path}");
        }
    }

    #[test]
    fn a_token_gives_what_its_bearer_was_granted() {
        let mut keys = Keys::default();
        keys.grant("worker", Rights::LISTEN);
        let token = |audience: &str, client: &str, ends: u64| {
            let claims = jwt::Claims { aud: audience.into(), appid: client.into(), exp: ends };
            keys.token(&jwt::sign(&claims), 10_000).map(|claim| claim.rights)
        };
        for (name, audience, client, ends, expected) in [
            ("granted", AUDIENCE, "worker", 11, Some(Rights::LISTEN)),
            (
                "as Python's SDK asks for it",
                "https://servicebus.azure.net/",
                "worker",
                11,
                Some(Rights::LISTEN),
            ),
            ("genuine, and granted nothing", AUDIENCE, "stranger", 11, Some(Rights::NONE)),
            ("for another service", "https://vault.azure.net", "worker", 11, None),
            ("ended", AUDIENCE, "worker", 10, None),
        ] {
            assert_eq!(token(audience, client, ends).ok(), expected, "{name}");
        }
    }

    #[test]
    fn a_signature_is_checked_with_its_key() {
        let ends = SystemTime::now() + Duration::from_secs(3_600);
        let mut keys = Keys::default();
        keys.add("listen", "secret", Rights::LISTEN);
        let now = crate::message::now();
        for (name, key, text, good) in [
            ("right", "listen", "secret", true),
            ("another key", "listen", "other", false),
            ("another name", "send", "secret", false),
        ] {
            let claim = keys.signature(&sign(key, text, "sb://127.0.0.1/Orders", ends), now);
            assert_eq!(claim.is_ok_and(|claim| claim.path == "orders"), good, "{name}");
        }
        let ended =
            keys.signature(&sign("listen", "secret", "sb://127.0.0.1/", ends), now + 3_600_000);
        assert!(ended.is_err_and(|Refused(why)| why.contains("expired")));
    }

    #[test]
    fn addresses_have_a_host_and_a_path() {
        for (address, expected_host, expected_path) in [
            ("sb://127.0.0.1:5672/orders", Some("127.0.0.1"), "orders"),
            (
                "amqps://ns.servicebus.windows.net/t/Subscriptions/s/",
                Some("ns.servicebus.windows.net"),
                "t/Subscriptions/s",
            ),
            ("http://ns/", Some("ns"), ""),
            ("https://ns/orders?api-version=2021-05", Some("ns"), "orders"),
            ("orders/$management", None, "orders/$management"),
        ] {
            assert_eq!(host(address), expected_host, "{address}");
            assert_eq!(path(address), expected_path, "{address}");
        }
    }
}
