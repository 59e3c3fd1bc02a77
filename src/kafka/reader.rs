//! The thread that reads partitions and has their records judged.
//!
//! A cluster has at most two readers, each with one librdkafka handle whatever the number of topics:
//! one for the tails, which follows the ends, and one for backfills, which reads stretches that lie
//! before. Polls post what is to be read as a desired state, one entry a partition, so that
//! nothing queues up; the thread takes it between two batches. A reader that has had nothing to
//! read for a while ends, and with it its connections.
//!
//! A [`Reading`] that is dropped before it is over, for whatever reason, says so to its tail, and the
//! next poll has the partition read anew.
//!
//! Partitions share one queue, and a broker fills it from each in turn, so that a topic that floods
//! takes its share and no more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::broker::ConnectionHealth;
use super::fault::Fault;
use super::index::KeyHash;
use super::librdkafka::{
    self, Delivered, Delivery, Fetcher, HandleConfig, Notice, OpenError, Waker,
};
use super::names::{Offset, Partition, Topic};
use super::record::KafkaMessage;
use super::tail::{Epoch, Judging, Match, TopicTail};
use super::threads::Threads;
use crate::lock::lock;
use crate::selection::{Judge, Message, Slot, Verdicts};

/// Records taken from librdkafka at a time.
const BATCH: usize = 1_000;

/// How long the thread waits for records before it looks whether anything has changed.
const WAIT: Duration = Duration::from_secs(1);

/// A reader without partitions ends after this time.
const LINGER: Duration = Duration::from_secs(10);

/// What a partition is read for: its topic's tail, and the epoch that the reading belongs to.
#[derive(Clone)]
pub(super) struct ReadTicket {
    tail: Arc<TopicTail>,
    partition: Partition,
    epoch: Epoch,
}

/// Something to read. Its tail hears of it when it is dropped.
pub(super) struct Reading {
    ticket: ReadTicket,
    from: Offset,
    /// For a backfill where it ends and what it is judged with; the tail has no end.
    backfill: Option<(Offset, Arc<Judging>)>,
}

/// Where readings are posted, and the thread that reads them while there are any.
pub(super) struct Reader {
    name: &'static str,
    config: HandleConfig,
    health: Arc<ConnectionHealth>,
    threads: Arc<Threads>,
    desk: Mutex<Option<Arc<Desk>>>,
}

/// What polls and the thread share.
struct Desk {
    /// `None` once the thread takes nothing more.
    changes: Mutex<Option<HashMap<(Topic, Partition), Change>>>,
    waker: Waker,
}

enum Change {
    Read(Reading),
    Stop,
}

/// The thread's own state.
struct Work {
    fetcher: Fetcher,
    desk: Arc<Desk>,
    health: Arc<ConnectionHealth>,
    readings: HashMap<Topic, HashMap<Partition, Reading>>,
    verdicts: Verdicts,
    found: Vec<Match>,
    indeterminate: Vec<Slot>,
}

impl ReadTicket {
    pub(super) fn new(tail: Arc<TopicTail>, partition: Partition, epoch: Epoch) -> ReadTicket {
        ReadTicket { tail, partition, epoch }
    }

    pub(super) fn partition(&self) -> Partition {
        self.partition
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Reading {
    /// Reading on from an offset, without end.
    pub(super) fn tail(ticket: ReadTicket, from: Offset) -> Reading {
        Reading { ticket, from, backfill: None }
    }

    /// Reading a stretch once.
    pub(super) fn backfill(
        ticket: ReadTicket,
        from: Offset,
        until: Offset,
        judge: Judge,
        by_key: bool,
    ) -> Reading {
        let judging = Judging { judge: Arc::new(judge), by_key, version: 0 };
        Reading { ticket, from, backfill: Some((until, Arc::new(judging))) }
    }

    /// Whether this is a stretch before the tail, for the reader of those.
    pub(super) fn is_backfill(&self) -> bool {
        self.backfill.is_some()
    }

    #[cfg(test)]
    pub(super) fn ticket(&self) -> &ReadTicket {
        &self.ticket
    }

    fn topic_partition(&self) -> (Topic, Partition) {
        (self.ticket.tail.topic().clone(), self.ticket.partition)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.ticket.tail.let_go(&self.ticket);
    }
}

impl Reader {
    /// A reader that has yet to read anything: no handle, no thread.
    pub(super) fn new(
        name: &'static str,
        config: HandleConfig,
        health: Arc<ConnectionHealth>,
        threads: Arc<Threads>,
    ) -> Reader {
        Reader { name, config, health, threads, desk: Mutex::default() }
    }

    /// Has a partition read, in place of what it was read for before.
    ///
    /// # Errors
    /// What keeps a handle from being made.
    pub(super) fn read(&self, reading: Reading) -> Result<(), OpenError> {
        let mut desk = lock(&self.desk);
        let mut change = Change::Read(reading);
        if let Some(desk) = &*desk {
            match desk.post(change) {
                Ok(()) => return Ok(()),
                Err(refused) => change = refused,
            }
        }
        let fetcher = Fetcher::new(&self.config)?;
        let new =
            Arc::new(Desk { changes: Mutex::new(Some(HashMap::new())), waker: fetcher.waker() });
        // A desk that was just made takes changes.
        let _taken = new.post(change);
        let work = Work {
            fetcher,
            desk: Arc::clone(&new),
            health: Arc::clone(&self.health),
            readings: HashMap::new(),
            verdicts: Verdicts::default(),
            found: Vec::new(),
            indeterminate: Vec::new(),
        };
        self.threads.spawn(self.name, move || work.run());
        *desk = Some(new);
        Ok(())
    }

    /// Ends the thread, without waiting for it.
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
    fn post(&self, change: Change) -> Result<(), Change> {
        let at = match &change {
            Change::Read(reading) => reading.topic_partition(),
            Change::Stop => return Err(change),
        };
        self.put(at, change)
    }

    fn put(&self, at: (Topic, Partition), change: Change) -> Result<(), Change> {
        match &mut *lock(&self.changes) {
            Some(changes) => {
                changes.insert(at, change);
            }
            None => return Err(change),
        }
        self.waker.wake();
        Ok(())
    }

    fn close(&self) {
        lock(&self.changes).take();
        self.waker.wake();
    }
}

impl Work {
    fn run(mut self) {
        let mut idle_since = Instant::now();
        loop {
            match self.take_changes(idle_since) {
                Some(changes) => {
                    for ((topic, partition), change) in changes {
                        self.change(topic, partition, change);
                    }
                }
                None => return,
            }
            while let Some(notice) = self.fetcher.notice() {
                match notice {
                    Notice::Fault(fault) => self.health.note(fault),
                    Notice::Log(level, text) => librdkafka::log(level, &text),
                }
            }
            if !self.readings.is_empty() {
                idle_since = Instant::now();
            }
            let batch = self.fetcher.poll(BATCH, WAIT);
            let mut changes = Vec::new();
            for (topic, partition, delivered) in batch.runs() {
                // Filters are of tenants, and what judges them is not ours: where it panics, the other
                // partitions must go on.
                let judged =
                    catch_unwind(AssertUnwindSafe(|| self.judge(topic, partition, delivered)));
                changes.extend(judged.unwrap_or_else(|_| self.give_up(topic, partition)));
            }
            for (topic, partition, change) in changes {
                self.change(topic, partition, change);
            }
        }
    }

    /// What has changed since last time; `None` when the thread is to end.
    fn take_changes(&self, idle_since: Instant) -> Option<HashMap<(Topic, Partition), Change>> {
        let mut changes = lock(&self.desk.changes);
        let taken = std::mem::take(changes.as_mut()?);
        if taken.is_empty() && self.readings.is_empty() && idle_since.elapsed() > LINGER {
            *changes = None;
            return None;
        }
        Some(taken)
    }

    fn change(&mut self, topic: Topic, partition: Partition, change: Change) {
        match change {
            Change::Read(reading) => {
                self.fetcher.stop(&topic, partition);
                if let Err(fault) = self.fetcher.start(&topic, partition, reading.from) {
                    reading.ticket.tail.break_off(&reading.ticket, fault);
                }
                self.readings.entry(topic).or_default().insert(partition, reading);
            }
            Change::Stop => {
                self.fetcher.stop(&topic, partition);
                if let Entry::Occupied(mut partitions) = self.readings.entry(topic.clone()) {
                    partitions.get_mut().remove(&partition);
                    if partitions.get().is_empty() {
                        partitions.remove();
                        self.fetcher.forget(&topic);
                    }
                }
            }
        }
    }

    /// Ends the reading of a partition whose records cannot be judged, at once: the batch may hold more
    /// of it.
    fn give_up(&mut self, topic: &str, partition: Partition) -> Option<(Topic, Partition, Change)> {
        let reading = self.readings.get_mut(topic)?.remove(&partition)?;
        reading.ticket.tail.break_off(&reading.ticket, Fault::panicked());
        Some((reading.ticket.tail.topic().clone(), partition, Change::Stop))
    }

    /// Judges one partition's share of a batch, outside any lock, and hands in what was found; gives
    /// what to do with the partition after the batch.
    fn judge(
        &mut self,
        topic: &str,
        partition: Partition,
        delivered: &[Delivered],
    ) -> Option<(Topic, Partition, Change)> {
        let reading = self.readings.get(topic)?.get(&partition)?;
        let tail = Arc::clone(&reading.ticket.tail);
        let latest;
        let judging = match &reading.backfill {
            Some((_, judging)) => judging,
            None => {
                latest = Arc::new(tail.judging());
                &latest
            }
        };
        self.found.clear();
        self.indeterminate.clear();
        let mut reached = None;
        for one in delivered {
            match one.read() {
                Delivery::Record(record) => {
                    let offset = record.offset();
                    let message = KafkaMessage::new(topic, record);
                    judging.judge.judge(&message, &mut self.verdicts);
                    if !self.verdicts.selected.is_empty() {
                        let key = if judging.by_key { hash(message.key()) } else { 0 };
                        let selected = self.verdicts.selected.iter();
                        self.found.extend(selected.map(|slot| (*slot, offset, key)));
                    }
                    self.indeterminate.extend_from_slice(&self.verdicts.unjudged);
                    reached = Some(offset + 1);
                }
                Delivery::End(end) => reached = Some(end),
                Delivery::Fault(fault) => tail.fail(&reading.ticket, fault),
            }
        }
        let mut reached = reached?;
        let Some((until, _)) = &reading.backfill else {
            tail.append(
                &reading.ticket,
                judging.version,
                reached,
                &self.found,
                &self.indeterminate,
            );
            return None;
        };
        if delivered.last().is_some_and(|last| matches!(last.read(), Delivery::End(_))) {
            // Nothing more is there, whatever was when the backfill began.
            reached = reached.max(*until);
        }
        let next = tail.append_backfill(&reading.ticket, reached, &self.found, &self.indeterminate);
        let change = match next {
            Some(next) => Change::Read(next),
            None if !tail.wants(&reading.ticket) => Change::Stop,
            None => return None,
        };
        // The batch may hold more of this partition, from beyond the backfill that is over. It must not
        // be taken for what the next backfill reads.
        self.readings.get_mut(topic)?.remove(&partition);
        Some((tail.topic().clone(), partition, change))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // After a panic too, so that nothing is posted to a desk at which nobody sits.
        self.desk.close();
    }
}

/// A key as it is told apart from others. Records without a key share one.
fn hash(key: Option<&[u8]>) -> KeyHash {
    let Some(key) = key else {
        return 0;
    };
    let digest = Sha256::digest(key);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    KeyHash::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;

    use super::*;
    use crate::kafka::tail::tests::{every_record, need, view};

    /// A tail with one partition to read, and whether its next poll has that read.
    fn tail() -> (Reading, impl Fn() -> bool) {
        let tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = tail.follow(&[every_record()]);
        let mut readings = tail.look(subscriber, &[need(0, 10)], view()).readings;
        let reading = readings.pop().expect("a tail");
        (reading, move || tail.look(subscriber, &[need(0, 10)], view()).readings.len() == 1)
    }

    #[test]
    fn a_reading_is_not_lost_with_a_handle_that_cannot_be_made() {
        let mut settings = ClientConfig::new();
        settings.set("no.such.setting", "1");
        let (health, threads) = (Arc::new(ConnectionHealth::new()), Arc::new(Threads::default()));
        let reader = Reader::new("t", settings.into(), health, threads);
        let (reading, handed_out_again) = tail();
        assert!(reader.read(reading).is_err());
        assert!(handed_out_again());
    }

    #[test]
    fn a_thread_that_panics_leaves_no_reading_and_no_desk_behind() {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", "127.0.0.1:9");
        let fetcher = Fetcher::new(&settings.into()).expect("a handle");
        let desk =
            Arc::new(Desk { changes: Mutex::new(Some(HashMap::new())), waker: fetcher.waker() });
        let (taken, taken_again) = tail();
        let (posted, posted_again) = tail();
        let work = Work {
            fetcher,
            desk: Arc::clone(&desk),
            health: Arc::new(ConnectionHealth::new()),
            readings: HashMap::from([(Topic::from("t"), HashMap::from([(0, taken)]))]),
            verdicts: Verdicts::default(),
            found: Vec::new(),
            indeterminate: Vec::new(),
        };
        assert!(desk.post(Change::Read(posted)).is_ok());
        let thread = std::thread::spawn(move || {
            let _work = work;
            panic!("in this test");
        });
        assert!(thread.join().is_err());
        assert!(taken_again() && posted_again());
        assert!(desk.post(Change::Read(tail().0)).is_err(), "a closed desk");
    }
}
