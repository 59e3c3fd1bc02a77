//! Objects as YAML: to the server and back, as kubectl does it.

use std::path::Path;
use std::process::Stdio;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use serde_json::Value;
use test_basics::PATIENCE;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::access::ADMIN;
use crate::programs::Program;
use crate::server::ApiServer;
use crate::tools;

/// Server-side apply. The server names every field that it does not know, and a field that another
/// wrote is taken over.
const APPLY: [&str; 7] = [
    "apply",
    "--server-side",
    "--force-conflicts",
    "--field-manager=tests",
    "--validate=strict",
    "--output=json",
    "--filename=-",
];

impl ApiServer {
    /// A new namespace, called `prefix-<number>`.
    ///
    /// # Panics
    /// If it cannot be created.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = self.new_name(prefix);
        self.ensure_namespace(&name).await;
        name
    }

    /// Creates a namespace of this name unless it is there.
    ///
    /// # Panics
    /// If it cannot be created.
    pub async fn ensure_namespace(&self, name: &str) {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        match Api::<Namespace>::all(self.admin()).create(&PostParams::default(), &namespace).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("namespace {name}: {error}"),
        }
    }

    /// Creates or changes the objects of a YAML text with one or more documents; what the server
    /// made of them. An object without a namespace goes to `default`.
    ///
    /// # Panics
    /// If the server refuses one, or kubectl cannot read it.
    pub async fn apply(&self, yaml: &str) -> Vec<Value> {
        self.try_apply(yaml).await.unwrap_or_else(|error| panic!("{error}of\n{yaml}"))
    }

    /// The same for objects without a namespace that belong to this one.
    ///
    /// # Panics
    /// As [`ApiServer::apply`] does.
    pub async fn apply_in(&self, namespace: &str, yaml: &str) -> Vec<Value> {
        let applied = self.kubectl_apply(&["--namespace", namespace], yaml).await;
        applied.unwrap_or_else(|error| panic!("{error}of\n{yaml}"))
    }

    /// The same for what may be refused. The objects that are not refused are there.
    ///
    /// # Errors
    /// What is wrong with each object that is refused.
    pub async fn try_apply(&self, yaml: &str) -> Result<Vec<Value>, String> {
        self.kubectl_apply(&[], yaml).await
    }

    /// What [`ApiServer::apply`] would make of it, with every check of the server: nothing is
    /// stored. Namespaces must be there, see [`ApiServer::ensure_namespace`].
    ///
    /// # Errors
    /// What is wrong with each object that would be refused: the first thing, or all of what its
    /// values lack.
    pub async fn dry_run(&self, yaml: &str) -> Result<Vec<Value>, String> {
        self.kubectl_apply(&["--dry-run=server"], yaml).await
    }

    /// Deletes the objects of a YAML text, as far as they are there.
    ///
    /// # Panics
    /// If the server refuses it.
    pub async fn delete(&self, yaml: &str) {
        let arguments = ["delete", "--ignore-not-found", "--wait=false", "--filename=-"];
        if let Err(error) = self.run_kubectl(ADMIN, &arguments, yaml).await {
            panic!("{error}of\n{yaml}");
        }
    }

    /// What kubectl prints for someone who may do everything.
    ///
    /// # Errors
    /// What it said when it failed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_as(ADMIN, arguments).await
    }

    /// What kubectl prints for a user.
    ///
    /// # Errors
    /// What it said when it failed.
    pub async fn kubectl_as(&self, user: &str, arguments: &[&str]) -> Result<String, String> {
        self.run_kubectl(user, arguments, "").await
    }

    /// Applies a file, or the files of a folder but not of folders in it.
    pub(crate) async fn apply_files(&self, path: &Path) {
        // Kubectl takes no link for a folder.
        let path =
            path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.to_str().expect("a path that is text");
        let arguments = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=tests",
            "--filename",
            path,
        ];
        if let Err(error) = self.kubectl(&arguments).await {
            panic!("{path}: {error}");
        }
    }

    async fn kubectl_apply(&self, more: &[&str], yaml: &str) -> Result<Vec<Value>, String> {
        // Kubectl takes the last of a key's values without a word.
        serde_saphyr::from_multiple::<Value>(yaml).map_err(|error| format!("{error}\n"))?;
        let arguments = [&APPLY[..], more].concat();
        let printed = self.run_kubectl(ADMIN, &arguments, yaml).await?;
        let mut objects: Value =
            serde_json::from_str(&printed).map_err(|error| format!("{error} in {printed}"))?;
        // Several objects come as a list.
        match objects["items"].take() {
            Value::Array(objects) => Ok(objects),
            _ => Ok(vec![objects]),
        }
    }

    async fn run_kubectl(
        &self,
        user: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, String> {
        let mut command = Command::from(Program::Kubectl.command());
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig(user))
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("kubectl: {error}"))?;
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        let done = async {
            let (written, output) = tokio::join!(
                async move { stdin.write_all(input.as_bytes()).await },
                child.wait_with_output()
            );
            // A kubectl that failed early has not read it all, and says why.
            written.ok();
            output
        };
        let output = timeout(PATIENCE, done)
            .await
            .map_err(|_| format!("kubectl {arguments:?} takes longer than {PATIENCE:?}"))?;
        tools::outcome(&output.map_err(|error| error.to_string())?)
    }
}
