//! `keda-sift check --cluster` on a real API server with KEDA's operator: what KEDA made of an
//! object, which Jobs there are, and that as many start as it says.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::ListParams;
use kubernetes_api::programs::Program as Tool;
use kubernetes_api::{ADMIN, ApiServer};
use serde_json::{Value, json};
use sift_harness::program::{Program, keda_sift};
use sift_harness::{Broker, Message};
use tokio::task::spawn_blocking;
use tokio::time::{Duration, sleep};

/// Longer than a test: each ScaledJob is polled when KEDA starts, and not again.
const SECONDS: u64 = 600;

async fn run(mut command: Command, manifest: &str) -> Output {
    let manifest = manifest.to_owned();
    let run = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is there");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut stdin, manifest.as_bytes()).ok();
        drop(stdin);
        child.wait_with_output().expect("it ends")
    };
    spawn_blocking(run).await.expect("it ends")
}

async fn check(api: &ApiServer, user: &str, arguments: &[&str], manifest: &str) -> Output {
    let mut command = keda_sift();
    command.args(["check", "-", "--cluster"]).args(arguments);
    command.arg("--kubeconfig").arg(api.kubeconfig(user));
    run(command, manifest).await
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn scaled_job(namespace: &str, name: &str, spec: &Value, triggers: &[Value]) -> Value {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledJob",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "pollingInterval": SECONDS,
            "rollout": { "strategy": "gradual" },
            "jobTargetRef": { "template": { "spec": {
                "restartPolicy": "Never",
                "containers": [{ "name": "job", "image": "job",
                    "env": [{ "name": "BROKERS_OF_CLUSTER", "valueFrom": { "secretKeyRef": {
                        "name": "kafka", "key": "brokers" } } }] }],
            } } },
            "triggers": triggers,
        },
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    object
}

fn trigger(address: &str, topic: &str, event_type: &str) -> Value {
    json!({ "type": "external", "metadata": {
        "scalerAddress": address, "source": "kafka", "bootstrapServersFromEnv": "BROKERS_OF_CLUSTER",
        "consumerGroup": "check", "topic": topic, "offsetResetPolicy": "earliest",
        "lagThreshold": "1", "allowIdleConsumers": "true", "eventType": event_type } })
}

fn secret(namespace: &str, bootstrap: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "kafka", "namespace": namespace },
        "stringData": { "brokers": bootstrap } })
}

fn yaml(objects: &[Value]) -> String {
    objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// The Jobs of a ScaledJob.
async fn jobs(api: &ApiServer, namespace: &str, name: &str) -> usize {
    let jobs: Api<Job> = Api::namespaced(api.admin(), namespace);
    let params = ListParams::default().labels(&format!("scaledjob.keda.sh/name={name}"));
    jobs.list(&params).await.expect("Jobs").items.len()
}

/// Jobs as KEDA makes them: `running` with a Pod that runs, and `pending` without.
async fn present(api: &ApiServer, namespace: &str, name: &str, running: usize, pending: usize) {
    let container = json!({ "name": "job", "image": "job" });
    for number in 0..running + pending {
        let job = format!("{name}-before-{number}");
        let made = json!({ "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "name": job, "namespace": namespace,
                "labels": { "scaledjob.keda.sh/name": name } },
            "spec": { "template": { "spec": {
                "restartPolicy": "Never", "containers": [container] } } } });
        api.apply(&made.to_string()).await;
        if number < running {
            let pod = json!({ "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": job, "namespace": namespace, "labels": { "job-name": job } },
                "spec": { "restartPolicy": "Never", "containers": [container] } });
            api.apply(&pod.to_string()).await;
            let status = ["patch", "pod", &job, "-n", namespace, "--subresource=status"];
            let patch = ["--type=merge", "-p", r#"{"status":{"phase":"Running"}}"#];
            api.kubectl(&[&status[..], &patch].concat()).await.expect("a Pod that runs");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn as_many_jobs_start_as_it_says() {
    const TOPIC: &str = "check-cluster-starts";
    let (api, broker) = (ApiServer::shared().await, Broker::shared());
    let namespace = api.namespace("starts").await;
    broker.topic(TOPIC).create().await;
    let scaler = Program::serving::<&str>(&[]);
    let address = scaler.grpc.to_string();
    let of_type = |event_type| trigger(&address, TOPIC, event_type);
    let (one, two) = ([of_type("paid")], [of_type("paid"), of_type("made")]);
    let strategy = |text: &str| {
        let strategy: Value = serde_json::from_str(text).expect("JSON");
        json!({ "maxReplicaCount": 6, "scalingStrategy": strategy })
    };
    // 5 messages are paid and 2 are made.
    let rows: Vec<(&str, Value, &[Value], usize, usize, u64)> = vec![
        ("default", strategy(r#"{"strategy":"default"}"#), &one, 1, 1, 3),
        ("at-most", json!({ "maxReplicaCount": 3 }), &one, 1, 0, 2),
        ("accurate", strategy(r#"{"strategy":"accurate"}"#), &one, 0, 2, 3),
        ("eager", strategy(r#"{"strategy":"eager"}"#), &one, 1, 1, 3),
        (
            "custom",
            strategy(
                r#"{"strategy":"custom","customScalingQueueLengthDeduction":1,
                    "customScalingRunningJobPercentage":"0.5"}"#,
            ),
            &one,
            2,
            0,
            3,
        ),
        ("sum", strategy(r#"{"multipleScalersCalculation":"sum"}"#), &two, 0, 0, 6),
        ("min", strategy(r#"{"multipleScalersCalculation":"min"}"#), &two, 1, 0, 1),
        ("enough", json!({ "maxReplicaCount": 6 }), &one, 5, 0, 0),
    ];
    let mut objects = vec![secret(&namespace, broker.bootstrap())];
    for (name, spec, triggers, ..) in &rows {
        objects.push(scaled_job(&namespace, name, spec, triggers));
    }
    let manifest = yaml(&objects);
    api.apply(&manifest).await;
    // A new ScaledJob is polled twice; one that is known, once.
    let mut keda = api.keda(&namespace).await;
    let are_ready = async || {
        let status = ["get", "scaledjobs", "-n", &namespace, "-o", "json"];
        let all: Value =
            serde_json::from_str(&api.kubectl(&status).await.expect("ScaledJobs")).expect("JSON");
        let items = all["items"].as_array().expect("a list");
        items.iter().all(|it| it["status"]["triggersActivity"].is_object())
    };
    keda.until("each has been polled", are_ready).await;
    drop(keda);
    for (name, _, _, running, pending, _) in &rows {
        present(api, &namespace, name, *running, *pending).await;
    }
    let messages = (0..7).map(|n| Message::of_type(if n < 5 { "paid" } else { "made" }));
    broker.produce_all(TOPIC, messages).await;

    // What the container's Secret holds is in the file, and in the cluster.
    let scaled_only = yaml(&objects[1..]);
    for manifest in [&manifest, &scaled_only] {
        let output = check(api, ADMIN, &["--live", "-o", "json"], manifest).await;
        let report: Value = serde_json::from_slice(&output.stdout).expect(&text(&output));
        for ((name, .., expected), of) in
            rows.iter().zip(report["objects"].as_array().expect("a list"))
        {
            assert_eq!((&of["name"], &of["starts"]), (&json!(name), &json!(expected)), "{of:#}");
        }
    }
    let mut keda = api.keda(&namespace).await;
    keda.until("it starts what it starts", async || {
        let mut have = true;
        for (name, _, _, running, pending, expected) in &rows {
            let wanted = running + pending + *expected as usize;
            have &= jobs(api, &namespace, name).await >= wanted;
        }
        have
    })
    .await;
    sleep(Duration::from_secs(3)).await;
    for (name, _, _, running, pending, expected) in &rows {
        let started = jobs(api, &namespace, name).await - running - pending;
        assert_eq!(started as u64, *expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn what_keda_made_of_an_object_is_told() {
    const TOPIC: &str = "check-cluster-told";
    let (api, broker) = (ApiServer::shared().await, Broker::shared());
    let namespace = api.namespace("told").await;
    let elsewhere = api.namespace("sift").await;
    broker.topic(TOPIC).create().await;
    broker.produce_all(TOPIC, vec![Message::of_type("paid"); 2]).await;
    let scaler = Program::serving::<&str>(&[]);
    let address = scaler.grpc.to_string();
    let in_service = |host: &str| format!("{host}.{elsewhere}:9090");
    let object = |name: &str, address: &str| {
        // KEDA gives up the first poll of a new one, so there has to be another.
        let often = json!({ "pollingInterval": 3 });
        scaled_job(&namespace, name, &often, &[trigger(address, TOPIC, "paid")])
    };
    let mut paused = object("paused", &address);
    paused["metadata"]["annotations"] = json!({ "autoscaling.keda.sh/paused": "true" });
    let objects = [
        object("well", &address),
        object("astray", "keda-sift.nowhere:9090"),
        object("no-pods", &in_service("empty")),
        object("other-port", &in_service("empty").replace("9090", "9099")),
        object("by-service", &in_service("full")),
        paused,
        object("failing", &address.clone()),
        object("absent", &address),
    ];
    let mut applied = vec![secret(&namespace, broker.bootstrap())];
    applied.extend_from_slice(&objects[..7]);
    applied[7]["spec"]["triggers"][0]["metadata"]["topic"] = json!("check-never-made");
    let service = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name,
            "namespace": elsewhere, "labels": { "app.kubernetes.io/name": "keda-sift" } },
            "spec": { "clusterIP": "None", "ports": [{ "name": "grpc", "port": 9090 }] } })
    };
    let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "full-1", "namespace": elsewhere,
            "labels": { "kubernetes.io/service-name": "full" } },
        "addressType": "IPv4", "ports": [{ "name": "grpc", "port": 9090 }],
        "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": true } },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": false } }] });
    applied.extend([service("empty"), service("full"), slice]);
    api.apply(&yaml(&applied)).await;
    let mut keda = api.keda(&namespace).await;
    let started = async || jobs(api, &namespace, "well").await >= 2;
    keda.until("a Job starts for each message", started).await;

    let manifest = yaml(&objects);
    let expected: &[(&str, &[&str])] = &[
        (
            "well",
            &[
                "is no Service of this cluster; it answers",
                "√ count",
                "polls s0-kafka-check-cluster-told, active",
                "as in the file",
                "Ready, active",
                "2 running, 2 pending, at most 100: 0 would start",
            ],
        ),
        (
            "astray",
            &[
                "× scalerAddress",
                "keda-sift.nowhere:9090 has no Service; here it is ",
                "has never had an answer for this trigger",
            ],
        ),
        ("no-pods", &["has no Pod that is ready"]),
        ("other-port", &["has no such port; the Service has 9090"]),
        ("by-service", &["has 1 ready endpoints; it cannot be called from outside"]),
        ("paused", &["! keda", "is paused, and nothing is started", "0 start while it is paused"]),
        (
            "failing",
            &[
                "its spec.triggers[0].metadata.topic differs from the file",
                "× keda           TriggerError",
                "! event",
                "KEDAScalerFailed: rpc error: code = NotFound",
                "check-never-made",
            ],
        ),
        ("absent", &["! cluster", "is not in namespace", "0 running, 0 pending"]),
    ];
    let mut told = String::new();
    let missing = |told: &str| {
        let blocks: Vec<&str> = told.split("\n\n").collect();
        let of = |name: &str| blocks.iter().find(|it| it.contains(&format!("/{name}  ")));
        let mut missing = Vec::new();
        for (name, parts) in expected {
            let block = of(name).copied().unwrap_or_default();
            missing.extend(parts.iter().filter(|it| !block.contains(**it)).map(|it| (*name, *it)));
        }
        missing
    };
    // KEDA writes its status a while after it has polled.
    for _ in 0..40 {
        let output = check(api, ADMIN, &["--live"], &manifest).await;
        told = text(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        if missing(&told).is_empty() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(missing(&told).is_empty(), "{:?} in\n{told}", missing(&told));
    let (well, _) = told.split_once("\n\n").expect("several blocks");
    assert!(!well.contains(broker.bootstrap()), "what the Secret holds is shown:\n{told}");

    // Without rights.
    let output = check(api, "nobody", &["--live", "-n", &namespace], &yaml(&objects[..1])).await;
    let told = text(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for right in ["get scaledjobs", "list jobs", "get secrets"] {
        let words = format!("the right to {right} in namespace {namespace} is missing");
        assert!(told.contains(&words), "{words}\n{told}");
    }
    assert!(!told.contains("would start"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn it_is_a_plugin_of_kubectl() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = keda_sift().get_program().to_owned();
    let plugin = folder.path().join("kubectl-keda_sift");
    std::os::unix::fs::symlink(Path::new(&program), plugin).expect("a link");
    // What builds kubectl may take its time.
    let kubectl = spawn_blocking(|| Tool::Kubectl.path()).await.expect("kubectl");
    let run_plugin = async |arguments: &[&str], input: &str| {
        let mut command = Command::new(&kubectl);
        command.arg("keda-sift").args(arguments).env("PATH", folder.path());
        text(&run(command, input).await)
    };
    let told = run_plugin(&["check", "--help"], "").await;
    assert!(told.contains("Usage: kubectl keda-sift check [OPTIONS] <FILE>..."), "{told}");
    let told = run_plugin(&["check", "-"], "kind: ScaledJob").await;
    assert!(told.starts_with("scaledjob default/?\n× apiVersion"), "{told}");
}
