//! Which clusters there are: those that triggers name, each once, for as long as somebody holds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::bearer::{Bearer, Logins};
use super::cluster::{Cluster, LookUps};
use super::error::Error;
use super::names::Group;
use super::security::ClusterConfig;
use super::threads::Threads;
use crate::lock::lock;

/// The clusters that somebody holds.
pub(super) struct Clusters {
    request_timeout: Duration,
    logins: Option<Logins>,
    threads: Arc<Threads>,
    look_ups: LookUps,
    known: Mutex<HashMap<ClusterConfig, Weak<Cluster>>>,
}

impl Clusters {
    /// No cluster yet; requests to a broker may take so long. Without `logins` none is logged in to
    /// by token.
    pub(super) fn new(request_timeout: Duration, logins: Option<Logins>) -> Clusters {
        let (threads, look_ups) = (Arc::default(), LookUps::default());
        Clusters { request_timeout, logins, threads, look_ups, known: Mutex::default() }
    }

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
        let patience = self.request_timeout;
        let look_ups = self.look_ups.clone();
        let cluster = Cluster::new(config, group, patience, &self.threads, look_ups, bearer)?;
        known.insert(config.clone(), Arc::downgrade(&cluster));
        Ok(cluster)
    }

    /// Ends every connection, task and thread of all clusters, and waits for it.
    pub(super) async fn shutdown(&self) {
        let clusters: Vec<_> = self.lock().drain().map(|(_, cluster)| cluster).collect();
        for cluster in clusters.iter().filter_map(Weak::upgrade) {
            cluster.end();
            cluster.tasks_ended().await;
        }
        let threads = Arc::clone(&self.threads);
        if tokio::task::spawn_blocking(move || threads.join()).await.is_err() {
            tracing::error!("kafka's threads could not be waited for");
        }
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
