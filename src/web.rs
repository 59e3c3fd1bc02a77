//! How this program calls out by itself: which certificates it trusts, and an HTTP client that goes
//! nowhere but where it was sent.
//!
//! Trusted are the system's authorities and those that the operator adds. Redirects are not
//! followed: what is sent may be a token, and it must not go on to another host.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tracing::warn;

/// How long it may take until a server has accepted a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What calls go out with. Clones share connections.
#[derive(Debug, Clone)]
pub struct Web {
    http: reqwest::Client,
    tls: Arc<ClientConfig>,
    connect_to: Arc<HashMap<String, SocketAddr>>,
}

/// What the operator says of calls that go out.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Authorities to trust besides the system's: PEM.
    pub ca: Option<String>,
    /// Hosts that are reached at an address of their own, whatever DNS and the usual port say.
    pub connect_to: HashMap<String, SocketAddr>,
}

/// Why no calls can go out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The operator's authorities are no certificates.
    #[error("the file of authorities to trust cannot be used: {reason}; give certificates as PEM")]
    Authorities {
        /// What is wrong with them.
        reason: String,
    },
    /// The TLS library takes none of it.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// The library's word.
        reason: String,
    },
}

impl Web {
    /// Reads the system's authorities, and the operator's. Connects to nothing.
    ///
    /// # Errors
    /// The operator's authorities cannot be read. A system without any is not an error but logged:
    /// what is reached without TLS, or by the operator's authorities, works even so.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let tls = Arc::new(client_config(roots(options.ca.as_deref())?)?);
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&tls))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        for (host, address) in &options.connect_to {
            http = http.resolve(host, *address);
        }
        let http = http.build().map_err(|error| Error::Tls { reason: error.to_string() })?;
        Ok(Self { http, tls, connect_to: Arc::new(options.connect_to.clone()) })
    }

    /// The HTTP client.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// What a connection that is not HTTP uses for TLS.
    pub fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// The address that `host` is reached at, where the operator gave one of its own.
    pub fn address_of(&self, host: &str) -> Option<SocketAddr> {
        self.connect_to.get(host).copied()
    }
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(system.certs);
    if roots.is_empty() || ignored > 0 {
        let (read, errors) = (roots.len(), system.errors.len());
        warn!(read, ignored, errors, "the system's certificate authorities are incomplete");
    }
    let refused = |reason: String| Error::Authorities { reason };
    let Some(ca) = ca else {
        return Ok(roots);
    };
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
        added += 1;
    }
    if added == 0 {
        return Err(refused("it has no certificate".to_owned()));
    }
    Ok(roots)
}

/// The provider is named, because a process-wide default would have to be set by whoever comes
/// first.
fn client_config(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls { reason: error.to_string() })?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_are_none_are_told() {
        let broken = "-----BEGIN CERTIFICATE-----\nTWFya2Vy\n-----END CERTIFICATE-----\n";
        for (case, ca) in [("no PEM", "hello"), ("no certificate", broken), ("empty", "")] {
            let options = Options { ca: Some(ca.to_owned()), ..Options::default() };
            let error = Web::new(&options).expect_err(case);
            assert!(matches!(error, Error::Authorities { .. }), "{case}: {error}");
        }
    }
}
