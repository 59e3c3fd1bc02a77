//! What a command may connect to, and as whom: the options that every command which measures has.

use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use crate::identity::{self, Hosts, TokenEndpoints};
use crate::kubernetes::{ConnectError, Kubernetes};
use crate::web;
use crate::wiring::{self, Options, Wired};

/// Whom to trust, and how to reach the Kubernetes API.
#[derive(Debug, clap::Args)]
pub(super) struct Connections {
    /// More hosts that may have tokens of an Azure identity, by the suffix of their names, such as
    /// servicebus.cloudapi.de; Azure's own are allowed. A trigger says where its namespace is, and
    /// whoever writes one must not have our token sent to a host of theirs.
    #[arg(long, env = "SIFT_AZURE_ALLOW_SUFFIX", value_name = "SUFFIX", value_delimiter = ',')]
    azure_allow_suffix: Vec<String>,

    /// The only namespaces that may have tokens of an Azure identity, by host name, such as
    /// orders.servicebus.windows.net. Without this any namespace of Azure's may, anyone's; list
    /// yours where triggers are written by people whom you would not give the identity.
    #[arg(long, env = "SIFT_AZURE_NAMESPACE", value_name = "HOST", value_delimiter = ',')]
    azure_namespace: Vec<String>,

    /// A host that a trigger's oauthTokenEndpointUri may be at, such as login.example.com. Without
    /// this any https host is, as what is sent there is the trigger's own secret; and outside of a
    /// Pod this machine without TLS.
    #[arg(long, env = "SIFT_OAUTH_ALLOW_HOST", value_name = "HOST", value_delimiter = ',')]
    oauth_allow_host: Vec<String>,

    /// A file of certificate authorities to trust besides the system's, as PEM: those of a private
    /// cloud, or of a proxy that looks into TLS. Not for Kafka, where a trigger has ca.
    #[arg(long, env = "SIFT_AZURE_CA_FILE", value_name = "FILE")]
    azure_ca_file: Option<PathBuf>,

    /// How to reach the Kubernetes API from outside of a cluster, such as ~/.kube/config. In a Pod
    /// with a service account that is not needed; without either, triggers with serviceAccountName
    /// or triggerAuthentication are errors.
    #[arg(long, env = "SIFT_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl Connections {
    /// The API server that the options name, or else that of the cluster that this runs in.
    pub(super) async fn kubernetes(&self) -> Result<Kubernetes, ConnectError> {
        Kubernetes::connect(self.kubeconfig.as_deref()).await
    }

    /// The API server as `kubectl` finds it, and the namespace that is meant where none is named.
    pub(super) async fn kubernetes_of_user(
        &self,
        context: Option<&str>,
    ) -> Result<(Kubernetes, String), ConnectError> {
        Kubernetes::of_user(self.kubeconfig.as_deref(), context).await
    }

    /// The sources, which give those whom they ask this long to answer.
    pub(super) fn wire(
        &self,
        request_timeout: Duration,
        kubernetes: Kubernetes,
    ) -> Result<Wired, Box<dyn Error>> {
        let of = |option: &'static str| move |error: &dyn Display| format!("{option}: {error}");
        let hosts = Hosts::new(&self.azure_allow_suffix)
            .map_err(|error| of("--azure-allow-suffix")(&error))?
            .listing(&self.azure_namespace);
        let ca = self.azure_ca_file.as_ref().map(std::fs::read_to_string).transpose();
        let ca = ca.map_err(|error| of("--azure-ca-file")(&error))?;
        let options = Options {
            request_timeout,
            hosts,
            endpoints: TokenEndpoints::new(&self.oauth_allow_host).in_pod(is_in_pod()),
            identity: identity::Options::from_env(),
            web: web::Options { ca, ..web::Options::default() },
            kubernetes,
        };
        Ok(wiring::sources(options).map_err(|error| of("--azure-ca-file")(&error))?)
    }
}

/// As Kubernetes tells its Pods.
pub(super) fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}
