//! Which cluster a trigger means and how to get in: its servers, TLS and SASL (see `sasl`).
//!
//! Two triggers share a cluster's connections exactly if all of this is equal, secrets included, so
//! that a changed secret is another cluster. Nothing here shows a secret.
//!
//! As with KEDA, `ca`, `cert`, `key` and `keyPassword` mean nothing without `tls: enable`. Unlike
//! there, a `ca` replaces the system's certificates.
//!
//! Certificates and keys are read here, by the reader of `wire::tls`, so that
//! whatever is wrong with them is a complaint of their parameter.
//!
//! # References
//! - KEDA's scalers `kafka` and `apache-kafka`, and how they set up TLS.

use std::net::Ipv6Addr;

use secrecy::{ExposeSecret, SecretString};

use super::sasl::{Sasl, TokenLogin};
use super::wire::Endpoint;
use super::wire::sasl::Login;
use super::wire::tls::{
    Authorities, CertificateChain, ClientIdentity, ClientKey, TlsConfigError, TlsSettings,
};
use crate::identity::Hosts;
use crate::metadata::{self, Reader, quoted};

const SERVERS: &str = "give host:port, several of them by comma";

/// Servers of the longest list: more than anyone needs to be let into a cluster.
const MAX_SERVERS: usize = 64;

/// A cluster, and everything about getting into it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterConfig {
    servers: BootstrapServers,
    tls: Option<TlsSettings>,
    sasl: Option<Sasl>,
}

/// The servers a cluster is found by, as `host:port,host:port`, in a form that is the same for the
/// same servers: sorted, each once, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BootstrapServers(String);

/// Why a text is no list of servers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapServersError {
    /// Nothing but commas.
    #[error("a list without a server; give host:port, several of them by comma")]
    Empty,
    /// More than any cluster needs.
    #[error("{0} servers are too many; give at most {MAX_SERVERS}")]
    TooMany(usize),
    /// A user and perhaps a password, as in a URL: not shown.
    #[error("credentials stand before a host; give host:port, and username and password beside it")]
    Credentials,
    /// Before the server stands a scheme or a listener's name, for which `tls` and `sasl` are
    /// there.
    #[error("{} has a scheme or a path; give host:port, and tls and sasl beside it", quoted(.0))]
    Scheme(String),
    /// No port after the host.
    #[error("{} has no port; give host:port", quoted(.0))]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("{} has no port from 1 to 65535; give host:port", quoted(.0))]
    Port(String),
    /// The host is neither a name nor an address.
    #[error("{} has no host name or address; give host:port, an IPv6 address in brackets", quoted(.0))]
    Host(String),
}

impl ClusterConfig {
    /// A cluster without TLS and SASL.
    ///
    /// # Errors
    /// `servers` is not a list of `host:port` by comma.
    pub fn plain(servers: &str) -> Result<Self, BootstrapServersError> {
        Ok(Self { servers: BootstrapServers::parse(servers)?, tls: None, sasl: None })
    }

    /// Reads a trigger's servers, TLS and SASL rows; `None` after a complaint.
    pub fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        reader.require("bootstrapServers", SERVERS);
        let servers = reader.parsed("bootstrapServers", SERVERS, BootstrapServers::parse);
        let tls = decode_tls(reader);
        let sasl = Sasl::decode(reader, tls.as_ref().is_some_and(|tls| tls.verify));
        let cluster = Self { servers: servers?, tls, sasl };
        // Whoever had the tenant's authority certify them could pass for Azure, and would be sent
        // the scaler's token. Where the operator allows other hosts, certificates are his to vouch
        // for as well.
        let brings_ca = cluster.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
        let is_workload = matches!(cluster.token_login(), Some(TokenLogin::Workload(_)));
        let is_azure = |host: &str| Hosts::default().trust_host(host).is_ok();
        if brings_ca && is_workload && cluster.hosts().any(is_azure) {
            reader.complain(
                "ca",
                "cannot vouch for Azure's own hosts, to which sasl: azure_workload sends a token of the scaler's; leave it out",
            );
        }
        Some(cluster)
    }

    /// How TLS is to be spoken, where it is.
    pub(super) fn tls(&self) -> Option<&TlsSettings> {
        self.tls.as_ref()
    }

    /// What to log in with, where a login is needed. `token` is the one of [`token_login`], which
    /// this is nothing without.
    ///
    /// [`token_login`]: Self::token_login
    pub(super) fn login(&self, token: Option<&SecretString>) -> Option<Login> {
        self.sasl.as_ref().and_then(|sasl| sasl.login(token))
    }

    /// Whose token lets in, where one does.
    pub(super) fn token_login(&self) -> Option<&TokenLogin> {
        match &self.sasl {
            Some(Sasl::Token(login)) => Some(login),
            _ => None,
        }
    }

    /// The servers' hosts.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.servers
            .0
            .split(',')
            .map(|server| server.rsplit_once(':').map_or(server, |(host, _)| host))
    }

    /// Where its servers listen.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.servers.0.split(',').filter_map(Endpoint::parse).collect()
    }

    /// The cluster by name, for messages: its servers, at most 100 bytes of them.
    pub fn label(&self) -> String {
        metadata::one_line(&self.servers.0, 100)
    }
}

impl BootstrapServers {
    /// The servers of a list by comma.
    ///
    /// # Errors
    /// An element is not `host:port`, with an IPv6 address in brackets, or there is none, or more
    /// than 64.
    pub fn parse(text: &str) -> Result<Self, BootstrapServersError> {
        if text.contains('@') {
            return Err(BootstrapServersError::Credentials);
        }
        let count = metadata::list(text).count();
        if count > MAX_SERVERS {
            return Err(BootstrapServersError::TooMany(count));
        }
        let mut servers = metadata::list(text).map(server).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(BootstrapServersError::Empty);
        }
        servers.sort_unstable();
        servers.dedup();
        Ok(Self(servers.join(",")))
    }
}

/// `host:port` in its one form.
fn server(text: &str) -> Result<String, BootstrapServersError> {
    use BootstrapServersError::{Host, NoPort, Port, Scheme};
    // Java's clients and librdkafka understand `SSL://host`; here `tls` says so.
    if text.contains('/') {
        return Err(Scheme(text.to_owned()));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let address: Ipv6Addr = address.parse().map_err(|_| Host(text.to_owned()))?;
            (format!("[{address}]"), port.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
            None => (text.to_ascii_lowercase(), None),
        },
    };
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !host.starts_with('[') && (host.is_empty() || host.len() > 253 || !host.chars().all(name)) {
        return Err(Host(text.to_owned()));
    }
    let port = port.ok_or_else(|| NoPort(text.to_owned()))?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => Err(Port(text.to_owned())),
    }
}

/// `None` where the trigger wants none.
fn decode_tls(reader: &mut Reader<'_>) -> Option<TlsSettings> {
    let wanted = reader.choice("tls", &[("enable", Some(true)), ("disable", Some(false))]);
    let unverified = reader.boolean("brokerUnsafeSsl");
    let ca = reader.secret("ca");
    let certificate = reader.secret("cert");
    let key = reader.secret("key");
    let key_password = reader.secret("keyPassword");
    if wanted != Some(true) {
        return None;
    }

    let ca = ca.and_then(|text| {
        let ca = Authorities::parse(text.expose_secret());
        ca.map_err(|error| reader.complain("ca", error)).ok()
    });
    let given = (certificate.is_some(), key.is_some());
    let chain = certificate.and_then(|text| {
        let chain = CertificateChain::parse(text.expose_secret());
        chain.map_err(|error| reader.complain("cert", error)).ok()
    });
    let key = key.and_then(|text| {
        let password = key_password.as_ref().map(ExposeSecret::expose_secret);
        let key = ClientKey::parse(text.expose_secret(), password);
        key.map_err(|error| reader.complain(parameter(error), error)).ok()
    });
    match given {
        (true, false) => reader.require("key", "give the key that belongs to cert, as keyFromEnv"),
        (false, true) => {
            reader.require("cert", "give the certificate that belongs to key, as certFromEnv");
        }
        _ => {}
    }
    let client = chain.zip(key).and_then(|(chain, key)| {
        let client = ClientIdentity::new(chain, key);
        client.map_err(|error| reader.complain(parameter(error), error)).ok()
    });
    Some(TlsSettings { ca, client, verify: !unverified })
}

/// Where what is wrong with a key stands.
fn parameter(error: TlsConfigError) -> &'static str {
    if error.is_of_password() { "keyPassword" } else { "key" }
}

#[cfg(test)]
pub(super) mod tests;
