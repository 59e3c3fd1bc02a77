//! Where polls post what is to be read, and what it takes to read it: one entry a partition, so
//! that nothing queues up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::kafka::broker::{Connections, Topics};
use crate::kafka::judges::Judges;
use crate::kafka::names::{Partition, Topic};
use crate::kafka::tail::Reading;
use crate::ledger::Payers;
use crate::lock::lock;

/// What reading takes.
#[derive(Clone)]
pub(in crate::kafka) struct Parts {
    pub(in crate::kafka) connections: Arc<Connections>,
    pub(in crate::kafka) topics: Arc<Topics>,
    pub(in crate::kafka) judges: Arc<Judges>,
    pub(in crate::kafka) payers: Arc<Payers>,
}

/// What polls and the task share.
pub(super) struct Desk {
    /// `None` once the task takes nothing more.
    pub(super) changes: Mutex<Option<HashMap<TopicPartition, Change>>>,
    pub(super) posted: Notify,
}

pub(super) enum Change {
    Read(Reading),
    Stop,
}

pub(super) type TopicPartition = (Topic, Partition);

impl Desk {
    pub(super) fn put(&self, partition: TopicPartition, change: Change) -> Result<(), Change> {
        // Dropped outside the lock: a reading that is replaced tells its tail.
        let _replaced = match &mut *lock(&self.changes) {
            Some(changes) => changes.insert(partition, change),
            None => return Err(change),
        };
        self.posted.notify_one();
        Ok(())
    }

    pub(super) fn close(&self) {
        let _left = lock(&self.changes).take();
        self.posted.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::tail::TopicTail;

    fn partition(topic: &str, partition: Partition) -> TopicPartition {
        (Topic::from(topic), partition)
    }

    /// A reading and whether the next poll has its partition read.
    fn reading() -> (Reading, impl Fn() -> bool) {
        use crate::kafka::tail::tests::{account, every_record, need, view};
        let tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = tail.follow(&[every_record()], &account());
        let mut readings = tail.look(subscriber, &[need(0, 10)], view()).readings;
        let reading = readings.pop().expect("a tail");
        (reading, move || tail.look(subscriber, &[need(0, 10)], view()).readings.len() == 1)
    }

    #[test]
    fn a_reading_is_not_lost_with_a_task_that_ends() {
        let (posted, posted_again) = reading();
        let (replaced, replaced_again) = reading();
        let desk = Desk { changes: Mutex::new(Some(HashMap::new())), posted: Notify::new() };
        assert!(desk.put(partition("t", 0), Change::Read(replaced)).is_ok());
        assert!(desk.put(partition("t", 0), Change::Read(posted)).is_ok());
        assert!(replaced_again() && !posted_again());
        desk.close();
        assert!(posted_again());
        assert!(desk.put(partition("t", 0), Change::Read(reading().0)).is_err(), "a closed desk");
    }
}
