//! Where a namespace is and how one is let in: what a trigger says of it, and what of that may be
//! used.
//!
//! What a trigger says is its [`Access`]: a namespace and an identity, or an endpoint and a key.
//! Two triggers share a namespace's connections exactly if it is equal, secrets included. It
//! becomes a [`TrustedAccess`] where connections are made, once [`Access::trust`] has seen that a
//! token of ours stays among the hosts that may have one. A key's signature is good for one
//! resource only and is not ours, so it goes to any host.
//!
//! # References
//! - Microsoft Learn, "AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide": ports, claims
//! - Microsoft Learn, "Azure Service Bus emulator": AMQP on 5672 and management on 5300, without
//!   TLS

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::sas;
use crate::identity::{
    self, AzurePrincipal, Cloud, HostError, Hosts, Identities, Scope, TrustedHost,
};
use crate::secret::Secret;

/// How long a signature made here is good; Microsoft's clients take as long.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(3_600);

const AMQP: u16 = 5672;
const AMQPS: u16 = 5671;
/// Where the emulator has its management endpoint.
const EMULATOR_MANAGEMENT: u16 = 5300;

/// Where a trigger says a namespace is, and how one is let in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Access {
    /// By the token of an identity.
    Identity {
        /// Its short name, or its host.
        namespace: String,
        /// The cloud it is in.
        cloud: Cloud,
        /// Whose token.
        who: AzurePrincipal,
    },
    /// By a connection string.
    SharedAccess {
        /// Where it is.
        endpoint: Endpoint,
        /// What lets in.
        credential: Credential,
    },
}

/// The host of a connection string.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name or address, as a URL has it: lower case, an IPv6 address in brackets.
    pub host: String,
    /// A port other than the usual ones.
    pub port: Option<u16>,
    /// Whether it is the local emulator, which has no TLS.
    pub emulator: bool,
}

/// What a connection string lets in by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// The key of a policy.
    Key {
        /// The policy's name.
        name: String,
        /// Its key.
        key: Secret,
    },
    /// A token made with it elsewhere.
    Signature(Secret),
}

/// A namespace that connections may be made to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TrustedAccess {
    /// By the token of an identity.
    Identity {
        /// A host that may have it.
        host: TrustedHost,
        /// Whose token.
        who: AzurePrincipal,
    },
    /// By a connection string.
    SharedAccess {
        /// Where it is.
        endpoint: Endpoint,
        /// What lets in.
        credential: Credential,
    },
}

/// A token for one resource.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What it is.
    pub kind: ClaimKind,
    /// The token.
    pub token: SecretString,
    /// When it ends.
    pub expires: SystemTime,
}

/// What a claim is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimKind {
    /// A token of Entra's.
    Jwt,
    /// A shared access signature.
    SharedAccess,
}

impl Access {
    /// Where connections may be made to.
    ///
    /// # Errors
    /// The identity's token may not go there. Nothing has been asked of anyone by then.
    pub fn trust(&self, hosts: &Hosts) -> Result<TrustedAccess, HostError> {
        Ok(match self {
            Self::Identity { namespace, cloud, who } => {
                TrustedAccess::Identity { host: hosts.trust(namespace, cloud)?, who: who.clone() }
            }
            Self::SharedAccess { endpoint, credential } => TrustedAccess::SharedAccess {
                endpoint: endpoint.clone(),
                credential: credential.clone(),
            },
        })
    }
}

impl Endpoint {
    fn amqp_port(&self) -> u16 {
        self.port.unwrap_or(if self.emulator { AMQP } else { AMQPS })
    }

    /// A port of its own is for everything, unless it is AMQP's usual one.
    fn management_port(&self) -> Option<u16> {
        match self.port {
            Some(port) if port != AMQP && port != AMQPS => Some(port),
            _ => self.emulator.then_some(EMULATOR_MANAGEMENT),
        }
    }
}

impl TrustedAccess {
    /// The namespace's host, which also names it in messages.
    pub fn host(&self) -> &str {
        match self {
            Self::Identity { host, .. } => host.as_str(),
            Self::SharedAccess { endpoint, .. } => &endpoint.host,
        }
    }

    /// The port of AMQP.
    pub fn amqp_port(&self) -> u16 {
        self.endpoint().map_or(AMQPS, Endpoint::amqp_port)
    }

    /// The port of HTTP, and so of AMQP over WebSocket; `None`: the usual one.
    pub fn http_port(&self) -> Option<u16> {
        self.endpoint().and_then(Endpoint::management_port)
    }

    /// Whether connections are without TLS, as the local emulator has them.
    pub fn is_plain(&self) -> bool {
        self.endpoint().is_some_and(|endpoint| endpoint.emulator)
    }

    /// The management endpoint, with an empty path.
    ///
    /// `None` if the host fits into no URL, which neither way of making a access lets happen.
    pub(super) fn management(&self) -> Option<Url> {
        let scheme = if self.is_plain() { "http" } else { "https" };
        let mut url = Url::parse(&format!("{scheme}://{}/", self.host())).ok()?;
        url.set_port(self.http_port()).ok()?;
        Some(url)
    }

    /// A token for the URI `resource`, had by the deadline.
    ///
    /// # Errors
    /// The identity gets none.
    pub async fn claim(
        &self,
        identities: &Identities,
        resource: &str,
        deadline: Instant,
    ) -> Result<Claim, identity::Error> {
        let claim = match self {
            Self::Identity { host, who } => {
                let token = identities.token(who, &Scope::service_bus(host), deadline).await?;
                Claim { kind: ClaimKind::Jwt, token: token.secret, expires: token.expires }
            }
            Self::SharedAccess { credential: Credential::Key { name, key }, .. } => {
                let expires = SystemTime::now() + SIGNATURE_LIFETIME;
                let token = sas::token(name, &key.0, resource, expires);
                Claim { kind: ClaimKind::SharedAccess, token, expires }
            }
            Self::SharedAccess { credential: Credential::Signature(signature), .. } => {
                let expires = sas::expiry(signature.expose()).unwrap_or(UNIX_EPOCH);
                Claim { kind: ClaimKind::SharedAccess, token: signature.0.clone(), expires }
            }
        };
        Ok(claim)
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Identity { .. } => None,
            Self::SharedAccess { endpoint, .. } => Some(endpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(host: &str, port: Option<u16>, emulator: bool) -> TrustedAccess {
        let credential = Credential::Key { name: "all".to_owned(), key: Secret::from("hunter2") };
        TrustedAccess::SharedAccess {
            endpoint: Endpoint { host: host.to_owned(), port, emulator },
            credential,
        }
    }

    #[test]
    fn ports_are_the_usual_ones_unless_the_endpoint_has_one() {
        let rows = [
            ("azure", shared("a.b", None, false), 5671, "https://a.b/"),
            ("azure by its port", shared("a.b", Some(5671), false), 5671, "https://a.b/"),
            ("one port for all", shared("a.b", Some(9), false), 9, "https://a.b:9/"),
            ("the emulator", shared("localhost", None, true), 5672, "http://localhost:5300/"),
            (
                "its usual port",
                shared("localhost", Some(5672), true),
                5672,
                "http://localhost:5300/",
            ),
            ("another", shared("[::1]", Some(9), true), 9, "http://[::1]:9/"),
        ];
        for (name, access, amqp, management) in rows {
            assert_eq!(access.amqp_port(), amqp, "{name}");
            assert_eq!(access.management().as_ref().map(Url::as_str), Some(management), "{name}");
        }
    }

    #[test]
    fn an_identity_s_namespace_is_trusted_before_anything_is_asked() {
        let access = |namespace: &str, cloud| Access::Identity {
            namespace: namespace.to_owned(),
            cloud,
            who: AzurePrincipal::default(),
        };
        let hosts = Hosts::default();
        let trusted =
            access("orders", Cloud::Public).trust(&hosts).expect("a namespace of Azure's");
        assert_eq!(
            (trusted.host(), trusted.amqp_port(), trusted.is_plain()),
            ("orders.servicebus.windows.net", 5671, false)
        );
        let own = Cloud::Private("evil.example".to_owned());
        assert!(access("orders", own.clone()).trust(&hosts).is_err());
        let allowed = Hosts::new(&["evil.example".to_owned()]).expect("a suffix");
        assert_eq!(
            access("orders", own).trust(&allowed).expect("allowed").host(),
            "orders.evil.example"
        );
        for namespace in [
            "evil.example",
            "orders@evil.example",
            "orders/..",
            "orders:443",
            "orders.servicebus.windows.net.evil.example",
        ] {
            assert!(access(namespace, Cloud::Public).trust(&hosts).is_err(), "{namespace}");
        }
    }

    #[test]
    fn secrets_tell_namespaces_apart_and_are_not_shown() {
        let with = |key: &str| Credential::Key { name: "all".to_owned(), key: Secret::from(key) };
        assert_eq!(with("hunter2"), with("hunter2"));
        assert_ne!(with("hunter2"), with("hunter3"));
        assert!(!format!("{:?}", shared("a.b", None, false)).contains("hunter"));
    }
}
