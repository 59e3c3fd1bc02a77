//! A topic's tail against a plain list of its records: whatever is produced, cut, trimmed, made
//! again, selected and read in whatever order, and however short memory is, a count that is
//! complete is the list's, and one that is not is no more than that.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::partition::LET_GO_AGAIN_AFTER;
use super::tests::{every_record, view};
use super::*;
use crate::kafka::broker::TopicId;
use crate::kafka::fault::Kind;
use crate::kafka::index::KeyHash;
use crate::ledger::{Charge, Ledger, Use};
use crate::selection::{EventTypeFrom, Sample, Selector, Verdicts};

/// How many offsets a backfill spans here.
const SPAN: Offset = 7;

/// Memory: a quarter of it is enough for all selectors, with a few dozen matches each.
const LIMIT: usize = 20_000;

/// A record's type, and its key.
type Record = (u8, u8);

#[derive(Debug, Clone)]
enum Step {
    Produce(Vec<Record>),
    /// Selects what the bits say.
    Follow(u8),
    Leave(usize),
    /// By the subscriber, and how far after the log start it counts from.
    Poll(usize, u64),
    /// A reader has fetched so many records, of the backfill or of the tail.
    Fetch(bool, u64),
    /// What it fetched is judged.
    Judge(bool),
    /// A reader gives up.
    Drop(bool),
    Cut(u64),
    Trim(u64),
    MakeAgain,
    /// Matches that nobody needs are dropped.
    Forget,
    /// Others hold so much memory.
    Hold(usize),
}

/// The world that the tail is of.
struct World {
    tail: Arc<TopicTail>,
    account: Account,
    /// What others hold.
    held: Charge,
    /// How far the clock has been put forward.
    later: Duration,
    id: u8,
    start: Offset,
    log: Vec<Record>,
    subscribers: Vec<(SubscriberId, Vec<TailSelector>)>,
    /// Of the tail, and of the backfill.
    readers: [Option<Reader>; 2],
}

struct Reader {
    reading: Reading,
    position: Offset,
    /// What was fetched, from where on, and what it is judged with.
    fetched: Option<(Offset, Vec<Record>, Arc<Judging>)>,
}

fn selectors(bits: u8) -> Vec<TailSelector> {
    let named = |name: &str, by_key| {
        let from = EventTypeFrom::default();
        TailSelector { selector: Selector::Type { from, name: name.into() }, by_key }
    };
    let all = [named("0", false), named("1", false), named("0", true), every_record()];
    let mut chosen: Vec<TailSelector> = all
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1)
        .map(|(_, s)| s)
        .collect();
    if chosen.is_empty() {
        chosen.push(every_record());
    }
    chosen
}

fn matches(selector: &TailSelector, (kind, _): Record) -> bool {
    match &selector.selector {
        Selector::Type { name, .. } => **name == kind.to_string(),
        _ => true,
    }
}

impl World {
    fn new() -> World {
        let tail = Arc::new(TopicTail::spanning(SPAN, Topic::from("t")));
        let (log, subscribers) = (Vec::new(), Vec::new());
        let ledger = Ledger::new(LIMIT);
        let held = ledger.account("others").charge(Use::Asking, 0).expect("nothing");
        let (account, later) = (ledger.account("shop"), Duration::ZERO);
        let readers = [None, None];
        World { tail, account, held, later, id: 1, start: 0, log, subscribers, readers }
    }

    fn end(&self) -> Offset {
        self.log.len() as Offset
    }

    fn take(&mut self, readings: Vec<Reading>) {
        for reading in readings {
            let position = reading.from();
            let at = usize::from(reading.is_backfill());
            self.readers[at] = Some(Reader { reading, position, fetched: None });
        }
    }

    /// Asks as a poll does; gives whether the count is complete.
    fn poll(&mut self, number: usize, after: u64) -> bool {
        let Some((id, selectors)) = self.subscribers.get(number) else { return true };
        let (id, selectors) = (*id, selectors.clone());
        let seen = self.tail.positions().get(0).copied().unwrap_or(0);
        let (start, end) = (self.start, self.end());
        let from = start + after.checked_rem(end - start + 1).unwrap_or(0);
        let shape = TopicShape { id: TopicId::of(self.id), partitions: 1 };
        let view = View { shape, asked: Instant::now() + self.later, ..view() };
        let needs = [Need { partition: 0, from, start, end, seen }];
        let looked = self.tail.look(id, &needs, view);
        let waiting = &self.log[from as usize..];
        let of = |selector: &TailSelector| {
            let records = waiting.iter().filter(|record| matches(selector, **record));
            match selector.by_key {
                true => records.map(|(_, key)| key).collect::<BTreeSet<_>>().len(),
                false => records.count(),
            }
        };
        let truth: usize = selectors.iter().map(of).sum();
        let counted = looked.counts[0] as usize;
        let complete = match looked.state {
            Progress::Complete if looked.are_more => {
                assert!(counted <= truth, "{counted} of {truth}, and more");
                // Not known of any, so that the next look has them read again.
                self.later += if counted == 0 { 2 * LET_GO_AGAIN_AFTER } else { Duration::ZERO };
                counted > 0
            }
            Progress::Complete => {
                assert_eq!(counted, truth, "from {from} up to {end}");
                true
            }
            Progress::Reading { behind, .. } => {
                assert!(counted <= truth && behind > 0, "{counted} of {truth}, {behind} behind");
                false
            }
            Progress::Outdated => false,
            Progress::Failed(fault) if fault.kind == Kind::Exhausted => false,
            Progress::Failed(fault) => panic!("{fault}"),
        };
        self.take(looked.readings);
        complete
    }

    fn fetch(&mut self, backfill: bool, count: u64) {
        let end = self.end();
        let start = self.start;
        let Some(reader) = &mut self.readers[usize::from(backfill)] else { return };
        if reader.fetched.is_some() {
            return;
        }
        let from = reader.position;
        if from < start || from > end {
            let gone = Fault::new(Kind::Gone, "out of range");
            self.tail.fail(reader.reading.ticket(), gone);
            self.readers[usize::from(backfill)] = None;
            return;
        }
        let until = end.min(from + count);
        let records = self.log[from as usize..until as usize].to_vec();
        reader.position = until;
        reader.fetched = Some((from, records, reader.reading.judging()));
    }

    fn judge(&mut self, backfill: bool) {
        let Some(reader) = &mut self.readers[usize::from(backfill)] else { return };
        let Some((from, records, judging)) = reader.fetched.take() else { return };
        let mut verdicts = Verdicts::default();
        let mut found = Vec::new();
        let reached = from + records.len() as Offset;
        for (offset, (kind, key)) in (from..).zip(records) {
            let sample = Sample::default().header("ce_type", kind.to_string());
            judging.judge.judge(&sample, None, &mut verdicts);
            let key = if judging.by_key { KeyHash::from(key) + 1 } else { 0 };
            found.extend(verdicts.selected.iter().map(|slot| (*slot, offset, key)));
        }
        let ticket = reader.reading.ticket();
        if backfill {
            let next = self.tail.append_backfill(
                ticket,
                reached,
                Judged { found: &found, ..Judged::default() },
            );
            if next.is_some() || !self.tail.wants(ticket) {
                self.readers[1] = None;
                self.take(next.into_iter().collect());
            }
        } else {
            self.tail.append(
                ticket,
                judging.version,
                reached,
                Judged { found: &found, ..Judged::default() },
            );
        }
    }

    /// What a fetch hears of a log that is not as it was.
    fn lose(&mut self, lost: impl Fn(&Reader) -> bool) {
        for reader in &mut self.readers {
            if let Some(of) = reader.take_if(|reader| lost(reader)) {
                self.tail.fail(of.reading.ticket(), Fault::new(Kind::Gone, "the log was cut"));
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Produce(records) => self.log.extend(records),
            Step::Follow(bits) => {
                let selectors = selectors(bits);
                self.subscribers.push((self.tail.follow(&selectors, &self.account), selectors));
            }
            Step::Leave(number) => {
                if number < self.subscribers.len() {
                    let (id, _) = self.subscribers.remove(number);
                    self.tail.leave(id);
                }
            }
            Step::Poll(number, after) => drop(self.poll(number, after)),
            Step::Fetch(backfill, count) => self.fetch(backfill, count),
            Step::Judge(backfill) => self.judge(backfill),
            Step::Drop(backfill) => self.readers[usize::from(backfill)] = None,
            Step::Cut(records) => {
                let end = self.end() - records.min(self.end() - self.start);
                self.log.truncate(end as usize);
                self.lose(|reader| reader.position > end);
            }
            Step::Trim(records) => self.start = self.end().min(self.start + records),
            Step::MakeAgain => {
                (self.id, self.start) = (self.id.wrapping_add(1).max(1), 0);
                self.log.clear();
                self.readers = [None, None];
            }
            Step::Forget => self.tail.lock().drop_unneeded(),
            Step::Hold(bytes) => drop(self.held.resize(bytes)),
        }
    }

    /// Reads until all is judged, and polls for each subscriber.
    fn settle(&mut self) {
        self.step(Step::Hold(0));
        for number in 0..self.subscribers.len() {
            let mut left = 200;
            while !self.poll(number, 0) {
                for backfill in [false, true] {
                    self.fetch(backfill, 50);
                    self.judge(backfill);
                }
                left -= 1;
                assert!(left > 0, "it is never complete");
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let records = prop::collection::vec((0..3_u8, 0..4_u8), 1..12);
    prop_oneof![
        6 => records.prop_map(Step::Produce),
        3 => (1..16_u8).prop_map(Step::Follow),
        1 => (0..4_usize).prop_map(Step::Leave),
        12 => (0..4_usize, 0..40_u64).prop_map(|(number, after)| Step::Poll(number, after)),
        8 => (any::<bool>(), 1..9_u64).prop_map(|(backfill, count)| Step::Fetch(backfill, count)),
        8 => any::<bool>().prop_map(Step::Judge),
        1 => any::<bool>().prop_map(Step::Drop),
        1 => (1..9_u64).prop_map(Step::Cut),
        1 => (1..9_u64).prop_map(Step::Trim),
        1 => Just(Step::MakeAgain),
        1 => Just(Step::Forget),
        2 => (0..LIMIT).prop_map(Step::Hold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_complete_count_is_that_of_the_list(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        world.step(Step::Follow(1));
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}
