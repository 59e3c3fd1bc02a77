//! What the chart and its pages say of values and versions.

use std::collections::BTreeSet;
use std::fs;

use kubernetes_api::tools;
use serde_json::Value;

use super::CHART_README;
use super::build::{arguments, chart, root};
use super::objects::documents;

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn the_chart_refuses_what_makes_no_sense() {
    for (values, why) in [
        (&["events.enabled=true"][..], "needs warmUp.enabled"),
        (&["singleNamespace=true", "watchNamespaces={team-a}"], "give one of them"),
        (&["serviceAccount.create=false"], "give serviceAccount.name"),
        (&["warmup.enabled=true"], "warmup"),
        (&["drainDelay=5"], "drainDelay"),
        (&["workloadIdentity.clientId=mine"], "clientId"),
    ] {
        let refusal = tools::try_helm_template(chart(), &arguments("keda-sift", values))
            .expect_err("the chart takes what it should refuse");
        assert!(refusal.contains(why), "{values:?}: {refusal}");
    }
}

#[test]
fn every_value_of_the_chart_is_documented_and_checked() {
    fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() && at != "resources" => {
                for (key, field) in fields {
                    let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    leaves(field, &at, found);
                }
            }
            _ => found.push(at.to_owned()),
        }
    }
    let read = |name: &str| fs::read_to_string(chart().join(name)).expect("a file of the chart");
    let values = documents(&read("values.yaml")).remove(0);
    let schema: Value = serde_json::from_str(&read("values.schema.json")).expect("a schema");
    let mut named = Vec::new();
    leaves(&values, "", &mut named);

    let rows: BTreeSet<String> = CHART_README
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned))
        .collect();
    assert_eq!(
        rows,
        named.iter().cloned().collect(),
        "the rows of the chart's README and its values"
    );
    for name in named {
        let at = name.split('.').map(|part| format!("/properties/{part}")).collect::<String>();
        assert!(schema.pointer(&at).is_some(), "values.schema.json says nothing of {name}");
    }
}

#[test]
fn versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a file");
    let chart = documents(&read("charts/keda-sift/Chart.yaml")).remove(0);
    assert_eq!(chart["version"], version);
    assert_eq!(chart["appVersion"], version);
    let deployment = documents(&read("manifests/base/deployment.yaml")).remove(0);
    let template = &deployment["spec"]["template"];
    let image = format!("ghcr.io/keda-sift/keda-sift:{version}");
    assert_eq!(template["spec"]["containers"][0]["image"], image);
    for labels in [&deployment["metadata"]["labels"], &template["metadata"]["labels"]] {
        assert_eq!(labels["app.kubernetes.io/version"], version);
    }
}
