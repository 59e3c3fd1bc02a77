//! `keda-sift check`: what is wrong with manifests, without asking anybody.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use serde_json::Value;
use sift_harness::metadata;
use sift_harness::program::{Program, keda_sift};
use tempfile::TempDir;
use tonic::transport::Channel;

const WRONG: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata:
  name: thumbnails
  namespace: media
spec:
  rollout: { strategy: gradual }
  jobTargetRef:
    template:
      spec:
        restartPolicy: Never
        containers:
          - name: worker
            image: registry.example.com/thumbnails:1
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
    // It may have read enough.
    std::io::Write::write_all(&mut stdin, input.as_bytes()).ok();
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
    assert!(
        lines.contains(
            &"× lagTreshold  is not a parameter; the nearest is lagThreshold  (-:24:9)  …#parameters"
        ),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");

    let mended = WRONG.replace("lagTreshold", "lagThreshold");
    let output = check(&["-"], &mended);
    assert_eq!(output.status.code(), Some(0), "what is in doubt is no error");
    let told = text(&output);
    for part in [
        "scaledjob media/thumbnails  trigger 1  kafka topic uploads for group \"thumbnails\"\n\
         √ metadata           types image\\..*; 5 messages per Job\n",
        "! eventType          \"image\\\\..*\" is taken letter for letter",
        "! offsetResetPolicy  is missing; a group that has committed nothing begins",
        "! password           stands in the manifest",
        "\n… is https://github.com/keda-sift/keda-sift/blob/main/docs/troubleshooting.md\n",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}

#[test]
fn programs_get_the_same_as_json_and_yaml() {
    let json = check(&["-", "-o", "json"], WRONG);
    let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let object = &report["objects"][0];
    assert_eq!((&object["kind"], &object["name"]), (&"ScaledJob".into(), &"thumbnails".into()));
    let trigger = &object["triggers"][0];
    assert_eq!(trigger["number"], 1);
    let findings = trigger["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|it| it["about"] == "lagTreshold").expect("it is told");
    assert_eq!((&finding["mark"], &finding["line"]), (&"error".into(), &24.into()));
    assert!(finding["see"].as_str().is_some_and(|see| see.ends_with(".md#parameters")));
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
    assert!(told.contains("a.yaml:24:9"), "{told}");
    let missing = check(&["nowhere.yaml"], "");
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("nowhere.yaml: No such file"), "{}", text(&missing));
}

#[test]
fn the_folders_of_a_folder_are_read_if_asked_for() {
    let folder = TempDir::new().expect("a folder");
    let within = folder.path().join("within");
    fs::create_dir(&within).expect("a folder");
    fs::write(within.join("a.yaml"), WRONG).expect("a file");
    let folder = folder.path().to_str().expect("UTF-8");
    assert!(text(&check(&[folder], "")).starts_with("there is nothing to check"));
    assert!(text(&check(&["-R", folder], "")).contains("within/a.yaml:24:9"));
}

#[test]
fn every_example_is_free_of_errors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifests = root.join("manifests");
    let output = check(&["-R", manifests.to_str().expect("UTF-8")], "");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.lines().filter(|line| line.contains("  trigger ")).count() > 10, "{told}");
    assert!(!told.contains("\n× ") && !told.contains("\n? "), "{told}");
}

/// Each file has one mistake, and begins with what is said of it.
#[test]
fn each_mistake_is_told_with_its_place_and_what_to_do() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/check/broken");
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let shown = path.to_str().expect("UTF-8");
        let manifest = fs::read_to_string(&path).expect("a manifest");
        let expected: Vec<_> = manifest.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let output = check(&[shown], "");
        let told = text(&output).replace(&format!("{shown}:"), "").replace("×  ", "× ");
        let is_finding = |line: &&str| ["× ", "! ", "? "].iter().any(|it| line.starts_with(it));
        let told: Vec<_> = told
            .lines()
            .filter(is_finding)
            .map(|line| {
                line.split("  ").filter(|part| !part.is_empty()).map(str::trim).collect::<Vec<_>>()
            })
            .map(|parts| parts.join("  "))
            .collect();
        assert_eq!(told, expected, "{shown}");
        let is_wrong = expected.iter().any(|line| line.starts_with('×'));
        assert_eq!(output.status.code(), Some(i32::from(is_wrong)), "{shown}");
        files += 1;
    }
    assert!(files > 90, "{files} files");
}

#[test]
fn what_is_too_large_is_not_cut() {
    let line = "# a comment of a file that has no end, or nearly so\n";
    let mut large = line.repeat((16 << 20) / line.len() + 1);
    large.push_str(WRONG);
    let output = check(&["-"], &large);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("-: is larger than 16 MiB"), "{}", text(&output));
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

#[test]
fn it_looks_again_until_it_is_told_to_end() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("a.yaml");
    fs::write(&file, WRONG).expect("a file");
    let mut child = keda_sift()
        .arg("check")
        .arg(&file)
        .arg("--watch=50ms")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program has been built");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut until = |part: &str| {
        let found = lines.by_ref().any(|line| line.expect("text").contains(part));
        assert!(found, "it ended without {part}");
    };
    until("× lagTreshold");
    until("… is https://");
    // The next one is apart from it.
    until("× lagTreshold");
    let mended = WRONG.replace("lagTreshold", "lagThreshold");
    fs::write(folder.path().join("b.yaml"), mended).expect("a file");
    fs::rename(folder.path().join("b.yaml"), &file).expect("a file");
    until("√ metadata");
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().expect("sh").success());
    lines.for_each(drop);
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "as of the last look");
}

#[test]
fn as_a_plugin_of_kubectl_it_calls_itself_so() {
    let folder = TempDir::new().expect("a folder");
    let plugin = folder.path().join("kubectl-keda_sift");
    std::os::unix::fs::symlink(keda_sift().get_program(), &plugin).expect("a link");
    let help = |program: &Path| {
        let output = Command::new(program).args(["check", "--help"]).output().expect("a program");
        text(&output)
    };
    assert!(help(&plugin).contains("Usage: kubectl keda-sift check"));
    assert!(help(Path::new(keda_sift().get_program())).contains("Usage: keda-sift check"));
}

/// krew takes no plugin without these.
#[test]
fn the_manifest_for_krew_has_what_a_release_fills_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("packaging/krew/keda-sift.yaml")).expect("a file");
    let plugin: Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(plugin["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(
        (&plugin["kind"], &plugin["metadata"]["name"]),
        (&"Plugin".into(), &"keda-sift".into())
    );
    let spec = &plugin["spec"];
    assert_eq!(spec["version"], "vVERSION");
    let short = spec["shortDescription"].as_str().expect("text");
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    let platforms = spec["platforms"].as_array().expect("a list");
    assert_eq!(platforms.len(), 2);
    for platform in platforms {
        let of = |key: &str| platform["selector"]["matchLabels"][key].as_str().expect("text");
        let (os, arch) = (of("os"), of("arch"));
        let archive = format!("/download/vVERSION/keda-sift-vVERSION-{os}-{arch}.tar.gz");
        assert!(platform["uri"].as_str().is_some_and(|uri| uri.ends_with(&archive)), "{archive}");
        let sum = format!("SHA256_{}_{}", os.to_uppercase(), arch.to_uppercase());
        assert_eq!((&platform["sha256"], &platform["bin"]), (&sum.into(), &"keda-sift".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_says_what_keda_has_asked_it() {
    let folder = TempDir::new().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, "a token").expect("it takes a file");
    let token = token.display().to_string();
    let program = Program::serving(&["--diagnostics", "token", "--diagnostics-token-file", &token]);
    let manifest = "apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: { name: thumbnails, namespace: media }
spec:
  rollout: { strategy: gradual }
  jobTargetRef:
    template: { spec: { restartPolicy: Never, containers: [{ name: a, image: b }] } }
  triggers:
    - type: external
      metadata:
        scalerAddress: keda-sift.keda-sift:9090
        bootstrapServers: 127.0.0.1:1
        consumerGroup: thumbnails
        topic: uploads
";
    let server = format!("http://{}", program.grpc);
    let look = |arguments: &[&str]| {
        let output = check(&[&["-", "--server", &server], arguments].concat(), manifest);
        (output.status.code(), text(&output))
    };
    let (code, told) = look(&[]);
    assert!(code == Some(2) && told.contains("see --server-token-file"), "{told}");
    let (code, told) = look(&["--server-token-file", &token]);
    assert!(code == Some(1) && told.contains("KEDA has not asked it about this trigger"), "{told}");

    let channel = Channel::from_shared(server.clone()).expect("a URL").connect().await;
    let mut keda = ExternalScalerClient::new(channel.expect("it listens"));
    let rows = [
        ("scalerAddress", "keda-sift.keda-sift:9090"),
        ("bootstrapServers", "127.0.0.1:1"),
        ("consumerGroup", "thumbnails"),
        ("topic", "uploads"),
    ];
    let asked = ScaledObjectRef {
        name: "thumbnails".to_owned(),
        namespace: "media".to_owned(),
        scaler_metadata: metadata(&rows),
    };
    let asked = GetMetricsRequest { scaled_object_ref: Some(asked), metric_name: String::new() };
    let why = keda.get_metrics(asked).await.expect_err("there is no broker");
    let (code, told) = look(&["--server-token-file", &token]);
    let expected = format!("s ago it answered Unavailable: {}", why.message());
    assert!(code == Some(1) && told.contains(&expected), "{told}");

    let nowhere = check(&["-", "--server", "http://127.0.0.1:1"], manifest);
    let told = text(&nowhere);
    assert!(nowhere.status.code() == Some(2) && told.contains("cannot be reached"), "{told}");
}
