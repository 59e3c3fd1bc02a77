//! All clusters that triggers name, each once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use super::cluster::Cluster;
use super::error::Error;
use super::follower::Follower;
use super::lock::lock;
use super::names::Group;
use super::security::ClusterConfig;
use super::threads::Threads;
use super::trigger::KafkaTrigger;
use crate::backlog::Backlog;

/// The Kafka source. Nothing connects before a trigger is measured.
pub struct Kafka(Arc<Clusters>);

/// What the operator says of this source.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a request to a broker may take: the time a measurement has.
    pub request_timeout: Duration,
}

/// What a measurement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The metric's value: a poll, which the next poll may be compared with.
    Metric,
    /// Only whether the trigger is active.
    Activity,
}

/// What was measured at one moment. KEDA's value is `metric`; the trigger is active when `activity`
/// is above its activation threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What waits, bounded as the trigger says.
    pub metric: Backlog,
    /// What waits, whatever the metric leaves out.
    pub activity: Backlog,
}

/// The clusters that some follower holds.
pub(super) struct Clusters {
    options: Options,
    threads: Arc<Threads>,
    known: Mutex<HashMap<ClusterConfig, Weak<Cluster>>>,
}

impl Default for Options {
    fn default() -> Options {
        Options { request_timeout: Duration::from_secs(10) }
    }
}

impl Kafka {
    /// The source, without any cluster yet.
    pub fn new(options: Options) -> Kafka {
        Kafka(Arc::new(Clusters { options, threads: Arc::default(), known: Mutex::default() }))
    }

    /// Begins to follow a trigger, which connects when it is first measured.
    pub fn follow(&self, trigger: Arc<KafkaTrigger>) -> Follower {
        Follower::new(trigger, Arc::clone(&self.0))
    }

    /// Ends every connection, task and thread of this source, and waits for it.
    pub async fn shutdown(&self) {
        let clusters: Vec<_> = self.0.lock().drain().map(|(_, cluster)| cluster).collect();
        for cluster in clusters.iter().filter_map(Weak::upgrade) {
            cluster.end();
            cluster.tasks_ended().await;
        }
        let threads = Arc::clone(&self.0.threads);
        if tokio::task::spawn_blocking(move || threads.join()).await.is_err() {
            tracing::error!("kafka's threads could not be waited for");
        }
    }
}

impl Clusters {
    /// The cluster of these settings: the one there is, if it is of use, or a new one.
    ///
    /// A new one looks `group` up as a matter of form.
    pub(super) fn get(&self, config: &ClusterConfig, group: &Group) -> Result<Arc<Cluster>, Error> {
        let mut known = self.lock();
        known.retain(|_, cluster| cluster.strong_count() > 0);
        let cluster = known.get(config).and_then(Weak::upgrade);
        if let Some(cluster) = cluster.filter(|cluster| !cluster.is_spent()) {
            return Ok(cluster);
        }
        let cluster = Cluster::new(config, group, self.options.request_timeout, &self.threads)?;
        known.insert(config.clone(), Arc::downgrade(&cluster));
        Ok(cluster)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterConfig, Weak<Cluster>>> {
        lock(&self.known)
    }
}
