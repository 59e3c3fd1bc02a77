//! What fetches partitions and has their records judged.
//!
//! A cluster has two readers: one for the tails, which follows the ends, and one for backfills,
//! which reads stretches that lie before. Each is one task ([`Work`]), with a connection of its own
//! to every broker that leads something it reads, so that asking is never behind it. Polls post
//! what is to be read as a desired state, one entry a partition, so that nothing queues up. A
//! reader that has had nothing to read for a while ends, and its connections with it.
//!
//! - `desk`: where readings are posted · `work`: the task
//! - `turns`: what a broker leads, and in which order that is fetched · `session`: what it
//!   remembers of that

mod desk;
mod session;
mod turns;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

pub(super) use self::desk::Parts;
use self::desk::{Change, Desk};
use self::work::Work;
pub(super) use self::work::{FETCH_BYTES, PARTITION_BYTES};
use super::broker::Lane;
use super::names::{Partition, Topic};
use super::tail::Reading;
use crate::coalescer::Tasks;
use crate::lock::lock;

/// Where readings are posted, and the task that reads them while there are any.
pub(super) struct Reader {
    lane: Lane,
    parts: Parts,
    tasks: Tasks,
    desk: Mutex<Option<Arc<Desk>>>,
}

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
