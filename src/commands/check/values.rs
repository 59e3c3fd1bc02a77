//! What a trigger's metadata holds once its variables and its TriggerAuthentication are looked up,
//! by the code with which the scaler itself reads them: in the files that are checked, in this
//! environment, and in the cluster, as far as each may be asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::document::Node;
use super::finding::{Finding, Mark, See};
use super::inspect::Found;
use super::object::{Kind, Object};
use crate::kubernetes::{Authentications, Error, Kubernetes, Name, WorkloadKind};
use crate::metadata::{FROM_ENV, one_line, quoted};
use crate::secret::Secret;
use crate::trigger::Trigger;

/// Looks values up.
pub(super) struct Lookup<'a> {
    kubernetes: Kubernetes,
    authentications: Authentications,
    /// Names of those that are for the whole cluster.
    of_cluster: BTreeSet<&'a str>,
    workloads: Vec<(&'a str, &'a str, &'a str, &'a Node)>,
    is_live: bool,
    /// Whether what the files do not have is asked of a cluster.
    has_cluster: bool,
}

/// What was found for a trigger.
#[derive(Default)]
pub(super) struct Values {
    /// With the values of `FromEnv` keys; where one is not known, its variable's name stands for
    /// it.
    pub(super) metadata: HashMap<String, String>,
    /// Of its TriggerAuthentication.
    pub(super) parameters: Option<BTreeMap<String, Secret>>,
    /// The keys whose values are not known.
    unknown: BTreeSet<String>,
    /// Whether what the TriggerAuthentication gives is not known.
    is_authentication_unknown: bool,
    pub(super) is_live: bool,
}

impl<'a> Lookup<'a> {
    /// `documents` are all objects of the files; `cluster` is asked for what they do not have.
    pub(super) fn new(
        documents: &'a [(String, Vec<Node>)],
        namespace: &'a str,
        is_live: bool,
        cluster: Option<&Kubernetes>,
    ) -> Lookup<'a> {
        let objects = || documents.iter().flat_map(|(_, objects)| objects);
        let of = |node: &'a Node, key| node.get("metadata").and_then(|it| it.text(key));
        let within = |node: &'a Node| of(node, "namespace").unwrap_or(namespace);
        let held =
            objects().filter_map(|node| Some((Name::parse(within(node)).ok()?, node.json())));
        let none = Kubernetes::none();
        let kubernetes = Kubernetes::holding(held, cluster.unwrap_or(&none));
        let named = |node: &'a Node| Some((node.text("kind")?, of(node, "name")?));
        let of_cluster = objects().filter_map(named);
        let is_of_cluster = |kind: &str| kind == Kind::ClusterTriggerAuthentication.as_str();
        Lookup {
            authentications: Authentications::new(kubernetes.clone()),
            kubernetes,
            of_cluster: of_cluster
                .filter_map(|(kind, name)| is_of_cluster(kind).then_some(name))
                .collect(),
            workloads: objects()
                .filter_map(|node| {
                    let (kind, name) = named(node)?;
                    let pod = node.get("spec")?.get("template")?.get("spec")?;
                    Some((kind, within(node), name, pod))
                })
                .collect(),
            is_live,
            has_cluster: cluster.is_some(),
        }
    }

    /// Everything that the trigger names.
    pub(super) async fn values(
        &self,
        object: &Object<'_>,
        found: &Found<'_>,
        findings: &mut Vec<Finding>,
    ) -> Values {
        let mut values =
            Values { metadata: found.metadata(), is_live: self.is_live, ..Values::default() };
        let mut keys: Vec<_> = values.metadata.keys().cloned().collect();
        keys.retain(|key| key.ends_with(FROM_ENV));
        keys.sort();
        for key in keys {
            let variable = values.metadata.get(&key).cloned().unwrap_or_default();
            match self.variable(object, &variable).await {
                Ok(value) => {
                    values.metadata.insert(key, value);
                }
                Err((mark, words)) => {
                    if mark != Mark::Unknown || self.is_live {
                        findings.push(found.finding(mark, &key, words, See::Variables));
                    }
                    values.unknown.insert(key);
                }
            }
        }
        if let Some(name) = Trigger::authentication(&values.metadata) {
            match self.authentication(object, &name).await {
                Ok(parameters) => values.parameters = Some(parameters),
                Err((mark, words)) => {
                    let about = "triggerAuthentication";
                    findings.push(found.finding(mark, about, words, See::Authentication));
                    values.is_authentication_unknown = true;
                }
            }
        }
        values
    }

    async fn variable(&self, object: &Object<'_>, name: &str) -> Result<String, (Mark, String)> {
        // What stands there by mistake may be the secret itself.
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let shown = if name.chars().all(is_name) { one_line(name, 80) } else { "it names".into() };
        if self.is_live
            && let Ok(value) = std::env::var(name)
        {
            return Ok(value);
        }
        let unset = || {
            let words = format!("the variable {shown} is not set here; set it for --live");
            (Mark::Unknown, words)
        };
        let namespace = Name::parse(&object.namespace).map_err(|_| unset())?;
        let of_files = object.job_pod().or_else(|| self.workload(object));
        let (pod, container) = match of_files {
            Some((pod, container)) => (pod.json(), container),
            None => match self.workload_of_cluster(object, &namespace).await {
                Some(found) => found.map_err(|error| self.problem(&error))?,
                None => return Err(unset()),
            },
        };
        match self.kubernetes.variable(&pod, container, &namespace, name).await {
            Ok(Some(value)) => Ok(value.expose().to_owned()),
            Ok(None) => {
                let container = container.map_or_else(
                    || "the first container".to_owned(),
                    |container| format!("container {}", quoted(container)),
                );
                let words = format!(
                    "{container} has no variable {shown} with a value of its own, and KEDA leaves \
                     the key out; add it to its env"
                );
                Err((Mark::Error, words))
            }
            Err(Error::NotFound { .. }) if !self.has_cluster => Err(unset()),
            Err(error) => Err(self.problem(&error)),
        }
    }

    /// The Pod of a ScaledObject's workload, if the files have it.
    fn workload<'o>(&'o self, object: &Object<'o>) -> Option<(&'o Node, Option<&'o str>)> {
        let target = object.spec()?.get("scaleTargetRef")?;
        let (kind, name) = (target.text("kind").unwrap_or("Deployment"), target.text("name")?);
        let is_it = |workload: &&(&str, &str, &str, &Node)| {
            (workload.0, workload.1, workload.2) == (kind, object.namespace.as_str(), name)
        };
        let (.., pod) = self.workloads.iter().find(is_it)?;
        Some((*pod, target.text("envSourceContainerName")))
    }

    /// The same of one that the cluster has. `None` if it is of another kind, or nobody may ask.
    async fn workload_of_cluster<'o>(
        &self,
        object: &Object<'o>,
        namespace: &Name,
    ) -> Option<Result<(Value, Option<&'o str>), Error>> {
        let target = object.spec()?.get("scaleTargetRef").filter(|_| self.has_cluster)?;
        let kind = match target.text("kind") {
            None | Some("Deployment") => WorkloadKind::Deployment,
            Some("StatefulSet") => WorkloadKind::StatefulSet,
            Some(_) => return None,
        };
        let name = Name::parse(target.text("name")?).ok()?;
        let pod = self.kubernetes.workload(kind, namespace, &name).await;
        Some(pod.map(|pod| (pod, target.text("envSourceContainerName"))))
    }

    async fn authentication(
        &self,
        object: &Object<'_>,
        name: &Name,
    ) -> Result<BTreeMap<String, Secret>, (Mark, String)> {
        let namespace = Name::parse(&object.namespace)
            .map_err(|error| (Mark::Unknown, format!("its namespace {error}")))?;
        match self.authentications.get(&namespace, name, &object.name).await {
            Ok(authentication) => Ok(authentication.parameters.clone()),
            Err(Error::NotFound { kind: "TriggerAuthentication", .. })
                if self.of_cluster.contains(name.as_str()) =>
            {
                let words = format!(
                    "{name} is a ClusterTriggerAuthentication; give a TriggerAuthentication of \
                     the namespace"
                );
                Err((Mark::Error, words))
            }
            Err(error) => Err(self.problem(&error)),
        }
    }

    fn problem(&self, error: &Error) -> (Mark, String) {
        match error {
            Error::NotFound { kind, name, .. } if !self.has_cluster => {
                let name = one_line(name, 80);
                let words = format!("{kind} {name} is in none of the files; give its file too");
                (Mark::Unknown, words)
            }
            Error::NotFound { .. } | Error::Unfit { .. } => {
                (Mark::Error, one_line(&error.to_string(), 400))
            }
            Error::Forbidden { verb, resource, namespace, .. } => {
                (Mark::Unknown, forbidden(verb, resource, namespace))
            }
            _ => (Mark::Unknown, one_line(&error.to_string(), 400)),
        }
    }

    /// Ends what is under way.
    pub(super) async fn shutdown(&self) {
        self.authentications.shutdown().await;
    }
}

/// Names the right that is missing.
pub(super) fn forbidden(verb: &str, resource: &str, namespace: &str) -> String {
    format!("the right to {verb} {resource} in namespace {namespace} is missing; ask for it")
}

impl Values {
    /// Whether all is known, so that what is asked of a broker is what KEDA would have asked.
    pub(super) fn are_known(&self) -> bool {
        self.unknown.is_empty() && !self.is_authentication_unknown
    }

    /// Whether a complaint is about what is not known.
    pub(super) fn excuse(&self, key: &str, words: &str) -> bool {
        let is_of_value = words.starts_with("its value") && !words.contains("a second time");
        (self.unknown.contains(key) && is_of_value)
            || (self.is_authentication_unknown && words.starts_with("is missing"))
    }
}
