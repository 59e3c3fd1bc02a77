//! Where records are judged: off the threads that answer polls, as many at a time as there are
//! cores.
//!
//! Portions wait in the order in which they came, whosever they are. One that takes long gives up
//! its turn, and waits for the next one with what is left of it, so that whatever a filter costs,
//! and whatever a batch holds, others are judged meanwhile.
//!
//! A portion is judged batch by batch, where the records lie. What was found is handed in every few
//! thousand records: a batch may hold more than memory should.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::fault::Fault;
use super::index::KeyHash;
use super::names::Offset;
use super::record::KafkaMessage;
use super::tail::{Indeterminate, Judged, Judging, Match, Reading, Timestamp};
use super::wire::records::{Aborted, Batch, BatchError, Batches, Record, Scratch};
use crate::ledger::Payers;
use crate::lock::lock;
use crate::selection::{Position, Verdicts};

/// How long a portion is judged before others have their turn.
const TURN: Duration = Duration::from_millis(100);

/// How many records are judged between two looks at the time.
const LOOK_EVERY: usize = 16;

/// How many records of a portion are noted, and which ones after those by their offsets.
const NOTED_OF_A_PORTION: usize = 16;
const NOTED_EVERY: Offset = 256;

/// How many records are judged before what was found is handed in, and it is asked whether more is
/// wanted.
const HAND_IN_EVERY: usize = 4_096;

/// How many matches are found before that.
const MOST_FOUND: usize = 65_536;

/// The threads that judge, as a number.
pub(super) struct Judges {
    turns: Arc<Semaphore>,
    benches: Mutex<Vec<Bench>>,
}

/// Records of one partition that were fetched together.
pub(super) struct Portion {
    pub(super) bytes: Bytes,
    pub(super) aborted: Aborted,
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
    indeterminate: Vec<Indeterminate>,
    /// When the first of those found was written.
    first_at: Option<Timestamp>,
    /// Records judged since they were last handed in.
    judged: usize,
}

/// How far the judging of a portion has come.
struct Walk<'a> {
    reading: &'a Reading,
    judging: Arc<Judging>,
    /// Everything before this has been judged.
    reached: Offset,
    began: Instant,
    /// `None` until a record is judged.
    turn_ends: Option<Instant>,
    /// What becomes of the reading, where it does not go on.
    over: Option<Outcome>,
    /// Whether the turn ended before the portion did.
    is_left: bool,
}

impl Default for Judges {
    fn default() -> Judges {
        let threads = available_parallelism().map_or(1, NonZeroUsize::get);
        Judges { turns: Arc::new(Semaphore::new(threads)), benches: Mutex::default() }
    }
}

impl Judges {
    /// Judges a portion once it is its turn, at the expense of those who read its cluster; `None`
    /// where judging panics.
    ///
    /// Dropping the future before its turn gives up the portion.
    pub(super) async fn judge(
        self: Arc<Self>,
        reading: Arc<Reading>,
        mut portion: Portion,
        payers: &Arc<Payers>,
    ) -> Option<Outcome> {
        loop {
            let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
            let (judges, of, payers) =
                (Arc::clone(&self), Arc::clone(&reading), Arc::clone(payers));
            let judged = spawn_blocking(move || {
                let _turn = turn;
                let mut bench = lock(&judges.benches).pop().unwrap_or_default();
                bench.scratch.charge_to(&payers);
                let outcome = bench.judge(&of, &mut portion);
                lock(&judges.benches).push(bench);
                (outcome, portion)
            });
            match judged.await.ok()? {
                (Some(outcome), _) => return Some(outcome),
                (None, rest) => portion = rest,
            }
        }
    }
}

impl Bench {
    /// Judges a portion for as long as a turn is; `None` where something of it is left.
    fn judge(&mut self, reading: &Reading, portion: &mut Portion) -> Option<Outcome> {
        let mut walk = Walk {
            reading,
            judging: reading.judging(),
            reached: portion.from,
            began: Instant::now(),
            turn_ends: None,
            over: None,
            is_left: false,
        };
        self.clear();
        let walked = self.walk(&mut walk, portion);
        if walk.over.is_none() {
            // What lies before something that cannot be read counts all the same.
            walk.over = self.hand_in(&walk);
        }
        portion.from = walk.reached;
        match (walk.over, walked) {
            (Some(over), _) => Some(over),
            (None, Ok(())) if walk.is_left => None,
            (None, Ok(())) => Some(Outcome::Going),
            (None, Err(error)) => {
                let fault = match error {
                    BatchError::Memory(exhausted) => Fault::exhausted(&exhausted),
                    error => Fault::unreadable(reading.partition(), walk.reached, error),
                };
                reading.tail().fail(reading.ticket(), fault);
                Some(Outcome::Failed(walk.reached))
            }
        }
    }

    /// Judges batch by batch, and hands in what was found, until the turn is over.
    fn walk(&mut self, walk: &mut Walk<'_>, portion: &mut Portion) -> Result<(), BatchError> {
        let bytes = portion.bytes.clone();
        let mut batches = Batches::new(&bytes);
        loop {
            let before = bytes.len() - batches.left();
            let Some(batch) = batches.next() else { return Ok(()) };
            let batch = batch?;
            let is_aborted = portion.aborted.is_aborted(&batch, &mut self.scratch)?;
            let is_shown = !is_aborted && !batch.is_control();
            if is_shown && batch.last_offset >= walk.reached {
                self.batch(walk, &batch)?;
                if walk.over.is_some() || walk.is_left {
                    portion.bytes = bytes.slice(before..);
                    return Ok(());
                }
            }
            walk.reached = walk.reached.max(batch.last_offset.saturating_add(1));
        }
    }

    fn batch(&mut self, walk: &mut Walk<'_>, batch: &Batch<'_>) -> Result<(), BatchError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut wrong = None;
        let walked = batch.for_each(&mut scratch, |record| {
            if record.offset < walk.reached {
                return ControlFlow::Continue(());
            }
            if let Err(error) = self.record(walk, record) {
                wrong = Some(error);
                return ControlFlow::Break(());
            }
            walk.reached = record.offset.saturating_add(1);
            if self.judged.is_multiple_of(LOOK_EVERY) && walk.is_turn_over() {
                walk.is_left = true;
                return ControlFlow::Break(());
            }
            let most = self.found.len().max(self.indeterminate.len());
            if self.judged < HAND_IN_EVERY && most < MOST_FOUND {
                return ControlFlow::Continue(());
            }
            walk.over = self.hand_in(walk);
            walk.judging = walk.reading.judging();
            match walk.over {
                None => ControlFlow::Continue(()),
                Some(_) => ControlFlow::Break(()),
            }
        });
        self.scratch = scratch;
        walked.and(wrong.map_or(Ok(()), Err))
    }

    fn record(&mut self, walk: &Walk<'_>, record: &Record<'_>) -> Result<(), BatchError> {
        let Walk { reading, judging, .. } = walk;
        let message = KafkaMessage::new(reading.topic(), reading.partition(), *record);
        // Enough to tell what there is, and too few to cost anything.
        let is_noted =
            self.judged < NOTED_OF_A_PORTION || record.offset.is_multiple_of(NOTED_EVERY);
        let position = Position { partition: reading.partition(), number: record.offset };
        judging.judge.judge(&message, is_noted.then_some(position), &mut self.verdicts);
        message.check()?;
        if !self.verdicts.selected.is_empty() {
            let key = if judging.by_key { hash(record.key) } else { 0 };
            if self.found.is_empty() {
                self.first_at = record.timestamp;
            }
            let selected = self.verdicts.selected.iter();
            self.found.extend(selected.map(|slot| (*slot, record.offset, key)));
        }
        let indeterminate = self.verdicts.indeterminate.iter();
        self.indeterminate.extend(indeterminate.map(|(slot, why)| (*slot, record.offset, *why)));
        self.judged += 1;
        Ok(())
    }

    /// Tells the tail of everything before `reached`; `None` where the reading goes on.
    fn hand_in(&mut self, walk: &Walk<'_>) -> Option<Outcome> {
        let Walk { reading, judging, reached, .. } = walk;
        let (reached, tail, ticket) = (*reached, reading.tail(), reading.ticket());
        let Bench { found, indeterminate, first_at, .. } = &*self;
        let judged = Judged { found, indeterminate, first_at: *first_at };
        let next = if reading.is_backfill() {
            tail.append_backfill(ticket, reached, judged)
        } else {
            tail.append(ticket, judging.version, reached, judged);
            None
        };
        self.clear();
        next.map(Outcome::Next).or_else(|| (!tail.wants(ticket)).then_some(Outcome::Over))
    }

    fn clear(&mut self) {
        self.found.clear();
        self.indeterminate.clear();
        // What one portion took is not kept for all that come.
        self.found.shrink_to(MOST_FOUND);
        self.indeterminate.shrink_to(MOST_FOUND);
        self.first_at = None;
        self.judged = 0;
    }
}

impl Walk<'_> {
    /// Whether others have their turn now. A turn that begins within a batch has to get there
    /// first, past what was judged before; it lasts as long as that took, so that judging is half
    /// of it at least.
    fn is_turn_over(&mut self) -> bool {
        let now = Instant::now();
        let ends = self.turn_ends.get_or_insert_with(|| now + TURN.max(now - self.began));
        now >= *ends
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
