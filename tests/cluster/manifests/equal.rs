//! The chart installs what the manifests do, and each folder of theirs is compared.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::build::{Built, built, root};
use super::objects::objects;
use super::variants::VARIANTS;

/// What only one of the two has, or has otherwise.
fn differences(kustomize: &Value, helm: &Value, at: &str, found: &mut Vec<String>) {
    match (kustomize, helm) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
                let of = |side: &serde_json::Map<String, Value>| {
                    side.get(key).cloned().unwrap_or_default()
                };
                differences(&of(left), &of(right), &format!("{at}/{key}"), found);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for index in 0..left.len().max(right.len()) {
                let of = |side: &[Value]| side.get(index).cloned().unwrap_or_default();
                differences(&of(left), &of(right), &format!("{at}/{index}"), found);
            }
        }
        (left, right) if left == right => {}
        (left, right) => found.push(format!("  {at}: kustomize {left}, helm {right}")),
    }
}

/// Without what has to differ: helm's own labels, and the order of what has a name, which then
/// stands under that.
fn comparable(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(key, _)| {
                !["app.kubernetes.io/managed-by", "helm.sh/chart"].contains(&key.as_str())
            })
            .map(|(key, field)| (key, comparable(field)))
            .collect(),
        Value::Array(entries) => {
            let names: BTreeSet<&str> =
                entries.iter().filter_map(|entry| entry["name"].as_str()).collect();
            if entries.is_empty() || names.len() < entries.len() {
                return entries.into_iter().map(comparable).collect();
            }
            let named = |entry: Value| {
                (entry["name"].as_str().unwrap_or_default().to_owned(), comparable(entry))
            };
            Value::Object(entries.into_iter().map(named).collect())
        }
        plain => plain,
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn the_chart_installs_what_the_manifests_do() {
    let mut found = Vec::new();
    for Built { variant, kustomized, charted } in built() {
        let mut kustomized = objects(kustomized);
        // Helm's is made by `--create-namespace`.
        kustomized.retain(|_, object| object["kind"] != "Namespace");
        let mut charted = objects(charted);
        let mut here = Vec::new();
        for name in kustomized.keys().chain(charted.keys()).cloned().collect::<BTreeSet<_>>() {
            match (kustomized.remove(&name), charted.remove(&name)) {
                (Some(left), Some(right)) => {
                    differences(&comparable(left), &comparable(right), &name, &mut here);
                }
                (Some(_), None) => here.push(format!("  {name}: kustomize alone has it")),
                (None, _) => here.push(format!("  {name}: helm alone has it")),
            }
        }
        if !here.is_empty() {
            found.push(format!("{variant:?}:\n{}", here.join("\n")));
        }
    }
    assert!(found.is_empty(), "kustomize and helm differ:\n{}", found.join("\n"));
}

#[test]
fn each_folder_of_manifests_is_a_variant() {
    let folders = |of: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join("manifests").join(of)).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect()
    };
    let components = VARIANTS.iter().flat_map(|variant| variant.components);
    let components: BTreeSet<String> = components.map(|name| (*name).to_owned()).collect();
    assert_eq!(components, folders("components"));
    let overlays = VARIANTS.iter().filter_map(|variant| variant.of.strip_prefix("overlays/"));
    assert_eq!(overlays.map(str::to_owned).collect::<BTreeSet<_>>(), folders("overlays"));
}
