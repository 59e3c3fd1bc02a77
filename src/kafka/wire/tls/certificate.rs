//! What a certificate says of itself, where rustls does not tell: its dates, names and key.
//!
//! Nothing here is checked by a signature. It serves certificates that a user trusts as they are,
//! and words for errors.
//!
//! # References
//! - RFC 5280, section 4.1

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_cert::certificate::{CertificateInner, Raw, Version};
use x509_cert::der::asn1::UintRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Dates, names and key of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    not_before: u64,
    not_after: u64,
    /// The host names and addresses that it is for, in its own order.
    pub(super) names: Vec<String>,
    /// Whether it may issue certificates, as Go sees it: it says that it is an authority, or is so
    /// old that it cannot.
    pub(super) issues: bool,
    /// The bits of an RSA key.
    pub(super) rsa_bits: Option<usize>,
    /// Its subject's name, and its issuer's.
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// Its public key with the algorithm.
    pub(super) key_info: Vec<u8>,
    /// The algorithm of its public key.
    pub(super) algorithm: Vec<u8>,
    /// Its public key alone.
    pub(super) key: Vec<u8>,
}

/// Where a moment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    Valid,
    Expired,
    NotYet,
}

impl Facts {
    /// `None` where it is no certificate that could be read.
    pub(super) fn of(der: &[u8]) -> Option<Facts> {
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let info = tbs.subject_public_key_info();
        let key = info.subject_public_key.as_bytes()?.to_vec();
        let names = tbs.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0.iter().filter_map(name).collect());
        let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten();
        let is_ca = constraints.map(|(_, constraints)| constraints.ca);
        Some(Facts {
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            names: names.unwrap_or_default(),
            issues: is_ca.unwrap_or(tbs.version() != Version::V3),
            rsa_bits: if info.algorithm.oid == RSA { modulus_bits(&key) } else { None },
            subject: tbs.subject().to_der().ok()?,
            issuer: tbs.issuer().to_der().ok()?,
            key_info: info.to_der().ok()?,
            algorithm: inner(&info.algorithm.to_der().ok()?)?,
            key,
        })
    }

    pub(super) fn validity(&self, now: UnixTime) -> Validity {
        match now.as_secs() {
            now if now < self.not_before => Validity::NotYet,
            now if now > self.not_after => Validity::Expired,
            _ => Validity::Valid,
        }
    }
}

/// A host name or an address; no other names are a broker's.
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
            let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The length of `n` in an RSA public key, `SEQUENCE { n INTEGER, e INTEGER }`.
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(key).ok()?;
    let modulus = reader
        .sequence(|fields| {
            let modulus = UintRef::decode(fields)?;
            UintRef::decode(fields)?;
            Ok::<_, x509_cert::der::Error>(modulus)
        })
        .ok()?;
    let zeros = modulus.as_bytes().first()?.leading_zeros() as usize;
    Some(modulus.as_bytes().len() * 8 - zeros)
}

/// What a SEQUENCE holds, without the bytes that say that it is one. The library's algorithms are
/// told so.
fn inner(der: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(der).ok()?;
    let header = x509_cert::der::Header::decode(&mut reader).ok()?;
    reader.read_slice(header.length()).ok().map(<[u8]>::to_vec)
}

/// What the library makes of a certificate that is trusted.
pub(super) fn trust_anchor(der: &CertificateDer<'_>) -> Option<TrustAnchor<'static>> {
    let mut store = RootCertStore::empty();
    store.add(der.clone().into_owned()).ok()?;
    store.roots.pop()
}
