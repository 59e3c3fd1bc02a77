//! The thread that reads partitions and has their records judged.
//!
//! A cluster has at most two readers, each with one librdkafka handle whatever the number of topics:
//! the tail, which follows the ends, and the second reader, which reads passes over earlier
//! stretches. Polls post what is to be read as a desired state, one entry a partition, so that
//! nothing queues up; the thread takes it between two batches. A reader that has had nothing to
//! read for a while ends, and with it its connections.
//!
//! A [`Reading`] that is dropped before it is over, for whatever reason, says so to its log, and the
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

use super::index::KeyHash;
use super::librdkafka::{Delivered, Delivery, Fault, Fetcher, HandleConfig, Notice, Unmade, Waker};
use super::names::{Offset, Partition, Topic};
use super::record::KafkaMessage;
use super::tail::{Found, Judging, Log};
use super::threads::Threads;
use super::trouble::Trouble;
use crate::lock::lock;
use crate::selection::{Judge, Message, Slot, Verdicts};

/// Records taken from librdkafka at a time.
const BATCH: usize = 1_000;

/// How long the thread waits for records before it looks whether anything has changed.
const WAIT: Duration = Duration::from_secs(1);

/// A reader without partitions ends after this time.
const LINGER: Duration = Duration::from_secs(10);

/// What a partition is read for: the log it belongs to, and the run or pass of it.
#[derive(Clone)]
pub(super) struct Seat {
    log: Arc<Log>,
    partition: Partition,
    run: u64,
}

/// Something to read. Its log hears of it when it is dropped.
pub(super) struct Reading {
    seat: Seat,
    from: Offset,
    /// For a pass where it ends and what it is judged with; the tail has no end.
    pass: Option<(Offset, Arc<Judging>)>,
}

/// Where readings are posted, and the thread that reads them while there are any.
pub(super) struct Reader {
    name: &'static str,
    config: HandleConfig,
    trouble: Arc<Trouble>,
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
    trouble: Arc<Trouble>,
    readings: HashMap<Topic, HashMap<Partition, Reading>>,
    verdicts: Verdicts,
    found: Vec<Found>,
    unjudged: Vec<Slot>,
}

impl Seat {
    pub(super) fn new(log: Arc<Log>, partition: Partition, run: u64) -> Seat {
        Seat { log, partition, run }
    }

    pub(super) fn partition(&self) -> Partition {
        self.partition
    }

    pub(super) fn run(&self) -> u64 {
        self.run
    }
}

impl Reading {
    /// Reading on from an offset, without end.
    pub(super) fn tail(seat: Seat, from: Offset) -> Reading {
        Reading { seat, from, pass: None }
    }

    /// Reading a stretch once.
    pub(super) fn pass(
        seat: Seat,
        from: Offset,
        until: Offset,
        judge: Judge,
        by_key: bool,
    ) -> Reading {
        let judging = Judging { judge: Arc::new(judge), by_key, version: 0 };
        Reading { seat, from, pass: Some((until, Arc::new(judging))) }
    }

    /// Whether this is for the second reader.
    pub(super) fn is_pass(&self) -> bool {
        self.pass.is_some()
    }

    #[cfg(test)]
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    fn place(&self) -> (Topic, Partition) {
        (self.seat.log.topic().clone(), self.seat.partition)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.seat.log.let_go(&self.seat);
    }
}

impl Reader {
    /// A reader that has yet to read anything: no handle, no thread.
    pub(super) fn new(
        name: &'static str,
        config: HandleConfig,
        trouble: Arc<Trouble>,
        threads: Arc<Threads>,
    ) -> Reader {
        Reader { name, config, trouble, threads, desk: Mutex::default() }
    }

    /// Has a partition read, in place of what it was read for before.
    ///
    /// # Errors
    /// What keeps a handle from being made.
    pub(super) fn read(&self, reading: Reading) -> Result<(), Unmade> {
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
            trouble: Arc::clone(&self.trouble),
            readings: HashMap::new(),
            verdicts: Verdicts::default(),
            found: Vec::new(),
            unjudged: Vec::new(),
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
        let place = match &change {
            Change::Read(reading) => reading.place(),
            Change::Stop => return Err(change),
        };
        self.put(place, change)
    }

    fn put(&self, place: (Topic, Partition), change: Change) -> Result<(), Change> {
        match &mut *lock(&self.changes) {
            Some(changes) => {
                changes.insert(place, change);
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
                    Notice::Fault(fault) => self.trouble.note(fault),
                    Notice::Log(level, text) => Trouble::log(level, &text),
                }
            }
            if !self.readings.is_empty() {
                idle_since = Instant::now();
            }
            let batch = self.fetcher.poll(BATCH, WAIT);
            let mut changes = Vec::new();
            for (topic, partition, run) in batch.runs() {
                // Filters are of tenants, and what judges them is not ours: where it panics, the other
                // partitions must go on.
                let judged = catch_unwind(AssertUnwindSafe(|| self.judge(topic, partition, run)));
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
                    reading.seat.log.break_off(&reading.seat, fault);
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
        reading.seat.log.break_off(&reading.seat, Fault::panicked());
        Some((reading.seat.log.topic().clone(), partition, Change::Stop))
    }

    /// Judges one partition's share of a batch, outside any lock, and hands in what was found; gives
    /// what to do with the partition after the batch.
    fn judge(
        &mut self,
        topic: &str,
        partition: Partition,
        run: &[Delivered],
    ) -> Option<(Topic, Partition, Change)> {
        let reading = self.readings.get(topic)?.get(&partition)?;
        let log = Arc::clone(&reading.seat.log);
        let tail;
        let judging = match &reading.pass {
            Some((_, judging)) => judging,
            None => {
                tail = Arc::new(log.judging());
                &tail
            }
        };
        self.found.clear();
        self.unjudged.clear();
        let mut reached = None;
        for delivered in run {
            match delivered.read() {
                Delivery::Record(record) => {
                    let offset = record.offset();
                    let message = KafkaMessage::new(topic, record);
                    judging.judge.judge(&message, &mut self.verdicts);
                    if !self.verdicts.selected.is_empty() {
                        let key = if judging.by_key { hash(message.key()) } else { 0 };
                        let selected = self.verdicts.selected.iter();
                        self.found.extend(selected.map(|slot| (*slot, offset, key)));
                    }
                    self.unjudged.extend_from_slice(&self.verdicts.unjudged);
                    reached = Some(offset + 1);
                }
                Delivery::End(end) => reached = Some(end),
                Delivery::Fault(fault) => log.fail(&reading.seat, fault),
            }
        }
        let mut reached = reached?;
        let Some((until, _)) = &reading.pass else {
            log.append(&reading.seat, judging.version, reached, &self.found, &self.unjudged);
            return None;
        };
        if run.last().is_some_and(|last| matches!(last.read(), Delivery::End(_))) {
            // Nothing more is there, whatever was when the pass began.
            reached = reached.max(*until);
        }
        let next = log.append_earlier(&reading.seat, reached, &self.found, &self.unjudged);
        let change = match next {
            Some(next) => Change::Read(next),
            None if !log.wants(&reading.seat) => Change::Stop,
            None => return None,
        };
        // The batch may hold more of this partition, from beyond the pass that is over. It must not
        // be taken for what the next pass reads.
        self.readings.get_mut(topic)?.remove(&partition);
        Some((log.topic().clone(), partition, change))
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

    /// A log with one partition to read, and whether its next poll has that read.
    fn log() -> (Reading, impl Fn() -> bool) {
        let log = Arc::new(Log::new(Topic::from("t")));
        let follower = log.follow(&[every_record()]);
        let mut readings = log.look(follower, &[need(0, 10)], view()).readings;
        let reading = readings.pop().expect("a tail");
        (reading, move || log.look(follower, &[need(0, 10)], view()).readings.len() == 1)
    }

    #[test]
    fn a_reading_is_not_lost_with_a_handle_that_cannot_be_made() {
        let mut settings = ClientConfig::new();
        settings.set("no.such.setting", "1");
        let (trouble, threads) = (Arc::new(Trouble::new()), Arc::new(Threads::default()));
        let reader = Reader::new("t", settings.into(), trouble, threads);
        let (reading, handed_out_again) = log();
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
        let (taken, taken_again) = log();
        let (posted, posted_again) = log();
        let work = Work {
            fetcher,
            desk: Arc::clone(&desk),
            trouble: Arc::new(Trouble::new()),
            readings: HashMap::from([(Topic::from("t"), HashMap::from([(0, taken)]))]),
            verdicts: Verdicts::default(),
            found: Vec::new(),
            unjudged: Vec::new(),
        };
        assert!(desk.post(Change::Read(posted)).is_ok());
        let thread = std::thread::spawn(move || {
            let _work = work;
            panic!("in this test");
        });
        assert!(thread.join().is_err());
        assert!(taken_again() && posted_again());
        assert!(desk.post(Change::Read(log().0)).is_err(), "a closed desk");
    }
}
