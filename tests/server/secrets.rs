//! No secret is ever shown: not in a log line at any level, not in an answer, not in `Debug`
//! output.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use keda_sift::trigger::Trigger;
use sift_harness::{Broker, Listener, Message, Security, metadata};

/// Secrets that no broker knows, each found by its own word.
const PASSWORD: &str = "marker-password-5a1c";
const USERNAME: &str = "marker-username-7e2b";
const KEY_PASSWORD: &str = "marker-key-password-9d3f";
const UNKNOWN: &str = "marker-unknown-1b8e";
const FILTER: &str = "marker-filter-4c6a";

/// A block of PEM that looks like one and holds nothing.
const BROKEN_KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nbWFya2VyLWtleS0yZjlk\n-----END PRIVATE KEY-----";
const BROKEN_CERT: &str =
    "-----BEGIN CERTIFICATE-----\nbWFya2VyLWNlcnQtOGEzYg==\n-----END CERTIFICATE-----";
const BROKEN_CA: &str =
    "-----BEGIN CERTIFICATE-----\nbWFya2VyLWNhLTZjN2Q=\n-----END CERTIFICATE-----";

type Metadata = HashMap<String, String>;

/// Triggers that get in, that are refused, and that cannot be read, with a name each.
fn triggers(broker: &Broker) -> Vec<(&'static str, Metadata)> {
    let security = broker.security();
    let (client, locked, user) = (&security.client, &security.locked, security.user);
    let (tls, ca) = (("tls", "enable"), ("caFromEnv", security.ca.as_str()));
    let plain = ("sasl", "plaintext");
    let scram = ("sasl", "scram_sha512");
    let (username, password) = (("usernameFromEnv", user.name), ("passwordFromEnv", user.password));
    let cert = ("certFromEnv", client.cert.as_str());
    let key = ("keyFromEnv", client.key.as_str());
    let locked_keys = [("certFromEnv", locked.cert.as_str()), ("keyFromEnv", locked.key)];
    let filter = format!("headers[\"token\"] == \"{FILTER}\"");
    let servers = |listener| broker.bootstrap_on(listener);
    let trigger = |listener, keys: &[(&str, &str)]| {
        let servers = servers(listener);
        let base = [
            ("source", "kafka"),
            ("bootstrapServers", servers.as_str()),
            ("consumerGroup", "secrets"),
            ("topic", "secrets"),
            ("offsetResetPolicy", "earliest"),
        ];
        metadata(base.iter().chain(keys))
    };
    vec![
        ("let in with a certificate", trigger(Listener::Mtls, &[tls, ca, cert, key])),
        (
            "let in with an encrypted key",
            trigger(
                Listener::Mtls,
                &[tls, ca, locked_keys[0], locked_keys[1], ("keyPasswordFromEnv", locked.password)],
            ),
        ),
        ("let in with PLAIN", trigger(Listener::SaslPlaintext, &[plain, username, password])),
        ("let in with SCRAM", trigger(Listener::SaslSsl, &[tls, ca, scram, username, password])),
        (
            "let in, with a secret filter",
            trigger(
                Listener::SaslPlaintext,
                &[scram, username, password, ("filterFromEnv", &filter)],
            ),
        ),
        (
            "a wrong password",
            trigger(Listener::SaslPlaintext, &[plain, username, ("passwordFromEnv", PASSWORD)]),
        ),
        (
            "an unknown user",
            trigger(
                Listener::SaslSsl,
                &[tls, ca, scram, ("usernameFromEnv", USERNAME), ("passwordFromEnv", PASSWORD)],
            ),
        ),
        (
            "secrets without FromEnv",
            trigger(
                Listener::SaslPlaintext,
                &[scram, ("username", USERNAME), ("password", PASSWORD)],
            ),
        ),
        (
            "a wrong key password",
            trigger(
                Listener::Mtls,
                &[tls, ca, locked_keys[0], locked_keys[1], ("keyPasswordFromEnv", KEY_PASSWORD)],
            ),
        ),
        ("a broken key", trigger(Listener::Mtls, &[tls, ca, cert, ("keyFromEnv", BROKEN_KEY)])),
        (
            "a broken certificate",
            trigger(Listener::Mtls, &[tls, ca, ("certFromEnv", BROKEN_CERT), key]),
        ),
        ("a broken CA", trigger(Listener::Ssl, &[tls, ("caFromEnv", BROKEN_CA)])),
        (
            "everything where it does not belong",
            trigger(
                Listener::Ssl,
                &[
                    ("lagThresholdFromEnv", PASSWORD),
                    ("filterFromEnv", FILTER),
                    ("pasword", UNKNOWN),
                    ("usernameFromEnv", USERNAME),
                    ("ca", KEY_PASSWORD),
                    tls,
                    plain,
                ],
            ),
        ),
    ]
}

/// Everything that must not be found: secrets as they stand, and each line that a PEM block holds.
fn secrets(security: &Security) -> Vec<String> {
    let pem = [
        security.ca.as_str(),
        &security.client.cert,
        &security.client.key,
        &security.locked.cert,
        security.locked.key,
        BROKEN_KEY,
        BROKEN_CERT,
        BROKEN_CA,
    ];
    let lines = pem.iter().flat_map(|pem| pem.lines()).filter(|line| !line.starts_with("-----"));
    let words = [PASSWORD, USERNAME, KEY_PASSWORD, UNKNOWN, FILTER];
    let known = [security.user.name, security.user.password, security.locked.password];
    lines.chain(words).chain(known).map(str::to_owned).collect()
}

fn assert_hidden(secrets: &[String], shown: &str, place: &str) {
    for secret in secrets {
        if let Some(at) = shown.find(secret) {
            let before = shown[..at].rfind('\n').map_or(0, |end| end + 1);
            let line = shown[before..].lines().next().unwrap_or_default();
            panic!("{place} shows {secret:?}: {line}");
        }
    }
}

/// `keda-sift serve` with every log line there is, all of them kept. It is killed with the test.
struct Served {
    child: Child,
    logs: Option<JoinHandle<String>>,
    grpc: String,
}

impl Served {
    fn logging(level: &str, format: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keda-sift"))
            .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .env("SIFT_LOG", level)
            .env("SIFT_LOG_FORMAT", format)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut logs = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        let grpc = loop {
            let from = said.len();
            assert!(logs.read_line(&mut said).expect("a log") > 0, "ended: {said}");
            let address = said[from..].split("grpc").nth(1).and_then(|rest| {
                let rest = rest.trim_start_matches(['"', ':', '=']);
                Some(rest.split([' ', '"']).next()?.to_owned())
            });
            if let Some(address) = address {
                break address;
            }
        };
        let rest = move || {
            for line in logs.lines() {
                said.push_str(&line.expect("a log of text"));
                said.push('\n');
            }
            said
        };
        Self { child, logs: Some(std::thread::spawn(rest)), grpc }
    }

    /// Ends it as Kubernetes does, and gives all that it has logged.
    fn end(mut self) -> String {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        assert!(self.child.wait().expect("an end").success());
        self.logs.take().expect("taken once").join().expect("the reader ends")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Ended already, as a rule.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn reference(name: &str, metadata: Metadata) -> ScaledObjectRef {
    ScaledObjectRef {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        scaler_metadata: metadata,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_and_no_answer_shows_a_secret_at_any_level_in_any_format() {
    let broker = Broker::secured();
    broker.topic("secrets").create().await;
    broker.produce("secrets", Message::of_type("a").header("token", "none").body("{}")).await;
    let secrets = secrets(broker.security());
    for (level, format) in
        [("trace", "text"), ("trace", "json"), ("debug", "text"), ("info", "json")]
    {
        let served = Served::logging(level, format);
        let url = format!("http://{}", served.grpc);
        let mut client = ExternalScalerClient::connect(url).await.expect("the scaler listens");
        let mut counts = 0;
        for (name, metadata) in triggers(broker) {
            let reference = reference(name, metadata);
            let mut answers = String::new();
            let spec = client.get_metric_spec(reference.clone()).await;
            answers.push_str(&format!("{spec:?}\n"));
            // As KEDA does: what fails is asked a second time.
            for _ in 0..2 {
                let asked = GetMetricsRequest {
                    scaled_object_ref: Some(reference.clone()),
                    metric_name: String::new(),
                };
                let metrics = client.get_metrics(asked).await;
                assert_eq!(metrics.is_ok(), name.starts_with("let in"), "{name}: {metrics:?}");
                counts += usize::from(metrics.is_ok());
                answers.push_str(&format!("{metrics:?}\n"));
            }
            let active = client.is_active(reference.clone()).await;
            let stream = client.stream_is_active(reference).await.map(drop);
            answers.push_str(&format!("{active:?} {stream:?}\n"));
            assert_hidden(&secrets, &answers, name);
        }
        assert!(counts > 0);
        drop(client);
        let logs = served.end();
        assert_hidden(&secrets, &logs, &format!("the log at {level} as {format}"));
        // The log was there to be searched, refused logins included.
        assert!(logs.contains("serving") && logs.contains("ended"), "{logs}");
        assert_eq!(logs.contains("TRACE"), level == "trace");
        assert_eq!(logs.contains("the broker refused the"), level != "info");
    }
}

#[test]
fn no_debug_output_shows_a_secret() {
    let broker = Broker::secured();
    let secrets = secrets(broker.security());
    for (name, metadata) in triggers(broker) {
        let decoded = Trigger::decode(&metadata);
        // A filter is a rule, not a credential: whoever has the trigger in hand may read it.
        let shown = format!("{decoded:?} {decoded:#?}").replace(FILTER, "");
        assert_hidden(&secrets, &shown, name);
        let reference = reference(name, metadata);
        let asked = GetMetricsRequest {
            scaled_object_ref: Some(reference.clone()),
            metric_name: String::new(),
        };
        assert_hidden(&secrets, &format!("{reference:?} {asked:?} {asked:#?}"), name);
    }
}
