//! What a trigger gives for TLS: certificates that are trusted, and the client's own with its key.
//!
//! What is read here is usable: text that is not is an error, which is a predicate over the
//! parameter that held it. What has been read is given back as PEM in one clean form, with a key
//! that is not encrypted any more, for a client that parses PEM by itself.
//!
//! A key is decrypted where a trigger is decoded, so the work that its encryption asks for is
//! bounded: to some 100 ms and 32 MB.
//!
//! Keys are zeroed when they are dropped, but for the copy that ring signs with.
//!
//! # References
//! - RFC 5958 (PKCS#8), RFC 8018 (PKCS#5), RFC 7914 (scrypt), RFC 8017, A.1.2 (PKCS#1), RFC 5915
//!   (SEC1)

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
    alg_id,
};
use rustls::sign::{CertifiedKey, SigningKey};
#[cfg(test)]
use secrecy::{ExposeSecret as _, SecretString};
use x509_cert::der::asn1::OctetStringRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};
use zeroize::Zeroizing;

use super::certificate::{Facts, trust_anchor};
use crate::kafka::wire::pem::{self, Block, Kind, Label, PemError};

/// Keys on an elliptic curve.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Tags of DER.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const PUBLIC_KEY: u8 = 0xa1;

/// The most rounds that a key's encryption may take: twice what OWASP asked of SHA-1 in 2010, and
/// fifty times what OpenSSL does.
const MAX_ROUNDS: u32 = 100_000;

/// What scrypt may take: N × r × p, each step of which is 128 bytes of memory, but for p. OpenSSL's
/// own is half of it.
const MAX_SCRYPT: u64 = 1 << 18;

/// How TLS is to be spoken with a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::kafka) struct TlsSettings {
    /// Who is trusted. `None`: those that the system trusts.
    pub(in crate::kafka) ca: Option<Authorities>,
    /// Whom brokers are to see.
    pub(in crate::kafka) client: Option<ClientIdentity>,
    /// Whether brokers' certificates are looked at.
    pub(in crate::kafka) verify: bool,
}

/// Certificates that are trusted: at least one. Its `Debug` shows how many.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::kafka) struct Authorities(Arc<[CertificateDer<'static>]>);

/// A client's certificate, and those that vouch for it. Its `Debug` shows how many.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::kafka) struct CertificateChain(Arc<[CertificateDer<'static>]>);

/// A client's key. Its `Debug` shows nothing.
#[derive(Clone)]
pub(in crate::kafka) struct ClientKey {
    label: Label,
    der: Arc<Zeroizing<Vec<u8>>>,
}

/// A client's certificate with the key that belongs to it. Its `Debug` shows nothing.
#[derive(Clone)]
pub(in crate::kafka) struct ClientIdentity {
    chain: CertificateChain,
    key: ClientKey,
    certified: Arc<CertifiedKey>,
}

/// Why what a trigger gives is of no use. Each is a predicate over the parameter that holds it,
/// which is `keyPassword` where [`is_of_password`](Self::is_of_password), else the one that was
/// read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum TlsConfigError {
    /// It is no PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Blocks of certificates that are none.
    #[error("has no certificate that can be read; give X.509 certificates as PEM")]
    NoCertificate,
    /// The data of a key that is none.
    #[error("has a private key that cannot be read; give one of PKCS#8, PKCS#1 or SEC1 as PEM")]
    Unreadable,
    /// A kind or size of key that TLS is not spoken with.
    #[error(
        "has a private key of a kind that is not supported; give RSA of 2048 to 4096 bits, EC P-256 or P-384, or Ed25519"
    )]
    KeyKind,
    /// Encrypted in the PEM itself, by MD5 and the password.
    #[error(
        "is encrypted the old way (Proc-Type: 4,ENCRYPTED); give it after openssl pkcs8 -topk8 -v2 aes-256-cbc"
    )]
    OldEncryption,
    /// Encrypted by something else than PBES2.
    #[error(
        "is encrypted in a way that is not supported; give it after openssl pkcs8 -topk8 -v2 aes-256-cbc"
    )]
    Encryption,
    /// Encrypted so that it takes too long to open.
    #[error(
        "takes too much work to decrypt; give it after openssl pkcs8 -topk8 -v2 aes-256-cbc, with at most {MAX_ROUNDS} rounds"
    )]
    Costly,
    /// Encrypted, and there is no password.
    #[error("is missing; key is encrypted, so give keyPasswordFromEnv")]
    NoPassword,
    /// Encrypted by another password.
    #[error("does not open key; give the password that key is encrypted with")]
    WrongPassword,
    /// The key of another certificate.
    #[error("does not belong to cert; give the private key that cert was made for")]
    OtherKey,
    /// The TLS library takes none of it.
    #[error("cannot be used for TLS")]
    Library,
}

impl Authorities {
    /// Reads `ca`. Certificates that cannot be read are passed over, as long as one can.
    ///
    /// # Errors
    /// There is no certificate in it, or PEM that is broken.
    pub(in crate::kafka) fn parse(text: &str) -> Result<Self, TlsConfigError> {
        let certificates = certificates(text)?;
        let usable =
            |der: &CertificateDer<'_>| trust_anchor(der).is_some() || Facts::of(der).is_some();
        let certificates: Arc<[_]> = certificates.into_iter().filter(usable).collect();
        if certificates.is_empty() {
            return Err(TlsConfigError::NoCertificate);
        }
        Ok(Self(certificates))
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter()
    }

    /// All of them as PEM.
    #[cfg(test)]
    pub(in crate::kafka) fn to_pem(&self) -> SecretString {
        to_pem(&self.0)
    }
}

impl CertificateChain {
    /// Reads `cert`: the client's certificate first.
    ///
    /// # Errors
    /// There is no certificate in it, one that cannot be read, or PEM that is broken.
    pub(in crate::kafka) fn parse(text: &str) -> Result<Self, TlsConfigError> {
        let certificates = certificates(text)?;
        if certificates.iter().any(|der| Facts::of(der).is_none()) {
            return Err(TlsConfigError::NoCertificate);
        }
        Ok(Self(certificates.into()))
    }

    /// All of them as PEM.
    #[cfg(test)]
    pub(in crate::kafka) fn to_pem(&self) -> SecretString {
        to_pem(&self.0)
    }
}

impl ClientKey {
    /// Reads `key`, the first one in it, with the password that opens it. A password for a key that
    /// is not encrypted means nothing.
    ///
    /// # Errors
    /// There is no key in it, or one that cannot be read or opened.
    pub(in crate::kafka) fn parse(
        text: &str,
        password: Option<&str>,
    ) -> Result<Self, TlsConfigError> {
        let mut blocks = pem::blocks(text, Kind::PrivateKey)?.into_iter();
        let Block { label, der, encrypted } = blocks.next().ok_or(TlsConfigError::Unreadable)?;
        if encrypted {
            return Err(TlsConfigError::OldEncryption);
        }
        let (label, der) = match label {
            Label::EncryptedPkcs8 => (Label::Pkcs8, decrypted(&der, password)?),
            Label::Dsa => return Err(TlsConfigError::KeyKind),
            label => (label, der),
        };
        Ok(Self { label, der: Arc::new(der) })
    }

    /// The key as PEM, not encrypted.
    #[cfg(test)]
    pub(in crate::kafka) fn to_pem(&self) -> SecretString {
        pem::encode(self.label, &self.der)
    }

    /// What signs with it. Some programs leave the public key out of an EC key, and ring does not
    /// take it without: it is that of the certificate.
    fn signing(&self, public: &Facts) -> Result<Arc<dyn SigningKey>, TlsConfigError> {
        let der: &[u8] = &self.der;
        let key = match self.label {
            Label::Pkcs1 => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
            Label::Sec1 => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
            _ => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        };
        if let Ok(signing) = any_supported_type(&key) {
            return Ok(signing);
        }
        let curves = [alg_id::ECDSA_P256, alg_id::ECDSA_P384];
        let is_on_curve = curves.iter().any(|curve| curve.as_ref() == public.algorithm);
        if let Some(scalar) = self.scalar().filter(|_| is_on_curve) {
            let der = with_public(&scalar, public);
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
            return any_supported_type(&key).map_err(|_| TlsConfigError::OtherKey);
        }
        let is_key = first_element(der).len() == der.len() && der.first() == Some(&SEQUENCE);
        Err(if is_key { TlsConfigError::KeyKind } else { TlsConfigError::Unreadable })
    }

    /// The number that an EC key is.
    fn scalar(&self) -> Option<Zeroizing<Vec<u8>>> {
        let of_sec1 = |der: &[u8]| {
            let mut reader = SliceReader::new(der).ok()?;
            reader
                .sequence(|fields| {
                    u8::decode(fields)?;
                    let scalar = <&OctetStringRef>::decode(fields)?.as_bytes().to_vec();
                    // Its curve and its public key.
                    fields.read_slice(fields.remaining_len())?;
                    Ok::<_, x509_cert::der::Error>(Zeroizing::new(scalar))
                })
                .ok()
        };
        match self.label {
            Label::Sec1 => of_sec1(&self.der),
            Label::Pkcs8 => {
                let key = PrivateKeyInfoRef::try_from(self.der.as_slice()).ok()?;
                let is_ec = key.algorithm.oid == EC;
                if is_ec { of_sec1(key.private_key.as_bytes()) } else { None }
            }
            _ => None,
        }
    }
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &Self) -> bool {
        self.label == other.label && **self.der == **other.der
    }
}

impl Eq for ClientKey {}

impl ClientIdentity {
    /// The certificate and its key.
    ///
    /// # Errors
    /// The key is of no use here, or another one's.
    pub(in crate::kafka) fn new(
        chain: CertificateChain,
        key: ClientKey,
    ) -> Result<Self, TlsConfigError> {
        let leaf = chain.0.first().and_then(|leaf| Facts::of(leaf));
        let leaf = leaf.ok_or(TlsConfigError::NoCertificate)?;
        let signing = key.signing(&leaf)?;
        // The library's own comparison does not take certificates of version 1, which brokers do.
        let public = signing.public_key().ok_or(TlsConfigError::KeyKind)?;
        if public.as_ref() != leaf.key_info {
            return Err(TlsConfigError::OtherKey);
        }
        let certified = Arc::new(CertifiedKey::new(chain.0.to_vec(), signing));
        Ok(Self { chain, key, certified })
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// The certificate, and those that vouch for it.
    #[cfg(test)]
    pub(in crate::kafka) fn chain(&self) -> &CertificateChain {
        &self.chain
    }

    /// Its key.
    #[cfg(test)]
    pub(in crate::kafka) fn key(&self) -> &ClientKey {
        &self.key
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key == other.key
    }
}

impl Eq for ClientIdentity {}

impl Hash for ClientIdentity {
    /// The chain names its key.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.chain.hash(state);
    }
}

impl TlsConfigError {
    /// Whether it speaks of `keyPassword` and not of `key`.
    pub(in crate::kafka) fn is_of_password(self) -> bool {
        matches!(self, Self::NoPassword | Self::WrongPassword)
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} certificates]", self.0.len())
    }
}

impl fmt::Debug for CertificateChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} certificates]", self.0.len())
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The certificates of a text, whatever they hold.
fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let blocks = pem::blocks(text, Kind::Certificate)?;
    let der = |block: &Block| match block.label {
        Label::TrustedCertificate => first_element(&block.der).to_vec(),
        _ => block.der.to_vec(),
    };
    Ok(blocks.iter().map(|block| CertificateDer::from(der(block))).collect())
}

#[cfg(test)]
fn to_pem(certificates: &[CertificateDer<'static>]) -> SecretString {
    let texts = certificates.iter().map(|der| pem::encode(Label::Certificate, der));
    let text: String = texts.map(|text| text.expose_secret().to_owned()).collect();
    SecretString::from(text)
}

/// The first element of DER, with its header; all of it where there is no whole one.
fn first_element(der: &[u8]) -> &[u8] {
    SliceReader::new(der).and_then(|mut reader| reader.tlv_bytes()).unwrap_or(der)
}

/// An EC key as PKCS#8 with the public key of its certificate.
fn with_public(scalar: &[u8], public: &Facts) -> Zeroizing<Vec<u8>> {
    let bits = element(BIT_STRING, &[&[0], &public.key]);
    let (version, scalar) = (element(INTEGER, &[&[1]]), element(OCTET_STRING, &[scalar]));
    let key = element(SEQUENCE, &[&version, &scalar, &element(PUBLIC_KEY, &[&bits])]);
    let (version, key) = (element(INTEGER, &[&[0]]), element(OCTET_STRING, &[&key]));
    let algorithm = element(SEQUENCE, &[&public.algorithm]);
    element(SEQUENCE, &[&version, &algorithm, &key])
}

/// An element of DER, of less than 64 KiB.
fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut der = Zeroizing::new(Vec::with_capacity(length + 4));
    der.push(tag);
    match u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes() {
        [0, low] if low < 0x80 => der.push(low),
        [0, low] => der.extend_from_slice(&[0x81, low]),
        [high, low] => der.extend_from_slice(&[0x82, high, low]),
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

/// An encrypted key of PKCS#8, opened.
fn decrypted(der: &[u8], password: Option<&str>) -> Result<Zeroizing<Vec<u8>>, TlsConfigError> {
    use TlsConfigError as E;
    let key = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| E::Encryption)?;
    let scheme = key.encryption_algorithm.pbes2().ok_or(E::Encryption)?;
    let affordable = match &scheme.kdf {
        Kdf::Pbkdf2(parameters) => parameters.iteration_count <= MAX_ROUNDS,
        Kdf::Scrypt(parameters) => {
            let (r, p) = (parameters.block_size, parameters.parallelization);
            let work = parameters.cost_parameter.saturating_mul(r.into()).saturating_mul(p.into());
            work <= MAX_SCRYPT
        }
        _ => return Err(E::Encryption),
    };
    if !affordable {
        return Err(E::Costly);
    }
    let password = password.ok_or(E::NoPassword)?;
    // A wrong password gives garbage, which mostly shows by its padding, else by not being a key.
    let opened = key.decrypt(password).map_err(|_| E::WrongPassword)?;
    let opened = Zeroizing::new(opened.as_bytes().to_vec());
    PrivateKeyInfoRef::try_from(opened.as_slice()).map_err(|_| E::WrongPassword)?;
    Ok(opened)
}
