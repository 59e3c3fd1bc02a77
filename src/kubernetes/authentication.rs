//! The parameters that a TriggerAuthentication gives: what KEDA would have read through
//! `authenticationRef` and does not pass on to an external scaler.
//!
//! What was read is kept for [`FRESH`], then read again beside the polls that go on with it: an API
//! server that is away changes nothing. When a source refuses what it was given,
//! [`Authentications::forget`] makes the next poll read it anew: KEDA repeats a failed call at
//! once, so a rotated Secret costs no poll.
//!
//! # References
//! - KEDA 2.20 `apis/keda/v1alpha1/triggerauthentication_types.go`

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Api;
use kube::core::DynamicObject;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use super::client::{Kubernetes, Right, Subject, ask, keda};
use super::environment::{COMPONENT, Environment, Holder};
use super::error::Error;
use super::names::Name;
use crate::coalescer::{Coalescer, ENDED, Tasks};
use crate::lock::lock;
use crate::secret::Secret;

/// How long parameters are used without looking again.
const FRESH: Duration = Duration::from_secs(30);

/// How long they are kept when nobody asks for them.
const KEPT: Duration = Duration::from_secs(900);

const KIND: &str = "TriggerAuthentication";

/// Parameters by the names that a trigger has for them; the values are secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authentication {
    /// The parameters.
    pub parameters: BTreeMap<String, Secret>,
    /// Whether some stand in the environment of a ScaledJob's container, so that they are another's
    /// for each.
    of_environment: bool,
}

/// The TriggerAuthentications that triggers name.
pub struct Authentications {
    kubernetes: Kubernetes,
    tasks: Tasks,
    known: Mutex<HashMap<Key, Arc<Known>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    namespace: Name,
    name: Name,
    /// The ScaledJob whose environment is read.
    job: Option<Name>,
}

type Read = Result<Arc<Authentication>, Error>;

struct Known {
    coalescer: Arc<Coalescer<(), Read>>,
    last: Mutex<Option<Last>>,
    asked: Mutex<Instant>,
}

#[derive(Clone)]
struct Last {
    authentication: Arc<Authentication>,
    /// When it was read, or could not be read again.
    at: Instant,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    pod_identity: Option<PodIdentity>,
    secret_target_ref: Vec<KeyRef>,
    config_map_target_ref: Vec<KeyRef>,
    env: Vec<VariableRef>,
    /// What only KEDA reads.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodIdentity {
    provider: String,
    identity_id: Option<String>,
    identity_tenant_id: Option<String>,
    identity_authority_host: Option<String>,
}

#[derive(Debug, Deserialize)]
struct KeyRef {
    parameter: String,
    name: String,
    key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VariableRef {
    parameter: String,
    name: String,
    container_name: Option<String>,
}

impl Authentications {
    /// None is read yet.
    pub fn new(kubernetes: Kubernetes) -> Authentications {
        Authentications { kubernetes, tasks: Tasks::default(), known: Mutex::default() }
    }

    /// What the TriggerAuthentication `name` gives a trigger of the ScaledJob `job`, both in
    /// `namespace`.
    ///
    /// Dropping the future ends nothing that others wait for.
    ///
    /// # Errors
    /// It cannot be read, or something in it. What was read before stands in for an API server that
    /// does not answer, and for nothing else.
    pub async fn get(&self, namespace: &Name, name: &Name, job: &str) -> Read {
        let key = Key { namespace: namespace.clone(), name: name.clone(), job: None };
        let shared = self.read(key.clone()).await?;
        if !shared.of_environment {
            return Ok(shared);
        }
        let job = Name::parse(job)
            .map_err(|error| key.unfit(format!("reads the env of {job:?}, which {error}")))?;
        self.read(Key { job: Some(job), ..key }).await
    }

    /// Has it read anew by who asks next.
    pub fn forget(&self, namespace: &Name, name: &Name) {
        let known = lock(&self.known);
        for (_, known) in
            known.iter().filter(|(key, _)| key.namespace == *namespace && key.name == *name)
        {
            *lock(&known.last) = None;
        }
    }

    /// Ends what is under way, and waits for it.
    pub async fn shutdown(&self) {
        self.tasks.end();
        self.tasks.ended().await;
    }

    async fn read(&self, key: Key) -> Read {
        let known = self.known(&key);
        let last = lock(&known.last).clone();
        match last {
            Some(last) if last.at.elapsed() < FRESH => Ok(last.authentication),
            Some(last) => {
                // Not again until this has been tried.
                *lock(&known.last) = Some(Last { at: Instant::now(), ..last.clone() });
                let kubernetes = self.kubernetes.clone();
                self.tasks.spawn(async move { known.refresh(&kubernetes, &key).await });
                Ok(last.authentication)
            }
            None => {
                let (kubernetes, this) = (self.kubernetes.clone(), Arc::clone(&known));
                let request = move |()| {
                    let (kubernetes, this, key) =
                        (kubernetes.clone(), Arc::clone(&this), key.clone());
                    async move { this.first(&kubernetes, &key).await }
                };
                let answer = known.coalescer.ask(&self.tasks, |()| (), request).await;
                answer.unwrap_or_else(|| Err(Error::Unreachable { reason: ENDED.to_owned() }))
            }
        }
    }

    fn known(&self, key: &Key) -> Arc<Known> {
        let now = Instant::now();
        let mut all = lock(&self.known);
        if let Some(known) = all.get(key) {
            *lock(&known.asked) = now;
            return Arc::clone(known);
        }
        all.retain(|_, known| now - *lock(&known.asked) < KEPT);
        let known = Arc::new(Known {
            coalescer: Coalescer::new(),
            last: Mutex::default(),
            asked: Mutex::new(now),
        });
        all.insert(key.clone(), Arc::clone(&known));
        known
    }
}

impl Drop for Authentications {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

impl Known {
    async fn first(&self, kubernetes: &Kubernetes, key: &Key) -> Read {
        let read = kubernetes.authentication(key).await.map(Arc::new);
        if let Ok(authentication) = &read {
            *lock(&self.last) =
                Some(Last { authentication: Arc::clone(authentication), at: Instant::now() });
        }
        read
    }

    async fn refresh(&self, kubernetes: &Kubernetes, key: &Key) {
        match kubernetes.authentication(key).await {
            Ok(read) => {
                let mut last = lock(&self.last);
                // One that is as before keeps its identity, and with it the triggers made of it.
                let as_before = last
                    .as_ref()
                    .map(|last| Arc::clone(&last.authentication))
                    .filter(|before| **before == read);
                let authentication = as_before.unwrap_or_else(|| Arc::new(read));
                *last = Some(Last { authentication, at: Instant::now() });
            }
            Err(error) if error.passes() => {
                warn!(namespace = %key.namespace, name = %key.name, %error, "a TriggerAuthentication could not be read again yet");
            }
            // The next poll reads it itself, and is told why it cannot.
            Err(_) => *lock(&self.last) = None,
        }
    }
}

impl Kubernetes {
    async fn authentication(&self, key: &Key) -> Result<Authentication, Error> {
        let right = Right { verb: "get", resource: "triggerauthentications", component: COMPONENT };
        let found = self.object(right, KIND, &key.namespace, &key.name).await?;
        let spec = found.data.get("spec").cloned().unwrap_or_default();
        let spec: Spec = serde_json::from_value(spec)
            .map_err(|error| key.unfit(format!("cannot be read: {error}")))?;
        let mut parameters = self.of_spec(&spec, key).await?;
        let of_environment = !spec.env.is_empty();
        if let (true, Some(job)) = (of_environment, &key.job) {
            parameters.extend(self.of_environment(&spec, key, job).await?);
        }
        Ok(Authentication { parameters, of_environment })
    }

    async fn of_spec(&self, spec: &Spec, key: &Key) -> Result<BTreeMap<String, Secret>, Error> {
        if let Some(other) =
            spec.others.iter().find(|(_, value)| !is_empty(value)).map(|(name, _)| name)
        {
            return Err(key.unfit(format!(
                "has {other}, which keda-sift does not read; give secretTargetRef, configMapTargetRef, env or podIdentity azure-workload"
            )));
        }
        let mut parameters = BTreeMap::new();
        if let Some(identity) = &spec.pod_identity {
            parameters.extend(of_identity(identity, key)?);
        }
        for (holder, references) in [
            (Holder::Secret, &spec.secret_target_ref),
            (Holder::ConfigMap, &spec.config_map_target_ref),
        ] {
            for of in references {
                let value = self.key(holder, &key.namespace, &of.name, &of.key).await?;
                parameters.insert(of.parameter.clone(), value);
            }
        }
        Ok(parameters)
    }

    async fn of_environment(
        &self,
        spec: &Spec,
        key: &Key,
        job: &Name,
    ) -> Result<BTreeMap<String, Secret>, Error> {
        let right = Right { verb: "get", resource: "scaledjobs", component: COMPONENT };
        let found = self.object(right, "ScaledJob", &key.namespace, job).await;
        let found = found.map_err(|error| match error {
            Error::NotFound { .. } => key.unfit(format!(
                "has env, which is for ScaledJobs, and {job} is none; give secretTargetRef"
            )),
            error => error,
        })?;
        let target = &found.data["spec"]["jobTargetRef"]["template"]["spec"];
        let mut parameters = BTreeMap::new();
        for of in &spec.env {
            // KEDA takes the first container where none is named here, whatever
            // envSourceContainerName says.
            let container = of.container_name.as_deref().filter(|name| !name.is_empty());
            let environment = Environment::of(target, container).ok_or_else(|| {
                let container = container.unwrap_or("of its own");
                key.unfit(format!(
                    "has env of a container {container}, and ScaledJob {job} has none"
                ))
            })?;
            let names = BTreeSet::from([of.name.as_str()]);
            let mut values = self.variables(&environment, &key.namespace, &names).await?;
            let value = values.remove(&of.name).ok_or_else(|| {
                key.unfit(format!(
                    "has env {:?}, which the container of ScaledJob {job} has not",
                    of.name
                ))
            })?;
            parameters.insert(of.parameter.clone(), value);
        }
        Ok(parameters)
    }

    async fn object(
        &self,
        right: Right,
        kind: &'static str,
        namespace: &Name,
        name: &Name,
    ) -> Result<DynamicObject, Error> {
        let resource = keda(kind);
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client(right)?, namespace.as_str(), &resource);
        let about = Subject { kind, name: name.as_str(), namespace: namespace.as_str() };
        ask(right, about, objects.get(name.as_str())).await
    }
}

impl Key {
    fn unfit(&self, problem: String) -> Error {
        let (name, namespace) = (self.name.to_string(), self.namespace.to_string());
        Error::Unfit { kind: KIND, name, namespace, problem }
    }
}

fn of_identity(identity: &PodIdentity, key: &Key) -> Result<Vec<(String, Secret)>, Error> {
    match identity.provider.as_str() {
        "" | "none" => return Ok(Vec::new()),
        "azure-workload" => {}
        other => {
            return Err(key.unfit(format!(
                "has podIdentity {other}, which keda-sift does not have; give azure-workload"
            )));
        }
    }
    let said = |value: &Option<String>| value.clone().filter(|value| !value.trim().is_empty());
    // A token of ours would go to wherever this says.
    if said(&identity.identity_authority_host).is_some() {
        return Err(key.unfit(
            "has podIdentity.identityAuthorityHost, which keda-sift takes from its own environment; leave it out"
                .to_owned(),
        ));
    }
    let given =
        [("identityId", &identity.identity_id), ("identityTenantId", &identity.identity_tenant_id)];
    let given = given.into_iter().filter_map(|(parameter, value)| Some((parameter, said(value)?)));
    Ok(given
        .map(|(parameter, value)| (parameter.to_owned(), Secret::from(value.as_str())))
        .collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
