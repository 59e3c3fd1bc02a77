//! Whether a broker is who it has to be.
//!
//! Every certificate that a trigger gives as `ca` is trusted, as Go trusts its `RootCAs`:
//! - one that may issue certificates vouches for those that it has issued, an intermediate too, and
//!   of two that have one name the one whose key fits;
//! - a broker's own certificate is trusted as it is, whoever has issued it, and vouches for no
//!   other.
//!
//! Dates and names are checked in both cases, also the dates of what is trusted. Only subject
//! alternative names are names.
//!
//! Without `ca` the system's authorities are trusted. They are read once for the process, so new
//! ones need a restart.
//!
//! # References
//! - RFC 5280, section 6; RFC 9525 (names)
//! - Go's `crypto/x509`, `Certificate.Verify`

use std::borrow::Cow;
use std::sync::OnceLock;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore};
use tracing::warn;

use super::certificate::{Facts, Validity, trust_anchor};
use super::fault::TlsFault;
use super::settings::{Authorities, TlsSettings};

/// RSA keys below are not taken.
const MIN_RSA_BITS: usize = 2_048;

/// Who is trusted.
pub(super) enum Trust {
    /// Whoever answers.
    Anyone,
    /// Those that the system trusts.
    System,
    /// Those that a trigger names.
    Given(Anchors),
}

/// Certificates that are trusted.
pub(super) struct Anchors {
    all: Vec<Anchor>,
    /// Those that may issue certificates.
    store: RootCertStore,
}

struct Anchor {
    der: CertificateDer<'static>,
    /// What it says of itself, if that can be read.
    facts: Option<Facts>,
    /// What it vouches by, if it may.
    anchor: Option<TrustAnchor<'static>>,
}

impl Trust {
    pub(super) fn new(settings: &TlsSettings) -> Self {
        match &settings.ca {
            _ if !settings.verify => Self::Anyone,
            Some(ca) => Self::Given(Anchors::given(ca)),
            None => Self::System,
        }
    }

    /// Whether a certificate makes a broker `name`, at this moment.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), TlsFault> {
        match self {
            // The library would say of the handshake that its signature is wrong.
            Self::Anyone => Facts::of(leaf).as_ref().and_then(weak_key).map_or(Ok(()), Err),
            Self::System => system().verify(leaf, intermediates, name, now, algorithms),
            Self::Given(anchors) => anchors.verify(leaf, intermediates, name, now, algorithms),
        }
    }

    /// Whether the broker has the key of its certificate.
    pub(super) fn verify_tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self {
            Self::Anyone => any_signature(message, certificate, signature, algorithms),
            _ => verify_tls12_signature(message, certificate, signature, algorithms),
        }
    }

    /// Whether the broker has the key of its certificate.
    pub(super) fn verify_tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self {
            // Whatever else the certificate says: the library refuses those of version 1.
            Self::Anyone => {
                let facts = Facts::of(certificate).ok_or(CertificateError::BadEncoding)?;
                let key = SubjectPublicKeyInfoDer::from(facts.key_info);
                verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
            }
            _ => verify_tls13_signature(message, certificate, signature, algorithms),
        }
    }
}

impl Anchors {
    fn given(ca: &Authorities) -> Self {
        Self::new(ca.certificates().cloned())
    }

    fn new(certificates: impl Iterator<Item = CertificateDer<'static>>) -> Self {
        let all: Vec<_> = certificates.map(Anchor::new).collect();
        let roots = all.iter().filter_map(|anchor| anchor.anchor.clone()).collect();
        Self { all, store: RootCertStore { roots } }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), TlsFault> {
        let facts = Facts::of(leaf);
        let names = facts.as_ref().map(|facts| facts.names.as_slice()).unwrap_or_default();
        let wrong_name = || TlsFault::name(&name.to_str(), names);
        let parsed = ParsedCertificate::try_from(leaf).map_err(|error| match &facts {
            // Certificates of version 1 are refused because they are. They have no names either.
            Some(facts) if facts.names.is_empty() => wrong_name(),
            _ => TlsFault::of(error),
        })?;
        if self.all.iter().any(|anchor| anchor.der == *leaf) {
            let facts =
                facts.as_ref().ok_or(TlsFault::Certificate { reason: "it cannot be read" })?;
            match facts.validity(now) {
                Validity::Valid => {}
                Validity::Expired => return Err(TlsFault::Expired),
                Validity::NotYet => return Err(TlsFault::NotYetValid),
            }
        } else {
            self.chain(&parsed, leaf, intermediates, now, algorithms)?;
        }
        if let Some(fault) = facts.as_ref().and_then(weak_key) {
            return Err(fault);
        }
        verify_server_name(&parsed, name).map_err(|error| match error {
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => wrong_name(),
            error => TlsFault::of(error),
        })
    }

    /// Whether one that is trusted vouches for it.
    fn chain(
        &self,
        parsed: &ParsedCertificate<'_>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), TlsFault> {
        let verify = |store: &RootCertStore| {
            let algorithms = algorithms.all;
            verify_server_cert_signed_by_trust_anchor(parsed, store, intermediates, now, algorithms)
        };
        let Err(error) = verify(&self.valid(now)) else {
            return Ok(());
        };
        match TlsFault::of(error) {
            // Perhaps someone would have, at another time.
            TlsFault::UnknownIssuer if verify(&self.store).is_ok() => {
                let not_yet = |anchor: &Anchor| anchor.validity(now) == Validity::NotYet;
                Err(if self.all.iter().any(not_yet) {
                    TlsFault::AuthorityNotYetValid
                } else {
                    TlsFault::AuthorityExpired
                })
            }
            // The library refuses short keys as if they had not signed.
            TlsFault::Signature => {
                let shown: Vec<_> = [leaf]
                    .into_iter()
                    .chain(intermediates)
                    .filter_map(|der| Facts::of(der))
                    .collect();
                let issued = |issuer: &&Facts| shown.iter().any(|it| it.issuer == issuer.subject);
                let known = self.all.iter().filter_map(|anchor| anchor.facts.as_ref());
                let issuers = known.chain(&shown).filter(issued);
                Err(issuers.filter_map(weak_key).next().unwrap_or(TlsFault::Signature))
            }
            // Go and OpenSSL take one, the library does not, and only says that it does not.
            TlsFault::Certificate { .. } if Facts::of(leaf).is_some_and(|leaf| leaf.issues) => {
                Err(TlsFault::Certificate { reason: "it is an authority's" })
            }
            fault => Err(fault),
        }
    }

    /// Those that may issue certificates and are valid: the library does not look at their dates.
    fn valid(&self, now: UnixTime) -> Cow<'_, RootCertStore> {
        let is_valid = |anchor: &&Anchor| anchor.validity(now) == Validity::Valid;
        if self.all.iter().all(|anchor| is_valid(&anchor)) {
            return Cow::Borrowed(&self.store);
        }
        let valid = self.all.iter().filter(is_valid);
        let roots = valid.filter_map(|anchor| anchor.anchor.clone()).collect();
        Cow::Owned(RootCertStore { roots })
    }
}

impl Anchor {
    fn new(der: CertificateDer<'static>) -> Self {
        let facts = Facts::of(&der);
        let issues = facts.as_ref().is_none_or(|facts| facts.issues);
        let anchor = if issues { trust_anchor(&der) } else { None };
        Self { der, facts, anchor }
    }

    fn validity(&self, now: UnixTime) -> Validity {
        self.facts.as_ref().map_or(Validity::Valid, |facts| facts.validity(now))
    }
}

/// What is wrong with a key that is too short.
fn weak_key(facts: &Facts) -> Option<TlsFault> {
    let bits = facts.rsa_bits.filter(|bits| *bits < MIN_RSA_BITS)?;
    Some(TlsFault::WeakKey { bits })
}

/// The system's authorities. Few enough to be read on whatever thread comes first.
fn system() -> &'static Anchors {
    static SYSTEM: OnceLock<Anchors> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let system = rustls_native_certs::load_native_certs();
        let anchors = Anchors::new(system.certs.into_iter());
        if anchors.store.is_empty() {
            let errors = system.errors.len();
            warn!(errors, "the system has no certificate authorities: brokers need a ca");
        }
        anchors
    })
}

/// TLS 1.2, whatever else the certificate says.
fn any_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let facts = Facts::of(certificate).ok_or(CertificateError::BadEncoding)?;
    let of_scheme = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme);
    let mut fitting = of_scheme
        .flat_map(|(_, algorithms)| algorithms.iter())
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == facts.algorithm);
    let signed = fitting.any(|algorithm| {
        algorithm.verify_signature(&facts.key, message, signature.signature()).is_ok()
    });
    if signed {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}
