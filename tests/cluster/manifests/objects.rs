//! The objects of an installation.

use std::collections::BTreeMap;

use serde_json::Value;

/// All objects of an installation, by kind, namespace and name.
pub(super) type Objects = BTreeMap<String, Value>;

pub(super) fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)
        .unwrap_or_else(|error| panic!("no YAML: {error}\n{yaml}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

pub(super) fn objects(yaml: &str) -> Objects {
    let mut objects = Objects::new();
    for object in documents(yaml) {
        let part = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let name =
            format!("{} {}/{}", part("/kind"), part("/metadata/namespace"), part("/metadata/name"));
        assert!(!objects.contains_key(&name), "{name} is there twice");
        objects.insert(name, object);
    }
    assert!(!objects.is_empty(), "nothing is installed");
    objects
}

pub(super) fn of_kind<'a>(objects: &'a Objects, kind: &str) -> Vec<&'a Value> {
    objects.values().filter(|object| object["kind"] == kind).collect()
}

pub(super) fn deployment(objects: &Objects) -> &Value {
    let deployments = of_kind(objects, "Deployment");
    assert_eq!(deployments.len(), 1, "there is one Deployment");
    deployments[0]
}

pub(super) fn container(objects: &Objects) -> &Value {
    let containers = &deployment(objects)["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().map(Vec::len), Some(1), "there is one container");
    &containers[0]
}

pub(super) fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text"))
}
