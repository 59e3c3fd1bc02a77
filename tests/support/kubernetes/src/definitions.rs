//! Which kinds there are beside Kubernetes' own.

use std::path::PathBuf;

use serde_json::{Value, json};
use test_basics::{PATIENCE, holds_within};

use crate::programs::source;
use crate::server::ApiServer;

/// Where KEDA's definitions are: a folder with the YAML of ScaledJob, ScaledObject and
/// TriggerAuthentication.
const FOLDER: &str = "KEDA_CRDS";

/// How KEDA's kinds are defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definitions {
    /// As KEDA does: what does not fit is refused.
    Keda,
    /// By name alone: anything is taken, as if it had been written before a check was there.
    Lenient,
}

impl ApiServer {
    /// Defines KEDA's kinds in another way than before, and waits until it holds. What is stored
    /// stays, even where it no longer fits. For a server of the test's own.
    ///
    /// # Panics
    /// If the server refuses it, or it does not hold in two minutes; and without KEDA's
    /// definitions.
    pub async fn define(&self, definitions: Definitions) {
        let folder = match definitions {
            Definitions::Keda => keda(),
            Definitions::Lenient => source("crds/lenient"),
        };
        self.apply_files(&folder).await;
        let holds = holds_within(PATIENCE, async || {
            let refused = self.dry_run(&misfit().to_string()).await.is_err();
            refused == (definitions == Definitions::Keda)
        });
        assert!(holds.await, "KEDA's kinds are not yet defined as {definitions:?}");
    }

    /// All kinds that a test can need.
    pub(crate) async fn define_all(&self) {
        self.apply_files(&source("crds")).await;
        self.define(Definitions::Keda).await;
    }
}

/// Fails at once without KEDA's definitions, rather than once a server runs.
pub(crate) fn check() {
    keda();
}

/// A ScaledJob that KEDA's definition refuses.
fn misfit() -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledJob",
        "metadata": { "name": "misfit", "namespace": "default" },
        "spec": { "triggers": "none" },
    })
}

/// The folder of KEDA's definitions. A relative path starts at the checkout, wherever the tests
/// run.
fn keda() -> PathBuf {
    let Some(folder) = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()) else {
        panic!(
            "{FOLDER} is not set: put KEDA's custom resource definitions, which are in the file keda-2.20.2-crds.yaml of its release at \
             https://github.com/kedacore/keda/releases, into a folder, and set {FOLDER} to it"
        );
    };
    let package = source("");
    let checkout = package.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    let folder = checkout.expect("a workspace has a Cargo.lock").join(folder);
    assert!(folder.is_dir(), "{FOLDER}: {} is not a folder", folder.display());
    folder
}
