//! What the pages and `--help` say to ask with grpcurl, run as it is printed. Only what a reader
//! replaces is replaced: the addresses of the server and of the broker, and the cluster that kubectl
//! talks to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use kubernetes_api::programs::Program as Tool;
use serde_json::{Value, json};
use sift_harness::program::{Program, keda_sift};
use sift_harness::{Authority, Broker, Message};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

const GO_MOD: &str = include_str!("../support/kubernetes/go/grpcurl/go.mod");
const README: &str = include_str!("../../README.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");

/// How many blocks the pages have at least, so that one that is no more found is noticed.
const LEAST: usize = 3;

/// What a block is expected to print.
enum Expected {
    /// The value of the one metric.
    Value(u64),
    /// The names of services, and the value of the one metric.
    Names(u64),
    /// What is wrong.
    Error,
    /// A trigger that fails, in a list and explained.
    Failing,
}

/// A file of blocks to run in a shell: each with the page that it is of.
fn blocks() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages = vec![("README.md".to_owned(), README.to_owned())];
    for entry in fs::read_dir(folder).expect("docs") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        pages.push((name, fs::read_to_string(path).expect("text")));
    }
    let mut blocks = Vec::new();
    for (page, text) in pages {
        // A block may stand within a list.
        for block in text.split("```sh\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            if block.contains("grpcurl -") {
                blocks.push((page.clone(), block.to_owned()));
            }
        }
    }
    blocks
}

/// The examples of `keda-sift serve --help`, without the one that serves.
fn help() -> String {
    let help = keda_sift().args(["serve", "--help"]).stdout(std::process::Stdio::piped()).output();
    let help = String::from_utf8(help.expect("it runs").stdout).expect("UTF-8");
    let (_, examples) = help.split_once("Example:").expect("examples");
    let lines = examples.lines().filter(|line| {
        (line.starts_with("  grpcurl ") || line.starts_with("    ")) && !line.is_empty()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs a block in a folder, with programs of it before all others.
fn run(block: &str, folder: &Path) -> Output {
    let grpcurl = Tool::Grpcurl.path().parent().expect("a folder");
    let path = format!(
        "{}:{}:{}",
        folder.display(),
        grpcurl.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", block]).current_dir(folder).env("PATH", path);
    bash.output().expect("bash")
}

/// The JSON documents of an answer, behind lines that are none.
fn documents(text: &str) -> Vec<Value> {
    let json = text.find('{').map_or("", |at| &text[at..]);
    let each = serde_json::Deserializer::from_str(json).into_iter::<Value>();
    each.map(|document| document.expect("JSON")).collect()
}

/// A program that stands for kubectl: it prints the files of the folder as a Secret has them.
fn stand_in_for_kubectl(folder: &Path) {
    let script = r#"#!/bin/sh
case "$1 $2 $3 $4 $5" in
"get secret keda-sift-client -n keda-sift" | "get secret keda-sift-diagnostics -n keda-sift") ;;
*) exit 1 ;;
esac
key=$(printf '%s' "$7" | sed 's/^jsonpath={.data.//; s/}$//; s/\\//g')
base64 -w 0 "secret/$key"
"#;
    let path = folder.join("kubectl");
    fs::write(&path, script).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("rights");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pages_say_to_ask_is_answered_as_they_say() {
    let broker = Broker::shared();
    broker.topic("uploads").create().await;
    let messages = (0..5).map(|n| Message::of_type(if n < 3 { "image.uploaded" } else { "other" }));
    broker.produce_all("uploads", messages).await;
    broker.commit("thumbnails", "uploads", [(0, 0)]).await;
    spawn_blocking(ask_all).await.expect("what is asked");
}

fn ask_all() {
    let authority = Authority::new("cluster");
    let folder = TempDir::with_prefix("keda-sift-grpcurl-").expect("a folder");
    let secret = folder.path().join("secret");
    fs::create_dir(&secret).expect("a folder");
    let (server, client) =
        (authority.issue("server", &["keda-sift.keda-sift"]), authority.issue("keda", &[]));
    for (name, text) in [
        ("ca.crt", authority.cert()),
        ("tls.crt", client.cert.clone()),
        ("tls.key", client.key.clone()),
        ("server.crt", server.cert.clone()),
        ("server.key", server.key.clone()),
        ("token", "a token".to_owned()),
    ] {
        fs::write(secret.join(name), text).expect("a file");
    }
    stand_in_for_kubectl(folder.path());
    let path = |name: &str| secret.join(name).display().to_string();
    let plain = Program::serving::<&str>(&[]);
    let secured = Program::serving(&[
        "--tls-cert-file".to_owned(),
        path("server.crt"),
        "--tls-key-file".to_owned(),
        path("server.key"),
        "--tls-client-ca-file".to_owned(),
        path("ca.crt"),
    ]);

    let token = path("token");
    let telling = Program::serving(&["--diagnostics", "token", "--diagnostics-token-file", &token]);
    let poll =
        r#"grpcurl -plaintext -d '{"scaledObjectRef":{"namespace":"shop","name":"thumbnails"}}'"#;
    let poll = format!("{poll} {} externalscaler.ExternalScaler/GetMetrics", telling.grpc);
    assert!(!run(&poll, folder.path()).status.success(), "it has no source");

    let mut blocks = blocks();
    assert!(blocks.len() >= LEAST, "{blocks:#?}");
    blocks.push(("--help".to_owned(), help()));
    for (page, block) in blocks {
        let is_secured = block.contains("-cert ");
        let is_told = block.contains("sift.v1.Diagnostics");
        let server = match (is_secured, is_told) {
            (true, _) => secured.grpc,
            (false, true) => telling.grpc,
            (false, false) => plain.grpc,
        };
        let bootstrap = Broker::shared().bootstrap();
        let asked = block
            .replace("localhost:9090", &server.to_string())
            .replace("127.0.0.1:9090", &server.to_string())
            .replace("kafka:9092", bootstrap)
            .replace("127.0.0.1:9092", bootstrap);
        let output = run(&asked, folder.path());
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = match (is_secured, block.contains(" list\n")) {
            _ if is_told => Expected::Failing,
            (true, _) => Expected::Error,
            (false, true) => Expected::Names(3),
            (false, false) => Expected::Value(3),
        };
        let value = |expected: u64| {
            let metric = json!({
                "metricName": "kafka-uploads",
                "metricValue": expected.to_string(),
                "metricValueFloat": expected,
            });
            let expected = json!({ "metricValues": [metric] });
            assert_eq!(documents(&told), [expected], "{page}: {block}\n{told}{wrong}");
        };
        match expected {
            Expected::Value(count) => value(count),
            Expected::Names(count) => {
                for name in ["externalscaler.ExternalScaler\n", "grpc.health.v1.Health\n"] {
                    assert!(told.contains(name), "{page}: {told}{wrong}");
                }
                value(count);
            }
            Expected::Failing => {
                let [listed, explained] = &documents(&told)[..] else {
                    panic!("{page}: {block}\n{told}{wrong}")
                };
                assert_eq!(listed["triggers"][0]["name"], "thumbnails", "{listed}");
                assert_eq!(explained["sourceError"]["code"], "InvalidArgument", "{explained}");
            }
            Expected::Error => {
                let code = "Code: InvalidArgument";
                let fits = wrong.contains(code) && wrong.contains("bootstrapServers: is missing");
                assert!(fits, "{page}: {block}\n{told}{wrong}");
            }
        }
    }
}

/// The answer that the page shows is that of its question, and grpcurl is the one that is tested.
#[test]
fn the_page_shows_the_answer_and_the_version_that_are_tested() {
    let (_, shown) = TROUBLESHOOTING.split_once("```json\n").expect("an answer");
    let shown: Value =
        serde_json::from_str(shown.split("```").next().expect("text")).expect("JSON");
    let metric = &shown["metricValues"][0];
    assert_eq!(
        (&metric["metricName"], &metric["metricValue"]),
        (&"kafka-uploads".into(), &"3".into())
    );
    let version = GO_MOD
        .lines()
        .find_map(|line| line.trim().strip_prefix("github.com/fullstorydev/grpcurl "));
    let version = version.and_then(|rest| rest.split(' ').next()).expect("a version");
    let install = format!("go install github.com/fullstorydev/grpcurl/cmd/grpcurl@{version}");
    assert!(TROUBLESHOOTING.contains(&install), "the page does not say: {install}");
}
