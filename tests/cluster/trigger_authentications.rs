//! `triggerAuthentication`: the parameters that KEDA does not pass on, read from the object that
//! has them.

use azure_stand_ins::{Message, Rights, ServiceBus};
use kubernetes_api::ApiServer;
use serde_json::{Value, json};
use sift_harness::cloud::{CLIENT, Cloud, OTHER};
use sift_harness::{Settings, Sift, Trigger};
use tonic::Code;

use crate::operator::{Operator, ScaledJob};

const COMPONENT: &str = "trigger-authentications";

struct Tenant {
    api: &'static ApiServer,
    namespace: String,
}

impl Tenant {
    async fn new() -> Tenant {
        let api = ApiServer::shared().await;
        Tenant { api, namespace: api.namespace("media").await }
    }

    async fn authentication(&self, name: &str, spec: Value) {
        let authentication = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": { "name": name, "namespace": self.namespace }, "spec": spec,
        });
        self.api.apply(&authentication.to_string()).await;
    }

    async fn secret(&self, name: &str, key: &str, value: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "namespace": self.namespace }, "stringData": { key: value },
        });
        self.api.apply(&secret.to_string()).await;
    }

    async fn sift(&self, components: &[&str]) -> Sift {
        let operator = Operator::granting(self.api, components).await;
        Sift::with(Settings { kubernetes: operator.kubernetes(), ..Settings::default() }).await
    }

    /// A trigger on the queue `orders` whose connection the TriggerAuthentication gives.
    fn trigger(&self, sift: &Sift, bus: &ServiceBus, authentication: &str) -> Trigger {
        let trigger =
            sift.queue(bus, "orders").without("connectionFromEnv").within(&self.namespace);
        trigger.with("triggerAuthentication", authentication)
    }
}

async fn bus_with(messages: usize) -> ServiceBus {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", messages, |_| Message::new("{}").subject("a"));
    bus
}

fn of_secret(name: &str, key: &str) -> Value {
    json!({ "secretTargetRef": [{ "parameter": "connection", "name": name, "key": key }] })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_secret_and_a_config_map_give_parameters() {
    let tenant = Tenant::new().await;
    let bus = bus_with(7).await;
    tenant.secret("bus", "connection", &bus.connection_string()).await;
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "settings", "namespace": tenant.namespace }, "data": { "from": "peek" },
    });
    tenant.api.apply(&settings.to_string()).await;
    let mut spec = of_secret("bus", "connection");
    spec["configMapTargetRef"] =
        json!([{ "parameter": "countFrom", "name": "settings", "key": "from" }]);
    tenant.authentication("bus", spec).await;
    let sift = tenant.sift(&[COMPONENT]).await;
    let trigger = tenant.trigger(&sift, &bus, "bus");

    // Before anything is read KEDA is told what the metadata says.
    let spec = trigger.clone().with("messageCount", "3").spec().await;
    assert_eq!((spec.metric_name.as_str(), spec.target_size), ("azure-servicebus-orders", 3));
    let requests = tenant.api.requests().verb("get").resource("triggerauthentications.keda.sh");
    assert!(requests.in_namespace(&tenant.namespace).is_empty(), "a spec asks for nothing");

    assert_eq!(trigger.count().await, 7);
    assert_eq!(bus.management_requests(), 0, "countFrom comes from the ConfigMap");
    for _ in 0..20 {
        assert_eq!(trigger.poll().await.expect("a count").value, 7);
    }
    let requests = tenant.api.requests().resource("secrets").in_namespace(&tenant.namespace);
    assert_eq!(requests.verb("get").len(), 1, "it is not read for each poll");

    let (code, words) = trigger.with("connectionFromEnv", &bus.connection_string()).error().await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(
        words.starts_with(
            "connectionFromEnv: its value is given a second time by the TriggerAuthentication"
        ),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn an_identity_is_that_of_pod_identity() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start(Rights::LISTEN).await;
    cloud.bus.grant(CLIENT, Rights::SEND);
    cloud.bus.grant(OTHER, Rights::LISTEN);
    let identity = json!({ "podIdentity": { "provider": "azure-workload", "identityId": OTHER } });
    tenant.authentication("other", identity).await;
    tenant.authentication("own", json!({ "podIdentity": { "provider": "azure-workload" } })).await;
    let operator = Operator::granting(tenant.api, &[COMPONENT]).await;
    let sift =
        Sift::with(Settings { kubernetes: operator.kubernetes(), ..cloud.settings(&[]) }).await;
    let trigger = |name: &str| {
        let trigger = cloud.trigger(&sift).within(&tenant.namespace);
        trigger.with("countFrom", "peek").with("triggerAuthentication", name)
    };
    assert_eq!(trigger("other").count().await, 9);
    let (code, words) = trigger("own").error().await;
    assert!(matches!(code, Code::PermissionDenied | Code::Unauthenticated), "{words}");
    let clients: Vec<_> =
        cloud.entra.asked().iter().map(|asked| asked["client_id"].clone()).collect();
    assert_eq!(clients.first().map(String::as_str), Some(OTHER));
    assert!(clients[1..].iter().all(|client| client == CLIENT), "{clients:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn the_environment_of_the_job_s_container_gives_parameters() {
    let tenant = Tenant::new().await;
    let (first, second) = (bus_with(3).await, bus_with(5).await);
    tenant.secret("second", "connection", &second.connection_string()).await;
    let spec = json!({ "env": [{ "parameter": "connection", "name": "CONNECTION", "containerName": "job" }] });
    tenant.authentication("env", spec).await;
    let from_secret = json!({ "secretKeyRef": { "name": "second", "key": "connection" } });
    for (name, env) in [
        ("first", json!([{ "name": "CONNECTION", "value": first.connection_string() }])),
        ("second", json!([{ "name": "CONNECTION", "valueFrom": from_secret }])),
        ("third", json!([])),
    ] {
        let job = ScaledJob::new(&tenant.namespace, name, &[("queueName", "orders")]).env(env);
        tenant.api.apply(&job.yaml()).await;
    }
    let sift = tenant.sift(&[COMPONENT]).await;
    let trigger = |job: &str| tenant.trigger(&sift, &first, "env").named(job);
    assert_eq!(trigger("first").count().await, 3);
    assert_eq!(trigger("second").count().await, 5);
    let (code, words) = trigger("third").error().await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(
        words.contains("has env \"CONNECTION\", which the container of ScaledJob third has not"),
        "{words}"
    );
    let (_, words) = trigger("none").error().await;
    assert!(words.contains("has env, which is for ScaledJobs, and none is none"), "{words}");

    // Where it names no container KEDA takes the first, though the ScaledJob has its FromEnv keys
    // read from another.
    let spec = json!({ "env": [{ "parameter": "connection", "name": "CONNECTION" }] });
    tenant.authentication("unnamed", spec).await;
    let mut job: Value = serde_json::from_str(
        &ScaledJob::new(&tenant.namespace, "beside", &[("queueName", "orders")])
            .env(json!([{ "name": "CONNECTION", "value": first.connection_string() }]))
            .yaml(),
    )
    .expect("JSON");
    job["spec"]["envSourceContainerName"] = json!("sidecar");
    let sidecar = json!({ "name": "sidecar", "image": "sidecar",
        "env": [{ "name": "CONNECTION", "value": second.connection_string() }] });
    let containers = &mut job["spec"]["jobTargetRef"]["template"]["spec"]["containers"];
    containers.as_array_mut().expect("containers").push(sidecar);
    tenant.api.apply(&job.to_string()).await;
    assert_eq!(tenant.trigger(&sift, &first, "unnamed").named("beside").count().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn what_is_missing_or_not_read_is_named() {
    let tenant = Tenant::new().await;
    let bus = bus_with(1).await;
    let namespace = tenant.namespace.clone();
    tenant.secret("bus", "other", "hunter2").await;
    tenant.authentication("no-secret", of_secret("gone", "connection")).await;
    tenant.authentication("no-key", of_secret("bus", "connection")).await;
    tenant.authentication("astray", of_secret("../../other/secrets/bus", "connection")).await;
    tenant.authentication("wrong", of_secret("bus", "other")).await;
    let vault = json!({ "hashiCorpVault": { "address": "http://vault", "authentication": "token",
        "secrets": [{ "parameter": "connection", "key": "k", "path": "p" }] } });
    tenant.authentication("vault", vault).await;
    tenant.authentication("aws", json!({ "podIdentity": { "provider": "aws" } })).await;
    let host = json!({ "podIdentity": { "provider": "azure-workload", "identityId": CLIENT,
        "identityAuthorityHost": "https://login.evil.example" } });
    tenant.authentication("host", host).await;
    let sift = tenant.sift(&[COMPONENT]).await;
    for (name, code, told) in [
        (
            "gone",
            Code::NotFound,
            format!("TriggerAuthentication gone is not there in namespace {namespace}"),
        ),
        ("no-secret", Code::NotFound, format!("Secret gone is not there in namespace {namespace}")),
        (
            "no-key",
            Code::FailedPrecondition,
            format!("Secret bus in namespace {namespace} has no key \"connection\""),
        ),
        ("astray", Code::FailedPrecondition, "is not the name of an object".to_owned()),
        (
            "wrong",
            Code::InvalidArgument,
            "connection of the TriggerAuthentication: its value has".to_owned(),
        ),
        (
            "vault",
            Code::FailedPrecondition,
            "has hashiCorpVault, which keda-sift does not read; give secretTargetRef".to_owned(),
        ),
        (
            "aws",
            Code::FailedPrecondition,
            "has podIdentity aws, which keda-sift does not have".to_owned(),
        ),
        ("host", Code::FailedPrecondition, "has podIdentity.identityAuthorityHost".to_owned()),
        (
            "../x",
            Code::InvalidArgument,
            "triggerAuthentication: \"../x\" is not the name of an object".to_owned(),
        ),
    ] {
        let (found, words) = tenant.trigger(&sift, &bus, name).error().await;
        assert_eq!(found, code, "{name}: {words}");
        assert!(words.contains(&told), "{name}: {words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_rotated_secret_is_picked_up() {
    let tenant = Tenant::new().await;
    let (old, new) = (bus_with(2).await, bus_with(4).await);
    let wrong = old.connection_string().replace("SharedAccessKey=", "SharedAccessKey=AAAA");
    tenant.secret("bus", "connection", &wrong).await;
    tenant.authentication("bus", of_secret("bus", "connection")).await;
    let sift = tenant.sift(&[COMPONENT]).await;
    let trigger = tenant.trigger(&sift, &old, "bus");
    let (code, _) = trigger.error().await;
    assert_eq!(code, Code::Unauthenticated);

    // After a refusal at once, since KEDA repeats a failed call.
    tenant.secret("bus", "connection", &old.connection_string()).await;
    assert_eq!(trigger.count().await, 2);
    // One that goes on to work is seen within a minute.
    tenant.secret("bus", "connection", &new.connection_string()).await;
    trigger.until(4, |value| value == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn rights_that_are_missing_are_named_and_namespaces_kept() {
    let tenant = Tenant::new().await;
    let bus = bus_with(6).await;
    tenant.secret("bus", "connection", &bus.connection_string()).await;
    tenant.authentication("bus", of_secret("bus", "connection")).await;
    let operator = Operator::granting(tenant.api, &[]).await;
    let sift =
        Sift::with(Settings { kubernetes: operator.kubernetes(), ..Settings::default() }).await;
    let trigger = tenant.trigger(&sift, &bus, "bus");
    let namespace = &tenant.namespace;
    let may_not = |what: &str| {
        format!(
            "keda-sift may not get {what} in namespace {namespace}; grant it with the component {COMPONENT}"
        )
    };
    let (code, words) = trigger.error().await;
    assert_eq!((code, words), (Code::PermissionDenied, may_not("triggerauthentications")));
    let half =
        tenant.api.grant(operator.account.user()).to(&["get"], "triggerauthentications.keda.sh");
    half.in_namespace(namespace).await;
    let (code, words) = trigger.error().await;
    assert_eq!((code, words), (Code::PermissionDenied, may_not("secrets")));
    operator.grant(COMPONENT).await;
    assert_eq!(trigger.count().await, 6);

    let other = tenant.api.namespace("tenant").await;
    let (code, words) = trigger.clone().within(&other).error().await;
    assert_eq!(code, Code::NotFound, "{words}");
    assert!(words.contains(&other) && !words.contains(namespace), "{words}");
}
