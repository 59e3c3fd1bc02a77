//! TLS on the gRPC port of `keda-sift serve`: who gets in, what a renewed certificate changes, and
//! what is said about files that cannot be used.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use keda_sift::scaler::proto::ScaledObjectRef;
use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use sift_harness::program::{Program, keda_sift};
use sift_harness::{Authority, PATIENCE};
use tempfile::TempDir;
use test_basics::promtool_approves;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The name in the server's certificates.
const HOST: &str = "keda-sift.keda-sift";

/// The files of one server.
struct Files(TempDir);

/// What a client goes by.
struct Caller {
    trusts: Option<String>,
    shows: Option<sift_harness::Identity>,
}

impl Files {
    /// A certificate by this authority, and its key.
    fn by(authority: &Authority) -> Files {
        let files = Files(tempfile::tempdir().unwrap());
        files.renew(&authority.issue("server", &[HOST]));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn renew(&self, identity: &sift_harness::Identity) {
        self.put("tls.crt", &identity.cert);
        self.put("tls.key", &identity.key);
    }

    /// Replaces one file, in one step.
    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// What the program is given to use them.
    fn options(&self) -> Vec<String> {
        let path = |name| self.path(name).display().to_string();
        let mut options = vec![
            "--tls-cert-file".to_owned(),
            path("tls.crt"),
            "--tls-key-file".to_owned(),
            path("tls.key"),
        ];
        if self.path("ca.crt").exists() {
            options.extend(["--tls-client-ca-file".to_owned(), path("ca.crt")]);
        }
        options
    }
}

impl Caller {
    fn trusting(authority: &Authority) -> Caller {
        Caller { trusts: Some(authority.cert()), shows: None }
    }

    fn showing(self, identity: sift_harness::Identity) -> Caller {
        Caller { shows: Some(identity), ..self }
    }

    /// A client on a connection of its own, if it got in.
    async fn call(&self, program: &Program) -> Result<ExternalScalerClient<Channel>, String> {
        let mut tls = ClientTlsConfig::new().domain_name(HOST);
        if let Some(trusts) = &self.trusts {
            tls = tls.ca_certificate(Certificate::from_pem(trusts));
        }
        if let Some(shows) = &self.shows {
            tls = tls.identity(Identity::from_pem(&shows.cert, &shows.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", program.grpc)).unwrap();
        let endpoint = endpoint.tls_config(tls).unwrap().timeout(PATIENCE);
        let channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
        let mut client = ExternalScalerClient::new(channel);
        // In TLS 1.3 a client learns only by its first call that the server does not take its
        // certificate.
        answers(&mut client).await?;
        Ok(client)
    }
}

async fn answers(client: &mut ExternalScalerClient<Channel>) -> Result<(), String> {
    let spec = client.get_metric_spec(ScaledObjectRef::default()).await;
    let spec = spec.map_err(|status| format!("{status:?}"))?;
    assert_eq!(spec.into_inner().metric_specs.len(), 1);
    Ok(())
}

/// What the program says about options with which it does not start.
fn refused(options: &[String], code: i32) -> String {
    let output = keda_sift().arg("serve").args(options).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{options:?}: {error}");
    error
}

#[tokio::test]
async fn who_trusts_its_authority_is_answered_and_others_do_not_call() {
    let authority = Authority::new("ours");
    let files = Files::by(&authority);
    let mut program = Program::serving(&files.options());

    Caller::trusting(&authority).call(&program).await.unwrap();

    let other = Caller::trusting(&Authority::new("other"));
    let error = other.call(&program).await.expect_err("it does not trust this server");
    assert!(error.contains("UnknownIssuer"), "{error}");
    let failed = program.logged("TLS handshake failed");
    assert!(failed["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{failed}");
    Caller::trusting(&authority).call(&program).await.unwrap();
}

#[tokio::test]
async fn a_plain_client_is_refused() {
    let authority = Authority::new("ours");
    let files = Files::by(&authority);
    let mut program = Program::serving(&files.options());
    let plain = Endpoint::from_shared(format!("http://{}", program.grpc)).unwrap();
    if let Ok(channel) = plain.timeout(PATIENCE).connect().await {
        answers(&mut ExternalScalerClient::new(channel)).await.expect_err("TLS is needed");
    }
    program.logged("TLS handshake failed");

    let mut http = TcpStream::connect(program.grpc).unwrap();
    http.set_read_timeout(Some(PATIENCE)).unwrap();
    http.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut reply = [0];
    http.read_exact(&mut reply).unwrap();
    assert_eq!(reply, [21], "a TLS alert");
}

#[tokio::test]
async fn with_authorities_for_clients_a_client_needs_a_certificate_by_one_of_them() {
    let (ours, clients, other) =
        (Authority::new("ours"), Authority::new("clients"), Authority::new("other"));
    let files = Files::by(&ours);
    files.put("ca.crt", &format!("{}{}", Authority::new("more").cert(), clients.cert()));
    let program = Program::serving(&files.options());

    let by = |authority: &Authority| Caller::trusting(&ours).showing(authority.issue("keda", &[]));
    by(&clients).call(&program).await.unwrap();
    let (_, page) = program.page("/metrics");
    for certificate in ["server", "client_authority"] {
        let series = format!(
            "keda_sift_certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\"}} "
        );
        let ends = page.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok());
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(ends.is_some_and(|ends| ends > now), "{certificate}: {ends:?} in {page}");
    }
    promtool_approves(&page);
    let rows = [
        ("none", Caller::trusting(&ours)),
        ("by another authority", by(&other)),
        ("by the server's authority", by(&ours)),
    ];
    for (certificate, caller) in rows {
        assert!(caller.call(&program).await.is_err(), "{certificate}: let in");
    }
    by(&clients).call(&program).await.unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_open_ones_go_on() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let (clients, later) = (Authority::new("clients"), Authority::new("later"));
    let files = Files::by(&before);
    files.put("ca.crt", &clients.cert());
    let mut program = Program::serving(&files.options());
    let old = Caller::trusting(&before).showing(clients.issue("keda", &[]));
    let mut open = old.call(&program).await.unwrap();

    files.renew(&after.issue("server", &[HOST]));
    files.put("ca.crt", &later.cert());
    program.logged("certificates have changed; new connections get them");
    let new = Caller::trusting(&after).showing(later.issue("keda", &[]));
    new.call(&program).await.unwrap();
    // This client could not connect again, so its connection is the one from before.
    assert!(old.call(&program).await.is_err());
    answers(&mut open).await.unwrap();

    let by_the_old = Caller::trusting(&after).showing(clients.issue("keda", &[]));
    assert!(by_the_old.call(&program).await.is_err(), "the authority for clients is the old one");
}

#[tokio::test]
async fn what_cannot_be_used_leaves_the_certificate_from_before_until_something_can() {
    const REFUSED: &str = "certificates have changed and cannot be used; the ones from before stay";
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let files = Files::by(&before);
    let mut program = Program::serving(&files.options());
    let renewed = after.issue("server", &[HOST]);

    files.put("tls.crt", &renewed.cert);
    let said = program.logged(REFUSED)["error"].to_string();
    assert!(said.contains("is not the key of the certificate"), "{said}");
    Caller::trusting(&before).call(&program).await.unwrap();

    fs::remove_file(files.path("tls.key")).unwrap();
    let said = program.logged(REFUSED)["error"].to_string();
    assert!(said.contains("tls.key: cannot be read"), "{said}");
    Caller::trusting(&before).call(&program).await.unwrap();

    files.put("tls.key", &renewed.key);
    program.logged("certificates have changed; new connections get them");
    Caller::trusting(&after).call(&program).await.unwrap();
}

#[tokio::test]
async fn clients_that_say_nothing_hold_up_neither_others_nor_the_end() {
    let authority = Authority::new("ours");
    let files = Files::by(&authority);
    let mut program = Program::serving(&files.options());
    let address = program.grpc;
    let silent = || TcpStream::connect(address).unwrap();
    let mut first = silent();
    let _more: Vec<_> = std::iter::repeat_with(silent).take(100).collect();
    let open = Caller::trusting(&authority).call(&program).await.unwrap();

    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "it is let go of");
    let failed = program.logged("TLS handshake failed");
    assert!(failed["error"].as_str().unwrap().contains("not done within"), "{failed}");

    let _silent = silent();
    drop(open);
    assert_eq!(program.end(), Some(0));
}

#[test]
fn files_that_cannot_be_used_are_an_error_that_names_option_file_and_reason() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let locked = other.issue_locked("server").key;
    let broken = "-----BEGIN CERTIFICATE-----\nTWFya2Vy\n-----END CERTIFICATE-----\n";
    let other_key = other.issue("server", &[HOST]).key;
    let (cert, key, ca) = ("tls.crt", "tls.key", "ca.crt");
    let rows = [
        (cert, None, "--tls-cert-file", "No such file"),
        (key, None, "--tls-key-file", "No such file"),
        (cert, Some("hello"), "--tls-cert-file", "has no certificate"),
        (cert, Some(broken), "--tls-cert-file", "is no certificate"),
        (key, Some("hello"), "--tls-key-file", "has no private key"),
        (key, Some(locked), "--tls-key-file", "not locked by a password"),
        (key, Some(other_key.as_str()), "--tls-key-file", "is not the key of the certificate"),
        (ca, Some(""), "--tls-client-ca-file", "has no certificate"),
        (ca, Some(broken), "--tls-client-ca-file", "is no certificate"),
    ];
    for (name, text, flag, reason) in rows {
        let files = Files::by(&ours);
        files.put(ca, &ours.cert());
        let options = files.options();
        match text {
            Some(text) => files.put(name, text),
            None => fs::remove_file(files.path(name)).unwrap(),
        }
        let error = refused(&options, 1);
        let file = files.path(name).display().to_string();
        for part in [flag, &file, reason] {
            assert!(error.contains(part), "no {part:?} in {error:?}");
        }
        assert_eq!(error.lines().count(), 1, "{error:?}");
    }
}

#[test]
fn an_option_without_those_it_needs_is_an_error_that_names_both() {
    let rows = [
        ("--tls-cert-file", "--tls-key-file"),
        ("--tls-key-file", "--tls-cert-file"),
        ("--tls-client-ca-file", "--tls-cert-file"),
    ];
    for (given, needed) in rows {
        let error = refused(&[given.to_owned(), "x.pem".to_owned()], 2);
        for part in [given, needed] {
            assert!(error.contains(part), "no {part:?} in {error:?}");
        }
    }
}
