//! The programs that make manifests: kustomize and helm. They need no API server.

use std::path::Path;
use std::process::{Command, Output};

use crate::programs::{self, Program};

/// What `kustomize build` makes of a folder.
///
/// # Panics
/// If it fails, with what it said.
pub fn kustomize(folder: impl AsRef<Path>) -> String {
    let folder = folder.as_ref();
    let mut command = Program::Kustomize.command();
    command.arg("build").arg(folder);
    text(command).unwrap_or_else(|error| panic!("kustomize build {}: {error}", folder.display()))
}

/// What `helm template` makes of a chart, as the release `keda-sift` in the namespace `keda-sift`;
/// later arguments, such as `--set` or `--namespace`, hold against that.
///
/// # Panics
/// If it fails, with what it said.
pub fn helm_template(chart: impl AsRef<Path>, arguments: &[&str]) -> String {
    let chart = chart.as_ref();
    try_helm_template(chart, arguments)
        .unwrap_or_else(|error| panic!("helm template {} {arguments:?}: {error}", chart.display()))
}

/// The same, for what the chart is to refuse.
///
/// # Errors
/// What helm said.
pub fn try_helm_template(chart: impl AsRef<Path>, arguments: &[&str]) -> Result<String, String> {
    let chart = chart.as_ref().to_str().ok_or("a path that is no text")?;
    let mut all = vec!["template", "keda-sift", chart, "--namespace", "keda-sift"];
    all.extend(arguments);
    helm(&all)
}

/// What helm prints.
///
/// # Errors
/// What it said when it failed.
pub fn helm(arguments: &[&str]) -> Result<String, String> {
    let mut command = Program::Helm.command();
    // Apart from what its user has configured.
    for (variable, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(variable, programs::cache().join("helm-home").join(folder));
    }
    command.env_remove("KUBECONFIG").args(arguments);
    text(command)
}

fn text(mut command: Command) -> Result<String, String> {
    outcome(&command.output().map_err(|error| error.to_string())?)
}

/// What was printed; on failure, what was said about it.
pub(crate) fn outcome(output: &Output) -> Result<String, String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
