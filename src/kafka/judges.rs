//! Where records are judged: off the threads that answer polls, as many at a time as there are cores.
//!
//! Portions wait in the order in which they came, whosever they are. Each is bounded, and so is what a
//! reader has waiting, so that a topic that floods takes its turn and no more.
//!
//! A portion is judged batch by batch, where the records lie. What was found is handed in every few
//! thousand records: a batch may hold more than memory should.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::fault::Fault;
use super::index::KeyHash;
use super::names::Offset;
use super::reader::Reading;
use super::record::KafkaMessage;
use super::tail::{Judging, Match};
use super::wire::records::{Aborted, Batch, BatchError, Batches, Record, Scratch};
use super::wire::requests::AbortedTransaction;
use crate::lock::lock;
use crate::selection::{Slot, Verdicts};

/// How many records are judged between two looks at whether they are still wanted.
const LOOK_EVERY: usize = 4_096;

/// The threads that judge, as a number.
pub(super) struct Judges {
    turns: Arc<Semaphore>,
    benches: Mutex<Vec<Bench>>,
}

/// Records of one partition that were fetched together.
pub(super) struct Portion {
    pub(super) bytes: Bytes,
    pub(super) aborted: Vec<AbortedTransaction>,
    /// Records before this were asked for by nobody.
    pub(super) from: Offset,
}

/// What follows for a reading from a portion of it.
pub(super) enum Outcome {
    /// It goes on.
    Going,
    /// It is over, and this comes next.
    Next(Reading),
    /// It is over, or nobody wants it any more.
    Over,
    /// What lies at this offset cannot be read; its tail knows.
    Failed(Offset),
}

/// What judging takes, kept from one portion to the next.
#[derive(Default)]
struct Bench {
    scratch: Scratch,
    verdicts: Verdicts,
    found: Vec<Match>,
    indeterminate: Vec<Slot>,
    /// Records judged since the last look.
    judged: usize,
}

impl Default for Judges {
    fn default() -> Judges {
        let threads = available_parallelism().map_or(1, NonZeroUsize::get);
        Judges { turns: Arc::new(Semaphore::new(threads)), benches: Mutex::default() }
    }
}

impl Judges {
    /// Judges a portion once it is its turn; `None` where judging panics.
    ///
    /// Dropping the future before its turn gives up the portion.
    pub(super) async fn judge(
        self: Arc<Self>,
        reading: Arc<Reading>,
        mut portion: Portion,
    ) -> Option<Outcome> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let judged = spawn_blocking(move || {
            let _turn = turn;
            let mut bench = lock(&self.benches).pop().unwrap_or_default();
            let outcome = bench.judge(&reading, &mut portion);
            lock(&self.benches).push(bench);
            outcome
        });
        judged.await.ok()
    }
}

impl Bench {
    fn judge(&mut self, reading: &Reading, portion: &mut Portion) -> Outcome {
        let (mut reached, mut last) = (portion.from, Outcome::Going);
        let mut judging = reading.judging();
        self.clear();
        match self.walk(reading, portion, &mut judging, &mut reached, &mut last) {
            Ok(()) if !matches!(last, Outcome::Going) => last,
            Ok(()) => self.hand_in(reading, &judging, reached),
            Err(error) => {
                // What lies before it counts all the same.
                self.hand_in(reading, &judging, reached);
                let fault = Fault::unreadable(reading.partition(), reached, &error);
                reading.tail().fail(reading.ticket(), fault);
                Outcome::Failed(reached)
            }
        }
    }

    /// Judges batch by batch, and hands in what was found. `reached` is how far that came, `last` what
    /// followed.
    fn walk(
        &mut self,
        reading: &Reading,
        portion: &mut Portion,
        judging: &mut Arc<Judging>,
        reached: &mut Offset,
        last: &mut Outcome,
    ) -> Result<(), BatchError> {
        let mut aborted = Aborted::new(std::mem::take(&mut portion.aborted));
        for batch in Batches::new(&portion.bytes) {
            let batch = batch?;
            let shown = !aborted.is_aborted(&batch, &mut self.scratch)? && !batch.is_control();
            if shown && batch.last_offset >= *reached {
                self.batch(reading, &batch, reached, judging, last)?;
                if !matches!(last, Outcome::Going) {
                    return Ok(());
                }
            }
            *reached = (*reached).max(batch.last_offset.saturating_add(1));
        }
        Ok(())
    }

    fn batch(
        &mut self,
        reading: &Reading,
        batch: &Batch<'_>,
        reached: &mut Offset,
        judging: &mut Arc<Judging>,
        last: &mut Outcome,
    ) -> Result<(), BatchError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut wrong = None;
        let walked = batch.for_each(&mut scratch, |record| {
            if record.offset < *reached {
                return ControlFlow::Continue(());
            }
            if let Err(error) = self.record(reading, judging, record) {
                wrong = Some(error);
                return ControlFlow::Break(());
            }
            *reached = record.offset.saturating_add(1);
            if self.judged < LOOK_EVERY {
                return ControlFlow::Continue(());
            }
            *last = self.hand_in(reading, judging, *reached);
            *judging = reading.judging();
            match last {
                Outcome::Going => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
        self.scratch = scratch;
        walked.and(wrong.map_or(Ok(()), Err))
    }

    fn record(
        &mut self,
        reading: &Reading,
        judging: &Judging,
        record: &Record<'_>,
    ) -> Result<(), BatchError> {
        let message = KafkaMessage::new(reading.topic(), reading.partition(), *record);
        judging.judge.judge(&message, &mut self.verdicts);
        message.check()?;
        if !self.verdicts.selected.is_empty() {
            let key = if judging.by_key { hash(record.key) } else { 0 };
            let selected = self.verdicts.selected.iter();
            self.found.extend(selected.map(|slot| (*slot, record.offset, key)));
        }
        self.indeterminate.extend_from_slice(&self.verdicts.unjudged);
        self.judged += 1;
        Ok(())
    }

    /// Tells the tail of everything before `reached`.
    fn hand_in(&mut self, reading: &Reading, judging: &Judging, reached: Offset) -> Outcome {
        let (tail, ticket) = (reading.tail(), reading.ticket());
        let (found, indeterminate) = (&self.found, &self.indeterminate);
        let outcome = if reading.is_backfill() {
            match tail.append_backfill(ticket, reached, found, indeterminate) {
                Some(next) => Outcome::Next(next),
                None if tail.wants(ticket) => Outcome::Going,
                None => Outcome::Over,
            }
        } else {
            tail.append(ticket, judging.version, reached, found, indeterminate);
            if tail.wants(ticket) { Outcome::Going } else { Outcome::Over }
        };
        self.clear();
        outcome
    }

    fn clear(&mut self) {
        self.found.clear();
        self.indeterminate.clear();
        self.judged = 0;
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
