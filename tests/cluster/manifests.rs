//! What `manifests/` and the chart install: the API server takes it, both are the same, it grants what it says and no more,
//! KEDA alone may call it, and its Pods are restricted.
//!
//! [`VARIANTS`] names what is compared; the examples of `docs/installing.md` are built as they stand there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use kubernetes_api::{ApiServer, tools};
use serde_json::{Value, json};
use sift_harness::{Broker, Message, Sift};
use tempfile::TempDir;
use tonic::Code;

use crate::operator::{ADDRESS, Operator, ScaledJob};

const INSTALLING: &str = include_str!("../../docs/installing.md");
const CHART_README: &str = include_str!("../../charts/keda-sift/README.md");

/// The same installation twice: as a kustomization and by values of the chart.
#[derive(Debug)]
struct Variant {
    namespace: &'static str,
    /// A folder of `manifests/`.
    of: &'static str,
    components: &'static [&'static str],
    values: &'static [&'static str],
}

/// What the two make of a variant.
struct Built {
    variant: &'static Variant,
    kustomized: String,
    charted: String,
}

/// Each component by itself or with what it needs, each overlay, and much of it together.
static VARIANTS: &[Variant] = &[
    Variant { namespace: "keda-sift", of: ".", components: &[], values: &[] },
    Variant { namespace: "elsewhere", of: "base", components: &[], values: &[] },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["warm-up"],
        values: &["warmUp.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["events", "warm-up"],
        values: &["warmUp.enabled=true", "events.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["service-account-tokens"],
        values: &["serviceAccountTokens.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["trigger-authentications"],
        values: &["triggerAuthentications.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["service-monitor"],
        values: &["serviceMonitor.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["azure-monitor"],
        values: &[
            "serviceMonitor.enabled=true",
            "serviceMonitor.apiVersion=azmonitoring.coreos.com/v1",
            "serviceMonitor.prometheusNamespace=kube-system",
        ],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["workload-identity"],
        values: &["workloadIdentity.enabled=true", PLACEHOLDER],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["aks-keda-add-on"],
        values: &["networkPolicy.kedaNamespace=kube-system"],
    },
    Variant {
        namespace: "keda-sift",
        of: "overlays/aks",
        components: &[],
        values: &[
            "workloadIdentity.enabled=true",
            PLACEHOLDER,
            "networkPolicy.kedaNamespace=kube-system",
        ],
    },
    Variant {
        namespace: "keda-sift",
        of: "overlays/mtls",
        components: &[],
        values: &["tls.enabled=true"],
    },
    Variant { namespace: "keda", of: "overlays/beside-keda", components: &[], values: &[] },
    Variant {
        namespace: "keda",
        of: "overlays/beside-keda",
        components: &["warm-up", "service-monitor"],
        values: &["warmUp.enabled=true", "serviceMonitor.enabled=true"],
    },
    Variant {
        namespace: "keda-sift",
        of: "base",
        components: &["single-namespace"],
        values: &["singleNamespace=true"],
    },
    Variant {
        namespace: "team-a",
        of: "overlays/single-namespace",
        components: &[],
        values: &["singleNamespace=true", "warmUp.enabled=true", "events.enabled=true"],
    },
    Variant {
        namespace: "team-a",
        of: "overlays/single-namespace",
        components: &["service-account-tokens", "trigger-authentications", "single-namespace"],
        values: &[
            "singleNamespace=true",
            "warmUp.enabled=true",
            "events.enabled=true",
            "serviceAccountTokens.enabled=true",
            "triggerAuthentications.enabled=true",
        ],
    },
    Variant {
        namespace: "keda-sift",
        of: "overlays/aks",
        components: &[
            "mtls",
            "trigger-authentications",
            "service-account-tokens",
            "service-monitor",
            "events",
            "warm-up",
        ],
        values: &[
            "workloadIdentity.enabled=true",
            PLACEHOLDER,
            "networkPolicy.kedaNamespace=kube-system",
            "tls.enabled=true",
            "triggerAuthentications.enabled=true",
            "serviceAccountTokens.enabled=true",
            "serviceMonitor.enabled=true",
            "events.enabled=true",
            "warmUp.enabled=true",
        ],
    },
];

/// What the component has where a user's client ID belongs.
const PLACEHOLDER: &str = "workloadIdentity.clientId=00000000-0000-0000-0000-000000000000";

/// What the chart has besides, in namespaces that are there.
const CHART_ALONE: &[&[&str]] = &[
    &["warmUp.enabled=true,events.enabled=true", "watchNamespaces={team-a,team-b}"],
    &["tls.enabled=true,tls.existingSecret=mine", "tls.clientCertificates=false"],
    &[
        "tls.enabled=true",
        "tls.dnsNames={sift.example.com}",
        "fullnameOverride=sifter,nameOverride=sifting",
    ],
    &[
        "replicas=3,image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "image.pullPolicy=Always,image.pullSecrets[0].name=registry",
        "measureTimeout=20s,forgetAfter=30m,log=debug,logFormat=text,oauthAllowHosts={login.example.com}",
        "azure.namespaces={shop.servicebus.windows.net},azure.allowSuffixes={servicebus.example.com}",
        "warmUp.enabled=true,warmUp.timeout=30s,warmUp.scalerAddresses={sift.example.com}",
        "workloadIdentity.enabled=true,workloadIdentity.tenantId=11111111-2222-3333-4444-555555555555",
        "serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus,serviceMonitor.interval=15s",
        "networkPolicy.kedaPodLabels.app=keda-operator",
        "serviceAccount.create=false,serviceAccount.name=mine",
        "podAnnotations.a=b,podLabels.c=d,priorityClassName=high,nodeSelector.e=f",
        "tolerations[0].operator=Exists,topologySpreadConstraints[0].maxSkew=2",
        "topologySpreadConstraints[0].labelSelector.matchLabels.c=d",
        "topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
        "extraEnv[0].name=RUST_BACKTRACE,extraEnv[0].value=full,extraVolumes[0].name=more",
        "extraVolumeMounts[0].name=more,extraVolumeMounts[0].mountPath=/more",
    ],
    &["networkPolicy.enabled=false,podDisruptionBudget.enabled=false"],
];

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

/// All objects of an installation, by kind, namespace and name.
type Objects = BTreeMap<String, Value>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("charts/keda-sift")
}

fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)
        .unwrap_or_else(|error| panic!("no YAML: {error}\n{yaml}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn objects(yaml: &str) -> Objects {
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

fn of_kind<'a>(objects: &'a Objects, kind: &str) -> Vec<&'a Value> {
    objects.values().filter(|object| object["kind"] == kind).collect()
}

fn deployment(objects: &Objects) -> &Value {
    let deployments = of_kind(objects, "Deployment");
    assert_eq!(deployments.len(), 1, "there is one Deployment");
    deployments[0]
}

fn container(objects: &Objects) -> &Value {
    let containers = &deployment(objects)["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().map(Vec::len), Some(1), "there is one container");
    &containers[0]
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text"))
}

/// A folder to build in. kustomize takes other folders by a relative path only.
struct Workshop(TempDir);

impl Workshop {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder"))
    }

    /// The way from here to `manifests/`.
    fn manifests(&self) -> String {
        let here = self.0.path().canonicalize().expect("the folder is there");
        let up = "../".repeat(here.components().count() - 1);
        let there = root().join("manifests").canonicalize().expect("the manifests are there");
        format!("{up}{}", there.strip_prefix("/").expect("an absolute path").display())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("a file can be written");
    }

    fn build(&self, kustomization: &str) -> String {
        self.write("kustomization.yaml", kustomization);
        tools::kustomize(self.0.path())
    }
}

impl Variant {
    fn kustomized(&self) -> String {
        let workshop = Workshop::new();
        let manifests = workshop.manifests();
        let components: Vec<String> =
            self.components.iter().map(|name| format!("{manifests}/components/{name}")).collect();
        workshop.build(
            &json!({
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": self.namespace,
                "resources": [format!("{manifests}/{}", self.of)],
                "components": components,
            })
            .to_string(),
        )
    }
}

fn charted(namespace: &str, values: &[&str]) -> String {
    tools::helm_template(chart(), &arguments(namespace, values))
}

/// With a version of Kubernetes, as helm otherwise assumes that of its own build.
fn arguments<'a>(namespace: &'a str, values: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["--kube-version", "1.35.0", "--namespace", namespace];
    arguments.extend(values.iter().flat_map(|value| ["--set", *value]));
    arguments
}

/// Every variant, built once for all tests.
fn built() -> &'static [Built] {
    static BUILT: LazyLock<Vec<Built>> = LazyLock::new(|| {
        let build = |variant: &'static Variant| Built {
            variant,
            kustomized: variant.kustomized(),
            charted: charted(variant.namespace, variant.values),
        };
        VARIANTS.iter().map(build).collect()
    });
    &BUILT
}

/// Everything there is, with what it is, built once too.
fn everything() -> &'static [(String, String)] {
    static EVERYTHING: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let mut all = Vec::new();
        for Built { variant, kustomized, charted } in built() {
            all.push((format!("{variant:?}, kustomized"), kustomized.clone()));
            all.push((format!("{variant:?}, charted"), charted.clone()));
        }
        for values in CHART_ALONE {
            all.push((format!("the chart with {values:?}"), charted("keda-sift", values)));
        }
        all.extend(examples());
        all
    });
    &EVERYTHING
}

/// The blocks of a language in a page; those in lists are indented.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<(&'a str, String)> {
    let mut blocks = Vec::new();
    let mut within: Option<(&str, usize, String)> = None;
    for line in page.lines() {
        let text = line.trim_start();
        let Some((language, indent, block)) = &mut within else {
            if let Some(language) = text.strip_prefix("```") {
                within = Some((language, line.len() - text.len(), String::new()));
            }
            continue;
        };
        if text.starts_with("```") {
            blocks.push((*language, std::mem::take(block)));
            within = None;
        } else {
            writeln!(block, "{}", line.get(*indent..).unwrap_or_default()).expect("a string");
        }
    }
    assert!(within.is_none(), "a block has no end");
    blocks.retain(|(found, _)| *found == language);
    blocks
}

/// What docs/installing.md shows to apply or to install.
fn examples() -> Vec<(String, String)> {
    let mut built = Vec::new();
    let workshop = Workshop::new();
    let manifests = workshop.manifests();
    let version = env!("CARGO_PKG_VERSION");

    let yaml = blocks(INSTALLING, "yaml");
    for (_, block) in &yaml {
        if let Some(name) = block.lines().next().and_then(|line| line.strip_prefix("# ")) {
            workshop.write(name, block);
        }
    }
    for (_, block) in yaml.iter().filter(|(_, block)| block.contains("kind: Kustomization")) {
        let local = block
            .replace("https://github.com/keda-sift/keda-sift//manifests", &manifests)
            .replace(&format!("?ref=v{version}"), "");
        assert!(
            !local.contains("?ref="),
            "an example has another version than {version}:\n{block}"
        );
        built.push((format!("the example\n{block}"), workshop.build(&local)));
    }
    assert!(built.len() >= 8, "docs/installing.md has examples of kustomizations");

    let shell: String = blocks(INSTALLING, "sh").into_iter().map(|(_, block)| block).collect();
    let shell = shell.replace("\\\n", " ");
    let installs = shell
        .lines()
        .filter_map(|line| line.strip_prefix("helm install keda-sift charts/keda-sift "));
    let before = built.len();
    for install in installs {
        let words = install
            .replace("\"$CLIENT_ID\"", "11111111-2222-3333-4444-555555555555")
            .replace('\'', "");
        let mut arguments = vec!["--kube-version", "1.35.0"];
        arguments.extend(words.split_whitespace());
        built.push((format!("helm install {install}"), tools::helm_template(chart(), &arguments)));
    }
    assert!(built.len() >= before + 4, "docs/installing.md has examples of the chart");
    built
}

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

/// Without what has to differ: helm's own labels, and the order of what has a name, which then stands under that.
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

fn rules(objects: &Objects) -> BTreeSet<String> {
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

/// The namespaces that the installations need, keda-sift's as the base has it.
async fn namespaces(api: &ApiServer) {
    let base =
        fs::read_to_string(root().join("manifests/base/namespace.yaml")).expect("the base has one");
    api.apply(&base).await;
    for name in ["elsewhere", "keda", "team-a", "team-b", "shop"] {
        api.apply(&base.replace("name: keda-sift", &format!("name: {name}"))).await;
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn the_api_server_takes_all_that_is_installed() {
    let api = ApiServer::shared().await;
    namespaces(api).await;
    for (what, yaml) in everything() {
        if let Err(refusal) = api.dry_run(yaml).await {
            panic!("{what} is refused: {refusal}");
        }
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

/// A component that binds the account of a namespace it was moved out of would grant rights to somebody else.
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

        // A new one is known to KEDA before an old one ends, which takes calls until it is forgotten.
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
