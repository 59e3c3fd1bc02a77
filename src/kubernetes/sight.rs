//! What there is in a cluster, as a person looks at it: not for polls, but for `keda-sift check`.
//! Lists are bounded; what has more than that is an error.
//!
//! # References
//! - KEDA 2.20 `pkg/scaling/executor/scale_jobs.go`: which Jobs run, and which are pending

use std::path::Path;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::config::KubeConfigOptions;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{ConnectError, Kubernetes, Right, Subject, ask, keda};
use super::error::Error;
use super::names::Name;
use super::scaled::Kind;

/// The longest list that is read.
const ITEMS: u32 = 2000;

/// Names of Jobs in one selector, so that the address of a request stays short.
const NAMES: usize = 50;

/// What KEDA gives each Job with the name of its ScaledJob.
const OF_SCALED_JOB: &str = "scaledjob.keda.sh/name";

impl Kubernetes {
    /// The API server as `kubectl` finds it: by the file, or `KUBECONFIG`, or `~/.kube/config`, or
    /// in a Pod by its service account; and the namespace that is meant where none is named.
    ///
    /// # Errors
    /// There is none, or what names it cannot be used.
    pub async fn of_user(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
    ) -> Result<(Kubernetes, String), ConnectError> {
        let options =
            KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
        let wrong = |file: Option<&Path>| {
            let file = file.unwrap_or(Path::new("~/.kube/config")).to_owned();
            move |source| ConnectError::Kubeconfig { file, source: Box::new(source) }
        };
        let config = match kubeconfig {
            Some(file) => {
                let read = kube::config::Kubeconfig::read_from(file).map_err(wrong(Some(file)))?;
                Config::from_custom_kubeconfig(read, &options).await.map_err(wrong(Some(file)))?
            }
            None => match Config::from_kubeconfig(&options).await {
                Ok(config) => config,
                Err(error) => match Config::incluster() {
                    Ok(config) if context.is_none() => config,
                    _ => return Err(wrong(None)(error)),
                },
            },
        };
        let namespace = config.default_namespace.clone();
        let client =
            Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))?;
        Ok((Kubernetes::of(client), namespace))
    }

    /// A Service.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn service(&self, namespace: &Name, name: &Name) -> Result<Service, Error> {
        let right = right("get", "services");
        let services: Api<Service> = Api::namespaced(self.client(right)?, namespace.as_str());
        let about = Subject { kind: "Service", name: name.as_str(), namespace: namespace.as_str() };
        ask(right, about, services.get(name.as_str())).await
    }

    /// The Services of all namespaces that belong to an installation of keda-sift.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn own_services(&self) -> Result<Vec<Service>, Error> {
        let right = right("list", "services");
        let services = Api::all(self.client(right)?);
        list(right, &services, "*", "app.kubernetes.io/name=keda-sift", "").await
    }

    /// How many endpoints of a Service are ready.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn ready_endpoints(&self, namespace: &Name, service: &Name) -> Result<usize, Error> {
        let right = right("list", "endpointslices");
        let slices: Api<EndpointSlice> = Api::namespaced(self.client(right)?, namespace.as_str());
        let label = format!("kubernetes.io/service-name={service}");
        let slices = list(right, &slices, namespace.as_str(), &label, "").await?;
        let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints);
        // One that does not say is ready.
        let is_ready = |ready: Option<bool>| ready.unwrap_or(true);
        Ok(endpoints.filter(|it| is_ready(it.conditions.as_ref().and_then(|it| it.ready))).count())
    }

    /// A ScaledJob or ScaledObject as it is, with KEDA's status.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn scaled(
        &self,
        kind: Kind,
        namespace: &Name,
        name: &Name,
    ) -> Result<DynamicObject, Error> {
        let right = right("get", kind.resource());
        let resource = keda(kind.as_str());
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client(right)?, namespace.as_str(), &resource);
        let about =
            Subject { kind: kind.as_str(), name: name.as_str(), namespace: namespace.as_str() };
        ask(right, about, objects.get(name.as_str())).await
    }

    /// The Pod template of a workload of `apps/v1`, such as a Deployment.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn workload(
        &self,
        kind: WorkloadKind,
        namespace: &Name,
        name: &Name,
    ) -> Result<Value, Error> {
        let (kind, resource) = match kind {
            WorkloadKind::Deployment => ("Deployment", "deployments"),
            WorkloadKind::StatefulSet => ("StatefulSet", "statefulsets"),
        };
        let right = right("get", resource);
        let of = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client(right)?, namespace.as_str(), &of);
        let about = Subject { kind, name: name.as_str(), namespace: namespace.as_str() };
        let mut found = ask(right, about, objects.get(name.as_str())).await?;
        Ok(found.data["spec"]["template"]["spec"].take())
    }

    /// What is told of an object.
    ///
    /// # Errors
    /// It cannot be listed.
    pub async fn events_of(
        &self,
        kind: Kind,
        namespace: &Name,
        name: &Name,
    ) -> Result<Vec<Event>, Error> {
        let right = right("list", "events");
        let events: Api<Event> = Api::namespaced(self.client(right)?, namespace.as_str());
        let fields = format!("involvedObject.kind={},involvedObject.name={name}", kind.as_str());
        list(right, &events, namespace.as_str(), "", &fields).await
    }

    /// The Jobs of a ScaledJob that have not ended, and how many of them KEDA takes for pending:
    /// those without a Pod that runs or has ended well, or else, if the ScaledJob has
    /// `pendingPodConditions`, without one that has all of these.
    ///
    /// # Errors
    /// The Jobs or their Pods cannot be listed.
    pub async fn jobs_of(
        &self,
        namespace: &Name,
        name: &Name,
        conditions: &[String],
    ) -> Result<(u64, u64), Error> {
        let of_jobs = right("list", "jobs");
        let jobs: Api<Job> = Api::namespaced(self.client(of_jobs)?, namespace.as_str());
        let label = format!("{OF_SCALED_JOB}={name}");
        let mut jobs = list(of_jobs, &jobs, namespace.as_str(), &label, "").await?;
        jobs.retain(|job| !has_ended(job));
        let names: Vec<String> = jobs.into_iter().filter_map(|job| job.metadata.name).collect();
        let of_pods = right("list", "pods");
        let pods: Api<Pod> = Api::namespaced(self.client(of_pods)?, namespace.as_str());
        let mut at_work = std::collections::BTreeSet::new();
        for names in names.chunks(NAMES) {
            let label = format!("job-name in ({})", names.join(","));
            for pod in list(of_pods, &pods, namespace.as_str(), &label, "").await? {
                let labels = pod.metadata.labels.clone().unwrap_or_default();
                if let (true, Some(job)) = (is_at_work(&pod, conditions), labels.get("job-name")) {
                    at_work.insert(job.clone());
                }
            }
        }
        let pending = names.iter().filter(|name| !at_work.contains(*name)).count();
        Ok((names.len() as u64, pending as u64))
    }
}

/// The workloads whose environment a ScaledObject's triggers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
}

/// Whoever looks has rights of their own, which no component grants.
fn right(verb: &'static str, resource: &'static str) -> Right {
    Right { verb, resource, component: "" }
}

async fn list<K: Clone + DeserializeOwned + std::fmt::Debug>(
    right: Right,
    api: &Api<K>,
    namespace: &str,
    labels: &str,
    fields: &str,
) -> Result<Vec<K>, Error> {
    let about = Subject { kind: right.resource, name: "", namespace };
    let params = ListParams::default().labels(labels).fields(fields).limit(ITEMS);
    let list = ask(right, about, api.list(&params)).await?;
    if list.metadata.continue_.is_some_and(|more| !more.is_empty()) {
        let Right { verb, resource, .. } = right;
        let reason = format!("there are more than {ITEMS}");
        return Err(Error::Refused { verb, resource, reason });
    }
    Ok(list.items)
}

fn has_ended(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| {
            matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
        })
    })
}

fn is_at_work(pod: &Pod, conditions: &[String]) -> bool {
    let Some(status) = &pod.status else { return false };
    if conditions.is_empty() {
        return matches!(status.phase.as_deref(), Some("Running" | "Succeeded"));
    }
    let held = status.conditions.as_deref().unwrap_or_default();
    conditions.iter().all(|needed| held.iter().any(|it| it.type_ == *needed && it.status == "True"))
}
