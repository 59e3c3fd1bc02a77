//! ScaledJobs and ScaledObjects, cut down to the triggers that point at us.
//!
//! An object may be megabytes of Job template, and may hold anything where its definition does not
//! forbid it. What is not as it should be is left out, and the others go on.
//!
//! # References
//! - KEDA 2.20 `pkg/scaling/scale_handler.go`: what its status says of triggers
//! - KEDA 2.20 `apis/keda/v1alpha1/scaledjob_types.go`: 100 Jobs where `maxReplicaCount` does not
//!   say

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::Value;

use super::client::Kubernetes;
use super::environment::Environment;
use super::error::Error;
use super::names::Name;
use crate::metadata::FROM_ENV;

/// KEDA's `maxReplicaCount` of a ScaledJob that has none.
const DEFAULT_MAX_JOBS: u64 = 100;

/// KEDA's `pollingInterval` of an object that has none, in seconds.
const DEFAULT_POLLING_INTERVAL: u64 = 30;

/// What KEDA scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// By starting Jobs.
    ScaledJob,
    /// By setting replicas.
    ScaledObject,
}

/// Which object it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScaledRef {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub namespace: Name,
    /// Its name there.
    pub name: Name,
    /// What tells it from one of the same name, before or after it.
    pub uid: String,
}

/// What an object says, apart from its status: KEDA writes that at each poll that finds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Counts the changes of its spec; the API server gives one to each object.
    generation: Option<i64>,
    /// An annotation is in no generation.
    paused: bool,
}

/// An object with triggers that point at us.
#[derive(Debug, Clone)]
pub struct Scaled {
    /// Which one it is.
    pub of: ScaledRef,
    /// Which of its versions this is.
    pub version: Version,
    /// The most Jobs KEDA starts, where that is all that the count decides. Not of ScaledObjects,
    /// whose metric may be shown and reckoned with, and not beside other triggers: KEDA takes the
    /// target of the one that counts most (`max`), so what is left out would choose.
    pub max_jobs: Option<NonZeroU64>,
    /// When it was made, in milliseconds since 1970.
    pub made: Option<i64>,
    /// Whether KEDA is told to leave it alone.
    pub paused: bool,
    /// How often KEDA polls it, in seconds.
    pub polling_interval: u64,
    /// The numbers of triggers that KEDA has had an answer about, by its status.
    pub answered: BTreeSet<usize>,
    /// Its triggers that point at us, in their order.
    pub triggers: Vec<ExternalTrigger>,
}

/// A trigger as it is written in its object.
#[derive(Debug, Clone)]
pub struct ExternalTrigger {
    /// Its place among all triggers of its object.
    pub number: usize,
    metadata: HashMap<String, String>,
    /// Of the Job's container; not known of a ScaledObject's workload.
    environment: Option<Arc<Environment>>,
}

/// The names by which triggers mean this server.
#[derive(Debug, Clone, Default)]
pub struct Addresses(Vec<String>);

impl Kind {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::ScaledJob => "ScaledJob",
            Kind::ScaledObject => "ScaledObject",
        }
    }

    pub(super) fn resource(self) -> &'static str {
        match self {
            Kind::ScaledJob => "scaledjobs",
            Kind::ScaledObject => "scaledobjects",
        }
    }
}

impl fmt::Display for ScaledRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

impl Version {
    /// Whether nothing but the status can tell this one from the other.
    pub fn is(self, other: Version) -> bool {
        self.generation.is_some() && self == other
    }
}

impl Addresses {
    /// Services as `name.namespace`, or any host names; a port is left out.
    pub fn new<S: AsRef<str>>(addresses: &[S]) -> Addresses {
        Addresses(addresses.iter().map(|address| host(address.as_ref())).collect())
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a trigger's `scalerAddress` is one of them, in whichever form: `service`,
    /// `service.namespace`, `….svc`, `….svc.cluster.local`, with any port.
    fn mean(&self, scaler_address: &str) -> bool {
        let host = host(scaler_address);
        let (service, _) = host.split_once('.').unwrap_or((&host, ""));
        let mut labels = host.splitn(4, '.');
        let short = [labels.next(), labels.next()].map(Option::unwrap_or_default).join(".");
        let in_cluster = matches!(labels.next(), None | Some("svc"));
        self.0.iter().any(|own| {
            *own == host
                || (in_cluster && *own == short)
                || (host == service && own.split('.').next() == Some(service))
        })
    }
}

impl Scaled {
    /// The object, if it has a name and a trigger that points at one of these addresses.
    pub(super) fn of(kind: Kind, object: &DynamicObject, addresses: &Addresses) -> Option<Scaled> {
        let metadata = &object.metadata;
        let of = ScaledRef {
            kind,
            namespace: Name::parse(metadata.namespace.as_deref()?).ok()?,
            name: Name::parse(metadata.name.as_deref()?).ok()?,
            uid: metadata.uid.clone().unwrap_or_default(),
        };
        let spec = object.data.get("spec")?;
        let ours: Vec<_> = spec["triggers"]
            .as_array()?
            .iter()
            .enumerate()
            .filter(|(_, trigger)| {
                matches!(trigger["type"].as_str(), Some("external" | "external-push"))
            })
            .filter_map(|(number, trigger)| Some((number, texts(&trigger["metadata"])?)))
            .filter(|(_, metadata)| {
                metadata.get("scalerAddress").is_some_and(|address| addresses.mean(address))
            })
            .collect();
        if ours.is_empty() {
            return None;
        }
        let environment = match kind {
            Kind::ScaledJob if ours.iter().any(|(_, metadata)| !variables(metadata).is_empty()) => {
                let container =
                    spec["envSourceContainerName"].as_str().filter(|name| !name.is_empty());
                let pod = &spec["jobTargetRef"]["template"]["spec"];
                Environment::of(pod, container).map(Arc::new)
            }
            _ => None,
        };
        let triggers = ours
            .into_iter()
            .map(|(number, metadata)| ExternalTrigger {
                number,
                metadata,
                environment: environment.clone(),
            })
            .collect();
        let is_alone = spec["triggers"].as_array()?.len() == 1;
        let max_jobs = (kind == Kind::ScaledJob && is_alone)
            .then(|| spec["maxReplicaCount"].as_u64().unwrap_or(DEFAULT_MAX_JOBS))
            .and_then(NonZeroU64::new);
        let annotation = |name: &str| metadata.annotations.as_ref().and_then(|all| all.get(name));
        let paused = annotation("autoscaling.keda.sh/paused").is_some_and(|value| value != "false")
            || annotation("autoscaling.keda.sh/paused-replicas").is_some();
        let version = Version { generation: metadata.generation, paused };
        let made = metadata.creation_timestamp.as_ref().map(|time| time.0.as_millisecond());
        let polling_interval = spec["pollingInterval"].as_u64().unwrap_or(DEFAULT_POLLING_INTERVAL);
        let answered = answered(object.data.get("status").unwrap_or(&Value::Null));
        Some(Scaled { of, version, max_jobs, made, paused, polling_interval, answered, triggers })
    }
}

impl Kubernetes {
    /// A trigger's metadata as KEDA sends it: with what `FromEnv` keys name in place of the names,
    /// and without those that name nothing. `None` where that cannot be known.
    ///
    /// # Errors
    /// What the environment takes a value from cannot be read.
    pub async fn metadata(
        &self,
        trigger: &ExternalTrigger,
        namespace: &Name,
    ) -> Result<Option<HashMap<String, String>>, Error> {
        let names = variables(&trigger.metadata);
        let mut metadata = trigger.metadata.clone();
        if names.is_empty() {
            return Ok(Some(metadata));
        }
        let Some(environment) = &trigger.environment else {
            return Ok(None);
        };
        let values = self.variables(environment, namespace, &names).await?;
        metadata.retain(|key, value| {
            if !key.ends_with(FROM_ENV) {
                return true;
            }
            let found = values.get(value.as_str()).filter(|found| !found.expose().is_empty());
            found.map(|found| found.expose().clone_into(value)).is_some()
        });
        Ok(Some(metadata))
    }
}

/// The numbers of triggers in a status: KEDA puts a metric's name there as `s<number>-<name>`, once
/// it has been told the trigger's spec.
fn answered(status: &Value) -> BTreeSet<usize> {
    let names = status["externalMetricNames"].as_array().into_iter().flatten();
    let names = names.filter_map(Value::as_str);
    let active = status["triggersActivity"].as_object().into_iter().flat_map(|all| all.keys());
    let number = |name: &str| name.strip_prefix('s')?.split('-').next()?.parse().ok();
    names.chain(active.map(String::as_str)).filter_map(number).collect()
}

/// A map of texts; `None` if it holds anything else.
fn texts(value: &Value) -> Option<HashMap<String, String>> {
    let entries = value.as_object()?.iter();
    entries.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The names of variables that `FromEnv` keys hold.
fn variables(metadata: &HashMap<String, String>) -> BTreeSet<&str> {
    metadata
        .iter()
        .filter(|(key, _)| key.ends_with(FROM_ENV))
        .map(|(_, name)| name.as_str())
        .collect()
}

/// The host of an address as gRPC takes it: without its scheme and its port, in lower case.
fn host(address: &str) -> String {
    let address = address.trim();
    let address = address.rsplit_once('/').map_or(address, |(_, address)| address);
    let address = address.strip_prefix("dns:").unwrap_or(address);
    let port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match address.rsplit_once(':') {
        Some((host, end)) if port(end) => host,
        _ => address,
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn an_address_is_known_in_every_form_that_reaches_it() {
        let own = Addresses::new(&["keda-sift.tools", "sift.example.com:9090"]);
        for yes in [
            "keda-sift.tools:9090",
            "keda-sift.tools",
            "keda-sift.tools.svc:9090",
            "keda-sift.tools.svc.cluster.local:9090",
            "dns:///keda-sift.tools.svc.cluster.local.:443",
            "dns:keda-sift.tools:1",
            "keda-sift:9090",
            "Keda-Sift.Tools:9090",
            "sift.example.com:1",
        ] {
            assert!(own.mean(yes), "{yes}");
        }
        for no in [
            "",
            ":9090",
            "keda-sift.other:9090",
            "other.tools:9090",
            "keda-sift.tools.example.com:9090",
            "example.com",
            "sift.example.org",
            "tools",
        ] {
            assert!(!own.mean(no), "{no}");
        }
        assert!(!Addresses::default().mean("keda-sift.tools"));
    }

    #[test]
    fn an_object_is_cut_down_to_its_triggers_that_point_at_us() {
        let own = Addresses::new(&["keda-sift.tools"]);
        let trigger = |kind: &str, address: &str| json!({ "type": kind, "metadata": { "scalerAddress": address, "topic": "uploads" } });
        let job = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": { "name": "thumbnails", "namespace": "media", "uid": "1",
                "annotations": { "autoscaling.keda.sh/paused": "true" } },
            "spec": { "maxReplicaCount": 7, "triggers": [
                trigger("kafka", "keda-sift.tools:1"),
                trigger("external", "another.tools:1"),
                trigger("external", "keda-sift.tools:1"),
                { "type": "external" },
                { "type": "external", "metadata": { "scalerAddress": "keda-sift.tools:1", "topic": 7 } },
                "nonsense",
                trigger("external-push", "keda-sift.tools:1"),
            ] },
        });
        let scaled = Scaled::of(Kind::ScaledJob, &object(job), &own).expect("two triggers");
        assert_eq!(scaled.of.to_string(), "ScaledJob media/thumbnails");
        assert_eq!((scaled.triggers.len(), scaled.max_jobs, scaled.paused), (2, None, true));

        for strange in [
            json!({ "metadata": { "name": "a", "namespace": "b" } }),
            json!({ "metadata": { "name": "a", "namespace": "b" }, "spec": 7 }),
            json!({ "metadata": { "name": "a", "namespace": "b" }, "spec": { "triggers": {} } }),
            json!({ "metadata": { "namespace": "b" }, "spec": { "triggers": [trigger("external", "keda-sift")] } }),
        ] {
            assert!(
                Scaled::of(Kind::ScaledJob, &object(strange.clone()), &own).is_none(),
                "{strange}"
            );
        }
    }

    #[tokio::test]
    async fn metadata_is_what_keda_sends() {
        let own = Addresses::new(&["keda-sift.tools"]);
        let spec = json!({
            "jobTargetRef": { "template": { "spec": { "containers": [{ "name": "job",
                "env": [{ "name": "SERVERS", "value": "kafka:9092" }] }] } } },
            "triggers": [{ "type": "external", "metadata": { "scalerAddress": "keda-sift.tools:1", "topic": "uploads",
                "bootstrapServersFromEnv": "SERVERS", "usernameFromEnv": "NOBODY" } }],
        });
        let metadata = json!({ "name": "a", "namespace": "b" });
        let object = object(json!({ "metadata": metadata, "spec": spec }));
        let of = |kind| Scaled::of(kind, &object, &own).expect("a trigger");
        let namespace = Name::parse("b").expect("a name");
        let kubernetes = Kubernetes::none();
        let scaled = of(Kind::ScaledJob);
        let sent = kubernetes
            .metadata(&scaled.triggers[0], &namespace)
            .await
            .expect("texts alone")
            .expect("known");
        let mut sent: Vec<_> =
            sent.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        sent.sort_unstable();
        assert_eq!(
            sent,
            [
                ("bootstrapServersFromEnv", "kafka:9092"),
                ("scalerAddress", "keda-sift.tools:1"),
                ("topic", "uploads")
            ]
        );
        let scaled = of(Kind::ScaledObject);
        assert_eq!(kubernetes.metadata(&scaled.triggers[0], &namespace).await, Ok(None));
    }
}
