//! What watching costs: memory, and requests to the API server, with many ScaledJobs in a hundred
//! namespaces.
//!
//! `SCALED_JOBS=5000 make test-cluster ARGS='scale -- --nocapture'` is as many as BENCHMARKS.md has
//! figures of, in some minutes.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kubernetes_api::{ApiServer, ServiceAccount};
use serde_json::{Value, json};
use sift_harness::{Broker, Message, PATIENCE, free_port, holds_within};
use tokio::time::{Instant, sleep};

use crate::operator::{ADDRESS, Operator};
use crate::replica::Replica;

const NAMESPACES: usize = 100;

/// Objects of a page that is listed.
const PAGE: usize = 500;

/// How many objects are written at once.
const AT_ONCE: usize = 32;

/// How many ScaledJobs change while it watches.
const CHANGES: usize = 100;

/// Event types that the ScaledJobs share.
const TYPES: usize = 50;

/// Another scaler's address.
const ELSEWHERE: &str = "another.keda-sift.svc.cluster.local:9090";

/// What a ScaledJob may add to the memory, and what the first of all do: a client of the API, and
/// the buffers for a page of objects.
const MEMORY_EACH: u64 = 16_000;
const MEMORY_ONCE: u64 = 32_000_000;

/// An API server with ScaledJobs.
struct Scaled {
    api: ApiServer,
    account: ServiceAccount,
    namespaces: Vec<String>,
    bootstrap: String,
}

impl Scaled {
    /// So many ScaledJobs that point at us, and as many that do not.
    async fn jobs(jobs: usize) -> Scaled {
        let (api, broker) = (ApiServer::start().await, Broker::shared());
        broker.topic("scale").create().await;
        broker
            .produce_all("scale", (0..TYPES).map(|n| Message::of_type(&format!("type-{n}"))))
            .await;
        let mut namespaces = Vec::new();
        for _ in 0..NAMESPACES {
            namespaces.push(api.namespace("team").await);
        }
        let account = Operator::granting(&api, &["warm-up"]).await.account;
        let bootstrap = broker.bootstrap().to_owned();
        let scaled = Scaled { api, account, namespaces, bootstrap };
        let admin = scaled.api.admin();
        let writes = (0..2 * jobs).map(|n| {
            let (number, address) = (n / 2, [ADDRESS, ELSEWHERE][n % 2]);
            let api = scaled.of(&admin, number);
            let prefix = ["job", "other"][n % 2];
            let object = scaled.object(&format!("{prefix}-{number}"), number, address, 0);
            async move { api.create(&PostParams::default(), &object).await.expect("a ScaledJob") }
        });
        stream::iter(writes).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        scaled
    }

    /// Adds one more that points at us, behind all others in the order of a list.
    async fn add_last(&self, name: &str) {
        let namespace = self.namespaces.iter().max().expect("there are some");
        let api = Api::namespaced_with(self.api.admin(), namespace, &resource());
        let object = self.object(name, 0, ADDRESS, 0);
        api.create(&PostParams::default(), &object).await.expect("a ScaledJob");
    }

    /// Changes what some of them count.
    async fn change(&self) {
        let admin = self.api.admin();
        let writes = (0..CHANGES).map(|number| {
            let (api, name) = (self.of(&admin, number), format!("job-{number}"));
            let changed = self.object(&name, number, ADDRESS, 1);
            let patch = json!({ "spec": { "triggers": changed.data["spec"]["triggers"] } });
            async move {
                api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .expect("it is changed")
            }
        });
        stream::iter(writes).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    }

    fn of(&self, admin: &kube::Client, number: usize) -> Api<DynamicObject> {
        Api::namespaced_with(admin.clone(), &self.namespaces[number % NAMESPACES], &resource())
    }

    fn object(&self, name: &str, number: usize, address: &str, change: usize) -> DynamicObject {
        let group = format!("group-{number}");
        let event_type = format!("type-{}", (number + change) % TYPES);
        DynamicObject::new(name, &resource()).data(json!({ "spec": {
            "pollingInterval": 30,
            "maxReplicaCount": 20,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 5,
            "scalingStrategy": { "strategy": "accurate" },
            "jobTargetRef": template(name),
            "triggers": [{ "type": "external", "metadata": {
                "scalerAddress": address,
                "source": "kafka",
                "bootstrapServers": self.bootstrap,
                "consumerGroup": group,
                "topic": "scale",
                "eventType": event_type,
                "offsetResetPolicy": "earliest",
            } }],
        } }))
    }

    /// What the program has asked the API server with this verb, and the status that came of it.
    fn asked(&self, verb: &str) -> Vec<(String, u16)> {
        let requests = self.api.requests().by(&self.account.user()).verb(verb);
        requests.iter().map(|request| (request.uri.clone(), request.code)).collect()
    }

    /// How many requests of the program with this verb the API server has answered. One that is too
    /// busy to answer, or starting, is asked the same again a little later, which is no new list.
    fn requests(&self, verb: &str) -> usize {
        self.asked(verb).iter().filter(|(_, status)| *status == 200).count()
    }
}

fn resource() -> ApiResource {
    let mut resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledJob"));
    resource.plural = "scaledjobs".to_owned();
    resource
}

/// The Job of a ScaledJob as teams write them: some 4 kB.
fn template(name: &str) -> Value {
    let env: Vec<_> = (0..24)
        .map(|n| match n % 4 {
            0 => json!({ "name": format!("SETTING_{n}"), "value": format!("https://service-{n}.shop.svc.cluster.local/v1") }),
            1 => json!({ "name": format!("SETTING_{n}"),
                "valueFrom": { "secretKeyRef": { "name": format!("{name}-secrets"), "key": format!("setting-{n}") } } }),
            2 => json!({ "name": format!("SETTING_{n}"),
                "valueFrom": { "configMapKeyRef": { "name": format!("{name}-settings"), "key": format!("setting-{n}") } } }),
            _ => json!({ "name": format!("SETTING_{n}"), "value": "true" }),
        })
        .collect();
    let container = |name: &str, env: Value| {
        json!({
            "name": name,
            "image": format!("registry.example.com/shop/{name}:1.42.0"),
            "command": ["/app/run"],
            "args": ["--batch", "100", "--log", "info"],
            "env": env,
            "resources": {
                "requests": { "cpu": "250m", "memory": "256Mi" },
                "limits": { "memory": "512Mi" },
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
            "volumeMounts": [{ "name": "work", "mountPath": "/work" }],
        })
    };
    json!({
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 2,
        "activeDeadlineSeconds": 1800,
        "ttlSecondsAfterFinished": 600,
        "template": {
            "metadata": { "labels": { "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop" } },
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": name,
                "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                "initContainers": [container("prepare", json!([]))],
                "containers": [container("job", json!(env)), container("metrics", json!([]))],
                "volumes": [{ "name": "work", "emptyDir": { "sizeLimit": "1Gi" } }],
            },
        },
    })
}

/// How many triggers it keeps.
async fn kept(replica: &Replica) -> f64 {
    replica.metric("keda_sift_triggers{source=\"kafka\"} ").await
}

async fn until_kept(replica: &Replica, triggers: usize) {
    let keeps = holds_within(PATIENCE, async || kept(replica).await == triggers as f64).await;
    assert!(keeps, "{} triggers, not {triggers}\n{}", kept(replica).await, replica.log());
}

/// What it has in RAM between bursts: the allocator gives back what one took within a second or
/// two.
async fn settled_memory(replica: &Replica) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..20 {
        least = least.min(replica.memory("VmRSS"));
        sleep(Duration::from_millis(250)).await;
    }
    least
}

fn options(options: &[(&str, &str)]) -> Vec<String> {
    options.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect()
}

fn start(options: &[String]) -> Replica {
    Replica::start(Ipv4Addr::LOCALHOST, free_port(), free_port(), options)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn watching_lists_once_and_keeps_little_of_each_object() {
    let jobs: usize = std::env::var("SCALED_JOBS")
        .map_or(500, |jobs| jobs.parse().expect("SCALED_JOBS is a number"));
    let scaled = Scaled::jobs(jobs).await;
    let size = scaled.object("job-0", 0, ADDRESS, 0).data.to_string().len();
    let kubeconfig = scaled.account.kubeconfig.display().to_string();
    let unwatching = options(&[("--kubeconfig", &kubeconfig)]);
    let watching = options(&[
        ("--kubeconfig", &kubeconfig),
        ("--scaler-address", "keda-sift.keda-sift"),
        ("--warm-timeout", "300s"),
    ]);

    let mut idle = start(&unwatching);
    idle.until_ready(true).await;
    let idle = settled_memory(&idle).await;
    assert_eq!(scaled.requests("list") + scaled.requests("watch"), 0, "nothing is asked for");

    let began = Instant::now();
    let mut replica = start(&watching);
    replica.until_ready(true).await;
    let took = began.elapsed();
    assert_eq!(kept(&replica).await, jobs as f64, "all are warm, and the others' are not kept");
    let memory = settled_memory(&replica).await;
    let pages = (2 * jobs).div_ceil(PAGE) + 1;
    let lists = scaled.requests("list");
    // A page that a busy server did not give is asked for once more.
    let once = (pages..=pages + 2).contains(&lists);
    assert!(once, "{lists} lists of {pages} pages: {:#?}", scaled.asked("list"));
    println!(
        "{jobs} ScaledJobs of ours and {jobs} others, of {size} bytes, in {NAMESPACES} namespaces"
    );
    println!("ready after {took:?}");
    println!(
        "memory: {idle} bytes without watching, {memory} with, {} at most",
        replica.memory("VmHWM")
    );
    println!("requests until ready: {lists} lists, {} watches", scaled.requests("watch"));

    scaled.change().await;
    scaled.add_last("z-late").await;
    // In the order of the changes, so those before it have come too.
    until_kept(&replica, jobs + 1).await;
    assert_eq!(scaled.requests("list"), lists, "a change lists nothing");
    println!(
        "after {CHANGES} changes: {} lists, {} watches",
        scaled.requests("list"),
        scaled.requests("watch")
    );

    // A server that has just started does not know what came before, so that it must be listed
    // again; while it starts it refuses.
    scaled.api.restart().await;
    scaled.add_last("z-later").await;
    until_kept(&replica, jobs + 2).await;
    let relists = scaled.requests("list") - lists;
    assert!(relists <= 2 * (pages + 1), "{relists} lists after a restart of the API server");
    println!(
        "after a restart of the API server: {relists} lists more, {} watches",
        scaled.requests("watch")
    );
    println!(
        "memory then: {} bytes, {} at most",
        settled_memory(&replica).await,
        replica.memory("VmHWM")
    );

    let own = scaled.api.requests().by(&scaled.account.user());
    let other = own.filter(|request| !matches!(&*request.verb, "list" | "watch"));
    assert!(other.is_empty(), "it asks for nothing else: {other:?}");
    let most = MEMORY_ONCE + MEMORY_EACH * jobs as u64;
    let grown = settled_memory(&replica).await.saturating_sub(idle);
    assert!(grown <= most, "{grown} bytes more than without watching, where {most} are allowed");
}
