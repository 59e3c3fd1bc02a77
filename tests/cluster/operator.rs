//! What an operator does in a cluster before a test: grants components, and starts a scaler that
//! has their rights and no others.

use std::collections::BTreeMap;

use keda_sift::kubernetes::{Addresses, Kubernetes, Name, Watch};
use kubernetes_api::{ApiServer, ServiceAccount};
use serde_json::{Value, json};
use sift_harness::Settings;

/// How triggers name the scaler.
pub(crate) const ADDRESS: &str = "keda-sift.keda-sift.svc.cluster.local:9090";

/// A service account of the scaler's with the rights of some components.
pub(crate) struct Operator<'a> {
    api: &'a ApiServer,
    pub(crate) account: ServiceAccount,
}

impl<'a> Operator<'a> {
    /// Exactly what the roles of these components in `manifests/` grant.
    pub(crate) async fn granting(api: &'a ApiServer, components: &[&str]) -> Operator<'a> {
        let namespace = api.namespace("keda-sift").await;
        let operator =
            Operator { api, account: api.service_account(&namespace, "keda-sift").await };
        for component in components {
            operator.grant(component).await;
        }
        operator
    }

    /// Exactly what is granted to the account `keda-sift` of a namespace by these objects.
    pub(crate) async fn holding(api: &'a ApiServer, namespace: &str, grants: &str) -> Operator<'a> {
        let operator = Operator { api, account: api.service_account(namespace, "keda-sift").await };
        api.apply(grants).await;
        let user = operator.account.user();
        api.wait_until_allowed(&user, "watch", "scaledobjects.keda.sh", Some(namespace)).await;
        operator
    }

    /// Grants one more.
    pub(crate) async fn grant(&self, component: &str) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/components/");
        let roles = std::fs::read_to_string(format!("{folder}{component}/role.yaml"))
            .expect("the component has roles");
        let (role, _) = roles.split_once("\n---\n").expect("a role and its binding");
        self.api.apply(role).await;
        let name = format!("keda-sift-{component}");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("{}-{component}", self.account.namespace) },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": self.account.name, "namespace": self.account.namespace }],
        });
        self.api.apply(&binding.to_string()).await;
        let (verb, resource) = match component {
            "warm-up" => ("watch", "scaledobjects.keda.sh"),
            "events" => ("patch", "events"),
            "service-account-tokens" => ("create", "serviceaccounts/token"),
            "trigger-authentications" => ("get", "configmaps"),
            other => panic!("no component {other}"),
        };
        self.api.wait_until_allowed(&self.account.user(), verb, resource, None).await;
    }

    /// The API server as the scaler may use it.
    pub(crate) fn kubernetes(&self) -> Kubernetes {
        Kubernetes::of(self.account.client())
    }

    /// A scaler that looks for triggers in these namespaces before it is ready.
    pub(crate) fn watching(&self, namespaces: &[&str]) -> Settings {
        let watch = Watch {
            addresses: Addresses::new(&["keda-sift.keda-sift"]),
            namespaces: namespaces.iter().map(|name| Name::parse(name).expect("a name")).collect(),
        };
        Settings { kubernetes: self.kubernetes(), watch: Some(watch), ..Settings::default() }
    }
}

/// A ScaledJob with one trigger, as KEDA's definition takes it.
pub(crate) struct ScaledJob(Value);

impl ScaledJob {
    pub(crate) fn new(namespace: &str, name: &str, trigger: &[(&str, &str)]) -> ScaledJob {
        let mut metadata: BTreeMap<&str, &str> = trigger.iter().copied().collect();
        metadata.entry("scalerAddress").or_insert(ADDRESS);
        ScaledJob(json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledJob",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "jobTargetRef": { "template": { "spec": {
                    "restartPolicy": "Never",
                    "containers": [{ "name": "job", "image": "job" }],
                } } },
                "triggers": [{ "type": "external", "metadata": metadata }],
            },
        }))
    }

    pub(crate) fn polled_every(mut self, seconds: u64) -> ScaledJob {
        self.0["spec"]["pollingInterval"] = json!(seconds);
        self
    }

    pub(crate) fn max_jobs(mut self, jobs: u64) -> ScaledJob {
        self.0["spec"]["maxReplicaCount"] = json!(jobs);
        self
    }

    /// The environment of its container, as Kubernetes has it.
    pub(crate) fn env(mut self, env: Value) -> ScaledJob {
        self.0["spec"]["jobTargetRef"]["template"]["spec"]["containers"][0]["env"] = env;
        self
    }

    pub(crate) fn yaml(&self) -> String {
        self.0.to_string()
    }
}

/// Several objects in one text.
pub(crate) fn all(objects: impl IntoIterator<Item = ScaledJob>) -> String {
    objects.into_iter().map(|object| object.yaml()).collect::<Vec<_>>().join("\n---\n")
}
