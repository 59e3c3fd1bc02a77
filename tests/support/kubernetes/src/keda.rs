//! KEDA's operator: what it does with the objects of one namespace, and with what a scaler tells
//! it.
//!
//! It has no metrics server beside it, so a ScaledObject's workload gets from 0 to 1 and back, and
//! no further. Jobs stay objects.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use test_basics::{free_port, holds_within};

use crate::access::ADMIN;
use crate::process::{Plan, Process};
use crate::programs::{Program, source};
use crate::server::{ApiServer, wait_for_port};

/// Where KEDA itself would be, and its cluster-wide Secrets.
const NAMESPACE: &str = "keda";

/// How long it may take to elect nobody, and to fill its caches.
const START: Duration = Duration::from_secs(240);

/// A running operator. Dropping it ends it, and so does the end of this process, however that
/// comes.
pub struct Keda {
    // Dropped in this order.
    operator: Process,
    _folder: TempDir,
}

impl ApiServer {
    /// KEDA's operator for this namespace, with every right.
    ///
    /// # Panics
    /// If it cannot be made, or does not start.
    pub async fn keda(&self, namespace: &str) -> Keda {
        let made = tokio::task::spawn_blocking(|| Program::KedaOperator.path());
        if let Err(error) = made.await {
            std::panic::resume_unwind(error.into_panic());
        }
        self.apply_files(&source("crds/operator")).await;
        self.ensure_namespace(NAMESPACE).await;

        let folder = TempDir::with_prefix("keda-sift-keda-").expect("a temporary folder");
        // For a metrics server, which is not there.
        let identity = self.authority().server();
        for (name, text) in [
            ("ca.crt", self.authority().cert()),
            ("tls.crt", identity.cert),
            ("tls.key", identity.key),
        ] {
            fs::write(folder.path().join(name), text).expect("a temporary folder can be written");
        }
        let [health, metrics] = [(); 2].map(|()| free_port());
        let arguments = vec![
            format!("--health-probe-bind-address=127.0.0.1:{health}"),
            format!("--metrics-service-bind-address=127.0.0.1:{metrics}"),
            "--enable-prometheus-metrics=false".to_owned(),
            format!("--cert-dir={}", folder.path().display()),
            // In a test everything happens at once.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=300".to_owned(),
        ];
        let environment = vec![
            ("KUBECONFIG", self.kubeconfig(ADMIN).display().to_string()),
            ("WATCH_NAMESPACE", namespace.to_owned()),
            ("POD_NAMESPACE", NAMESPACE.to_owned()),
            ("KEDA_CLUSTER_OBJECT_NAMESPACE", NAMESPACE.to_owned()),
        ];
        let (program, folder_of) = (Program::KedaOperator, folder.path().to_owned());
        let plan = Plan { program, arguments, environment, folder: folder_of };
        let mut operator = Process::start(plan);
        if let Err(why) = wait_for_port(&mut operator, health).await {
            panic!("keda's operator does not start:\n{why}");
        }
        Keda { operator, _folder: folder }
    }
}

impl Keda {
    /// Waits until something holds that the operator is to bring about.
    ///
    /// # Panics
    /// If it does not in four minutes, with what the operator said last.
    pub async fn until(&mut self, what: &str, holds: impl AsyncFnMut() -> bool) {
        let held = holds_within(START, holds).await;
        assert!(held, "waited in vain until {what}:\n{}", self.operator.last_words());
    }
}
