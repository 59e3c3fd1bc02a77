//! The two broker calls that no poll can do without, bare: the yardstick of the `poll` benchmark.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::client_config;
use super::librdkafka::{End, Queries};
use super::names::{Group, Partition, Topic};
use super::security::ClusterConfig;
use super::threads::Threads;

const PATIENCE: Duration = Duration::from_secs(10);

/// ListOffsets and OffsetFetch of one group on one topic, on a handle of their own.
pub struct Pair {
    queries: Arc<Queries>,
    group: Group,
    places: Vec<(Topic, Partition)>,
    /// Ends when the pair does, as its handle's replies are handed out there.
    _threads: Threads,
}

impl Pair {
    /// A handle on the topic's partitions from 0 up to `partitions`.
    ///
    /// # Panics
    /// Where no handle can be made.
    pub fn open(bootstrap: &str, group: &str, topic: &str, partitions: Partition) -> Pair {
        let config = ClusterConfig::plain(bootstrap).expect("bootstrap servers");
        let mut client = client_config(&config);
        client.set("group.id", group);
        let queries = Arc::new(Queries::new(&client.into()).expect("a handle"));
        let threads = Threads::default();
        let served = Arc::downgrade(&queries);
        threads.spawn("bare", move || {
            while let Some(queries) = served.upgrade() {
                let _unasked = queries.serve(Duration::from_millis(100));
            }
        });
        Pair {
            queries,
            group: Group::from(group),
            places: (0..partitions).map(|partition| (Topic::from(topic), partition)).collect(),
            _threads: threads,
        }
    }

    /// Both calls, side by side in flight.
    ///
    /// # Panics
    /// Where either gets no answer.
    pub async fn ask(&self) {
        let ends = self.queries.offsets(&self.places, End::LastStable, PATIENCE);
        let committed = self.queries.committed(&self.group, Some(&self.places));
        ends.await.expect("a reply").expect("the ends");
        committed.await.expect("a reply").expect("the committed offsets");
    }
}
