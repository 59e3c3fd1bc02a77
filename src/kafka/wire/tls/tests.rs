//! Handshakes with a server of rustls over a pipe, with certificates made for each run; and what
//! rustls cannot be made to show, from `testdata`.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::kafka::wire::pem::{self, Kind, Label, PemError};

/// Room in the pipe for all that one side says at once.
const ROOM: usize = 64 * 1024;

/// How long a handshake may take that gets stuck.
const TIMEOUT: Duration = Duration::from_secs(10);

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A broker's certificate and those it sends along, with the key.
struct Served {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pem: String,
}

impl Served {
    fn new(certificate: &Certificate, key: &KeyPair) -> Served {
        Served {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            pem: certificate.pem(),
        }
    }

    fn with(mut self, intermediate: &Issuer) -> Served {
        self.chain.push(intermediate.der().clone());
        self
    }

    fn config(&self, version: &'static SupportedProtocolVersion) -> ServerConfig {
        self.config_for(version, None)
    }

    /// The server's side; with authorities, clients have to have a certificate of theirs.
    fn config_for(
        &self,
        version: &'static SupportedProtocolVersion,
        clients: Option<&Issuer>,
    ) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("a version");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(issuer) => {
                let mut roots = RootCertStore::empty();
                roots.add(issuer.der().clone()).expect("an authority");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("authorities"))
            }
        };
        // The resolver, because certificates are served here that the library would not take.
        let key = rustls::crypto::ring::sign::any_supported_type(&self.key).expect("a key");
        let certified = rustls::sign::CertifiedKey::new(self.chain.clone(), key);
        let certified = rustls::sign::SingleCertAndKey::from(certified);
        builder.with_cert_resolver(Arc::new(certified))
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn authority(name: &str) -> Issuer {
    CertifiedIssuer::self_signed(ca_params(name), key()).expect("an authority")
}

fn intermediate(name: &str, issuer: &Issuer) -> Issuer {
    CertifiedIssuer::signed_by(ca_params(name), key(), issuer).expect("an intermediate")
}

fn issued(params: &CertificateParams, issuer: &Issuer) -> Served {
    let key = key();
    Served::new(&params.signed_by(&key, issuer).expect("a certificate"), &key)
}

fn self_signed(params: &CertificateParams) -> Served {
    let key = key();
    Served::new(&params.self_signed(&key).expect("a certificate"), &key)
}

fn settings(ca: Option<&str>, verify: bool) -> TlsSettings {
    let ca = ca.map(|ca| Authorities::parse(ca).expect("authorities"));
    TlsSettings { ca, client: None, verify }
}

fn client(ca: &str) -> TlsClient {
    TlsClient::new(&settings(Some(ca), true)).expect("settings")
}

fn identity(chain: &str, key: &str) -> ClientIdentity {
    let chain = CertificateChain::parse(chain).expect("a chain");
    ClientIdentity::new(chain, ClientKey::parse(key, None).expect("a key")).expect("a pair")
}

/// The server's side: greets, and waits for the client to go.
async fn serve(config: ServerConfig, stream: DuplexStream) {
    if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        stream.write_all(b"hello").await.expect("the pipe is open");
        stream.flush().await.expect("the pipe is open");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    }
}

/// The client's side: connects, and reads the greeting.
async fn greet(client: &TlsClient, stream: DuplexStream, host: &str) -> Result<(), TlsFault> {
    let mut stream = client.connect(stream, host).await?;
    let mut greeting = [0; 5];
    match stream.read_exact(&mut greeting).await {
        Ok(_) => assert_eq!(&greeting, b"hello"),
        Err(error) => return Err(fault_of(&error).expect("a reason of TLS")),
    }
    stream.shutdown().await.ok();
    Ok(())
}

async fn shake(client: &TlsClient, host: &str, config: ServerConfig) -> Result<(), TlsFault> {
    let (ours, theirs) = duplex(ROOM);
    let both = async { tokio::join!(greet(client, ours, host), serve(config, theirs)).0 };
    tokio::time::timeout(TIMEOUT, both).await.expect("a handshake that ends")
}

/// A peer that says this, once it has been spoken to.
async fn said(client: &TlsClient, words: &[u8]) -> TlsFault {
    let (ours, mut theirs) = duplex(ROOM);
    let peer = async move {
        let mut hello = [0; 1];
        theirs.read_exact(&mut hello).await.expect("a hello");
        theirs.write_all(words).await.expect("the pipe is open");
    };
    let both = async { tokio::join!(client.connect(ours, "kafka"), peer).0 };
    let connected = tokio::time::timeout(TIMEOUT, both).await.expect("an end");
    connected.expect_err("no handshake")
}

#[tokio::test]
async fn whoever_may_answer_is_let_through() {
    let kafka = params("kafka", &["kafka"]);
    let root = authority("root");
    let (same, namesake) = (authority("same"), authority("same"));
    let middle = intermediate("middle", &root);
    let pinned = issued(&kafka, &authority("nobody knows"));
    let own = self_signed(&kafka);
    let mut ca_of_its_own = ca_params("kafka");
    ca_of_its_own.subject_alt_names.clone_from(&kafka.subject_alt_names);
    let ca_of_its_own = self_signed(&ca_of_its_own);
    let (pinned_pem, own_pem) = (pinned.pem.clone(), own.pem.clone());
    let ca_of_its_own_pem = ca_of_its_own.pem.clone();
    let many = params("kafka", &["*.example.com", "127.0.0.1", "::1"]);

    let rows = [
        ("the root", root.pem(), issued(&kafka, &root), "kafka"),
        ("the root of an intermediate", root.pem(), issued(&kafka, &middle).with(&middle), "kafka"),
        ("an intermediate alone", middle.pem(), issued(&kafka, &middle), "kafka"),
        (
            "an intermediate alone, which is sent too",
            middle.pem(),
            issued(&kafka, &middle).with(&middle),
            "kafka",
        ),
        (
            "the first of two of one name",
            format!("{}{}", same.pem(), namesake.pem()),
            issued(&kafka, &same),
            "kafka",
        ),
        (
            "the second of two of one name",
            format!("{}{}", same.pem(), namesake.pem()),
            issued(&kafka, &namesake),
            "kafka",
        ),
        ("the broker's own certificate", pinned_pem, pinned, "kafka"),
        ("the broker's own, self-signed", own_pem, own, "kafka"),
        ("the broker's own, an authority's too", ca_of_its_own_pem, ca_of_its_own, "kafka"),
        ("a name with the dot at its end", root.pem(), issued(&kafka, &root), "kafka."),
        ("a name in capitals", root.pem(), issued(&kafka, &root), "KAFKA"),
        ("a wildcard", root.pem(), issued(&many, &root), "b-1.example.com"),
        ("an address", root.pem(), issued(&many, &root), "127.0.0.1"),
        ("an IPv6 address", root.pem(), issued(&many, &root), "::1"),
        ("an IPv6 address in brackets", root.pem(), issued(&many, &root), "[0::1]"),
        (
            "PEM with what an editor left in it",
            format!("\u{feff}my ca\r\n\r\n{}", root.pem().replace('\n', " \r\n\r\n")),
            issued(&kafka, &root),
            "kafka",
        ),
    ];
    for (name, ca, served, host) in rows {
        for version in [&TLS12, &TLS13] {
            let connected = shake(&client(&ca), host, served.config(version)).await;
            assert_eq!(connected, Ok(()), "{name}, {:?}", version.version);
        }
    }
}

#[tokio::test]
async fn whoever_may_not_answer_is_told_apart() {
    let kafka = params("kafka", &["kafka"]);
    let root = authority("root");
    let (same, namesake) = (authority("same"), authority("same"));
    let middle = intermediate("middle", &root);
    let dated = |from, to| {
        let mut params = kafka.clone();
        (params.not_before, params.not_after) = (from, to);
        params
    };
    let before = dated(date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let after = dated(date_time_ymd(4000, 1, 1), date_time_ymd(4001, 1, 1));
    let expired_ca = |params: &CertificateParams| {
        let mut ca = ca_params("root of another time");
        (ca.not_before, ca.not_after) = (params.not_before, params.not_after);
        CertifiedIssuer::self_signed(ca, key()).expect("an authority")
    };
    let (old_ca, later_ca) = (expired_ca(&before), expired_ca(&after));
    let (old, later, own_old) =
        (issued(&before, &root), issued(&after, &root), self_signed(&before));
    let own_old_pem = own_old.pem.clone();
    // A certificate that is trusted itself, and one that its key has signed.
    let leaf = CertifiedIssuer::self_signed(kafka.clone(), key()).expect("a certificate");
    let mut flagged = kafka.clone();
    flagged.is_ca = IsCa::ExplicitNoCa;
    let flagged = CertifiedIssuer::self_signed(flagged, key()).expect("a certificate");
    let own = self_signed(&kafka);
    let many: Vec<_> = (0..2_000).map(|n| format!("broker-{n}.example.com")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let own_pem = own.pem.clone();
    let issued_ca = {
        let mut params = ca_params("kafka");
        params.subject_alt_names.clone_from(&kafka.subject_alt_names);
        issued(&params, &root)
    };
    let client_only = {
        let mut params = kafka.clone();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        issued(&params, &root)
    };
    let constrained = {
        let mut params = ca_params("constrained");
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.com".to_owned())],
            excluded_subtrees: Vec::new(),
        });
        CertifiedIssuer::self_signed(params, key()).expect("an authority")
    };

    let untrusted =
        "its issuer is not trusted; give the CA of the brokers' certificate as caFromEnv";
    let rows = [
        (
            "someone else's root",
            authority("root of others").pem(),
            issued(&kafka, &root),
            "kafka",
            untrusted,
        ),
        ("a namesake", namesake.pem(), issued(&kafka, &same), "kafka", "caFromEnv"),
        (
            "the root, but not what is between",
            root.pem(),
            issued(&kafka, &middle),
            "kafka",
            untrusted,
        ),
        (
            "signed by a certificate of no authority",
            leaf.pem(),
            issued(&kafka, &leaf),
            "kafka",
            untrusted,
        ),
        ("signed by one that says so", flagged.pem(), issued(&kafka, &flagged), "kafka", untrusted),
        (
            "another certificate than the trusted one",
            self_signed(&kafka).pem,
            self_signed(&kafka),
            "kafka",
            "caFromEnv",
        ),
        ("expired", root.pem(), old, "kafka", "it or its issuer has expired; renew"),
        (
            "expired and trusted itself",
            own_old_pem,
            own_old,
            "kafka",
            "it or its issuer has expired; renew",
        ),
        ("not valid yet", root.pem(), later, "kafka", "not valid yet; look at the clocks"),
        (
            "of an authority that has expired",
            old_ca.pem(),
            issued(&kafka, &old_ca),
            "kafka",
            "its CA has expired",
        ),
        (
            "of an authority to come",
            later_ca.pem(),
            issued(&kafka, &later_ca),
            "kafka",
            "its CA is not valid yet",
        ),
        (
            "another name",
            root.pem(),
            issued(&kafka, &root),
            "other",
            "it is for kafka, not for other; give servers by a name in it",
        ),
        (
            "another name on a trusted certificate",
            own_pem,
            own,
            "other",
            "it is for kafka, not for other",
        ),
        (
            "many names",
            root.pem(),
            issued(&params("kafka", &many), &root),
            "kafka",
            "it is for broker-0.example.com, broker-1.example.com, broker-2.example… and 1997 more, not for kafka;",
        ),
        (
            "a wildcard one level up",
            root.pem(),
            issued(&params("", &["*.example.com"]), &root),
            "a.b.example.com",
            "it is for *.example.com",
        ),
        (
            "an address that is not in it",
            root.pem(),
            issued(&kafka, &root),
            "127.0.0.1",
            "it is for kafka, not for 127.0.0.1",
        ),
        (
            "an address as a name",
            root.pem(),
            issued(&params("127.0.0.1", &["kafka"]), &root),
            "127.0.0.1",
            "it is for kafka",
        ),
        (
            "another address",
            root.pem(),
            issued(&params("", &["10.0.0.1", "::2"]), &root),
            "[::1]",
            "it is for 10.0.0.1, ::2, not for ::1",
        ),
        (
            "a common name alone",
            root.pem(),
            issued(&params("kafka", &[]), &root),
            "kafka",
            "no subject alternative name",
        ),
        (
            "a host that is none",
            root.pem(),
            issued(&kafka, &root),
            "ka fka",
            "ka fka is no name that TLS can ask for",
        ),
        ("an authority's certificate", root.pem(), issued_ca, "kafka", "it is an authority's"),
        ("a client's certificate", root.pem(), client_only, "kafka", "it is not for servers"),
        (
            "a name that the authority may not give",
            constrained.pem(),
            issued(&kafka, &constrained),
            "kafka",
            "certificate verify failed",
        ),
    ];
    for (name, ca, served, host, expected) in rows {
        for version in [&TLS12, &TLS13] {
            let client = client(&ca);
            let fault = shake(&client, host, served.config(version)).await.expect_err(name);
            let told = fault.to_string();
            assert!(told.contains(expected), "{name}: {told}");
            assert!(told.len() <= 220, "{name}: {} bytes: {told}", told.len());
            let refused = told.starts_with("certificate verify failed: ");
            assert_eq!(fault.is_refusal(), refused, "{name}");
            // The same certificate is as good as any where none is looked at.
            if refused {
                let unsafe_client = TlsClient::new(&settings(Some(&ca), false)).expect("settings");
                let connected = shake(&unsafe_client, host, served.config(version)).await;
                assert_eq!(connected, Ok(()), "{name}, unchecked");
            }
        }
    }
}

#[tokio::test]
async fn without_ca_the_system_is_asked_and_knows_no_test() {
    let served = self_signed(&params("kafka", &["kafka"]));
    let client = TlsClient::new(&settings(None, true)).expect("settings");
    let fault = shake(&client, "kafka", served.config(&TLS13)).await.expect_err("unknown");
    assert_eq!(fault, TlsFault::UnknownIssuer);
}

#[tokio::test]
async fn a_broker_without_its_key_is_refused_even_where_nothing_is_checked() {
    let (kafka, other) = (params("kafka", &["kafka"]), key());
    let mut served = self_signed(&kafka);
    let pem = served.pem.clone();
    served.key = PrivatePkcs8KeyDer::from(other.serialize_der()).into();
    for version in [&TLS12, &TLS13] {
        for verify in [true, false] {
            let client = TlsClient::new(&settings(Some(&pem), verify)).expect("settings");
            let fault = shake(&client, "kafka", served.config(version)).await;
            assert_eq!(fault, Err(TlsFault::Signature), "{verify} {:?}", version.version);
        }
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_will_do_where_none_is_looked_at() {
    let chain = include_str!("testdata/version1.crt");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/ec.key")).expect("a key");
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate");
    let served = Served { chain: vec![der], key, pem: chain.to_owned() };
    for version in [&TLS12, &TLS13] {
        let unchecked = TlsClient::new(&settings(None, false)).expect("settings");
        assert_eq!(shake(&unchecked, "kafka", served.config(version)).await, Ok(()));
        let told = shake(&client(chain), "kafka", served.config(version)).await;
        assert!(matches!(told, Err(TlsFault::NoName { .. })), "{told:?}");
    }
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate() {
    let (root, clients) = (authority("root"), authority("clients"));
    let served = issued(&params("kafka", &["kafka"]), &root);
    let pair = |issuer: &Issuer| {
        let key = key();
        let certificate = params("client", &[]).signed_by(&key, issuer).expect("a certificate");
        identity(&certificate.pem(), &key.serialize_pem())
    };
    let refusal = "refused by TLS alert, ";
    let rows = [
        ("with one", Some(pair(&clients)), None),
        ("without", None, Some(refusal)),
        ("with someone else's", Some(pair(&root)), Some(refusal)),
    ];
    for (name, client, expected) in rows {
        for version in [&TLS12, &TLS13] {
            let settings =
                TlsSettings { client: client.clone(), ..settings(Some(&root.pem()), true) };
            let tls = TlsClient::new(&settings).expect("settings");
            let config = served.config_for(version, Some(&clients));
            let connected = shake(&tls, "kafka", config).await;
            let Some(expected) = expected else {
                assert_eq!(connected, Ok(()), "{name}");
                continue;
            };
            let fault = connected.expect_err(name);
            let told = fault.to_string();
            assert!(fault.is_refusal() && told.contains(expected), "{name}: {told}");
            assert!(told.contains("give a certificate that the brokers trust as certFromEnv"));
        }
    }
}

/// A broker's name decides where proxies send a connection.
#[tokio::test]
async fn the_name_that_is_sent_has_no_dot_at_its_end_and_is_no_address() {
    let rows = [
        ("kafka.example.com", Some("kafka.example.com")),
        ("kafka.example.com.", Some("kafka.example.com")),
        ("127.0.0.1", None),
        ("[::1]", None),
    ];
    for (host, expected) in rows {
        let served = self_signed(&params("", &["kafka.example.com", "127.0.0.1", "::1"]));
        let client = client(&served.pem);
        let (ours, theirs) = duplex(ROOM);
        let server = async {
            let acceptor = TlsAcceptor::from(Arc::new(served.config(&TLS13)));
            let stream = acceptor.accept(theirs).await.expect("a client");
            stream.get_ref().1.server_name().map(str::to_owned)
        };
        let (stream, name) = tokio::join!(client.connect(ours, host), server);
        assert!(stream.is_ok(), "{host}");
        assert_eq!(name.as_deref(), expected, "{host}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_told_as_such() {
    let client = client(include_str!("testdata/ec.crt"));
    let alert = |description| [0x15, 0x03, 0x03, 0, 2, 2, description];
    let (failure, version, name) = (alert(0x28), alert(0x46), alert(0x70));
    let (certificate, internal) = (alert(0x2a), alert(0x50));
    let rows: &[(&str, &[u8], &str)] = &[
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS: leave out tls"),
        (
            "a Kafka reply",
            &[0, 0, 0, 10, 0, 0, 0, 1, 0, 35, 0, 0, 0, 0],
            "does not speak TLS: leave out tls",
        ),
        ("a shell", b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS: leave out tls"),
        (
            "silence, and an end",
            b"",
            "closed at once; where that stays, this port does not speak TLS",
        ),
        ("half a record", &[0x16, 0x03, 0x03, 0, 90, 2], "closed at once"),
        ("no cipher", &failure, "no TLS version or cipher in common"),
        ("an old version", &version, "no TLS version or cipher in common"),
        ("another name", &name, "does not answer by this name"),
        (
            "a refusal at once",
            &certificate,
            "refused by TLS alert, bad certificate; give a certificate",
        ),
        ("a broker that fails", &internal, "by TLS alert, internal error"),
    ];
    for (name, words, expected) in rows {
        let fault = said(&client, words).await;
        let told = fault.to_string();
        assert!(told.contains(expected), "{name}: {told}");
        assert_eq!(fault.is_refusal(), told.contains("certFromEnv"), "{name}");
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_no_fault_of_tls() {
    for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
        assert_eq!(fault_of(&io::Error::from(kind)), None, "{kind}");
    }
    let other = io::Error::other("peer closed connection without sending TLS close_notify");
    assert_eq!(fault_of(&other), None);
}

#[test]
fn what_the_library_cannot_check_is_told_by_its_reason() {
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let name = ServerName::try_from("kafka").expect("a name");
    let rows = [
        (
            "a short key of the issuer",
            include_str!("testdata/rsa1024.crt"),
            include_str!("testdata/by-rsa1024.crt"),
            "an RSA key of 1024 bits is too short",
        ),
        (
            "a short key of the broker, which is trusted itself",
            include_str!("testdata/rsa1024.crt"),
            include_str!("testdata/rsa1024.crt"),
            "an RSA key of 1024 bits is too short",
        ),
        (
            "SHA-1",
            include_str!("testdata/rsa.crt"),
            include_str!("testdata/by-sha1.crt"),
            "signed in a way that is not supported",
        ),
        (
            "P-521",
            include_str!("testdata/p521.crt"),
            include_str!("testdata/by-p521.crt"),
            "signed in a way that is not supported",
        ),
    ];
    for (case, ca, leaf, expected) in rows {
        let trust = Trust::new(&settings(Some(ca), true));
        let leaf = CertificateDer::from_pem_slice(leaf.as_bytes()).expect("a certificate");
        let verified = trust.verify(&leaf, &[], &name, UnixTime::now(), &algorithms);
        let fault = verified.expect_err(case);
        assert!(fault.to_string().contains(expected), "{case}: {fault}");
        assert!(fault.is_refusal(), "{case}");
    }

    // Nobody could tell that a broker has a key that is too short.
    let short = CertificateDer::from_pem_slice(include_bytes!("testdata/rsa1024.crt"));
    let short = short.expect("a certificate");
    let anyone = Trust::new(&settings(None, false));
    let verified = anyone.verify(&short, &[], &name, UnixTime::now(), &algorithms);
    assert_eq!(verified, Err(TlsFault::WeakKey { bits: 1024 }));

    // A signature that is wrong, with keys that are long enough.
    let root = authority("root");
    let served = issued(&params("kafka", &["kafka"]), &root);
    let mut bytes = served.chain[0].to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let trust = Trust::new(&settings(Some(&root.pem()), true));
    let forged = CertificateDer::from(bytes);
    let verified = trust.verify(&forged, &[], &name, UnixTime::now(), &algorithms);
    assert_eq!(verified, Err(TlsFault::Signature));
}

#[test]
fn keys_of_all_forms_are_read_with_their_certificates() {
    let (rsa, ec) = (include_str!("testdata/rsa.crt"), include_str!("testdata/ec.crt"));
    let password = Some("open-sesame");
    let rows = [
        ("RSA", rsa, include_str!("testdata/rsa.key"), None),
        ("RSA as PKCS#1", rsa, include_str!("testdata/rsa-pkcs1.key"), None),
        ("P-256", ec, include_str!("testdata/ec.key"), None),
        ("P-256 with a password for nothing", ec, include_str!("testdata/ec.key"), password),
        ("P-256 as SEC1 after its parameters", ec, include_str!("testdata/ec-sec1.key"), None),
        ("P-256 without its public key", ec, include_str!("testdata/ec-bare.key"), None),
        ("P-256 as SEC1 without it", ec, include_str!("testdata/ec-sec1-bare.key"), None),
        ("P-384", include_str!("testdata/p384.crt"), include_str!("testdata/p384.key"), None),
        (
            "Ed25519",
            include_str!("testdata/ed25519.crt"),
            include_str!("testdata/ed25519.key"),
            None,
        ),
        ("encrypted", ec, include_str!("testdata/ec-locked.key"), password),
        ("encrypted by most rounds", ec, include_str!("testdata/ec-locked-most.key"), password),
        ("encrypted by 3DES and SHA-1", ec, include_str!("testdata/ec-locked-des3.key"), password),
        ("encrypted by scrypt", ec, include_str!("testdata/ec-locked-scrypt.key"), password),
        (
            "of a certificate of version 1",
            include_str!("testdata/version1.crt"),
            include_str!("testdata/ec.key"),
            None,
        ),
    ];
    for (name, chain, key, password) in rows {
        let chain = CertificateChain::parse(chain).expect(name);
        let key = ClientKey::parse(key, password).expect(name);
        let identity = ClientIdentity::new(chain, key);
        let identity = identity.unwrap_or_else(|error| panic!("{name}: {error}"));

        // What is given to others is the same again, and needs no password.
        let (chain, key) = (identity.chain().to_pem(), identity.key().to_pem());
        let chain = CertificateChain::parse(chain.expose_secret()).expect(name);
        let key = ClientKey::parse(key.expose_secret(), None).expect(name);
        assert!(ClientIdentity::new(chain, key).as_ref() == Ok(&identity), "{name}");
        assert_eq!(format!("{identity:?}"), "[secret]");
    }
}

#[test]
fn keys_that_are_of_no_use_are_told_by_their_reason() {
    use TlsConfigError as E;
    let (rsa, ec) = (include_str!("testdata/rsa.crt"), include_str!("testdata/ec.crt"));
    let p521 = include_str!("testdata/p521.crt");
    let rsa1024 = include_str!("testdata/rsa1024.crt");
    let locked = include_str!("testdata/ec-locked.key");
    let password = Some("open-sesame");
    let no_key = "-----BEGIN PRIVATE KEY-----\nTWFya2Vy\n-----END PRIVATE KEY-----\n";
    let no_locked_key = no_key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let cut = include_str!("testdata/rsa.key").replacen("MII", "", 1);
    let dsa = no_key.replace("PRIVATE", "DSA PRIVATE");
    let rows = [
        ("another's", ec, include_str!("testdata/rsa.key"), None, E::OtherKey),
        (
            "another's of the same kind",
            include_str!("testdata/p384.crt"),
            include_str!("testdata/ec.key"),
            None,
            E::OtherKey,
        ),
        (
            "another's without its public key",
            include_str!("testdata/p384.crt"),
            include_str!("testdata/ec-bare.key"),
            None,
            E::OtherKey,
        ),
        ("a short one", rsa1024, include_str!("testdata/rsa1024.key"), None, E::KeyKind),
        ("P-521", p521, include_str!("testdata/p521.key"), None, E::KeyKind),
        ("DSA", ec, &dsa, None, E::KeyKind),
        ("no key", ec, no_key, None, E::Unreadable),
        ("a key with letters missing", rsa, &cut, None, E::Pem(PemError::Broken)),
        ("no PEM", ec, "hunter2", None, E::Pem(PemError::Missing(Kind::PrivateKey))),
        (
            "encrypted the old way",
            rsa,
            include_str!("testdata/rsa-old.key"),
            password,
            E::OldEncryption,
        ),
        ("encrypted without a password", ec, locked, None, E::NoPassword),
        ("encrypted by another password", ec, locked, Some("guessed"), E::WrongPassword),
        ("encrypted by no password", ec, locked, Some(""), E::WrongPassword),
        (
            "encrypted by too much work",
            ec,
            include_str!("testdata/ec-locked-costly.key"),
            password,
            E::Costly,
        ),
        (
            "encrypted by too much of scrypt",
            ec,
            include_str!("testdata/ec-locked-scrypt-costly.key"),
            password,
            E::Costly,
        ),
        (
            "encrypted by PBES1",
            ec,
            include_str!("testdata/ec-locked-pbes1.key"),
            password,
            E::Encryption,
        ),
        ("no encrypted key", ec, &no_locked_key, password, E::Encryption),
    ];
    for (name, chain, key, password, expected) in rows {
        let chain = CertificateChain::parse(chain).expect(name);
        let key = ClientKey::parse(key, password);
        let error = key.and_then(|key| ClientIdentity::new(chain, key)).expect_err(name);
        assert_eq!(error, expected, "{name}");
        let line = error.to_string();
        assert!(line.len() <= 200 && !line.contains("guessed"), "{name}: {line}");
    }
}

#[test]
fn certificates_that_cannot_be_read_are_passed_over_as_long_as_one_can() {
    let good = include_str!("testdata/ec.crt");
    let bad = "-----BEGIN CERTIFICATE-----\nTWFya2Vy\n-----END CERTIFICATE-----\n";
    let key = include_str!("testdata/ec.key");
    let both = format!("{bad}{key}{good}");
    let ca = Authorities::parse(&both).expect("one is good");
    assert_eq!(format!("{ca:?}"), "[1 certificates]");
    assert_eq!(ca, Authorities::parse(good).expect("good"));
    assert_eq!(ca, Authorities::parse(ca.to_pem().expose_secret()).expect("clean"));
    assert_eq!(Authorities::parse(bad), Err(TlsConfigError::NoCertificate));
    // Brokers are shown all of a chain.
    assert_eq!(CertificateChain::parse(&both), Err(TlsConfigError::NoCertificate));

    // What OpenSSL adds to a certificate that it trusts is no part of it.
    let mut trusted = CertificateDer::from_pem_slice(good.as_bytes()).expect("good").to_vec();
    trusted.extend_from_slice(&[0x30, 0x00]);
    let trusted = pem::encode(Label::TrustedCertificate, &trusted);
    assert_eq!(Authorities::parse(trusted.expose_secret()).expect("trusted"), ca);
}

#[test]
fn nothing_that_is_given_is_shown() {
    let identity = identity(include_str!("testdata/ec.crt"), include_str!("testdata/ec.key"));
    let settings = TlsSettings {
        client: Some(identity),
        ..settings(Some(include_str!("testdata/ec.crt")), true)
    };
    let client = TlsClient::new(&settings).expect("settings");
    let shown = format!("{settings:?} {client:?}");
    let data = include_str!("testdata/ec.key").lines().nth(1).expect("data");
    assert!(!shown.contains(data) && !shown.contains("48, 129"), "{shown}");
}
