//! Which hosts may see a token: those under Azure's own suffixes, and under those that the operator
//! allows.
//!
//! A trigger is written by a tenant. Without this its `namespace` or `endpointSuffix` could have
//! our token sent to a host of the tenant's own. So a host that may see one is a type, made here
//! alone, before anything is exchanged.
//!
//! A host is only ever accepted in the one spelling that a URL parser gives back unchanged: lower
//! case, labels of letters, digits and hyphens; no user, port, path, address or trailing dot.
//!
//! # References
//! - Microsoft Learn, "Service Bus quotas" and "Microsoft.ServiceBus naming rules" for names of
//!   namespaces
//! - WHATWG URL Standard, host parsing

use std::fmt;
use std::sync::Arc;

use url::Host;

use super::cloud::Cloud;
use crate::metadata::cut;

/// What the operator allows besides Azure's own suffixes. The default: nothing.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    allowed: Vec<String>,
    /// No other ones; empty: whichever are under an allowed suffix.
    listed: Vec<String>,
}

/// A host that may see a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustedHost {
    name: Arc<str>,
    cloud: Cloud,
}

/// What a token is for, and who gives it where the pod's environment does not say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub(super) resource: Arc<str>,
    pub(super) authority: &'static str,
}

/// Why no token goes to a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// This is no namespace of its cloud.
    #[error(
        "namespace: {given:?} is not a namespace of this cloud; give its short name, or its host name under {suffix}"
    )]
    Namespace {
        /// What the trigger says, shortened.
        given: String,
        /// The suffix of the trigger's cloud, shortened.
        suffix: String,
    },
    /// The host is not under an allowed suffix.
    #[error(
        "no token is sent to {host:?}: it is under none of Azure's suffixes; correct namespace, endpointSuffix or bootstrapServers, or have the operator allow its suffix with --azure-allow-suffix"
    )]
    NotAllowed {
        /// The host, shortened.
        host: String,
    },
    /// The operator lists the hosts, and this is not among them.
    #[error(
        "no token is sent to {host:?}: the operator lists the namespaces that may have one, and it is not among them; have it added to --azure-namespace"
    )]
    NotListed {
        /// The host, shortened.
        host: String,
    },
    /// What the operator allows is not a suffix.
    #[error(
        "{given:?} is not a suffix of host names; give at least two names with a dot between, such as servicebus.example.com"
    )]
    Suffix {
        /// What the operator gave, shortened.
        given: String,
    },
}

impl Hosts {
    /// Azure's suffixes and these. A leading dot makes no difference.
    ///
    /// # Errors
    /// One of them is not a suffix of at least two names: with one a whole top-level domain would
    /// be allowed.
    pub fn new(allowed: &[String]) -> Result<Self, HostError> {
        let suffix = |given: &String| {
            let suffix = given.strip_prefix('.').unwrap_or(given).to_ascii_lowercase();
            if suffix.contains('.') && is_plain(&suffix) {
                Ok(suffix)
            } else {
                Err(HostError::Suffix { given: shortened(given) })
            }
        };
        let allowed = allowed.iter().map(suffix).collect::<Result<_, _>>()?;
        Ok(Self { allowed, listed: Vec::new() })
    }

    /// Of these hosts only the listed ones, by their full names; an empty list changes nothing.
    ///
    /// Whoever has an Azure subscription can have a host under Azure's suffix, and one of Azure
    /// Relay hands a request on to its owner, token and all.
    #[must_use]
    pub fn listing(self, hosts: &[String]) -> Self {
        let listed = hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect();
        Self { listed, ..self }
    }

    /// The host of a namespace: its short name, or its full host name under its cloud's suffix.
    ///
    /// # Errors
    /// It is neither, or no token may go there.
    pub fn trust(&self, namespace: &str, cloud: &Cloud) -> Result<TrustedHost, HostError> {
        let name = namespace.to_ascii_lowercase();
        let suffix = cloud.suffix();
        if is_label(&name) {
            self.trust_host(&format!("{name}.{suffix}"))
        } else if within(&name, suffix).is_some() {
            self.trust_host(&name)
        } else {
            Err(HostError::Namespace { given: shortened(namespace), suffix: shortened(suffix) })
        }
    }

    /// A full host name, in any cloud.
    ///
    /// # Errors
    /// No token may go there.
    pub fn trust_host(&self, host: &str) -> Result<TrustedHost, HostError> {
        let name = host.to_ascii_lowercase();
        let cloud = self.cloud_of(&name).filter(|_| is_plain(&name));
        let refused = || HostError::NotAllowed { host: shortened(host) };
        let cloud = cloud.ok_or_else(refused)?;
        if !self.listed.is_empty() && !self.listed.contains(&name) {
            return Err(HostError::NotListed { host: shortened(host) });
        }
        Ok(TrustedHost { cloud, name: name.into() })
    }

    /// Azure's namespaces lie right under their suffix; what the operator allows may have more
    /// levels.
    fn cloud_of(&self, name: &str) -> Option<Cloud> {
        let azure = Cloud::AZURE
            .into_iter()
            .find(|cloud| within(name, cloud.suffix()).is_some_and(is_label));
        let allowed = || self.allowed.iter().find(|suffix| within(name, suffix).is_some());
        azure.or_else(|| allowed().map(|suffix| Cloud::Private(suffix.clone())))
    }
}

impl TrustedHost {
    /// The host's name, as a URL has it.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for TrustedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Scope {
    /// Everything in Service Bus that the identity may do; the same in every cloud.
    pub fn service_bus(host: &TrustedHost) -> Scope {
        Scope::of("https://servicebus.azure.net/.default".into(), host)
    }

    /// Everything that the identity may do in one namespace of Event Hubs.
    pub fn event_hubs(host: &TrustedHost) -> Scope {
        Scope::of(format!("https://{host}/.default").into(), host)
    }

    fn of(resource: Arc<str>, host: &TrustedHost) -> Scope {
        Scope { resource, authority: host.cloud.authority() }
    }
}

/// What stands before a suffix and its dot.
fn within<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    name.strip_suffix(suffix)?.strip_suffix('.')
}

/// Whether a URL parser takes this for a host by name, and for the same one.
fn is_plain(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(is_label)
        && matches!(Host::parse(name), Ok(Host::Domain(parsed)) if parsed == name)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What a tenant wrote comes back in an error, so it is bounded.
fn shortened(text: &str) -> String {
    cut(text, 100).to_owned()
}

#[cfg(test)]
mod tests;
