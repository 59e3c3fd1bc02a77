//! What fetches partitions and has their records judged.
//!
//! A cluster has two readers: one for the tails, which follows the ends, and one for backfills,
//! which reads stretches that lie before. Each is one task ([`Work`]), with a connection of its own
//! to every broker that leads something it reads, so that asking is never behind it. Polls post
//! what is to be read as a desired state, one entry a partition, so that nothing queues up. A
//! reader that has had nothing to read for a while ends, and its connections with it.
//!
//! - `work`: the task · `turns`: what a broker leads, and in which order that is fetched ·
//!   `session`: what it remembers of that

mod session;
mod turns;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use self::work::Work;
pub(super) use self::work::{FETCH_BYTES, PARTITION_BYTES};
use super::broker::{Connections, Lane, Topics};
use super::judges::Judges;
use super::names::{Partition, Topic};
use super::tail::Reading;
use crate::coalescer::Tasks;
use crate::ledger::Payers;
use crate::lock::lock;

/// Where readings are posted, and the task that reads them while there are any.
pub(super) struct Reader {
    lane: Lane,
    parts: Parts,
    tasks: Tasks,
    desk: Mutex<Option<Arc<Desk>>>,
}

/// What reading takes.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) connections: Arc<Connections>,
    pub(super) topics: Arc<Topics>,
    pub(super) judges: Arc<Judges>,
    pub(super) payers: Arc<Payers>,
}

/// What polls and the task share.
struct Desk {
    /// `None` once the task takes nothing more.
    changes: Mutex<Option<HashMap<Place, Change>>>,
    posted: Notify,
}

enum Change {
    Read(Reading),
    Stop,
}

type Place = (Topic, Partition);

impl Reader {
    /// A reader that has yet to read anything: no connection, no task.
    pub(super) fn new(lane: Lane, parts: Parts, tasks: Tasks) -> Reader {
        Reader { lane, parts, tasks, desk: Mutex::default() }
    }

    /// Has a partition read, in place of what it was read for before.
    pub(super) fn read(&self, reading: Reading) {
        let mut desk = lock(&self.desk);
        let place = (reading.topic().clone(), reading.partition());
        let mut change = Change::Read(reading);
        if let Some(desk) = &*desk {
            match desk.put(place.clone(), change) {
                Ok(()) => return,
                Err(refused) => change = refused,
            }
        }
        let changes = HashMap::from([(place, change)]);
        let new = Arc::new(Desk { changes: Mutex::new(Some(changes)), posted: Notify::new() });
        let work = Work::new(self.lane, self.parts.clone(), Arc::clone(&new));
        *desk = Some(new);
        self.tasks.spawn(work.run());
    }

    /// Ends the task, without waiting for it.
    pub(super) fn end(&self) {
        if let Some(desk) = lock(&self.desk).take() {
            desk.close();
        }
    }

    /// Ends the reading of a partition.
    pub(super) fn stop(&self, topic: &Topic, partition: Partition) {
        if let Some(desk) = &*lock(&self.desk) {
            // A desk that takes nothing more reads nothing either.
            let _taken = desk.put((topic.clone(), partition), Change::Stop);
        }
    }
}

impl Desk {
    fn put(&self, place: Place, change: Change) -> Result<(), Change> {
        // Dropped outside the lock: a reading that is replaced tells its tail.
        let _replaced = match &mut *lock(&self.changes) {
            Some(changes) => changes.insert(place, change),
            None => return Err(change),
        };
        self.posted.notify_one();
        Ok(())
    }

    fn close(&self) {
        let _left = lock(&self.changes).take();
        self.posted.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::tail::TopicTail;

    fn place(topic: &str, partition: Partition) -> Place {
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
        assert!(desk.put(place("t", 0), Change::Read(replaced)).is_ok());
        assert!(desk.put(place("t", 0), Change::Read(posted)).is_ok());
        assert!(replaced_again() && !posted_again());
        desk.close();
        assert!(posted_again());
        assert!(desk.put(place("t", 0), Change::Read(reading().0)).is_err(), "a closed desk");
    }
}
