//! `keda-sift check`: what is wrong with manifests, without asking anybody.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use sift_harness::program::keda_sift;
use tempfile::TempDir;

const WRONG: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata:
  name: thumbnails
  namespace: media
spec:
  triggers:
    - type: cron
      metadata: { start: '0 6 * * *' }
    - type: external
      metadata:
        scalerAddress: keda-sift.keda-sift:9090
        bootstrapServers: kafka:9092
        consumerGroup: thumbnails
        topic: uploads
        lagTreshold: '5'
        password: hunter2
        eventType: image\\..*
";

fn check(arguments: &[&str], input: &str) -> Output {
    let mut child = keda_sift()
        .arg("check")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program has been built");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it is UTF-8")
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_to_write() {
    let output = check(&["-"], WRONG);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[0], "scaledjob media/thumbnails  trigger 1");
    assert_eq!(
        lines[1],
        "× lagTreshold  is not a parameter; the nearest is lagThreshold  (-:16:9)"
    );
    assert!(!told.contains("hunter2"), "{told}");

    let mended = WRONG.replace("lagTreshold", "lagThreshold");
    let output = check(&["-"], &mended);
    assert_eq!(output.status.code(), Some(0), "what is in doubt is no error");
    let told = text(&output);
    assert!(
        told.starts_with(
            "scaledjob media/thumbnails  trigger 1  kafka topic uploads for group \"thumbnails\"\n\
             √ metadata           types image\\..*; 5 messages a Job\n\
             ! eventType          \"image\\\\..*\" is taken letter for letter"
        ) && told.contains("! offsetResetPolicy  a group that has committed nothing begins"),
        "{told}"
    );
}

#[test]
fn programs_get_the_same_as_json_and_yaml() {
    let json = check(&["-", "-o", "json"], WRONG);
    let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let trigger = &report["triggers"][0];
    assert_eq!((&trigger["name"], &trigger["trigger"]), (&"thumbnails".into(), &1.into()));
    let finding = &trigger["findings"][0];
    assert_eq!(finding["about"], "lagTreshold");
    assert_eq!((&finding["mark"], &finding["line"]), (&"error".into(), &16.into()));
    let yaml = check(&["-", "-o", "yaml"], WRONG);
    assert!(text(&yaml).contains("about: lagTreshold"), "{}", text(&yaml));
}

#[test]
fn a_folder_is_read_and_what_is_no_yaml_is_an_error() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("a.yaml"), WRONG).expect("a file");
    fs::write(folder.path().join("b.yml"), "kind: [").expect("a file");
    fs::write(folder.path().join("c.txt"), "kind: [").expect("a file");
    let output = check(&[folder.path().to_str().expect("UTF-8")], "");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("b.yml: ") && !told.contains("c.txt"), "{told}");
    assert!(told.contains("a.yaml:16:9"), "{told}");
    let missing = check(&["nowhere.yaml"], "");
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("nowhere.yaml: No such file"), "{}", text(&missing));
}

#[test]
fn every_example_is_free_of_errors() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples");
    let output = check(&[examples.to_str().expect("UTF-8")], "");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.lines().filter(|line| line.contains("  trigger ")).count() > 5, "{told}");
}

#[test]
fn without_a_cluster_nothing_is_asked_but_with_live_it_is() {
    let nobody = WRONG.replace("lagTreshold: '5'\n", "allowIdleConsumers: 'true'\n");
    let nobody = nobody.replace("kafka:9092", "127.0.0.1:9");
    let output = check(&["-", "--live", "--timeout", "3s"], &nobody);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("? count ") && told.contains("cannot be reached"), "{told}");
}
