//! The one connection to the API server, and how a call of it ends: in time, and with the right
//! named that is missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};

use super::error::Error;
use crate::metadata::one_line;

/// How long one call may take. KEDA waits for what comes of it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the API server's own words that are passed on.
const WORDS: usize = 200;

/// Access to the API server, or the lack of it. Clones share the connection.
#[derive(Clone, Default)]
pub struct Kubernetes(Option<Arc<Client>>);

/// What a call does, and what grants it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    pub(super) component: &'static str,
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
}

/// Why the API server cannot be asked for anything.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file does not say how.
    #[error("--kubeconfig {}: {source}", .file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The Pod's service account is not as Kubernetes mounts it.
    #[error("the Pod's service account cannot be used")]
    InCluster(#[source] kube::config::InClusterError),
    /// What is said cannot be used.
    #[error("the Kubernetes API cannot be asked")]
    Client(#[source] Box<kube::Error>),
}

impl Kubernetes {
    /// No API server: whatever needs one says so.
    pub fn none() -> Kubernetes {
        Kubernetes(None)
    }

    /// By an own client.
    pub fn of(client: Client) -> Kubernetes {
        Kubernetes(Some(Arc::new(client)))
    }

    /// The API server that the file names; else, in a Pod that has its service account mounted, the
    /// cluster's own; else none. Nothing is asked yet.
    ///
    /// # Errors
    /// The file, or what is mounted, cannot be used.
    pub async fn connect(kubeconfig: Option<&Path>) -> Result<Kubernetes, ConnectError> {
        let config = match kubeconfig {
            Some(file) => {
                let wrong = |source| ConnectError::Kubeconfig {
                    file: file.to_owned(),
                    source: Box::new(source),
                };
                let read = Kubeconfig::read_from(file).map_err(wrong)?;
                Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .map_err(wrong)?
            }
            None if is_mounted() => Config::incluster().map_err(ConnectError::InCluster)?,
            None => return Ok(Kubernetes::none()),
        };
        let client =
            Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))?;
        Ok(Kubernetes::of(client))
    }

    /// Whether there is an API server to ask.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn inner(&self) -> Option<Arc<Client>> {
        self.0.clone()
    }

    pub(super) fn client(&self, right: Right) -> Result<Client, Error> {
        let Right { verb, resource, component } = right;
        self.0.as_deref().cloned().ok_or(Error::NoAccess { verb, resource, component })
    }
}

/// A resource of KEDA's.
pub(super) fn keda(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", kind))
}

/// What a call gives, if it is granted and ends in time.
pub(super) async fn ask<T>(
    right: Right,
    about: Subject<'_>,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(right.failed(about, &error)),
        Err(_) => {
            Err(Error::Unreachable { reason: format!("not within {} s", CALL_TIMEOUT.as_secs()) })
        }
    }
}

impl Right {
    /// What an error of a call means.
    pub(super) fn failed(self, about: Subject<'_>, error: &kube::Error) -> Error {
        let Right { verb, resource, component } = self;
        let (name, namespace) = (about.name.to_owned(), about.namespace.to_owned());
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                Error::Forbidden { verb, resource, namespace, component }
            }
            kube::Error::Api(status) if status.code == 404 => {
                Error::NotFound { kind: about.kind, name, namespace }
            }
            kube::Error::Api(status) if passes(status.code) => {
                Error::Unreachable { reason: one_line(&status.message, WORDS) }
            }
            kube::Error::Api(status) => {
                Error::Refused { verb, resource, reason: one_line(&status.message, WORDS) }
            }
            error => Error::Unreachable { reason: one_line(&cause(error), WORDS) },
        }
    }
}

/// Answers of a server that is too busy, or on its way up or down.
fn passes(code: u16) -> bool {
    matches!(code, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The last of the causes: those before it only tell through which layers it came.
fn cause(error: &kube::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn is_mounted() -> bool {
    let token = Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && token.exists()
}
