//! What is known of the messages in one queue, and what must be peeked to know it again.
//!
//! A message in a queue hardly changes, and its sequence number only grows. So each is judged once, for all
//! parts that any trigger wants: what is kept is how far each part has been read, and the messages that it
//! selects. A poll then
//!
//! 1. checks that the queue is the one that is known, by its first message (of each partition);
//! 2. looks again at the messages selected, to see whether they still wait and are still selected: those
//!    close to each other with one peek over their range;
//! 3. reads on from where it was, until the end of the queue or until enough is known.
//!
//! Its cost is new messages + matches, not the depth of the queue. A filter that asks for `deliveryCount`,
//! which does change, has the queue read anew each time. A receiver may change application properties as it gives
//! a message back: one that is selected no more is noticed, one that is selected only then is not.
//!
//! On a partitioned entity the top 16 bits of a number are its partition's. A browse that begins in one goes
//! on into others in no global order, or ends there, and a reply may hold one message alone. So each partition is
//! read on its own, to where replies hold none of its messages. Which partitions there are is not said anywhere:
//! those that have been seen are known, and the numbers beside them are tried.
//!
//! Pure: asks come out, replies go in. All ranges have their ends in them, as sequence numbers have no next.
//!
//! # References
//! - "Message sequencing and timestamps", Azure Service Bus documentation
//! - "Message browsing", the same

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

use super::amqp::{Peeked, Place, State};
use super::trigger::CountBy;
use crate::backlog::Backlog;
use crate::selection::{Judge, Part, Position, Reason, Sight, Slot, Verdicts};

/// Messages that one peek asks for at most; Service Bus gives fewer where it pleases.
pub(super) const MOST: u32 = 1_000;
/// Matches that are kept of a part whose sessions are counted, where no bound follows from the count.
const SESSION_MATCHES: usize = 100_000;
/// Scheduled messages that are remembered; they wait at the head of the queue.
const SCHEDULED: usize = 10_000;
/// How far behind what is wanted a part may be to be read along, though nobody wants it now: those who poll in
/// turn would else each read what is new.
const NEAR: u64 = 5_000;
/// Partitions that are asked for by number once an entity is seen to have any: 16 in Standard, fewer in Premium.
/// They may have other numbers than these; those are found by what replies hold.
const PARTITIONS: u16 = 16;
/// Matches that are kept of a part at most, whatever limit a trigger gives: some 40 MB.
const MATCHES: usize = 1_000_000;

/// What one trigger wants counted of a queue.
#[derive(Debug)]
pub(super) struct Want {
    /// Which messages count; none is in two of them.
    pub(super) parts: Vec<Part>,
    /// What one message counts as.
    pub(super) by: CountBy,
    /// Counting stops here; above 0.
    pub(super) limit: u64,
}

/// A peek: `count` messages or fewer, from this sequence number on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) from: u64,
    pub(super) count: u32,
}

/// One look at what is known already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// At the first message of a partition.
    First(u16),
    /// At the messages selected from one number to another.
    Range { first: u64, last: u64 },
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Done,
    /// The reply ended before the range did.
    More(Check),
    /// The queue was made again. What was known is forgotten, and no other look is of use.
    NewQueue,
}

/// What is known of one queue.
pub(super) struct Browse {
    followed: Vec<Weak<Want>>,
    /// A part's place in here is its slot.
    watched: Vec<Watched>,
    judge: Judge,
    verdicts: Verdicts,
    sessions: RandomState,
    /// The message with the largest number judged in each partition, by which a queue that was made again is told.
    ground: BTreeMap<u16, Place>,
    /// First messages of partitions that do not fit the ground, and were read from anew once.
    odd: BTreeMap<u16, Place>,
    /// Scheduled messages by number, with when they are said to be enqueued: that may be in the future, and
    /// does not tell the queue from another one.
    scheduled: BTreeMap<u64, i64>,
    /// Partitions that messages have been seen in, or may be.
    partitions: BTreeSet<u16>,
    /// Matches that are kept of a part at most.
    most: usize,
    round: Round,
}

/// One measurement.
#[derive(Default)]
struct Round {
    wanted: Vec<Arc<Want>>,
    now: i64,
    /// Partitions that are still to be read; the first is being read.
    unread: VecDeque<u16>,
    /// What the next peek asks for; 0 at the beginning of a partition.
    count: u32,
    judged: u64,
}

/// One part, as far as it has been read.
struct Watched {
    part: Part,
    /// The next number to judge in each partition; absent: from its beginning.
    next: HashMap<u16, u64>,
    matches: BTreeMap<u64, Match>,
    /// How many matches are kept.
    cap: usize,
    /// Whether as many are; then it is read no further.
    full: bool,
    /// Whether what it selects may change while a message waits.
    changeable: bool,
    /// Matches that this round has seen waiting.
    waiting: u64,
    /// Their sessions, if someone counts those.
    sessions: Option<HashSet<u64>>,
    /// The first message of which it cannot be told whether it matches, and why.
    indeterminate: Option<(u64, Reason)>,
    /// Whether that was told.
    told: bool,
}

/// A message selected.
#[derive(Debug, Clone, Copy)]
struct Match {
    enqueued: i64,
    /// `i64::MAX`: never.
    expires: i64,
    session: u64,
}

impl Check {
    pub(super) fn ask(self) -> Ask {
        match self {
            Check::First(partition) => Ask { from: beginning(partition), count: 1 },
            Check::Range { first, last } => {
                let span = last.saturating_sub(first).saturating_add(1);
                Ask { from: first, count: u32::try_from(span).unwrap_or(MOST).min(MOST) }
            }
        }
    }
}

impl Browse {
    /// Nothing is known yet.
    pub(super) fn new() -> Browse {
        Browse {
            followed: Vec::new(),
            watched: Vec::new(),
            judge: Judge::default(),
            verdicts: Verdicts::default(),
            sessions: RandomState::new(),
            ground: BTreeMap::new(),
            odd: BTreeMap::new(),
            scheduled: BTreeMap::new(),
            partitions: BTreeSet::from([0]),
            most: MATCHES,
            round: Round::default(),
        }
    }

    /// Begins a measurement for these, at this time.
    pub(super) fn begin(&mut self, wanted: Vec<Arc<Want>>, now: i64) {
        // Its wants are those of callers that may have gone.
        self.round = Round::default();
        self.follow(&wanted);
        for watched in &mut self.watched {
            watched.begin(now);
        }
        let unread = self.partitions.iter().copied().collect();
        self.round = Round { wanted, now, unread, ..Round::default() };
    }

    /// Begins the measurement anew, with what has been learnt so far.
    pub(super) fn begin_again(&mut self, now: i64) {
        let wanted = std::mem::take(&mut self.round.wanted);
        self.begin(wanted, now);
    }

    /// What this measurement is for.
    pub(super) fn wanted(&self) -> &[Arc<Want>] {
        &self.round.wanted
    }

    /// Whether anyone who wanted it is still there.
    pub(super) fn is_wanted(&self) -> bool {
        self.round.wanted.iter().any(|want| Arc::strong_count(want) > 1)
    }

    /// What is to be looked at again before anything is read, in the order of the queue.
    pub(super) fn checks(&self) -> Vec<Check> {
        let wanted: HashSet<&Part> =
            self.round.wanted.iter().flat_map(|want| &want.parts).collect();
        let watched = self.watched.iter().filter(|watched| wanted.contains(&watched.part));
        let matches: BTreeSet<u64> =
            watched.flat_map(|watched| watched.matches.keys().copied()).collect();
        // A peek more costs as much as some messages read for nothing, but with few matches these are to
        // be few as well.
        let gap = u64::try_from(matches.len() / 8).unwrap_or(u64::MAX).min(MOST.into());
        let mut checks: Vec<Check> = self.ground.keys().copied().map(Check::First).collect();
        for sequence in matches {
            match checks.last_mut() {
                Some(Check::Range { first, last })
                    if sequence - *last <= gap + 1 && sequence - *first < MOST.into() =>
                {
                    *last = sequence;
                }
                _ => checks.push(Check::Range { first: sequence, last: sequence }),
            }
        }
        checks
    }

    /// Takes the reply to a look.
    pub(super) fn checked(&mut self, check: Check, reply: &[Peeked<'_>]) -> Checked {
        match check {
            Check::First(of) => {
                let first = reply.first().map(|first| first.place);
                if let Some(first) = first.filter(|first| !self.is_known_ground(*first)) {
                    self.odd.insert(partition(first.sequence), first);
                    self.forget();
                    return Checked::NewQueue;
                }
                let waits = first.map_or(u64::MAX, |first| first.sequence);
                self.judge.forget(|at| at.partition != i32::from(of) || at.number >= waits);
                Checked::Done
            }
            Check::Range { first, last } => {
                let Some(reached) = last_of(partition(first), reply) else {
                    // Where nothing is left, reading from there again costs nothing; and if it was only not
                    // in this reply, it is found by that.
                    for watched in &mut self.watched {
                        watched.rewind(first);
                    }
                    return Checked::Done;
                };
                // A reply that does not move on would be asked for without end.
                if reached < first {
                    return Checked::Done;
                }
                self.look_again(first, reached.min(last), reply);
                match reached >= last {
                    true => Checked::Done,
                    false => Checked::More(Check::Range { first: reached + 1, last }),
                }
            }
        }
    }

    /// What to peek next; `None` once all is known that is wanted.
    pub(super) fn next(&self) -> Option<Ask> {
        if self.is_satisfied() {
            return None;
        }
        let partition = *self.round.unread.front()?;
        Some(Ask { from: self.front(partition), count: self.peek_size() })
    }

    /// What [`Browse::next`] will say after this reply, where that is certain before it is judged.
    pub(super) fn foresee(&self, reply: &[Peeked<'_>]) -> Option<Ask> {
        let partition = *self.round.unread.front()?;
        let last = last_of(partition, reply)?;
        let length = u64::try_from(reply.len()).unwrap_or(u64::MAX);
        let goes_on = self.round.wanted.iter().any(|want| {
            self.waiting(want).saturating_add(length) < want.limit
                && self.parts_of(want).all(|watched| watched.room() > length)
        });
        goes_on.then(|| Ask { from: last + 1, count: grown(self.peek_size()) })
    }

    /// Takes the reply to what was peeked.
    pub(super) fn read(&mut self, reply: &[Peeked<'_>]) {
        let Some(partition) = self.round.unread.front().copied() else { return };
        let (from, count) = (self.front(partition), grown(self.peek_size()));
        self.discover(reply);
        let Some(last) = last_of(partition, reply).filter(|last| *last >= from) else {
            // Its end, or others' messages.
            self.round.unread.pop_front();
            self.round.count = 0;
            return;
        };
        for peeked in
            reply.iter().filter(|peeked| self::partition(peeked.place.sequence) == partition)
        {
            self.judge(from, peeked);
        }
        for watched in self.watched.iter_mut().filter(|watched| watched.reads(from)) {
            let next = watched.next.entry(partition).or_default();
            *next = (*next).max(last + 1);
        }
        self.round.count = count;
    }

    /// How many wait for one that is wanted, as far as this round has come.
    pub(super) fn seen(&self, want: &Want) -> u64 {
        self.waiting(want).min(want.limit)
    }

    /// The answer, once nothing more has to be peeked for it.
    pub(super) fn count(&self, want: &Want) -> Option<Backlog> {
        let seen = self.seen(want);
        let bounded = seen >= want.limit || self.parts_of(want).any(|watched| watched.full);
        if self.lacks(want) && !self.round.unread.is_empty() {
            return None;
        }
        Some(match NonZeroU64::new(seen) {
            Some(bound) if bounded => Backlog::AtLeast(bound),
            _ => Backlog::Exact(seen),
        })
    }

    /// What was seen of late for one that is wanted, of which some may be gone; `None` where every message counts.
    pub(super) fn sight(&self, want: &Want) -> Option<Sight> {
        self.judge.sight(want.parts.first()?, |_| true)
    }

    /// Messages judged in this round.
    pub(super) fn judged(&self) -> u64 {
        self.round.judged
    }

    /// Parts of which it could not be told of a message whether it matches, with the first such message and
    /// why; each part once.
    pub(super) fn take_indeterminate(&mut self) -> Vec<(Part, u64, Reason)> {
        let untold = self.watched.iter_mut().filter(|watched| !watched.told);
        untold
            .filter_map(|watched| {
                let (sequence, reason) = watched.indeterminate?;
                watched.told = true;
                Some((watched.part.clone(), sequence, reason))
            })
            .collect()
    }

    /// Whether this measurement reads from the beginning for someone, and another would do so again.
    pub(super) fn reads_anew(&self) -> bool {
        let changeable = |want| self.parts_of(want).any(|watched| watched.changeable);
        self.round.wanted.iter().any(|want| changeable(want))
    }

    /// Forgets all that was read. What is wanted stays.
    pub(super) fn forget(&mut self) {
        self.ground.clear();
        self.scheduled.clear();
        self.partitions = BTreeSet::from([0]);
        self.round.unread = VecDeque::from([0]);
        self.judge.forget(|_| false);
        for watched in &mut self.watched {
            watched.forget();
        }
    }

    /// Watches what is wanted by anyone who is still there.
    fn follow(&mut self, wanted: &[Arc<Want>]) {
        for want in wanted {
            let weak = Arc::downgrade(want);
            if !self.followed.iter().any(|followed| followed.ptr_eq(&weak)) {
                self.followed.push(weak);
            }
        }
        self.followed.retain(|want| want.strong_count() > 0);
        let wants: Vec<Arc<Want>> = self.followed.iter().filter_map(Weak::upgrade).collect();
        let mut caps: HashMap<Part, (usize, bool)> = HashMap::new();
        for want in &wants {
            let (cap, by_sessions) = match want.by {
                CountBy::Messages => {
                    (usize::try_from(want.limit).unwrap_or(MATCHES).min(self.most), false)
                }
                CountBy::Sessions => (SESSION_MATCHES, true),
            };
            for part in &want.parts {
                let (largest, any_sessions) = caps.entry(part.clone()).or_default();
                *largest = cap.max(*largest);
                *any_sessions |= by_sessions;
            }
        }
        let before = self.watched.len();
        self.watched.retain(|watched| caps.contains_key(&watched.part));
        let mut changed = self.watched.len() != before;
        for (part, (cap, by_sessions)) in caps {
            let known = self.watched.iter().position(|watched| watched.part == part);
            let at = known.unwrap_or_else(|| {
                changed = true;
                self.watched.push(Watched::new(part));
                self.watched.len() - 1
            });
            self.watched[at].cap = cap;
            self.watched[at].sessions = by_sessions.then(HashSet::new);
        }
        if changed {
            let slots = (0..).map(Slot);
            let parts = self.watched.iter().map(|watched| watched.part.clone());
            self.judge = self.judge.for_others(slots.zip(parts));
        }
    }

    /// Whether the first message of the queue fits what was judged before.
    fn is_known_ground(&self, first: Place) -> bool {
        let Some(ground) = self.ground.get(&partition(first.sequence)) else { return true };
        let same = first.sequence == ground.sequence;
        // A message with a smaller number came earlier, unless it is of another queue or the clock was set.
        let fits = first.sequence > ground.sequence
            || (same && first.enqueued == ground.enqueued)
            || (!same && first.enqueued <= ground.enqueued);
        fits || self.odd.get(&partition(first.sequence)) == Some(&first)
            || self.scheduled.get(&first.sequence) == Some(&first.enqueued)
    }

    /// Learns of partitions that messages are in.
    fn discover(&mut self, reply: &[Peeked<'_>]) {
        let unknown =
            |peeked: &&Peeked<'_>| !self.partitions.contains(&partition(peeked.place.sequence));
        let found: Vec<u16> =
            reply.iter().filter(unknown).map(|p| partition(p.place.sequence)).collect();
        if found.is_empty() {
            return;
        }
        // A reply may end with its partition, so the number after it is asked for as well.
        let found = found.into_iter().flat_map(|found| [found, found.saturating_add(1)]);
        for partition in (0..=PARTITIONS).chain(found) {
            if self.partitions.insert(partition) {
                self.round.unread.push_back(partition);
            }
        }
    }

    /// Judges a message for the parts that read on from `from`.
    fn judge(&mut self, from: u64, peeked: &Peeked<'_>) {
        let Place { sequence, enqueued, state } = peeked.place;
        self.round.judged += 1;
        // A scheduled one may be enqueued in the future, which says nothing about what comes after it.
        let place = Place { enqueued: enqueued.min(self.round.now), ..peeked.place };
        let ground = self.ground.entry(partition(sequence)).or_insert(place);
        // What is read again for a part that is behind lowers nothing: a queue that was made again would
        // soon be past it, and pass as this one.
        if ground.sequence < sequence {
            *ground = place;
        }
        if state == State::Scheduled && self.scheduled.len() < SCHEDULED {
            self.scheduled.insert(sequence, enqueued);
        }
        let expires = peeked.expires().unwrap_or(i64::MAX);
        // A deferred message comes back under its number alone, a scheduled one under another number.
        if state != State::Active || expires <= self.round.now {
            return;
        }
        let partition = i32::from(partition(sequence));
        let position = Position { partition, number: sequence };
        self.judge.judge(peeked, Some(position), &mut self.verdicts);
        for (slot, reason) in &self.verdicts.indeterminate {
            let watched = &mut self.watched[slot.0 as usize];
            if watched.is_new(from, sequence) {
                watched.indeterminate.get_or_insert((sequence, *reason));
            }
        }
        for slot in &self.verdicts.selected {
            let session = self.sessions.hash_one(peeked.session());
            let found = Match { enqueued, expires, session };
            self.watched[slot.0 as usize].add(from, sequence, found);
        }
    }

    /// Keeps of the matches from `first` to `last` those that a reply has in their places, active and still
    /// selected: who gives a message back can change its properties with it.
    fn look_again(&mut self, first: u64, last: u64, reply: &[Peeked<'_>]) {
        let matches = self.watched.iter().flat_map(|watched| watched.matches.range(first..=last));
        let known: HashSet<u64> = matches.map(|(sequence, _)| *sequence).collect();
        let mut selected = HashMap::new();
        for peeked in reply {
            let Place { sequence, enqueued, state } = peeked.place;
            if state == State::Active && known.contains(&sequence) {
                self.judge.judge(peeked, None, &mut self.verdicts);
                let slots = self.verdicts.selected.iter();
                selected.extend(slots.map(|slot| ((sequence, *slot), enqueued)));
            }
        }
        for (slot, watched) in (0..).map(Slot).zip(&mut self.watched) {
            watched.look_again(first, last, |sequence, found| {
                selected.get(&(sequence, slot)) == Some(&found.enqueued)
            });
        }
    }

    /// The first number in a partition that is to be judged for someone who needs it, or who is close behind.
    fn front(&self, partition: u16) -> u64 {
        let lacking = self.round.wanted.iter().filter(|want| self.lacks(want));
        let parts: HashSet<&Part> = lacking.flat_map(|want| &want.parts).collect();
        let open = || self.watched.iter().filter(|watched| !watched.full);
        let needed = open().filter(|watched| parts.contains(&watched.part));
        let needed = needed.map(|watched| watched.next(partition)).min();
        let needed = needed.unwrap_or_else(|| beginning(partition));
        let near = needed.saturating_sub(NEAR);
        let along = open().map(|watched| watched.next(partition)).filter(|next| *next >= near);
        along.min().unwrap_or(needed)
    }

    /// Whether all who want something have their limit. What was selected before does not count for it until
    /// it has been looked at again, even where that is so much that no more is read.
    pub(super) fn has_seen_enough(&self) -> bool {
        self.round.wanted.iter().all(|want| self.waiting(want) >= want.limit)
    }

    /// Whether enough is known for all who want something, once what was selected before has been looked at.
    fn is_satisfied(&self) -> bool {
        !self.round.wanted.iter().any(|want| self.lacks(want))
    }

    /// Whether more messages would tell more about what is wanted.
    fn lacks(&self, want: &Want) -> bool {
        self.waiting(want) < want.limit && self.parts_of(want).any(|watched| !watched.full)
    }

    /// How many messages to ask for: at first no more than whoever needs most; where it may be that they
    /// are another partition's, one.
    fn peek_size(&self) -> u32 {
        if self.round.count > 0 {
            return self.round.count;
        }
        if self.partitions.len() > 1 {
            return 1;
        }
        let missing = |want: &Arc<Want>| want.limit.saturating_sub(self.waiting(want));
        let most = self.round.wanted.iter().map(missing).max().unwrap_or(0);
        u32::try_from(most).unwrap_or(MOST).clamp(1, MOST)
    }

    /// What is known of the parts of one that is wanted.
    fn parts_of(&self, want: &Want) -> impl Iterator<Item = &Watched> {
        self.watched.iter().filter(|watched| want.parts.contains(&watched.part))
    }

    fn waiting(&self, want: &Want) -> u64 {
        let parts = self.parts_of(want);
        match want.by {
            CountBy::Messages => parts.map(|watched| watched.waiting).sum(),
            CountBy::Sessions => {
                let mut sessions = parts.filter_map(|watched| watched.sessions.as_ref());
                let first = sessions.next();
                let union: HashSet<_> = sessions.flatten().collect();
                let first = first.into_iter().flatten().filter(|session| !union.contains(session));
                (union.len() + first.count()) as u64
            }
        }
    }
}

impl Watched {
    fn new(part: Part) -> Watched {
        let changeable =
            matches!(&part, Part::Filtered { filter, .. } if filter.asks_source("deliveryCount"));
        Watched {
            part,
            next: HashMap::new(),
            matches: BTreeMap::new(),
            cap: 0,
            full: false,
            changeable,
            waiting: 0,
            sessions: None,
            indeterminate: None,
            told: false,
        }
    }

    fn begin(&mut self, now: i64) {
        if self.changeable {
            self.forget();
        }
        self.matches.retain(|_, found| found.expires > now);
        self.full = self.matches.len() >= self.cap;
        self.waiting = 0;
    }

    fn forget(&mut self) {
        self.next.clear();
        self.matches.clear();
        self.full = false;
    }

    /// The next number to judge in a partition.
    fn next(&self, partition: u16) -> u64 {
        self.next.get(&partition).copied().unwrap_or_else(|| beginning(partition))
    }

    /// Whether it goes on from what was judged for it, when messages from `from` on are read.
    fn reads(&self, from: u64) -> bool {
        !self.full && self.next(partition(from)) >= from
    }

    /// Whether a message is to be judged for it, when messages from `from` on are read.
    fn is_new(&self, from: u64, sequence: u64) -> bool {
        self.reads(from) && sequence >= self.next(partition(from))
    }

    /// How many more matches can be kept.
    fn room(&self) -> u64 {
        self.cap.saturating_sub(self.matches.len()) as u64
    }

    fn add(&mut self, from: u64, sequence: u64, found: Match) {
        if !self.is_new(from, sequence) {
            return;
        }
        if self.matches.len() >= self.cap {
            self.full = true;
            self.next.insert(partition(from), sequence);
            return;
        }
        self.matches.insert(sequence, found);
        self.see(found);
    }

    fn see(&mut self, found: Match) {
        self.waiting += 1;
        if let Some(sessions) = &mut self.sessions {
            sessions.insert(found.session);
        }
    }

    /// Has a partition read from `first` on again, if it was read that far.
    fn rewind(&mut self, first: u64) {
        let partition = partition(first);
        if self.next(partition) <= first {
            return;
        }
        self.next.insert(partition, first);
        let mut later = self.matches.split_off(&first);
        if let Some(other) = partition.checked_add(1) {
            self.matches.append(&mut later.split_off(&beginning(other)));
        }
        self.full &= later.is_empty();
    }

    /// Keeps of the matches from `first` to `last` those that still wait.
    fn look_again(&mut self, first: u64, last: u64, waits: impl Fn(u64, &Match) -> bool) {
        let known: Vec<(u64, Match)> =
            self.matches.range(first..=last).map(|(at, found)| (*at, *found)).collect();
        for (sequence, found) in known {
            if waits(sequence, &found) {
                self.see(found);
            } else {
                self.matches.remove(&sequence);
                self.full = false;
            }
        }
    }
}

/// The partition that a sequence number is of; 0 on an entity without any.
fn partition(sequence: u64) -> u16 {
    (sequence >> 48) as u16
}

/// The least number that a partition can have.
fn beginning(partition: u16) -> u64 {
    u64::from(partition) << 48
}

/// The last of a partition's messages in a reply.
fn last_of(partition: u16, reply: &[Peeked<'_>]) -> Option<u64> {
    let sequences = reply.iter().map(|peeked| peeked.place.sequence);
    sequences.filter(|sequence| self::partition(*sequence) == partition).max()
}

fn grown(count: u32) -> u32 {
    count.saturating_mul(2).min(MOST)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::selection::{EventTypes, Filter, Selection};

    const NOW: i64 = 1_000_000;

    /// A queue as Service Bus keeps it, as far as a peek can tell.
    #[derive(Default)]
    struct Queue {
        messages: BTreeMap<u64, Waiting>,
        last: BTreeMap<u16, u64>,
        clock: i64,
        /// A reply holds no more than this.
        reply: usize,
        /// What a reply does at the end of a partition.
        edge: Edge,
        peeked: usize,
        asked: usize,
    }

    #[derive(Debug, Clone, Copy, Default)]
    enum Edge {
        /// It goes on into the next one.
        #[default]
        Crosses,
        /// It ends, and the next one begins with it.
        Ends,
        /// It ends, and after the last message there is nothing.
        Stays,
    }

    #[derive(Clone)]
    struct Waiting {
        subject: &'static str,
        session: Option<String>,
        enqueued: i64,
        expires: Option<i64>,
        state: State,
        delivery_count: i64,
    }

    impl Queue {
        fn of(subjects: impl IntoIterator<Item = &'static str>) -> Queue {
            let mut queue = Queue { reply: 250, ..Queue::default() };
            for subject in subjects {
                queue.send(0, subject);
            }
            queue
        }

        fn send(&mut self, partition: u16, subject: &'static str) -> u64 {
            let last = self.last.entry(partition).or_insert_with(|| beginning(partition));
            *last += 1;
            self.clock += 1;
            let message = Waiting {
                subject,
                session: None,
                enqueued: self.clock,
                expires: None,
                state: State::Active,
                delivery_count: 0,
            };
            self.messages.insert(*last, message);
            *last
        }

        /// From the number on in its partition, then on into the partitions that follow.
        fn peek(&mut self, ask: Ask) -> Vec<Peeked<'static>> {
            self.asked += 1;
            let mut found = self.messages.range(ask.from..).peekable();
            let from = partition(ask.from);
            let first = found.peek().map_or(from, |(sequence, _)| partition(**sequence));
            let stays = matches!(self.edge, Edge::Stays) && self.last.contains_key(&from);
            let within = |sequence: u64| match self.edge {
                Edge::Crosses => true,
                Edge::Ends | Edge::Stays => {
                    partition(sequence) == first && (first == from || !stays)
                }
            };
            let found = found.take_while(|(sequence, _)| within(**sequence));
            let found = found.take(self.reply.min(ask.count as usize));
            let found: Vec<_> = found
                .map(|(sequence, message)| {
                    let place = Place {
                        sequence: *sequence,
                        enqueued: message.enqueued,
                        state: message.state,
                    };
                    let session = message.session.clone().map(|session| &*session.leak());
                    Peeked::sample(
                        place,
                        message.subject,
                        session,
                        message.expires,
                        message.delivery_count,
                    )
                })
                .collect();
            self.peeked += found.len();
            found
        }

        /// What a receiver could get of these types.
        fn count(&self, types: &[&str]) -> u64 {
            let waits = |message: &&Waiting| {
                types.contains(&message.subject)
                    && message.state == State::Active
                    && message.expires.is_none_or(|expires| expires > NOW)
            };
            self.messages.values().filter(waits).count() as u64
        }

        /// A measurement as it goes over a link, except that nothing is pipelined.
        fn measure(&mut self, browse: &mut Browse, wanted: &[&Arc<Want>]) -> Vec<Backlog> {
            let counts = self.measure_in(usize::MAX, browse, wanted);
            counts.into_iter().map(|count| count.expect("all was peeked")).collect()
        }

        /// A measurement that reads on for so many peeks at most.
        fn measure_in(
            &mut self,
            peeks: usize,
            browse: &mut Browse,
            wanted: &[&Arc<Want>],
        ) -> Vec<Option<Backlog>> {
            browse.begin(wanted.iter().map(|want| Arc::clone(want)).collect(), NOW);
            let mut checks = VecDeque::from(browse.checks());
            while !browse.has_seen_enough()
                && let Some(check) = checks.pop_front()
            {
                match browse.checked(check, &self.peek(check.ask())) {
                    Checked::Done => {}
                    Checked::More(more) => checks.push_front(more),
                    Checked::NewQueue => checks.clear(),
                }
            }
            let mut read = 0;
            while let Some(ask) = browse.next().filter(|_| read < peeks) {
                let reply = self.peek(ask);
                browse.read(&reply);
                read += 1;
                assert!(self.asked < 100_000, "a measurement ends");
            }
            wanted.iter().map(|want| browse.count(want)).collect()
        }
    }

    fn want(types: &str, limit: u64) -> Arc<Want> {
        let types = EventTypes::parse(types).expect("types");
        let selection = Selection { types: Some(types), ..Selection::default() };
        Arc::new(Want { parts: selection.parts(), by: CountBy::Messages, limit })
    }

    #[test]
    fn an_unchanged_queue_costs_its_matches() {
        let mut queue = Queue::of((0..100_000).map(|n| if n % 10_000 == 7 { "a" } else { "b" }));
        let (mut browse, a) = (Browse::new(), want("a", 10_000));
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(10)]);
        assert_eq!(queue.peeked, 100_000);
        queue.peeked = 0;
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(10)]);
        assert!(queue.peeked <= 20, "{}", queue.peeked);
        for _ in 0..1_000 {
            queue.send(0, "b");
        }
        queue.peeked = 0;
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(10)]);
        assert!(queue.peeked <= 1_020, "{}", queue.peeked);
    }

    #[test]
    fn matches_close_together_are_looked_at_with_one_peek() {
        let mut queue = Queue::of((0..1_000).map(|n| if n % 2 == 0 { "a" } else { "b" }));
        let (mut browse, a) = (Browse::new(), want("a", 10_000));
        queue.measure(&mut browse, &[&a]);
        queue.asked = 0;
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(500)]);
        assert!(queue.asked <= 7, "{} peeks", queue.asked);
    }

    #[test]
    fn a_limit_ends_the_peeking() {
        let mut queue = Queue::of(std::iter::repeat_n("a", 100_000));
        let (mut browse, a) = (Browse::new(), want("a", 10));
        let ten = Backlog::AtLeast(10.try_into().expect("not zero"));
        for _ in 0..3 {
            queue.peeked = 0;
            assert_eq!(queue.measure(&mut browse, &[&a]), [ten]);
            assert!(queue.peeked <= 12, "{}", queue.peeked);
        }
        // The ones looked at go; others take their place.
        queue.messages = queue.messages.split_off(&6);
        assert_eq!(queue.measure(&mut browse, &[&a]), [ten]);
        queue.messages = queue.messages.split_off(&99_995);
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(6)]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_then_a_lower_bound_is_told() {
        let mut queue = Queue::of(std::iter::repeat_n("a", 1_000));
        let (mut browse, a) = (Browse { most: 100, ..Browse::new() }, want("a", 10_000));
        let hundred = Backlog::AtLeast(100.try_into().expect("not zero"));
        for _ in 0..2 {
            assert_eq!(queue.measure(&mut browse, &[&a]), [hundred]);
            assert_eq!(browse.watched[0].matches.len(), 100);
        }
        queue.messages = queue.messages.split_off(&950);
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(51)]);
    }

    #[test]
    fn a_match_that_was_only_not_in_a_reply_is_found_again() {
        let mut queue = Queue { reply: 1, ..Queue::default() };
        let ours = queue.send(1, "a");
        queue.send(2, "b");
        let (mut browse, a) = (Browse::new(), want("a", 10));
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(1)]);
        browse.begin(vec![Arc::clone(&a)], NOW);
        let others = queue.peek(Ask { from: beginning(2), count: 1 });
        for check in browse.checks() {
            browse.checked(check, &others);
        }
        while let Some(ask) = browse.next() {
            let reply = queue.peek(ask);
            browse.read(&reply);
        }
        assert_eq!(browse.count(&a), Some(Backlog::Exact(1)));
        queue.messages.remove(&ours);
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(0)]);
    }

    #[test]
    fn sessions_are_counted_once() {
        let mut queue = Queue::of([]);
        for n in 0..500 {
            let sequence = queue.send(0, if n % 7 < 3 { "a" } else { "b" });
            let message = queue.messages.get_mut(&sequence).expect("sent");
            message.session = Some(format!("session-{}", n % 7));
        }
        let a = want("a", 10_000);
        let by_session =
            Arc::new(Want { parts: a.parts.clone(), by: CountBy::Sessions, limit: 10_000 });
        let two = Arc::new(Want { parts: a.parts.clone(), by: CountBy::Sessions, limit: 2 });
        let mut browse = Browse::new();
        for _ in 0..2 {
            let counts = queue.measure(&mut browse, &[&by_session, &a, &two]);
            let bound = Backlog::AtLeast(2.try_into().expect("not zero"));
            assert_eq!(counts, [Backlog::Exact(3), Backlog::Exact(216), bound]);
        }
    }

    #[test]
    fn a_queue_made_again_is_read_anew() {
        let mut queue = Queue::of(["a", "b", "a"]);
        let (mut browse, a) = (Browse::new(), want("a", 10));
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(2)]);
        let clock = queue.clock;
        queue = Queue { clock, ..Queue::of([]) };
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(0)]);
        queue.send(0, "a");
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(1)]);
        for subject in ["b", "a", "a"] {
            queue.send(0, subject);
        }
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(3)]);
    }

    #[test]
    fn a_queue_made_again_is_told_after_reading_for_one_that_was_behind() {
        let old = (1..=31).map(|n| match n {
            1..=10 => "c",
            11..=30 => "b",
            _ => "a",
        });
        let mut queue = Queue { reply: 1, ..Queue::of(old) };
        let (mut browse, a, c) = (Browse::new(), want("a", 10_000), want("c", 5));
        let five = Backlog::AtLeast(5.try_into().expect("not zero"));
        assert_eq!(queue.measure(&mut browse, &[&a, &c]), [Backlog::Exact(1), five]);
        // `c` goes on at its sixth, far behind `a`.
        queue.messages = queue.messages.split_off(&4);
        assert_eq!(queue.measure(&mut browse, &[&a, &c]), [Backlog::Exact(1), five]);
        let clock = queue.clock;
        queue = Queue { clock, reply: 1, ..Queue::of([]) };
        for _ in 0..20 {
            queue.send(0, "a");
        }
        queue.messages = queue.messages.split_off(&10);
        let counts = queue.measure(&mut browse, &[&a, &c]);
        assert_eq!(counts, [Backlog::Exact(11), Backlog::Exact(0)]);
    }

    #[test]
    fn a_clock_that_was_set_back_has_the_queue_read_anew_once() {
        let mut queue = Queue::of(["b"; 100]);
        queue.clock = -1_000;
        queue.send(0, "a");
        let (mut browse, a) = (Browse::new(), want("a", 10));
        for (round, most) in [(1, 101), (2, 103), (3, 2)] {
            queue.peeked = 0;
            assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(1)]);
            assert!(queue.peeked <= most, "round {round}: {}", queue.peeked);
        }
    }

    #[test]
    fn a_filter_on_what_changes_has_the_queue_read_anew() {
        let filter = Filter::compile("deliveryCount > 0", &["deliveryCount"]).expect("a filter");
        let selection = Selection { filter: Some(filter), ..Selection::default() };
        let retried = Arc::new(Want { parts: selection.parts(), by: CountBy::Messages, limit: 10 });
        let mut queue = Queue::of(["a", "b"]);
        let mut browse = Browse::new();
        assert_eq!(queue.measure(&mut browse, &[&retried]), [Backlog::Exact(0)]);
        queue.messages.get_mut(&1).expect("sent").delivery_count = 1;
        assert_eq!(queue.measure(&mut browse, &[&retried]), [Backlog::Exact(1)]);
    }

    #[test]
    fn a_match_that_is_given_back_as_something_else_counts_no_more() {
        let mut queue = Queue::of(["a", "b", "a", "c"]);
        let (mut browse, a, b) = (Browse::new(), want("a", 10), want("a,b", 10));
        assert_eq!(queue.measure(&mut browse, &[&a, &b]), [Backlog::Exact(2), Backlog::Exact(3)]);
        queue.messages.get_mut(&3).expect("sent").subject = "c";
        assert_eq!(queue.measure(&mut browse, &[&a, &b]), [Backlog::Exact(1), Backlog::Exact(2)]);
    }

    #[test]
    fn who_polls_in_turn_reads_what_is_new_once() {
        let mut queue = Queue::of(["a", "b", "c"]);
        let (mut browse, a, b) = (Browse::new(), want("a", 10), want("b", 10));
        queue.measure(&mut browse, &[&a, &b]);
        for _ in 0..1_000 {
            queue.send(0, "c");
        }
        queue.peeked = 0;
        queue.measure(&mut browse, &[&a]);
        queue.measure(&mut browse, &[&b]);
        assert!(queue.peeked <= 1_010, "{}", queue.peeked);
    }

    #[test]
    fn one_who_needs_little_does_not_wait_for_one_who_needs_all() {
        let mut queue = Queue::of((0..10_000).map(|n| if n < 5 { "a" } else { "b" }));
        let (mut browse, a, rare) = (Browse::new(), want("a", 5), want("rare", 10));
        assert_eq!(queue.measure_in(2, &mut browse, &[&rare]), [None]);
        let counts = queue.measure_in(10, &mut browse, &[&rare, &a]);
        assert_eq!(counts, [None, Some(Backlog::AtLeast(5.try_into().expect("not zero")))]);
        queue.peeked = 0;
        assert_eq!(queue.measure(&mut browse, &[&rare]), [Backlog::Exact(0)]);
        assert!(queue.peeked < 9_000, "goes on where it was: {}", queue.peeked);
    }

    #[test]
    fn what_nobody_wants_any_more_is_let_go() {
        let mut queue = Queue::of(["a", "b"]);
        let (mut browse, a, b) = (Browse::new(), want("a", 10), want("b", 10));
        queue.measure(&mut browse, &[&a, &b]);
        drop(b);
        queue.measure(&mut browse, &[&a]);
        assert_eq!((browse.watched.len(), browse.followed.len()), (1, 1));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Send(u16, &'static str, u8),
        Take(prop::sample::Index),
        Defer(prop::sample::Index),
        Schedule(u16, &'static str),
        Due(prop::sample::Index),
        Expire(prop::sample::Index),
        MakeAgain,
        Measure(Vec<bool>, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let subject = || prop::sample::select(vec!["a", "b", "c", "d"]);
        let index = any::<prop::sample::Index>;
        let at = 0..4_u16;
        prop_oneof![
            8 => (at.clone(), subject(), 1..40_u8).prop_map(|(p, s, n)| Step::Send(p, s, n)),
            4 => index().prop_map(Step::Take),
            1 => index().prop_map(Step::Defer),
            1 => (at, subject()).prop_map(|(p, s)| Step::Schedule(p, s)),
            1 => index().prop_map(Step::Due),
            1 => index().prop_map(Step::Expire),
            1 => Just(Step::MakeAgain),
            6 => (proptest::collection::vec(any::<bool>(), 4), prop_oneof![Just(usize::MAX), 0..5_usize])
                .prop_map(|(which, peeks)| Step::Measure(which, peeks)),
        ]
    }

    fn play(partitions: &[u16], reply: usize, edge: Edge, steps: Vec<Step>) {
        let partition_of = |at: u16| partitions[usize::from(at) % partitions.len()];
        let wants = [want("a", 1_000), want("a,b", 1_000), want("c", 5), want("b,c", 20)];
        let types: [&[&str]; 4] = [&["a"], &["a", "b"], &["c"], &["b", "c"]];
        let mut queue = Queue { reply, edge, ..Queue::default() };
        let mut browse = Browse::new();
        for step in steps {
            let pick = |queue: &Queue, at: prop::sample::Index, state: State| {
                let fits = queue.messages.iter().filter(|(_, message)| message.state == state);
                let fits: Vec<u64> = fits.map(|(sequence, _)| *sequence).collect();
                (!fits.is_empty()).then(|| *at.get(&fits))
            };
            match step {
                Step::Send(partition, subject, count) => {
                    for _ in 0..count {
                        queue.send(partition_of(partition), subject);
                    }
                }
                Step::Take(at) => {
                    if let Some(sequence) = pick(&queue, at, State::Active) {
                        queue.messages.remove(&sequence);
                    }
                }
                Step::Defer(at) => {
                    if let Some(sequence) = pick(&queue, at, State::Active) {
                        queue.messages.get_mut(&sequence).expect("picked").state = State::Deferred;
                    }
                }
                Step::Schedule(partition, subject) => {
                    let sequence = queue.send(partition_of(partition), subject);
                    queue.messages.get_mut(&sequence).expect("sent").state = State::Scheduled;
                }
                Step::Due(at) => {
                    if let Some(sequence) = pick(&queue, at, State::Scheduled) {
                        let message = queue.messages.remove(&sequence).expect("picked");
                        queue.send(partition(sequence), message.subject);
                    }
                }
                Step::Expire(at) => {
                    if let Some(sequence) = pick(&queue, at, State::Active) {
                        // It has an expiry from the start, so it is sent anew.
                        let mut message = queue.messages.remove(&sequence).expect("picked");
                        let sequence = queue.send(partition(sequence), message.subject);
                        message.enqueued = queue.clock;
                        message.expires = Some(NOW);
                        queue.messages.insert(sequence, message);
                    }
                }
                Step::MakeAgain => {
                    queue.messages.clear();
                    queue.last.clear();
                }
                Step::Measure(which, peeks) => {
                    let wanted: Vec<usize> = (0..4).filter(|at| which[*at]).collect();
                    let asked: Vec<&Arc<Want>> = wanted.iter().map(|at| &wants[*at]).collect();
                    queue.asked = 0;
                    let counts = queue.measure_in(peeks, &mut browse, &asked);
                    for (at, counted) in wanted.iter().zip(counts) {
                        let Some(counted) = counted else {
                            assert_ne!(peeks, usize::MAX, "all was peeked");
                            continue;
                        };
                        let truth = queue.count(types[*at]);
                        let expected = match NonZeroU64::new(wants[*at].limit) {
                            Some(limit) if truth >= limit.get() => Backlog::AtLeast(limit),
                            _ => Backlog::Exact(truth),
                        };
                        assert_eq!(counted, expected, "{:?}", types[*at]);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_count_is_what_waits(
            reply in 1..30_usize,
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            play(&[0], reply, Edge::Crosses, steps);
        }

        #[test]
        fn every_count_of_a_partitioned_queue_is_what_waits(
            reply in 1..30_usize,
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            play(&[0, 1, 2, 3], reply, Edge::Crosses, steps);
        }

        #[test]
        fn a_reply_may_end_with_its_partition(
            reply in 1..30_usize,
            edge in prop::sample::select(vec![Edge::Ends, Edge::Stays]),
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            // Were one of them 0, nothing would lead beyond it.
            play(&[1, 2, 3, 16], reply, edge, steps);
        }

        // Here a partition is only found behind another one's messages.
        #[test]
        fn partitions_of_any_number_are_found(
            reply in 1..30_usize,
            edge in prop::sample::select(vec![Edge::Crosses, Edge::Ends, Edge::Stays]),
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            play(&[3, 38, 1_000, 40_000], reply, edge, steps);
        }
    }
}
