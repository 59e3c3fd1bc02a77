//! What `manifests/` and the chart install: the API server takes it, both are the same, it grants
//! what it says and no more, KEDA alone may call it, and its Pods are restricted.
//!
//! The examples of `docs/installing.md` and `docs/operating.md` are built as they stand there.
//!
//! | file | job |
//! |---|---|
//! | `variants` | what is installed, and so compared |
//! | `build`, `objects` | what kustomize and helm make of it, and the objects in that |
//! | `equal`, `rights`, `pods`, `pages` | what must be so |

mod build;
mod equal;
mod objects;
mod pages;
mod pods;
mod rights;
mod variants;

use std::fs;

use kubernetes_api::ApiServer;

use self::build::{everything, root};

const INSTALLING: &str = include_str!("../../../docs/installing.md");
/// Where manifests and values are shown.
const PAGES: [&str; 2] = [INSTALLING, include_str!("../../../docs/operating.md")];
const CHART_README: &str = include_str!("../../../charts/keda-sift/README.md");

/// The namespaces that the installations need, keda-sift's as the base has it.
async fn namespaces(api: &ApiServer) {
    let base =
        fs::read_to_string(root().join("manifests/base/namespace.yaml")).expect("the base has one");
    api.apply(&base).await;
    for name in ["elsewhere", "keda", "team-a", "team-b", "shop"] {
        api.apply(&base.replace("name: keda-sift", &format!("name: {name}"))).await;
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn the_api_server_takes_all_that_is_installed() {
    let api = ApiServer::shared().await;
    namespaces(api).await;
    for (what, yaml) in everything() {
        if let Err(refusal) = api.dry_run(yaml).await {
            panic!("{what} is refused: {refusal}");
        }
    }
}
