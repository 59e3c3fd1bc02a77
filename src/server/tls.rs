//! Who we are on the gRPC port, whom we let in, and how a connection comes to it.
//!
//! - The files are PEM, and are looked at every few seconds, since whoever renews certificates
//!   replaces them. What changed is used once it has been the same for two looks: a file may be
//!   half written, or the key already be another's than the certificate. New connections get the
//!   new certificate; open ones go on.
//! - What cannot be used is told once, and the files from before stay in use. At the start it is an
//!   error.
//! - With authorities for clients, a client needs a certificate by one of them; there is no "if it
//!   has one".
//! - A handshake has a task and a deadline of its own, so that a client that says nothing holds up
//!   nobody.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{Stream, StreamExt as _, stream};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::TcpIncoming;
use tracing::{debug, info, warn};
use x509_cert::der::Decode as _;

use crate::lock::lock;
use crate::telemetry::{CERTIFICATE_EXPIRY, Family};

const CERT: &str = "--tls-cert-file";
const KEY: &str = "--tls-key-file";
const CLIENT_CA: &str = "--tls-client-ca-file";

/// How often the files are looked at. Kubernetes itself takes up to two minutes to bring a changed
/// Secret into a Pod.
const LOOK_EVERY: Duration = Duration::from_secs(4);

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Handshakes under way at most; further connections wait to be accepted.
const MAX_HANDSHAKES: usize = 1024;

/// Where the certificates are.
#[derive(Debug, Clone)]
pub struct Files {
    /// Ours, followed by its intermediates.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities, by one of which a client must have a certificate. Without them anyone may call.
    pub client_ca: Option<PathBuf>,
}

/// The TLS of the gRPC port.
pub struct Tls {
    files: Files,
    /// What the files held when they were read first.
    first: Contents,
    config: watch::Sender<Arc<ServerConfig>>,
    expiry: Mutex<Expiry>,
}

/// When the certificates in use end, as far as they can be read.
#[derive(Debug, Clone, Copy, Default)]
struct Expiry {
    server: Option<SystemTime>,
    /// The one that ends first.
    client_authority: Option<SystemTime>,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// One file is wrong by itself.
    #[error("{flag} {}: {reason}", file.display())]
    File {
        /// The option that names it.
        flag: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key are no pair.
    #[error("{KEY} {}: is not the key of the certificate in {CERT} {}", key.display(), cert.display())]
    NoPair {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What was seen of late, which tells whether there is something new.
struct Looks<T> {
    /// What was new last.
    judged: T,
    /// What the latest look saw.
    latest: T,
}

/// Connections that become TLS, many at once.
struct Handshakes {
    tcp: TcpIncoming,
    tls: Arc<Tls>,
    under_way: JoinSet<Option<TlsStream<TcpStream>>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn read(files: Files) -> Result<Self, TlsError> {
        let first = files.read()?;
        let config = watch::Sender::new(Arc::new(files.config(&first)?));
        let expiry = Mutex::new(Expiry::of(&first));
        Ok(Self { files, first, config, expiry })
    }

    /// When the certificates end that new connections get.
    pub(super) fn figures(&self) -> Family {
        let Expiry { server, client_authority } = *lock(&self.expiry);
        let mut family = Family::of(&CERTIFICATE_EXPIRY);
        for (name, end) in [("server", server), ("client_authority", client_authority)] {
            if let Some(end) = end.and_then(|end| end.duration_since(UNIX_EPOCH).ok()) {
                family.push(vec![("certificate", name.to_owned())], end.as_secs_f64());
            }
        }
        family
    }

    /// Reads the files again whenever they have changed, for ever.
    pub(super) async fn follow_files(&self) {
        let mut looks = Looks::after(Ok(self.first.clone()));
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let files = self.files.clone();
            // Off this thread, since a disk may hang.
            if let Ok(now) = tokio::task::spawn_blocking(move || files.read()).await
                && let Some(new) = looks.settled(now)
            {
                self.judge(new);
            }
        }
    }

    fn judge(&self, now: &Result<Contents, TlsError>) {
        let config = match now {
            Ok(contents) => self.files.config(contents).map(|config| (config, contents)),
            Err(error) => Err(error.clone()),
        };
        match config {
            Ok((config, contents)) => {
                *lock(&self.expiry) = Expiry::of(contents);
                self.config.send_replace(Arc::new(config));
                info!("certificates have changed; new connections get them");
            }
            Err(error) => {
                warn!(%error, "certificates have changed and cannot be used; the ones from before stay");
            }
        }
    }

    /// Makes a connection TLS, or says why not.
    async fn accept(&self, tcp: TcpStream) -> Option<TlsStream<TcpStream>> {
        let peer = tcp.peer_addr().map_or_else(|_| "gone".to_owned(), |peer| peer.to_string());
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config.borrow()));
        let failed = match tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(tcp)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {HANDSHAKE_WITHIN:?}"),
        };
        debug!(peer, error = failed, "TLS handshake failed");
        None
    }
}

impl Files {
    fn read(&self) -> Result<Contents, TlsError> {
        let read = |flag, file: &Path| {
            std::fs::read(file).map_err(|error| of(flag, file, format!("cannot be read: {error}")))
        };
        Ok(Contents {
            cert: read(CERT, &self.cert)?,
            key: read(KEY, &self.key)?,
            client_ca: self.client_ca.as_deref().map(|file| read(CLIENT_CA, file)).transpose()?,
        })
    }

    fn config(&self, contents: &Contents) -> Result<ServerConfig, TlsError> {
        let unusable = |error: &rustls::Error| of(CERT, &self.cert, reason(error));
        let chain = certificates(CERT, &self.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| {
            let reason = match error {
                pem::Error::NoItemsFound => {
                    "has no private key; give one as PEM, and not locked by a password".to_owned()
                }
                other => other.to_string(),
            };
            of(KEY, &self.key, reason)
        })?;

        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?;
        let builder = match self.client_ca.as_deref().zip(contents.client_ca.as_deref()) {
            None => builder.with_no_client_auth(),
            Some((file, contents)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(CLIENT_CA, file, contents)? {
                    roots.add(certificate).map_err(|error| of(CLIENT_CA, file, reason(&error)))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| of(CLIENT_CA, file, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::NoPair { cert: self.cert.clone(), key: self.key.clone() }
            }
            other => unusable(&other),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl Expiry {
    fn of(contents: &Contents) -> Self {
        // The first is the server's own, the others are its intermediates.
        let server = ends(&contents.cert).next();
        let client_authority = contents.client_ca.as_deref().and_then(|pem| ends(pem).min());
        Self { server, client_authority }
    }
}

/// When the certificates in a PEM file end, those left out that cannot be read.
fn ends(pem: &[u8]) -> impl Iterator<Item = SystemTime> {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    certificates.filter_map(|der| {
        let certificate = x509_cert::Certificate::from_der(&der).ok()?;
        let end = certificate.tbs_certificate().validity().not_after;
        Some(UNIX_EPOCH + end.to_unix_duration())
    })
}

impl<T: Clone + PartialEq> Looks<T> {
    fn after(first: T) -> Self {
        Self { judged: first.clone(), latest: first }
    }

    /// What a look sees, if that is new and was there at the look before as well.
    fn settled(&mut self, now: T) -> Option<&T> {
        let new = now == self.latest && now != self.judged;
        self.latest = now;
        if !new {
            return None;
        }
        self.judged = self.latest.clone();
        Some(&self.judged)
    }
}

impl Handshakes {
    /// The next connection that is TLS, or that could not be accepted. Dropping the future loses
    /// none.
    async fn next(&mut self) -> Option<io::Result<TlsStream<TcpStream>>> {
        loop {
            tokio::select! {
                Some(ended) = self.under_way.join_next() => {
                    if let Ok(Some(stream)) = ended {
                        return Some(Ok(stream));
                    }
                }
                accepted = self.tcp.next(), if self.under_way.len() < MAX_HANDSHAKES => {
                    match accepted? {
                        Ok(tcp) => {
                            let tls = Arc::clone(&self.tls);
                            self.under_way.spawn(async move { tls.accept(tcp).await });
                        }
                        Err(error) => return Some(Err(error)),
                    }
                }
            }
        }
    }
}

/// The connections as they are TLS; handshakes under way end with the stream.
pub(super) fn incoming(
    tcp: TcpIncoming,
    tls: Arc<Tls>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let handshakes = Handshakes { tcp, tls, under_way: JoinSet::new() };
    stream::unfold(handshakes, |mut handshakes| async move {
        let next = handshakes.next().await?;
        Some((next, handshakes))
    })
}

fn certificates(
    flag: &'static str,
    file: &Path,
    contents: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(contents)
        .collect::<Result<_, _>>()
        .map_err(|error| of(flag, file, error.to_string()))?;
    if certificates.is_empty() {
        return Err(of(flag, file, "has no certificate; give some as PEM".to_owned()));
    }
    Ok(certificates)
}

/// In the library's words a certificate is always a peer's.
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(reason) => {
            format!("has what is no certificate: {reason:?}")
        }
        other => other.to_string(),
    }
}

fn of(flag: &'static str, file: &Path, reason: String) -> TlsError {
    TlsError::File { flag, file: file.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_looks_in_a_row_see_is_new_once() {
        // A look a letter; below it what is new by then.
        let rows = [
            ("AAAA", "...."),
            ("ABBBB", "..B.."),
            ("ABCCC", "...C."),
            ("ABABA", "....."),
            ("ABBAA", "..B.A"),
            ("ABABB", "....B"),
        ];
        for (seen, expected) in rows {
            let mut looks = Looks::after('A');
            let new: String = seen.chars().map(|now| *looks.settled(now).unwrap_or(&'.')).collect();
            assert_eq!(new, expected, "{seen}");
        }
    }
}
