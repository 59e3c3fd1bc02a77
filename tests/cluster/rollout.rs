//! A rolling restart, as the Deployment does it, while KEDA polls without a pause: it learns
//! nothing of it.
//!
//! The Pods are the program itself, each on an address of loopback of its own. KEDA is its own
//! client. What a cluster has between them is as slow as there: an address is sent calls, or
//! resolved to, for a while after its Pod was told to end.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use azure_stand_ins::{Message as Queued, ServiceBus};
use keda_sift::scaler::proto::ScaledObjectRef;
use kubernetes_api::ApiServer;
use serde_json::json;
use sift_harness::{Broker, Message, PATIENCE, free_port, holds_within};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::operator::{ADDRESS, Operator, ScaledJob, all};
use crate::poller::{Poll, Poller};
use crate::replica::Replica;

/// How long a cluster goes on sending calls to a Pod that has been told to end.
const BEHIND: Duration = Duration::from_secs(1);

/// `--drain-delay`: more than that.
const DRAIN_DELAY: &str = "2s";

/// How long gRPC waits between two questions to DNS: a tenth of what it does in KEDA.
const NAMES_WAIT: Duration = Duration::from_secs(3);

/// How long a new Pod must have been Ready before an old one ends, as `minReadySeconds`: a tenth of
/// what the Deployment has. With less, KEDA may lose all replicas that it knows before gRPC asks
/// DNS for others.
const MIN_READY: Duration = NAMES_WAIT;

/// Polls of every trigger that must have come before a test goes on.
const ENOUGH: usize = 20;

/// What the triggers count, and what every poll of each must say.
struct Work {
    triggers: Vec<ScaledObjectRef>,
    expected: Vec<(f64, bool)>,
    options: Vec<String>,
    _bus: ServiceBus,
}

impl Work {
    /// Messages that wait for groups that stand still, and ScaledJobs that count them.
    async fn waits(topic: &str) -> Work {
        let (api, broker, bus) =
            (ApiServer::shared().await, Broker::shared(), ServiceBus::start().await);
        let namespace = api.namespace("rollout").await;
        broker.topic(topic).partitions(3).create().await;
        let message = |n: usize| {
            Message::of_type(["a", "b", "b"][n % 3]).body(format!("{{\"amount\": {}}}", n % 5))
        };
        broker
            .produce_all(topic, (0..3_000).map(|n| message(n).partition([0, 1, 2][n / 1_000])))
            .await;
        broker.commit(topic, topic, [(0, 1_000), (1, 1_000), (2, 955)]).await;
        bus.queue(topic).create();
        bus.fill(topic, 50, |n| Queued::new("{}").subject(["a", "b"][n % 2]));
        let (bootstrap, connection) = (broker.bootstrap().to_owned(), bus.connection_string());

        let kafka = |more: &[(&'static str, &'static str)]| {
            let mut rows = vec![
                ("source", "kafka"),
                ("bootstrapServers", &*bootstrap),
                ("consumerGroup", topic),
                ("topic", topic),
                ("lagThreshold", "1"),
                ("allowIdleConsumers", "true"),
            ];
            rows.extend_from_slice(more);
            rows
        };
        let queue = vec![
            ("queueName", topic),
            ("messageCount", "1"),
            ("eventType", "a"),
            ("connectionFromEnv", "BUS"),
        ];
        // 45 wait in partition 2, from offset 955 on.
        let rows = [
            ("by-type", kafka(&[("eventType", "a")]), (15.0, true)),
            ("by-filter", kafka(&[("filter", "body.amount == 4")]), (9.0, true)),
            ("by-offsets", kafka(&[("countFrom", "offsets")]), (45.0, true)),
            ("of-nothing", kafka(&[("eventType", "absent")]), (0.0, false)),
            ("of-a-queue", queue, (25.0, true)),
        ];
        let env = json!([{ "name": "BUS", "value": connection }]);
        let jobs = rows
            .iter()
            .map(|(name, rows, _)| ScaledJob::new(&namespace, name, rows).env(env.clone()));
        api.apply(&all(jobs)).await;
        let triggers = rows.iter().map(|(name, rows, _)| {
            let value =
                |value: &str| if value == "BUS" { connection.clone() } else { value.to_owned() };
            let metadata = rows.iter().map(|(key, written)| ((*key).to_owned(), value(written)));
            let mut scaler_metadata: HashMap<_, _> = metadata.collect();
            scaler_metadata.insert("scalerAddress".to_owned(), ADDRESS.to_owned());
            ScaledObjectRef {
                name: (*name).to_owned(),
                namespace: namespace.clone(),
                scaler_metadata,
            }
        });
        let operator = Operator::granting(api, &["warm-up"]).await;
        let kubeconfig = operator.account.kubeconfig.display().to_string();
        let options = [
            ("--kubeconfig", &*kubeconfig),
            ("--scaler-address", "keda-sift.keda-sift"),
            ("--watch-namespace", &*namespace),
            ("--drain-delay", DRAIN_DELAY),
        ];
        Work {
            triggers: triggers.collect(),
            expected: rows.iter().map(|(_, _, expected)| *expected).collect(),
            options: options
                .iter()
                .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])
                .collect(),
            _bus: bus,
        }
    }

    /// Nothing failed, not even for KEDA to try again, and every poll was told what is so.
    fn assert_in(&self, polls: &[Poll]) {
        let told: Vec<_> = polls.iter().filter(|poll| !poll.failed.is_empty()).collect();
        let repeated: Vec<_> = polls.iter().filter(|poll| !poll.repeated.is_empty()).collect();
        assert!(
            told.is_empty() && repeated.is_empty(),
            "of {} polls KEDA would tell of {}: {:?}\nand have repeated {}: {:?}",
            polls.len(),
            told.len(),
            told.first(),
            repeated.len(),
            repeated.first(),
        );
        for poll in polls {
            let said = (poll.value, poll.active);
            assert_eq!(said, self.expected[poll.trigger], "{poll:?}");
            assert!(poll.target > 0.0, "{poll:?}");
        }
    }
}

/// Two replicas, replaced one by one.
struct Deployment {
    options: Vec<String>,
    port: u16,
    http: u16,
    pods: Vec<Replica>,
    started: u8,
}

impl Deployment {
    async fn of(work: &Work) -> Deployment {
        let options = work.options.clone();
        let mut deployment = Deployment {
            options,
            port: free_port(),
            http: free_port(),
            pods: Vec::new(),
            started: 0,
        };
        for _ in 0..2 {
            let pod = deployment.new_pod().await;
            deployment.pods.push(pod);
        }
        deployment
    }

    /// A Pod that is Ready.
    async fn new_pod(&mut self) -> Replica {
        self.started += 1;
        let address = Ipv4Addr::new(127, 0, 0, 100 + self.started);
        let mut pod = Replica::start(address, self.port, self.http, &self.options);
        pod.until_ready(true).await;
        pod
    }

    /// The addresses of its Pods.
    fn addresses(&self) -> Vec<Ipv4Addr> {
        self.pods.iter().map(|pod| ip(pod.grpc)).collect()
    }

    /// Replaces each Pod as with `maxUnavailable: 0` and `maxSurge: 1`, and has `publish` told of
    /// the addresses that the cluster knows.
    async fn restart(&mut self, mut publish: impl FnMut(&[Ipv4Addr])) {
        let mut old = std::mem::take(&mut self.pods);
        let mut known: Vec<_> = old.iter().map(|pod| ip(pod.grpc)).collect();
        for pod in &mut old {
            let new = self.new_pod().await;
            known.push(ip(new.grpc));
            self.pods.push(new);
            publish(&known);
            sleep(MIN_READY).await;
            pod.tell_to_end();
            // Said at once, so that nobody is sent to it by a probe.
            pod.until_ready(false).await;
            sleep(BEHIND).await;
            known.retain(|address| *address != ip(pod.grpc));
            publish(&known);
        }
        for pod in &mut old {
            assert_eq!(pod.ended().await, Some(0), "{}", pod.log());
        }
    }
}

/// What stands before the replicas with an address of its own: a connection goes to one of those
/// that it knows, and stays there.
struct ClusterIp {
    address: SocketAddr,
    known: watch::Sender<Vec<Ipv4Addr>>,
    _connections: JoinSet<()>,
}

impl ClusterIp {
    async fn before(addresses: Vec<Ipv4Addr>, port: u16) -> ClusterIp {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (known, seen) = watch::channel(addresses);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            for turn in 0.. {
                let (mut client, _) = listener.accept().await.expect("a connection");
                let to = {
                    let known = seen.borrow();
                    SocketAddr::from((known[turn % known.len()], port))
                };
                open.spawn(async move {
                    // One that is refused ends the client's connection too.
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                    }
                });
            }
        });
        ClusterIp { address, known, _connections: connections }
    }
}

fn ip(address: SocketAddr) -> Ipv4Addr {
    match address {
        SocketAddr::V4(address) => *address.ip(),
        SocketAddr::V6(_) => unreachable!("replicas have addresses of IPv4"),
    }
}

/// Waits until so many more polls of all triggers have come.
async fn until_polled(poller: &Poller, work: &Work) {
    let wanted = poller.len() + ENOUGH * work.triggers.len();
    let have_come = holds_within(PATIENCE, async || poller.len() >= wanted);
    assert!(have_come.await, "no polls come: {:?}", poller.polls().last());
}

/// Waits until every replica has answered since then.
async fn until_each_answers(poller: &Poller, pods: &[Replica]) {
    let since = poller.len();
    let all: BTreeSet<_> = pods.iter().map(|pod| pod.grpc.to_string()).collect();
    let mut answered = BTreeSet::new();
    let all_answer = holds_within(PATIENCE, async || {
        answered = poller.polls()[since..].iter().map(|poll| poll.metrics.clone()).collect();
        all.is_subset(&answered)
    });
    assert!(all_answer.await, "only {answered:?} of {all:?} answer");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_rolling_restart_behind_a_headless_service_reaches_nobody() {
    let work = Work::waits("headless").await;
    let mut deployment = Deployment::of(&work).await;
    let mut poller =
        Poller::of_names(&deployment.addresses(), deployment.port, NAMES_WAIT, &work.triggers);
    for _ in 0..2 {
        until_each_answers(&poller, &deployment.pods).await;
        deployment.restart(|known| poller.resolve_to(known)).await;
    }
    until_each_answers(&poller, &deployment.pods).await;
    until_polled(&poller, &work).await;
    work.assert_in(&poller.polls());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: make test-cluster"]
async fn a_rolling_restart_behind_a_cluster_ip_reaches_nobody() {
    let work = Work::waits("cluster-ip").await;
    let mut deployment = Deployment::of(&work).await;
    let service = ClusterIp::before(deployment.addresses(), deployment.port).await;
    let poller = Poller::of_address(service.address, &work.triggers);
    for _ in 0..2 {
        until_polled(&poller, &work).await;
        deployment.restart(|known| drop(service.known.send(known.to_vec()))).await;
    }
    until_polled(&poller, &work).await;
    work.assert_in(&poller.polls());
}
