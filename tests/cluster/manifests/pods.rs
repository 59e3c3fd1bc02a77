//! Its Pods are restricted, stand apart, are the ones that are selected, and KEDA alone may call
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use kubernetes_api::ApiServer;
use serde_json::{Value, json};

use super::build::{Built, built, everything};
use super::namespaces;
use super::objects::{container, deployment, objects, of_kind};

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn keda_alone_may_call() {
    for Built { variant, kustomized, .. } in built() {
        let aks = variant.of == "overlays/aks" || variant.components.contains(&"aks-keda-add-on");
        let keda = if aks { "kube-system" } else { "keda" };
        let mut expected = BTreeSet::from([format!("9090 from {keda}")]);
        if variant.components.contains(&"service-monitor") {
            expected.insert("9091 from monitoring".to_owned());
        }
        if variant.components.contains(&"azure-monitor") {
            expected.insert("9091 from kube-system".to_owned());
        }

        let objects = objects(kustomized);
        let labels = &deployment(&objects)["spec"]["template"]["metadata"]["labels"];
        let mut open = BTreeSet::new();
        for policy in of_kind(&objects, "NetworkPolicy") {
            let selected =
                policy["spec"]["podSelector"]["matchLabels"].as_object().expect("labels");
            assert!(selected.iter().all(|(key, value)| labels[key] == *value), "{variant:?}");
            for rule in policy["spec"]["ingress"].as_array().expect("a list of rules") {
                for port in rule["ports"].as_array().expect("a rule names ports") {
                    for from in rule["from"].as_array().expect("a rule names callers") {
                        let name = &from["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
                        let name = name.as_str().expect("a rule names a namespace");
                        open.insert(format!("{} from {name}", port["port"]));
                    }
                }
            }
        }
        assert_eq!(open, expected, "{variant:?}");
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn pods_are_restricted() {
    let api = ApiServer::shared().await;
    namespaces(api).await;
    // As the Deployment would make them, each by another name.
    let mut pods = Vec::new();
    for (what, yaml) in everything() {
        let objects = objects(yaml);
        let mut pod = deployment(&objects)["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(format!("keda-sift-{}", pods.len()));
        pod["metadata"]["namespace"] = json!("keda-sift");
        // That class is a user's own and not here.
        if let Some(spec) = pod["spec"].as_object_mut() {
            spec.remove("priorityClassName");
        }

        let container = container(&objects);
        assert_eq!(pod["spec"]["securityContext"]["runAsUser"], 65532, "{what}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{what}");
        let resources = &container["resources"];
        assert!(resources["requests"]["cpu"].is_string(), "{what}: {resources}");
        assert!(resources["requests"]["memory"].is_string(), "{what}: {resources}");
        assert!(resources["limits"]["memory"].is_string(), "{what}: {resources}");
        assert!(resources["limits"].get("cpu").is_none(), "{what}: {resources}");
        pods.push(pod);
    }
    let all: Vec<String> = pods.iter().map(Value::to_string).collect();
    if let Err(refusal) = api.dry_run(&all.join("\n---\n")).await {
        panic!("the namespace's standard refuses Pods: {refusal}");
    }

    // What refuses it is there.
    let mut pod = pods.swap_remove(0);
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let refusal =
        api.dry_run(&pod.to_string()).await.expect_err("a Pod that is not restricted is refused");
    assert!(refusal.contains("restricted"), "{refusal}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn two_pods_stand_apart_and_go_one_by_one() {
    let seconds = |text: &Value| {
        let text = text.as_str().and_then(|text| text.strip_suffix('s'));
        text.and_then(|text| text.parse::<u64>().ok()).expect("whole seconds")
    };
    for (what, yaml) in everything() {
        let objects = objects(yaml);
        let (spec, container) = (&deployment(&objects)["spec"], container(&objects));
        let pod = &spec["template"]["spec"];
        assert!(spec["replicas"].as_u64() >= Some(2), "{what}");
        assert!(pod["topologySpreadConstraints"][0]["topologyKey"].is_string(), "{what}");
        let budgets = of_kind(&objects, "PodDisruptionBudget");
        if !what.contains("podDisruptionBudget.enabled=false") {
            assert_eq!(budgets.len(), 1, "{what}");
            assert_eq!(budgets[0]["spec"]["maxUnavailable"], 1, "{what}");
        }

        // A new one is known to KEDA before an old one ends, which takes calls until it is
        // forgotten.
        assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], 0, "{what}");
        assert_eq!(spec["minReadySeconds"], 30, "{what}");
        let variable = |name: &str| {
            let all = container["env"].as_array().into_iter().flatten();
            let found =
                all.filter(|variable| variable["name"] == name).map(|it| seconds(&it["value"]));
            found.sum::<u64>()
        };
        let (drain, grace) = (variable("SIFT_DRAIN_DELAY"), variable("SIFT_GRACE_PERIOD"));
        assert!(drain > 0 && grace > 0, "{what}");
        assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(drain + grace), "{what}");

        let probes =
            ["startupProbe", "livenessProbe", "readinessProbe"].map(|name| &container[name]);
        let tls = yaml.contains("SIFT_TLS_CERT_FILE");
        for (probe, (service, path)) in probes.into_iter().zip([
            ("", "/healthz"),
            ("", "/healthz"),
            ("externalscaler.ExternalScaler", "/readyz"),
        ]) {
            if tls {
                assert_eq!(probe["httpGet"]["path"], path, "{what}");
            } else {
                assert_eq!(probe["grpc"]["port"], 9090, "{what}");
                assert_eq!(
                    probe["grpc"]["service"].as_str().unwrap_or_default(),
                    service,
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn selectors_select_the_pods() {
    for (what, yaml) in everything() {
        let objects = objects(yaml);
        let deployment = deployment(&objects);
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let selects = |selector: &Value, name: &str| {
            let selector =
                selector.as_object().unwrap_or_else(|| panic!("{what}: {name} selects nothing"));
            assert!(!selector.is_empty(), "{what}: {name} selects everything");
            assert!(selector.iter().all(|(key, value)| labels[key] == *value), "{what}: {name}");
        };
        selects(&deployment["spec"]["selector"]["matchLabels"], "the Deployment");
        for service in of_kind(&objects, "Service") {
            selects(&service["spec"]["selector"], "a Service");
        }
        for budget in of_kind(&objects, "PodDisruptionBudget") {
            selects(&budget["spec"]["selector"]["matchLabels"], "the disruption budget");
        }
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn the_environment_is_what_serve_reads() {
    let help = Command::new(env!("CARGO_BIN_EXE_keda-sift")).args(["serve", "--help"]).output();
    let help = String::from_utf8(help.expect("the program runs").stdout).expect("text");
    for (what, yaml) in everything() {
        let objects = objects(yaml);
        let mut before = BTreeMap::new();
        for variable in container(&objects)["env"].as_array().expect("an environment") {
            let name = variable["name"].as_str().expect("a name");
            let value = variable["value"].as_str().unwrap_or_default();
            if name.starts_with("SIFT_") {
                assert!(help.contains(&format!("[env: {name}=")), "{what}: serve knows no {name}");
            }
            for used in value.split("$(").skip(1).filter_map(|rest| rest.split(')').next()) {
                assert!(
                    before.contains_key(used),
                    "{what}: {name} uses {used}, which is not before it"
                );
            }
            assert!(before.insert(name, value).is_none(), "{what}: {name} is there twice");
        }

        let seconds = |name: &str| -> u64 {
            let time = before[name].strip_suffix('s').expect("seconds");
            time.parse().expect("a number of seconds")
        };
        let all =
            &deployment(&objects)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        let ending = seconds("SIFT_DRAIN_DELAY") + seconds("SIFT_GRACE_PERIOD");
        // Joining takes some seconds more.
        assert!(
            all.as_u64() >= Some(ending + 5),
            "{what}: {all} s to end, of which it takes {ending}"
        );
    }
}
