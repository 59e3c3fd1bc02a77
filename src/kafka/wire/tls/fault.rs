//! Why a connection is not encrypted, in words for the trigger's user.
//!
//! Each reason is one line that ends in what to do. A fault travels through rustls as the reason
//! why it refused a certificate, and is found again in what the connection reports.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error, OtherError};

use crate::metadata::one_line;

/// Bytes of a host's name that are shown.
const HOST_BYTES: usize = 60;

/// Names of a certificate that are shown, and bytes of all of them.
const NAMES: usize = 3;
const NAMES_BYTES: usize = 60;

/// The alert that says least.
pub(super) const HANDSHAKE_FAILURE: &str = "handshake failure";

/// Why a connection is not encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum TlsFault {
    /// No authority that is trusted has signed the brokers' certificate.
    #[error(
        "certificate verify failed: its issuer is not trusted; give the CA of the brokers' certificate as caFromEnv"
    )]
    UnknownIssuer,
    /// The brokers' certificate is for other hosts.
    #[error(
        "certificate verify failed: it is for {names}, not for {host}; give servers by a name in it"
    )]
    Name {
        /// The host that was asked for, shortened and escaped.
        host: String,
        /// Some of the names that it has, shortened and escaped.
        names: String,
    },
    /// The brokers' certificate is for no host. A common name is none, as with Go.
    #[error(
        "certificate verify failed: it has no subject alternative name, and a common name does not count; give the brokers one for {host}"
    )]
    NoName {
        /// The host that was asked for, shortened and escaped.
        host: String,
    },
    /// The brokers' certificate, or one that vouches for it, was valid before.
    #[error(
        "certificate verify failed: it or its issuer has expired; renew the brokers' certificate"
    )]
    Expired,
    /// What is given as `ca` was valid before.
    #[error("certificate verify failed: its CA has expired; give one that is valid as caFromEnv")]
    AuthorityExpired,
    /// The brokers' certificate, or one that vouches for it, is valid later.
    #[error(
        "certificate verify failed: it or its issuer is not valid yet; look at the clocks of both sides"
    )]
    NotYetValid,
    /// What is given as `ca` is valid later.
    #[error("certificate verify failed: its CA is not valid yet; look at the clocks of both sides")]
    AuthorityNotYetValid,
    /// An RSA key of fewer bits than are safe.
    #[error(
        "certificate verify failed: an RSA key of {bits} bits is too short; give the brokers and their CA keys of 2048 or more"
    )]
    WeakKey {
        /// The key's bits.
        bits: usize,
    },
    /// A way to sign, or a kind of key, that is not supported.
    #[error(
        "certificate verify failed: it is signed in a way that is not supported, such as SHA-1 or P-521; renew the brokers' certificate by SHA-256"
    )]
    Algorithm,
    /// A signature that is not by who it says.
    #[error(
        "certificate verify failed: a signature in it is wrong; give the CA of the brokers' certificate as caFromEnv"
    )]
    Signature,
    /// The brokers' certificate is no use for another reason.
    #[error(
        "certificate verify failed: {reason}; renew the brokers' certificate, or give it itself as caFromEnv"
    )]
    Certificate {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The broker does not take the client's certificate, or wants one.
    #[error(
        "the broker refused by TLS alert, {alert}; give a certificate that the brokers trust as certFromEnv, with keyFromEnv"
    )]
    Refused {
        /// The alert's name.
        alert: &'static str,
    },
    /// The broker went away after it had asked for a certificate.
    #[error(
        "the broker closed the connection after it had asked for a certificate; give one that the brokers trust as certFromEnv, with keyFromEnv"
    )]
    ClosedAfterCertificate,
    /// The broker ended TLS for a reason that the client's certificate has no part in.
    #[error("the broker ended the connection by TLS alert, {alert}")]
    Alert {
        /// The alert's name.
        alert: &'static str,
    },
    /// The broker does not know the name that it was asked for.
    #[error(
        "the broker does not answer by this name (TLS alert, unrecognised name); give servers by a name of theirs"
    )]
    UnknownHost,
    /// Both sides speak TLS, but have no version or cipher in common.
    #[error(
        "the broker has no TLS version or cipher in common with us; let it speak TLS 1.2 or 1.3 with AES-GCM or ChaCha20 and ECDHE"
    )]
    NothingInCommon,
    /// What answers does not speak TLS.
    #[error("this port does not speak TLS: leave out tls, or give another port")]
    NotTls,
    /// What answers closed the connection when it was greeted by TLS.
    #[error(
        "the connection was closed at once; where that stays, this port does not speak TLS: leave out tls, or give another port"
    )]
    ClosedAtOnce,
    /// The broker went away during the handshake.
    #[error("the broker closed the connection in the TLS handshake")]
    Closed,
    /// The broker broke the rules of TLS.
    #[error("the broker breaks the rules of TLS: {reason}")]
    Garbled {
        /// The rule, shortened and escaped.
        reason: String,
    },
    /// The host is no name that TLS can ask for.
    #[error("{host} is no name that TLS can ask for; give servers by a host name or an address")]
    Host {
        /// The host, shortened and escaped.
        host: String,
    },
    /// The connection failed.
    #[error("the connection failed in the TLS handshake: {kind}")]
    Connection {
        /// How.
        kind: io::ErrorKind,
    },
}

impl TlsFault {
    /// Whether a certificate is what to look at, the broker's or ours. Asking again gives the same.
    pub(in crate::kafka) fn is_refusal(&self) -> bool {
        match self {
            Self::UnknownIssuer
            | Self::Name { .. }
            | Self::NoName { .. }
            | Self::Expired
            | Self::AuthorityExpired
            | Self::NotYetValid
            | Self::AuthorityNotYetValid
            | Self::WeakKey { .. }
            | Self::Algorithm
            | Self::Signature
            | Self::Certificate { .. }
            | Self::Refused { .. } => true,
            // The broker may have been stopped just then.
            Self::ClosedAfterCertificate
            | Self::Alert { .. }
            | Self::UnknownHost
            | Self::NothingInCommon
            | Self::NotTls
            | Self::ClosedAtOnce
            | Self::Closed
            | Self::Garbled { .. }
            | Self::Host { .. }
            | Self::Connection { .. } => false,
        }
    }

    pub(super) fn host(host: &str) -> Self {
        Self::Host { host: one_line(host, HOST_BYTES) }
    }

    /// A certificate that is for `names` and not for `host`.
    pub(super) fn name(host: &str, names: &[String]) -> Self {
        let host = one_line(host, HOST_BYTES);
        if names.is_empty() {
            return Self::NoName { host };
        }
        let first = names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>();
        let mut shown = one_line(&first.join(", "), NAMES_BYTES);
        let more = names.len().saturating_sub(NAMES);
        if more > 0 {
            shown.push_str(&format!(" and {more} more"));
        }
        Self::Name { host, names: shown }
    }

    /// As the library carries it.
    pub(super) fn into_library(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }

    /// What the library says.
    pub(super) fn of(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => other
                .downcast_ref::<TlsFault>()
                .cloned()
                .unwrap_or(Self::Certificate { reason: "it cannot be used" }),
            Error::InvalidCertificate(error) => Self::of_certificate(&error),
            Error::AlertReceived(alert) => Self::of_alert(alert),
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            Error::NoCertificatesPresented => Self::Certificate { reason: "there is none" },
            error => Self::Garbled { reason: one_line(&error.to_string(), 100) },
        }
    }

    /// Without names: whoever knows them makes a fault of their own.
    pub(super) fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::UnknownIssuer => Self::UnknownIssuer,
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::BadSignature => Self::Signature,
            E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::Algorithm,
            E::BadEncoding => Self::Certificate { reason: "it cannot be read" },
            E::Revoked => Self::Certificate { reason: "it is revoked" },
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
                Self::Certificate { reason: "it is not for servers" }
            }
            E::UnhandledCriticalExtension => {
                Self::Certificate { reason: "it has a critical extension that is not known" }
            }
            // The name that the library had for it, which it may still use.
            other if format!("{other:?}").starts_with("UnsupportedSignatureAlgorithm") => {
                Self::Algorithm
            }
            _ => Self::Certificate { reason: "it cannot be used" },
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        use AlertDescription as A;
        let refused = |alert| Self::Refused { alert };
        match alert {
            A::HandshakeFailure => refused(HANDSHAKE_FAILURE),
            A::NoCertificate => refused("no certificate"),
            A::BadCertificate => refused("bad certificate"),
            A::UnsupportedCertificate => refused("unsupported certificate"),
            A::CertificateRevoked => refused("certificate revoked"),
            A::CertificateExpired => refused("certificate expired"),
            A::CertificateUnknown => refused("certificate unknown"),
            A::UnknownCA => refused("unknown CA"),
            A::AccessDenied => refused("access denied"),
            A::CertificateRequired => refused("certificate required"),
            A::DecryptError => refused("decrypt error"),
            A::ProtocolVersion | A::InsufficientSecurity | A::MissingExtension => {
                Self::NothingInCommon
            }
            A::UnrecognisedName => Self::UnknownHost,
            A::InternalError => Self::Alert { alert: "internal error" },
            A::UnexpectedMessage => Self::Alert { alert: "unexpected message" },
            A::DecodeError => Self::Alert { alert: "decode error" },
            A::IllegalParameter => Self::Alert { alert: "illegal parameter" },
            A::UserCanceled => Self::Alert { alert: "user canceled" },
            _ => Self::Alert { alert: "one without a use here" },
        }
    }
}

/// The library's error within one of the connection's.
pub(super) fn of_library(error: &io::Error) -> Option<Error> {
    error.get_ref()?.downcast_ref::<Error>().cloned()
}
