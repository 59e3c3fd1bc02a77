//! All clusters that triggers name, each once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::bearer::{Bearer, Logins};
use super::cluster::{Cluster, LookUps};
use super::error::Error;
use super::follower::Follower;
use super::names::Group;
use super::security::ClusterConfig;
use super::threads::Threads;
use super::trigger::KafkaTrigger;
use crate::lock::lock;

/// The Kafka source. Nothing connects before a trigger is measured.
pub struct Kafka(Arc<Clusters>);

/// What the operator says of this source.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a request to a broker may take: the time a measurement has.
    pub request_timeout: Duration,
}

/// The clusters that some follower holds.
pub(super) struct Clusters {
    options: Options,
    logins: Option<Logins>,
    threads: Arc<Threads>,
    look_ups: LookUps,
    known: Mutex<HashMap<ClusterConfig, Weak<Cluster>>>,
}

impl Default for Options {
    fn default() -> Options {
        Options { request_timeout: Duration::from_secs(10) }
    }
}

impl Kafka {
    /// The source, without any cluster yet, and without logins by token.
    pub fn new(options: Options) -> Kafka {
        Kafka::of(options, None)
    }

    /// The source, without any cluster yet.
    pub fn with_logins(options: Options, logins: Logins) -> Kafka {
        Kafka::of(options, Some(logins))
    }

    fn of(options: Options, logins: Option<Logins>) -> Kafka {
        let (threads, look_ups) = (Arc::default(), LookUps::default());
        Kafka(Arc::new(Clusters { options, logins, threads, look_ups, known: Mutex::default() }))
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
    /// The cluster of these settings: the one there is, if it is of use, or a new one, for whose token there is time
    /// until `deadline`.
    ///
    /// A new one looks `group` up as a matter of form.
    pub(super) async fn get(
        &self,
        config: &ClusterConfig,
        group: &Group,
        deadline: Instant,
    ) -> Result<Arc<Cluster>, Error> {
        if let Some(cluster) = of_use(&self.lock(), config) {
            return Ok(cluster);
        }
        let bearer = Bearer::of(config, self.logins.as_ref(), deadline).await?;
        let mut known = self.lock();
        known.retain(|_, cluster| cluster.strong_count() > 0);
        // Another call may have made it meanwhile.
        if let Some(cluster) = of_use(&known, config) {
            return Ok(cluster);
        }
        let patience = self.options.request_timeout;
        let look_ups = self.look_ups.clone();
        let cluster = Cluster::new(config, group, patience, &self.threads, look_ups, bearer)?;
        known.insert(config.clone(), Arc::downgrade(&cluster));
        Ok(cluster)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterConfig, Weak<Cluster>>> {
        lock(&self.known)
    }
}

fn of_use(
    known: &HashMap<ClusterConfig, Weak<Cluster>>,
    config: &ClusterConfig,
) -> Option<Arc<Cluster>> {
    known.get(config).and_then(Weak::upgrade).filter(|cluster| !cluster.is_spent())
}
