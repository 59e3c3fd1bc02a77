//! Authorities and certificates, made anew at each run, as PEM.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`
const UNLOCKED_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg3VedN/tcU18wZzXo
L+7ZtKSIDT7uSde+26Oe+UcVRKuhRANCAASn5u9A/MAu60IeHm149Krva3UtHB7A
WIX6JlyR/nj5/ADn0bJkhQYu9C67WJ1MGMEz7O9Qs2Z1Mjb7j1tNaJsw
-----END PRIVATE KEY-----";

/// The same key after `openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:open-sesame`.
const LOCKED_KEY: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgeOYgyqsUcLQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAesx5yyjM0b0hc0k7eRyjsEgZB9
w7e+yaWQdOwB+tvgkpUgQ/WvPjbUE7MgcIUm74RbpC4GcyKI+qmkJsAL8Nk41Aug
/Q6CYieqyp5IJYfZ/np+mbYDvstOL7SL7CWz/Muw6ANHdAwSTdnPl9Vae5OGKSBs
qeO4qI+3JH/QxLni2WREG1n4a9a3/IlphLzfww14t3bozVc7AYMEcjoEDm/lVt8=
-----END ENCRYPTED PRIVATE KEY-----";

/// A certificate and its private key, both as PEM. The key is PKCS #8.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// A certificate whose private key only a password opens, both as PEM.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The certificate.
    pub cert: String,
    /// The private key, as encrypted PKCS #8.
    pub key: &'static str,
    /// What opens it.
    pub password: &'static str,
}

/// An authority that can issue certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// An authority that nobody knows yet.
    pub fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, key()).expect("a certificate of its own"))
    }

    /// Its own certificate, for those who are to trust it, as PEM.
    pub fn cert(&self) -> String {
        self.0.pem()
    }

    /// A certificate with this common name, for these hosts: names or addresses.
    pub fn issue(&self, name: &str, hosts: &[&str]) -> Identity {
        let key = key();
        Identity { cert: self.certify(&key, name, hosts), key: key.serialize_pem() }
    }

    /// A certificate with this common name, of the one key whose encrypted form is known: nothing
    /// here can encrypt another.
    pub fn issue_locked(&self, name: &str) -> Locked {
        let key = KeyPair::from_pem(UNLOCKED_KEY).expect("a key");
        let cert = self.certify(&key, name, &[]);
        Locked { cert, key: LOCKED_KEY, password: "open-sesame" }
    }

    fn certify(&self, key: &KeyPair, name: &str, hosts: &[&str]) -> String {
        params(name, hosts).signed_by(key, &self.0).expect("a certificate").pem()
    }
}

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).expect("hosts that a certificate can name");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
