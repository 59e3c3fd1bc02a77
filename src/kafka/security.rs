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
pub(super) mod tests {
    use std::hash::{BuildHasher, RandomState};

    use test_basics::Rows;

    use super::*;
    use crate::kafka::Kafka;
    use crate::kafka::wire::sasl::PasswordMechanism;
    use crate::metadata::{self, Invalid};
    use crate::secret::Secret;
    use crate::source::Source as _;

    /// A certificate that serves nothing.
    pub(in crate::kafka) const CERTIFICATE: &str = include_str!("wire/tls/testdata/ec.crt");
    const KEY: &str = include_str!("wire/tls/testdata/ec.key");
    const OTHER_KEY: &str = include_str!("wire/tls/testdata/rsa.key");
    const ENCRYPTED_KEY: &str = include_str!("wire/tls/testdata/ec-locked.key");
    const OLD_ENCRYPTED_KEY: &str = include_str!("wire/tls/testdata/rsa-old.key");

    fn decode(rows: Rows<'_>) -> Result<ClusterConfig, Invalid> {
        let rows = [("bootstrapServers", "kafka:9092")].iter().chain(rows);
        metadata::tests::decode(&[Kafka::TABLE], rows, ClusterConfig::decode)
    }

    #[test]
    fn servers_have_one_form() {
        let rows = [
            ("one", "kafka:9092", "kafka:9092"),
            ("sorted, each once, in lower case", " B:2 ,a:1,,b:2", "a:1,b:2"),
            (
                "the end of a domain",
                "kafka.svc.cluster.local.:9092",
                "kafka.svc.cluster.local.:9092",
            ),
            ("IPv4", "127.0.0.1:09092", "127.0.0.1:9092"),
            ("IPv6", "[2001:DB8:0::1]:9092", "[2001:db8::1]:9092"),
            ("an underscore, as Docker has them", "my_kafka:1", "my_kafka:1"),
        ];
        for (name, text, expected) in rows {
            assert_eq!(BootstrapServers::parse(text).expect(name).0, expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        use BootstrapServersError::{Credentials, Empty, Host, NoPort, Port, Scheme, TooMany};
        let text = str::to_owned;
        let many = vec!["kafka:9092"; 65].join(",");
        let rows = [
            ("commas alone", ", ,", Empty),
            ("no port", "kafka", NoPort(text("kafka"))),
            ("no port after IPv6", "[::1]", NoPort(text("[::1]"))),
            ("an empty port", "kafka:", Port(text("kafka:"))),
            ("port 0", "kafka:0", Port(text("kafka:0"))),
            ("a port too high", "kafka:65536", Port(text("kafka:65536"))),
            ("a port in words", "a:1,kafka:http", Port(text("kafka:http"))),
            ("no host", ":9092", Host(text(":9092"))),
            ("IPv6 without brackets", "::1:9092", Host(text("::1:9092"))),
            ("brackets around a name", "[kafka]:9092", Host(text("[kafka]:9092"))),
            ("a blank", "ka fka:9092", Host(text("ka fka:9092"))),
            ("a control character", "ka\u{1}fka:9092", Host(text("ka\u{1}fka:9092"))),
            ("a letter of no host name", "käfka:9092", Host(text("käfka:9092"))),
            ("a scheme", "SSL://kafka:9092", Scheme(text("SSL://kafka:9092"))),
            ("a path", "kafka:9092/chroot", Scheme(text("kafka:9092/chroot"))),
            ("credentials", "kafka://me:hunter2@kafka:9092", Credentials),
            ("more than a cluster needs", &many, TooMany(65)),
        ];
        for (name, text, expected) in rows {
            assert_eq!(BootstrapServers::parse(text), Err(expected), "{name}");
        }
        let invalid = decode(&[("bootstrapServers", "kafka://me:hunter2@kafka:9092")])
            .expect_err("credentials");
        assert!(!format!("{invalid} {invalid:?}").contains("hunter2"), "{invalid}");
    }

    #[test]
    fn a_cluster_is_got_into_as_its_parameters_say() {
        let plain = [("tls", "disable"), ("sasl", "none"), ("caFromEnv", "ignored without tls")];
        let plain = decode(&plain).expect("complete");
        assert!(plain.tls().is_none() && plain.login(None).is_none());

        let tls = decode(&[("tls", "enable")]).expect("complete");
        let tls = tls.tls().expect("TLS");
        assert!(tls.ca.is_none() && tls.client.is_none() && tls.verify);

        let untidy = format!("my ca\n\n{KEY}{}", CERTIFICATE.replace('\n', " \r\n\r\n"));
        let all = decode(&[
            ("tls", "enable"),
            ("brokerUnsafeSsl", "true"),
            ("caFromEnv", &untidy),
            ("certFromEnv", CERTIFICATE),
            ("keyFromEnv", ENCRYPTED_KEY),
            ("keyPasswordFromEnv", "open-sesame"),
            ("sasl", "scram_sha512"),
            ("usernameFromEnv", "me\n"),
            ("passwordFromEnv", " hunter2\n"),
        ]);
        let all = all.expect("complete");
        let tls = all.tls().expect("TLS");
        let (ca, client) = (tls.ca.as_ref().expect("a ca"), tls.client.as_ref().expect("a client"));
        assert!(!tls.verify);
        let shown = [ca.to_pem(), client.chain().to_pem(), client.key().to_pem()];
        assert_eq!(
            shown.each_ref().map(ExposeSecret::expose_secret),
            [CERTIFICATE, CERTIFICATE, KEY]
        );

        for (word, expected) in [
            ("plaintext", PasswordMechanism::Plain),
            ("scram_sha256", PasswordMechanism::ScramSha256),
            ("scram_sha512", PasswordMechanism::ScramSha512),
        ] {
            let rows = [("sasl", word), ("username", "me\n"), ("password", " hunter2\n")];
            let Some(Login::Password { mechanism, username, password }) =
                decode(&rows).expect("complete").login(None)
            else {
                panic!("{word}: a password");
            };
            assert_eq!(mechanism, expected);
            assert_eq!((username.expose(), password.expose()), ("me", "hunter2"), "{word}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_complained_of() {
        let sasl = ("sasl", "plaintext");
        let tls = ("tls", "enable");
        let cut = CERTIFICATE.replace("-----END CERTIFICATE-----", "");
        let one_line = CERTIFICATE.replace('\n', "\\n");
        let marker = "-----BEGIN CERTIFICATE-----\nTWFya2Vy\n-----END CERTIFICATE-----\n";
        let rows: &[(&str, Rows<'_>, &str)] = &[
            (
                "no user",
                &[sasl, ("password", "hunter2")],
                "username: is missing; sasl needs it, as usernameFromEnv",
            ),
            (
                "no password",
                &[sasl, ("username", "me")],
                "password: is missing; sasl needs it, as passwordFromEnv",
            ),
            (
                "a blank password",
                &[sasl, ("username", "me"), ("password", " ")],
                "password: is missing",
            ),
            (
                "a mechanism nobody knows",
                &[("sasl", "PLAIN")],
                "sasl: \"PLAIN\" is not known; give none or plaintext or scram",
            ),
            ("gssapi", &[("sasl", "gssapi")], "sasl: \"gssapi\" is not supported by this version"),
            (
                "aws_msk_iam",
                &[("sasl", "aws_msk_iam")],
                "sasl: \"aws_msk_iam\" is not supported by this version",
            ),
            (
                "tls as a boolean",
                &[("tls", "true")],
                "tls: \"true\" is not known; give enable or disable",
            ),
            (
                "a boolean that is none",
                &[("brokerUnsafeSsl", "no")],
                "brokerUnsafeSsl: \"no\" is not a boolean",
            ),
            (
                "a certificate alone",
                &[tls, ("cert", CERTIFICATE)],
                "key: is missing; give the key that belongs to cert",
            ),
            (
                "a key alone",
                &[tls, ("key", KEY)],
                "cert: is missing; give the certificate that belongs to key",
            ),
            (
                "an encrypted key without its password",
                &[tls, ("cert", CERTIFICATE), ("key", ENCRYPTED_KEY)],
                "keyPassword: is missing; key is encrypted",
            ),
            (
                "an encrypted key with another's password",
                &[
                    tls,
                    ("cert", CERTIFICATE),
                    ("keyFromEnv", ENCRYPTED_KEY),
                    ("keyPasswordFromEnv", "hunter2"),
                ],
                "keyPasswordFromEnv: its value does not open key",
            ),
            (
                "a key encrypted the old way",
                &[tls, ("cert", CERTIFICATE), ("key", OLD_ENCRYPTED_KEY), ("keyPassword", "x")],
                "key: its value is encrypted the old way (Proc-Type: 4,ENCRYPTED); give it after openssl pkcs8",
            ),
            (
                "the key of another certificate",
                &[tls, ("cert", CERTIFICATE), ("keyFromEnv", OTHER_KEY)],
                "keyFromEnv: its value does not belong to cert",
            ),
            (
                "a certificate that is none",
                &[tls, ("cert", marker), ("key", KEY)],
                "cert: its value has no certificate that can be read",
            ),
            (
                "authorities that are none",
                &[tls, ("ca", marker)],
                "ca: its value has no certificate that can be read",
            ),
            (
                "all of it wrong",
                &[tls, ("ca", marker), ("cert", marker), ("key", "hunter2")],
                "can be read; give X.509 certificates as PEM | cert: its value has no certificate that can be read; \
                 give X.509 certificates as PEM | key: its value has no -----BEGIN PRIVATE KEY----- line",
            ),
            (
                "a ca that is no PEM",
                &[tls, ("ca", "hunter2")],
                "ca: its value has no -----BEGIN CERTIFICATE----- line",
            ),
            (
                "a key for a ca",
                &[tls, ("ca", KEY)],
                "ca: its value has no -----BEGIN CERTIFICATE----- line",
            ),
            (
                "a ca cut off",
                &[tls, ("caFromEnv", &cut)],
                "caFromEnv: its value has PEM that is cut off",
            ),
            (
                "a ca without line breaks",
                &[tls, ("ca", &one_line)],
                "ca: its value has no -----BEGIN CERTIFICATE----- line",
            ),
            (
                "a certificate for a key",
                &[tls, ("cert", CERTIFICATE), ("key", CERTIFICATE)],
                "key: its value has no",
            ),
            (
                "a NUL",
                &[sasl, ("username", "me"), ("password", "hunter2\0")],
                "password: its value has a NUL character",
            ),
        ];
        for (name, row, expected) in rows {
            let invalid = decode(row).expect_err(name);
            let told = invalid.to_string();
            assert!(told.contains(expected), "{name}: {told}");
            assert!(!format!("{told} {invalid:?}").contains("hunter2"), "{name}: {told}");
        }
    }

    #[test]
    fn a_changed_secret_is_another_cluster() {
        let with = |password| {
            decode(&[("sasl", "plaintext"), ("username", "me"), ("passwordFromEnv", password)])
        };
        let (one, same, other) = (with("a"), with("a"), with("b"));
        assert_eq!(one, same);
        assert_ne!(one, other);
        let hasher = RandomState::new();
        let hash = |cluster: &Result<ClusterConfig, Invalid>| {
            hasher.hash_one(cluster.as_ref().expect("complete"))
        };
        assert_eq!(hash(&one), hash(&same));
        assert_ne!(hash(&one), hash(&other));
    }

    #[test]
    fn a_login_is_what_a_trigger_gives_or_a_token() {
        let rows = [("sasl", "scram_sha256"), ("username", "me\n"), ("password", "hunter2")];
        let cluster = decode(&rows).expect("complete");
        let expected = Login::Password {
            mechanism: PasswordMechanism::ScramSha256,
            username: Secret::from("me"),
            password: Secret::from("hunter2"),
        };
        assert_eq!(cluster.login(None), Some(expected));
        assert!(cluster.tls().is_none());

        let rows = [
            ("sasl", "oauthbearer"),
            ("username", "me"),
            ("password", "hunter2"),
            ("oauthTokenEndpointUri", "https://login.example/token"),
            ("oauthExtensions", "logical_cluster=lkc-1"),
            ("tls", "enable"),
            ("brokerUnsafeSsl", "true"),
        ];
        let cluster = decode(&rows).expect("complete");
        assert!(cluster.login(None).is_none());
        let token = SecretString::from("abc");
        let expected = Login::Token {
            token: Secret::from("abc"),
            extensions: vec![("logical_cluster".to_owned(), "lkc-1".to_owned())],
        };
        assert_eq!(cluster.login(Some(&token)), Some(expected));
        let tls = TlsSettings { ca: None, client: None, verify: false };
        assert_eq!(cluster.tls(), Some(&tls));

        let plain = ClusterConfig::plain("kafka:9092").expect("servers");
        assert!(plain.login(Some(&token)).is_none());
    }

    #[test]
    fn no_secret_is_shown() {
        let cluster = decode(&[
            ("tls", "enable"),
            ("ca", CERTIFICATE),
            ("cert", CERTIFICATE),
            ("key", KEY),
            ("keyPassword", "hunter2"),
            ("sasl", "plaintext"),
            ("username", "hunter2"),
            ("password", "hunter2"),
        ])
        .expect("complete");
        let shown = format!("{cluster:?} {}", cluster.label());
        let data = KEY.lines().nth(1).expect("data");
        assert!(!shown.contains("hunter2") && !shown.contains(data), "{shown}");
        assert!(shown.contains("kafka:9092"), "{shown}");
    }

    #[test]
    fn a_label_is_short() {
        let servers: Vec<_> = (0..50).map(|n| format!("kafka-{n}:9092")).collect();
        let label = ClusterConfig::plain(&servers.join(",")).expect("servers").label();
        assert!(label.len() <= 103 && label.ends_with('…'), "{label}");
    }
}
