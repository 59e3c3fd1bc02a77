//! An installation grants what it says and no more, and that is enough.

use std::collections::BTreeSet;

use kubernetes_api::ApiServer;
use serde_json::json;
use sift_harness::{Broker, Message, Sift};
use tonic::Code;

use super::INSTALLING;
use super::build::{Built, built, everything};
use super::objects::{Objects, deployment, objects, of_kind, texts};
use crate::operator::{ADDRESS, Operator, ScaledJob};

/// What each component grants, and its row in docs/installing.md says.
const RIGHTS: [(&str, &[&str]); 4] = [
    ("events", &["create events", "patch events"]),
    ("service-account-tokens", &["create serviceaccounts/token", "get serviceaccounts"]),
    (
        "trigger-authentications",
        &[
            "get configmaps",
            "get scaledjobs.keda.sh",
            "get secrets",
            "get triggerauthentications.keda.sh",
        ],
    ),
    (
        "warm-up",
        &[
            "list scaledjobs.keda.sh",
            "list scaledobjects.keda.sh",
            "watch scaledjobs.keda.sh",
            "watch scaledobjects.keda.sh",
        ],
    ),
];

pub(super) fn rules(objects: &Objects) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    for role in of_kind(objects, "ClusterRole").into_iter().chain(of_kind(objects, "Role")) {
        for rule in role["rules"].as_array().expect("a role has rules") {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    let dot = if group.is_empty() { "" } else { "." };
                    granted.extend(
                        texts(&rule["verbs"]).map(|verb| format!("{verb} {resource}{dot}{group}")),
                    );
                }
            }
            assert!(rule.get("nonResourceURLs").is_none(), "a role is about URLs: {rule}");
        }
    }
    granted
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn each_component_grants_its_row_and_no_more() {
    for Built { variant, kustomized, .. } in built() {
        let overlay: &[&str] =
            if variant.of == "overlays/single-namespace" { &["warm-up", "events"] } else { &[] };
        let listed = |name: &str| variant.components.contains(&name) || overlay.contains(&name);
        let of_components = RIGHTS.iter().filter(|(name, _)| listed(name));
        let expected: BTreeSet<String> = of_components
            .flat_map(|(_, rights)| *rights)
            .map(|right| (*right).to_owned())
            .collect();
        let objects = objects(kustomized);
        assert_eq!(rules(&objects), expected, "{variant:?}");

        let token =
            &deployment(&objects)["spec"]["template"]["spec"]["automountServiceAccountToken"];
        assert_eq!(
            *token,
            json!(!expected.is_empty()),
            "{variant:?}: the token is there for a right only"
        );
    }
}

/// A component that binds the account of a namespace it was moved out of would grant rights to
/// somebody else.
#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn rights_go_to_the_account_of_the_pods_alone() {
    for (what, yaml) in everything() {
        let objects = objects(yaml);
        let deployment = deployment(&objects);
        let account = json!([{
            "kind": "ServiceAccount",
            "name": deployment["spec"]["template"]["spec"]["serviceAccountName"],
            "namespace": deployment["metadata"]["namespace"],
        }]);
        let all = of_kind(&objects, "ClusterRoleBinding");
        for binding in all.into_iter().chain(of_kind(&objects, "RoleBinding")) {
            assert_eq!(binding["subjects"], account, "{what}: {}", binding["metadata"]["name"]);
            let role = format!(
                "{} {}/{}",
                binding["roleRef"]["kind"].as_str().expect("a kind"),
                binding["metadata"]["namespace"].as_str().unwrap_or_default(),
                binding["roleRef"]["name"].as_str().expect("a name"),
            );
            assert!(objects.contains_key(&role), "{what}: {role} is bound but not there");
        }
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_single_namespace_holds_all_that_is_its_own() {
    let single = |built: &&Built| built.variant.values.contains(&"singleNamespace=true");
    for Built { variant, kustomized, charted } in built().iter().filter(single) {
        for yaml in [kustomized, charted] {
            for (name, object) in objects(yaml) {
                let namespace = &object["metadata"]["namespace"];
                assert_eq!(namespace, variant.namespace, "{variant:?}: {name} is elsewhere");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn the_rights_of_a_single_namespace_are_enough_there_and_worth_nothing_elsewhere() {
    let api = ApiServer::shared().await;
    let single = |built: &&Built| {
        built.variant.of == "overlays/single-namespace" && !built.variant.components.is_empty()
    };
    let built = built().iter().find(single).expect("a variant with all rights");
    let broker = Broker::shared();
    broker.topic("single").create().await;
    broker.produce("single", Message::of_type("a")).await;
    for yaml in [&built.kustomized, &built.charted] {
        let [team, other] = [api.namespace("team").await, api.namespace("other").await];
        let grants = objects(yaml).into_values();
        let grants =
            grants.filter(|object| matches!(object["kind"].as_str(), Some("Role" | "RoleBinding")));
        let grants: Vec<_> = grants.map(|object| object.to_string()).collect();
        let grants = grants.join("\n---\n").replace(built.variant.namespace, &team);
        let operator = Operator::holding(api, &team, &grants).await;
        for namespace in [&team, &other] {
            let secret = json!({ "apiVersion": "v1", "kind": "Secret",
                "metadata": { "name": "kafka", "namespace": namespace },
                "stringData": { "servers": broker.bootstrap() } });
            let authentication = json!({ "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
                "metadata": { "name": "kafka", "namespace": namespace },
                "spec": { "secretTargetRef": [{ "parameter": "bootstrapServers", "name": "kafka", "key": "servers" }] } });
            let trigger = [
                ("scalerAddress", ADDRESS),
                ("source", "kafka"),
                ("consumerGroup", "jobs"),
                ("topic", "single"),
                ("offsetResetPolicy", "earliest"),
                ("triggerAuthentication", "kafka"),
            ];
            let job = ScaledJob::new(namespace, "job", &trigger).yaml();
            api.apply(&[secret.to_string(), authentication.to_string(), job].join("\n---\n")).await;
        }
        let sift = Sift::with(operator.watching(&[&team])).await;
        sift.until_ready().await;
        assert_eq!((sift.kept("kafka"), sift.found("ready")), (1, 1), "the other's is not seen");
        let trigger = |namespace: &str| {
            let trigger = sift.trigger("unused:1", "jobs", "single").without("bootstrapServers");
            trigger.with("triggerAuthentication", "kafka").within(namespace)
        };
        assert_eq!(trigger(&team).with("offsetResetPolicy", "earliest").count().await, 1);
        let (code, words) = trigger(&other).error().await;
        assert_eq!(code, Code::PermissionDenied, "{words}");
        assert!(words.contains(&format!("in namespace {other}")), "{words}");
    }
}

#[test]
fn installing_has_a_row_for_each_component() {
    for (component, rights) in RIGHTS {
        let head = format!("| `{component}` |");
        let row = INSTALLING.lines().find(|line| line.starts_with(&head));
        let row = row.unwrap_or_else(|| panic!("docs/installing.md has no row of {component}"));
        for right in rights {
            let (verb, resource) = right.split_once(' ').expect("a verb and a resource");
            let name = resource.split('.').next().unwrap_or_default();
            assert!(
                row.contains(verb) && row.contains(&format!("`{name}`")),
                "{right} is not in {row}"
            );
        }
    }
}
