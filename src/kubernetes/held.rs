//! Objects that stand in files, read as if they were in the cluster: what is checked before it is
//! applied is read by the same code as what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::client::Kubernetes;
use super::names::Name;

impl Kubernetes {
    /// These objects, each in its namespace, before those of `beyond`. A Secret's `stringData` is
    /// in its `data`, as the API server has it.
    pub fn holding(objects: impl IntoIterator<Item = (Name, Value)>, beyond: &Kubernetes) -> Self {
        let held: BTreeMap<String, Value> = objects
            .into_iter()
            .filter_map(|(namespace, object)| Some((path(&namespace, &object)?, sealed(object))))
            .collect();
        let (held, beyond) = (Arc::new(held), beyond.inner());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (held, beyond) = (Arc::clone(&held), beyond.clone());
            async move {
                let found = held.get(request.uri().path()).filter(|_| request.method() == "GET");
                match (found, beyond) {
                    (Some(object), _) => Ok(response(StatusCode::OK, object)),
                    (None, Some(client)) => Client::clone(&client).send(request).await,
                    (None, None) => {
                        let status = json!({ "kind": "Status", "apiVersion": "v1",
                            "status": "Failure", "reason": "NotFound", "code": 404 });
                        Ok(response(StatusCode::NOT_FOUND, &status))
                    }
                }
            }
        });
        Kubernetes::of(Client::new(service, "default"))
    }
}

/// Where the API server has an object of a kind that is read here.
fn path(namespace: &Name, object: &Value) -> Option<String> {
    let (group, resource) = match object["kind"].as_str()? {
        "Secret" => ("api/v1", "secrets"),
        "ConfigMap" => ("api/v1", "configmaps"),
        "ScaledJob" => ("apis/keda.sh/v1alpha1", "scaledjobs"),
        "TriggerAuthentication" => ("apis/keda.sh/v1alpha1", "triggerauthentications"),
        _ => return None,
    };
    let name = Name::parse(object["metadata"]["name"].as_str()?).ok()?;
    Some(format!("/{group}/namespaces/{namespace}/{resource}/{name}"))
}

fn sealed(mut object: Value) -> Value {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    if object["kind"] == "Secret"
        && let Some(Value::Object(texts)) = object.get("stringData").cloned()
    {
        if !object["data"].is_object() {
            object["data"] = json!({});
        }
        for (key, text) in texts {
            let text = text.as_str().unwrap_or_default();
            object["data"][key] = json!(BASE64_STANDARD.encode(text));
        }
    }
    object
}

fn response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = status;
    response
}
