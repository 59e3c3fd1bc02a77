//! How the sources are put together, in one place for every command and for tests.

use std::sync::Arc;
use std::time::Duration;

use crate::identity::{self, Hosts, Identities, TokenEndpoints};
use crate::kafka::{self, Kafka};
use crate::kubernetes::Kubernetes;
#[cfg(test)]
use crate::memory::Memory;
use crate::service_bus::{self, ServiceBus};
use crate::sources::Sources;
use crate::web::{self, Web};

/// What sources are made of; the defaults are those of `keda-sift serve` outside of a cluster.
pub struct Options {
    /// How long whoever is asked may take to answer: the time a measurement has.
    pub request_timeout: Duration,
    /// The hosts that may have tokens of an Azure identity.
    pub hosts: Hosts,
    /// Where tokens may be fetched from.
    pub endpoints: TokenEndpoints,
    /// What the Pod says of the scaler's own identity.
    pub identity: identity::Options,
    /// How HTTPS is asked.
    pub web: web::Options,
    /// Whom tokens of service accounts are asked of.
    pub kubernetes: Kubernetes,
}

/// Sources, and the tokens that they share.
pub struct Wired {
    /// The sources.
    pub sources: Sources,
    /// To be shut down after them.
    pub identities: Arc<Identities>,
}

/// Puts all sources together. None connects to anything yet.
///
/// # Errors
/// The operator's authorities are no certificates.
pub fn sources(options: Options) -> Result<Wired, web::Error> {
    let Options { request_timeout, hosts, endpoints, identity, web, kubernetes } = options;
    let web = Web::new(&web)?;
    let identities = Identities::new(identity, &web, kubernetes);
    let logins =
        kafka::Logins { identities: Arc::clone(&identities), hosts: hosts.clone(), endpoints };
    let sources = Sources {
        kafka: Kafka::with_logins(kafka::Options { request_timeout }, logins),
        service_bus: ServiceBus::new(
            service_bus::Options { request_timeout, hosts },
            web,
            Arc::clone(&identities),
        ),
        #[cfg(test)]
        memory: Memory::default(),
    };
    Ok(Wired { sources, identities })
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            hosts: Hosts::default(),
            endpoints: TokenEndpoints::new(&[]),
            identity: identity::Options::default(),
            web: web::Options::default(),
            kubernetes: Kubernetes::none(),
        }
    }
}
