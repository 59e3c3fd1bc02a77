use std::hash::{BuildHasher, RandomState};

use test_basics::Rows;

use super::*;
use crate::kafka::Kafka;
use crate::kafka::wire::sasl::PasswordMechanism;
use crate::metadata::{self, Invalid};
use crate::secret::Secret;
use crate::source::Source as _;

/// A certificate that serves nothing.
pub(in crate::kafka) const CERTIFICATE: &str = include_str!("../wire/tls/testdata/ec.crt");
const KEY: &str = include_str!("../wire/tls/testdata/ec.key");
const OTHER_KEY: &str = include_str!("../wire/tls/testdata/rsa.key");
const ENCRYPTED_KEY: &str = include_str!("../wire/tls/testdata/ec-locked.key");
const OLD_ENCRYPTED_KEY: &str = include_str!("../wire/tls/testdata/rsa-old.key");

fn decode(rows: Rows<'_>) -> Result<ClusterConfig, Invalid> {
    let rows = [("bootstrapServers", "kafka:9092")].iter().chain(rows);
    metadata::tests::decode(&[Kafka::TABLE], rows, ClusterConfig::decode)
}

#[test]
fn servers_have_one_form() {
    let rows = [
        ("one", "kafka:9092", "kafka:9092"),
        ("sorted, each once, in lower case", " B:2 ,a:1,,b:2", "a:1,b:2"),
        ("the end of a domain", "kafka.svc.cluster.local.:9092", "kafka.svc.cluster.local.:9092"),
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
    let invalid =
        decode(&[("bootstrapServers", "kafka://me:hunter2@kafka:9092")]).expect_err("credentials");
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
    assert_eq!(shown.each_ref().map(ExposeSecret::expose_secret), [CERTIFICATE, CERTIFICATE, KEY]);

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
