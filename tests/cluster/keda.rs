//! Under KEDA's own operator: what it asks, and what it starts for what it is told.

use std::net::SocketAddr;
use std::time::Duration;

use azure_stand_ins::{Message as Queued, ServiceBus};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use kubernetes_api::ApiServer;
use serde_json::{Value, json};
use sift_harness::program::Program;
use sift_harness::{Authority, Broker, Message, Sift};
use tokio::time::{Instant, sleep};

use crate::operator::{ScaledJob, all};

/// Between two polls. KEDA counts running Jobs in a cache, which must have heard of those that the
/// poll before has created.
const INTERVAL: Duration = Duration::from_secs(3);

/// How long nothing must happen to be believed: several polls.
const QUIET: Duration = INTERVAL.saturating_mul(3);

/// KEDA's side of a namespace.
struct Team {
    api: &'static ApiServer,
    namespace: String,
    address: String,
}

impl Team {
    async fn new(sift: &Sift) -> Team {
        Team::asking(sift.address).await
    }

    async fn asking(scaler: SocketAddr) -> Team {
        let api = ApiServer::shared().await;
        let namespace = api.namespace("team").await;
        Team { api, namespace, address: scaler.to_string() }
    }

    /// A ScaledJob that is polled all the time.
    fn job(&self, name: &str, trigger: &[(&str, &str)]) -> ScaledJob {
        let trigger = [&[("scalerAddress", &*self.address)][..], trigger].concat();
        ScaledJob::new(&self.namespace, name, &trigger).polled_every(INTERVAL.as_secs())
    }

    /// How many Jobs each ScaledJob has.
    async fn jobs(&self, names: &[&str]) -> Vec<usize> {
        let jobs: Api<Job> = Api::namespaced(self.api.admin(), &self.namespace);
        let jobs = jobs.list(&ListParams::default()).await.expect("Jobs").items;
        let of = |name: &&str| {
            let label = "scaledjob.keda.sh/name";
            let is_its = |job: &&Job| {
                job.metadata.labels.as_ref().is_some_and(|labels| labels[label] == **name)
            };
            jobs.iter().filter(is_its).count()
        };
        names.iter().map(of).collect()
    }

    /// Sees these numbers of Jobs for several polls.
    async fn stands(&self, names: &[&str], jobs: &[usize], why: &str) {
        let begun = Instant::now();
        while begun.elapsed() < QUIET {
            assert_eq!(self.jobs(names).await, jobs, "{why}");
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// As if they had ended and been cleaned up.
    async fn end_jobs(&self) {
        let jobs: Api<Job> = Api::namespaced(self.api.admin(), &self.namespace);
        let params = DeleteParams::background();
        jobs.delete_collection(&params, &ListParams::default()).await.expect("no Jobs");
    }

    /// The warnings that KEDA has given of a ScaledJob.
    async fn warnings(&self, name: &str) -> Vec<String> {
        let events =
            self.api.kubectl(&["get", "events", "-n", &self.namespace, "-o", "json"]).await;
        let events: Value = serde_json::from_str(&events.expect("Events")).expect("JSON");
        let events = events["items"].as_array().cloned().unwrap_or_default().into_iter();
        let events = events.map(|event| serde_json::from_value::<Event>(event).expect("an Event"));
        events
            .filter(|event| event.type_.as_deref() == Some("Warning"))
            .filter(|event| event.involved_object.name.as_deref() == Some(name))
            .filter_map(|event| event.message)
            .collect()
    }
}

fn rows<'a>(bootstrap: &'a str, topic: &'a str, types: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("source", "kafka"),
        ("bootstrapServers", bootstrap),
        ("consumerGroup", "jobs"),
        ("topic", topic),
        ("eventType", types),
        ("lagThreshold", "1"),
        ("allowIdleConsumers", "true"),
        ("offsetResetPolicy", "earliest"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn each_scaled_job_gets_the_jobs_for_its_own_messages_and_no_more() {
    let (broker, sift) = (Broker::shared(), Sift::start().await);
    let team = Team::new(&sift).await;
    broker.topic("three-jobs").partitions(3).create().await;
    let send = async |of_type: &str, count: usize| {
        broker.produce_all("three-jobs", vec![Message::of_type(of_type); count]).await;
    };
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();

    let bootstrap = broker.bootstrap();
    let queue = [("queueName", "orders"), ("messageCount", "1"), ("eventType", "placed")];
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "bus", "namespace": team.namespace },
        "stringData": { "connection": bus.connection_string() } });
    team.api.apply(&secret.to_string()).await;
    let env = json!([{ "name": "BUS", "valueFrom": { "secretKeyRef": { "name": "bus", "key": "connection" } } }]);
    let orders = [&queue[..], &[("connectionFromEnv", "BUS")]].concat();
    let names = ["thumbnails", "mails", "reports", "at-most", "orders"];
    let objects = [
        team.job("thumbnails", &rows(bootstrap, "three-jobs", "image.*")),
        team.job("mails", &rows(bootstrap, "three-jobs", "mail")),
        team.job("reports", &rows(bootstrap, "three-jobs", "report")),
        team.job("at-most", &rows(bootstrap, "three-jobs", "mail")).max_jobs(2),
        team.job("orders", &orders).env(env),
    ];
    let mut keda = team.api.keda(&team.namespace).await;
    team.api.apply(&all(objects)).await;
    // KEDA polls a new ScaledJob twice at once, and could start Jobs twice.
    team.stands(&names, &[0; 5], "nothing waits yet").await;
    bus.fill("orders", 10, |n| Queued::new("{}").subject(if n < 3 { "placed" } else { "paid" }));
    send("image.uploaded", 2).await;
    send("image.replaced", 3).await;
    send("mail", 4).await;
    let expected = [5, 4, 0, 2, 3];
    keda.until("each has its Jobs", async || team.jobs(&names).await == expected).await;
    team.stands(&names, &expected, "they are at work, and what they work on still waits").await;

    // They have done it.
    broker.catch_up("jobs", "three-jobs").await;
    bus.receive("orders", 10);
    team.stands(&names, &expected, "Jobs that run are left alone").await;
    team.end_jobs().await;
    team.stands(&names, &[0; 5], "nothing waits").await;

    send("report", 1).await;
    send("unheard-of", 9).await;
    keda.until("the one that came has its Job", async || {
        team.jobs(&names).await == [0, 0, 1, 0, 0]
    })
    .await;
    for name in names {
        // KEDA cancels the first poll of a new ScaledJob, and says so of what that had begun: a
        // call of ours, or the creation of a Job.
        let mut warnings = team.warnings(name).await;
        warnings.retain(|warning| !warning.contains("context canceled"));
        assert_eq!(warnings, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn what_is_wrong_is_told_by_keda_in_our_words_and_starts_nothing() {
    let sift = Sift::start().await;
    let team = Team::new(&sift).await;
    let broker = Broker::shared();
    let missing = rows(broker.bootstrap(), "never-made", "a");
    let mut keda = team.api.keda(&team.namespace).await;
    let unread = [("source", "kafka"), ("bootstrapServers", "127.0.0.1:9"), ("topc", "uploads")];
    team.api.apply(&all([team.job("unread", &unread), team.job("missing", &missing)])).await;
    for (name, words) in [("unread", "topc: is not a parameter"), ("missing", "never-made")] {
        let told = async || team.warnings(name).await.iter().any(|told| told.contains(words));
        keda.until(&format!("{name} is told of with {words:?}"), told).await;
    }
    assert_eq!(team.jobs(&["unread", "missing"]).await, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn over_tls_kedas_certificate_lets_it_in_and_nothing_else_does() {
    let broker = Broker::shared();
    broker.topic("over-tls").create().await;
    let (authority, folder) = (Authority::new("keda-sift"), tempfile::tempdir().expect("a folder"));
    let server = authority.issue("server", &["127.0.0.1"]);
    let files = [("--tls-cert-file", server.cert), ("--tls-key-file", server.key)];
    let files = files.into_iter().chain([("--tls-client-ca-file", authority.cert())]);
    let options: Vec<String> = files
        .flat_map(|(option, text)| {
            let file = folder.path().join(option);
            std::fs::write(&file, text).expect("a folder can be written");
            [option.to_owned(), file.display().to_string()]
        })
        .collect();
    let program = Program::serving(&options);

    let team = Team::asking(program.grpc).await;
    let keda = authority.issue("keda", &[]);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "keda-sift", "namespace": team.namespace },
        "stringData": { "ca": authority.cert(), "cert": keda.cert, "key": keda.key } });
    let parameters = |rows: &[(&str, &str)]| -> Vec<Value> {
        let row = |(parameter, key): &(&str, &str)| json!({ "parameter": parameter, "name": "keda-sift", "key": key });
        rows.iter().map(row).collect()
    };
    let authentication = |name: &str, rows: &[(&str, &str)]| {
        json!({ "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": { "name": name, "namespace": team.namespace }, "spec": { "secretTargetRef": parameters(rows) } })
        .to_string()
    };
    let all_of_it = [("caCert", "ca"), ("tlsClientCert", "cert"), ("tlsClientKey", "key")];
    let mut objects = vec![
        secret.to_string(),
        authentication("mutual", &all_of_it),
        authentication("one-sided", &all_of_it[..1]),
    ];
    let rows = rows(broker.bootstrap(), "over-tls", "a");
    for name in ["mutual", "one-sided", "plain"] {
        let mut job: Value =
            serde_json::from_str(&team.job(name, &rows).yaml()).expect("JSON is YAML");
        if name != "plain" {
            let trigger = &mut job["spec"]["triggers"][0];
            trigger["metadata"]["enableTLS"] = json!("true");
            trigger["authenticationRef"] = json!({ "name": name });
        }
        objects.push(job.to_string());
    }
    let mut keda = team.api.keda(&team.namespace).await;
    team.api.apply(&objects.join("\n---\n")).await;
    let names = ["mutual", "one-sided", "plain"];
    team.stands(&names, &[0; 3], "nothing waits yet").await;
    broker.produce_all("over-tls", ["a"; 3].map(Message::of_type)).await;
    keda.until("it has its Jobs", async || team.jobs(&names).await[0] == 3).await;
    team.stands(&names, &[3, 0, 0], "the others are not let in").await;
}
