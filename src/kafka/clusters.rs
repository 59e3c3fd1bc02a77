//! All clusters that triggers name, each once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::broker::Logins;
use super::broker::token::Bearer;
use super::cluster::Cluster;
use super::error::Error;
use super::judges::Judges;
use super::security::ClusterConfig;
use super::wire::Resolver;
use crate::lock::lock;
use crate::source::Figures;

/// The clusters that somebody holds.
pub(super) struct Clusters {
    /// How long a request to a broker may take.
    timeout: Duration,
    logins: Option<Logins>,
    resolver: Arc<Resolver>,
    judges: Arc<Judges>,
    known: Mutex<HashMap<ClusterConfig, Weak<Cluster>>>,
}

impl Clusters {
    /// No cluster yet; without `logins` there are none by token.
    pub(super) fn new(timeout: Duration, logins: Option<Logins>) -> Clusters {
        let (resolver, judges) = (Arc::default(), Arc::default());
        Clusters { timeout, logins, resolver, judges, known: Mutex::default() }
    }

    /// The cluster of these settings: the one there is, if it is of use, or a new one, for whose
    /// token there is time until `deadline`.
    pub(super) async fn get(
        &self,
        config: &ClusterConfig,
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
        let cluster = Cluster::new(config, self.timeout, &self.resolver, &self.judges, bearer)?;
        known.insert(config.clone(), Arc::downgrade(&cluster));
        Ok(cluster)
    }

    /// How all clusters are connected now.
    pub(super) fn figures(&self) -> Figures {
        let clusters: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        let figures = clusters.iter().map(|cluster| cluster.figures());
        figures.fold(Figures::default(), Figures::plus)
    }

    /// Ends every connection and task of all clusters, and waits for it.
    pub(super) async fn shutdown(&self) {
        let clusters: Vec<_> = self.lock().drain().map(|(_, cluster)| cluster).collect();
        for cluster in clusters.iter().filter_map(Weak::upgrade) {
            cluster.end();
            cluster.tasks_ended().await;
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
    known.get(config).and_then(Weak::upgrade).filter(|cluster| !cluster.is_rejected())
}
