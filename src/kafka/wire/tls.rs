//! How a connection to a broker is encrypted, and why one is not.
//!
//! TLS 1.2 and 1.3 by rustls with ring. Who a broker is, is checked as Go's clients check it,
//! because that is what users of KEDA come from; see [`verify`]. What a trigger gives is read once,
//! in [`settings`]; connecting parses nothing of it again.
//!
//! A session is never resumed: connections are few and last, and a resumed one would not look at
//! dates again.
//!
//! A broker that does not take a client's certificate says so after the handshake with TLS 1.3, so
//! the reason comes with the first read: [`fault_of`] tells it.
//!
//! # References
//! - RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2), RFC 6066, section 3 (server names)
//! - Go's `crypto/tls` and `crypto/x509`

mod certificate;
mod fault;
mod settings;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(in crate::kafka) use self::fault::TlsFault;
pub(in crate::kafka) use self::settings::{
    Authorities, CertificateChain, ClientIdentity, ClientKey, TlsConfigError, TlsSettings,
};
use self::verify::Trust;

/// A cluster's side of TLS. Made once per cluster; clones share it.
#[derive(Clone)]
pub(in crate::kafka) struct TlsClient {
    provider: Arc<CryptoProvider>,
    trust: Arc<Trust>,
    identity: Option<Arc<CertifiedKey>>,
}

/// One handshake: what it checks, and how far it has come. That tells apart what a bare alert or a
/// closed connection does not.
struct Handshake {
    provider: Arc<CryptoProvider>,
    trust: Arc<Trust>,
    identity: Option<Arc<CertifiedKey>>,
    /// The broker has shown a certificate.
    shown: AtomicBool,
    /// The broker has asked for one.
    asked: AtomicBool,
}

/// Why the connection failed, where a read or a write says that TLS is the reason. `None` for any
/// other failure, such as a connection that was closed.
pub(in crate::kafka) fn fault_of(error: &io::Error) -> Option<TlsFault> {
    fault::of_library(error).map(TlsFault::of)
}

impl TlsClient {
    /// The client of these settings. Reads no file and connects to nothing; the system's
    /// authorities, where they are needed, are read by the first connection of the process.
    ///
    /// # Errors
    /// The library does not take the settings. What is wrong with a trigger's certificates and key
    /// has been found by [`Authorities::parse`] and [`ClientIdentity::new`].
    pub(in crate::kafka) fn new(settings: &TlsSettings) -> Result<Self, TlsConfigError> {
        let client = Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            trust: Arc::new(Trust::new(settings)),
            identity: settings.client.as_ref().map(ClientIdentity::certified),
        };
        client.config(&client.handshake()).map_err(|_| TlsConfigError::Library)?;
        Ok(client)
    }

    /// Makes the connection an encrypted one, to a broker that is `host`: a name, or an address
    /// with or without brackets. The caller bounds the time; dropping the future drops the
    /// connection.
    ///
    /// # Errors
    /// [`TlsFault`].
    pub(in crate::kafka) async fn connect<S>(
        &self,
        stream: S,
        host: &str,
    ) -> Result<TlsStream<S>, TlsFault>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(host)?;
        let handshake = self.handshake();
        let config = self.config(&handshake).map_err(TlsFault::of)?;
        let connector = TlsConnector::from(Arc::new(config));
        let connected = Box::pin(connector.connect(name, stream)).await;
        connected.map_err(|error| handshake.fault(&error))
    }

    fn handshake(&self) -> Arc<Handshake> {
        Arc::new(Handshake {
            provider: Arc::clone(&self.provider),
            trust: Arc::clone(&self.trust),
            identity: self.identity.clone(),
            shown: AtomicBool::new(false),
            asked: AtomicBool::new(false),
        })
    }

    fn config(&self, handshake: &Arc<Handshake>) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(handshake) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(Arc::clone(handshake) as Arc<dyn ResolvesClientCert>);
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

impl Handshake {
    /// Why the handshake failed.
    fn fault(&self, error: &io::Error) -> TlsFault {
        let shown = self.shown.load(Ordering::Relaxed);
        let asked = self.asked.load(Ordering::Relaxed);
        match fault::of_library(error).map(TlsFault::of) {
            // Before it has asked for a certificate, it cannot be about ours.
            Some(TlsFault::Refused { alert }) if !asked && alert == fault::HANDSHAKE_FAILURE => {
                TlsFault::NothingInCommon
            }
            // What comes first is no TLS, or so little like it that it makes no difference.
            Some(TlsFault::Garbled { .. }) if !shown => TlsFault::NotTls,
            Some(fault) => fault,
            None if !is_closed(error) => TlsFault::Connection { kind: error.kind() },
            // A Kafka port without TLS takes the greeting for a request that is too long.
            None if !shown => TlsFault::ClosedAtOnce,
            None if asked => TlsFault::ClosedAfterCertificate,
            None => TlsFault::Closed,
        }
    }
}

impl ServerCertVerifier for Handshake {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.shown.store(true, Ordering::Relaxed);
        let algorithms = &self.provider.signature_verification_algorithms;
        self.trust
            .verify(end_entity, intermediates, server_name, now, algorithms)
            .map_err(TlsFault::into_library)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.trust.verify_tls12(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.trust.verify_tls13(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Handshake {
    /// Whichever authorities the broker names: it may trust more than it says.
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

/// What a broker is to be: a name without the dot that ends it, as certificates have them and SNI
/// is to have them; or an address, for which rustls sends no SNI.
fn server_name(host: &str) -> Result<ServerName<'static>, TlsFault> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsFault::host(host))
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
