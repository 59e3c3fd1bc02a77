//! What `manifests/examples` shows: the API server takes every object, the Jobs that KEDA would
//! make of it, and their Pods, also where Pods are restricted.

use std::fs;
use std::path::{Path, PathBuf};

use kubernetes_api::ApiServer;
use serde_json::{Value, json};

/// The examples, by their paths.
fn examples() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples")];
    let mut examples = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of examples") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).expect("an example");
                examples.push((path, text));
            }
        }
    }
    assert!(!examples.is_empty());
    examples
}

/// KEDA's definitions at hand have no ClusterTriggerAuthentication. Its spec is that of a
/// TriggerAuthentication.
fn of_kinds_at_hand(example: &str) -> String {
    let of_cluster = "\nkind: ClusterTriggerAuthentication\n";
    example.replace(of_cluster, "\nkind: TriggerAuthentication\n")
}

/// The ScaledJobs of an example, as the server understands them.
async fn scaled_jobs(api: &ApiServer, path: &Path, example: &str) -> Vec<Value> {
    let objects = api.dry_run(&of_kinds_at_hand(example)).await;
    let objects = objects.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let jobs: Vec<_> = objects.into_iter().filter(|object| object["kind"] == "ScaledJob").collect();
    assert!(!jobs.is_empty(), "{}: no ScaledJob", path.display());
    jobs
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn every_example_is_taken_as_it_stands() {
    let api = ApiServer::shared().await;
    for (path, example) in examples() {
        scaled_jobs(api, &path, &example).await;
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn the_jobs_of_every_example_are_taken_and_their_pods_where_they_are_restricted() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("examples").await;
    let restricted = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
        },
    });
    api.apply(&restricted.to_string()).await;
    let mut jobs = 0;
    for (path, example) in examples() {
        for scaled_job in scaled_jobs(api, &path, &example).await {
            let name = &scaled_job["metadata"]["name"];
            let labels = &scaled_job["metadata"]["labels"];
            let spec = &scaled_job["spec"]["jobTargetRef"];
            let job = json!({
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": { "name": name, "namespace": namespace, "labels": labels },
                "spec": spec,
            });
            let pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": spec["template"]["metadata"]["labels"],
                },
                "spec": spec["template"]["spec"],
            });
            for object in [job, pod] {
                if let Err(error) = api.dry_run(&object.to_string()).await {
                    panic!("{}: {} {name}: {error}", path.display(), object["kind"]);
                }
            }
            jobs += 1;
        }
    }
    assert!(jobs >= examples().len(), "{jobs} Jobs");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn an_example_with_a_field_that_keda_does_not_know_is_refused() {
    let api = ApiServer::shared().await;
    let (path, example) = examples().swap_remove(0);
    let mistyped = example.replace("  pollingInterval:", "  pollInterval:");
    assert_ne!(mistyped, example, "{}", path.display());
    let refused = api.dry_run(&of_kinds_at_hand(&mistyped)).await.expect_err("a strict server");
    assert!(refused.contains("pollInterval"), "{refused}");
}
