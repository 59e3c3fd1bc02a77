//! What is known of the messages in one queue, and what must be peeked to know it again.
//!
//! A message in a queue hardly changes, and its sequence number only grows. So each is judged once,
//! for all selectors that any trigger wants: what is kept is how far each selector has been read,
//! and the messages that it selects. A poll then
//!
//! 1. checks that the queue is the one that is known, by its first message (of each partition);
//! 2. looks again at the messages selected, to see whether they still wait and are still selected:
//!    those close to each other with one peek over their range;
//! 3. reads on from where it was, until the end of the queue or until enough is known.
//!
//! Its cost is new messages + matches, not the depth of the queue. A filter that asks for
//! `deliveryCount`, which does change, has the queue read anew each time. A receiver may change
//! application properties as it gives a message back: one that is selected no more is noticed, one
//! that is selected only then is not.
//!
//! On a partitioned entity the top 16 bits of a number are its partition's. A browse that begins in
//! one goes on into others in no global order, or ends there, and a reply may hold one message
//! alone. So each partition is read on its own, to where replies hold none of its messages. Which
//! partitions there are is not said anywhere: those that have been seen are known, and the numbers
//! beside them are tried.
//!
//! Pure: asks come out, replies go in. All ranges have their ends in them, as sequence numbers have
//! no next.
//!
//! # References
//! - "Message sequencing and timestamps", Azure Service Bus documentation
//! - "Message browsing", the same

mod watched;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

use self::watched::{Match, Watched, beginning, partition};
use super::amqp::{Ask, Peeked, QueuePosition, State};
use super::trigger::CountBy;
use crate::backlog::Backlog;
use crate::selection::{Judge, Position, Reason, Selector, Sight, Slot, Verdicts};

/// Messages that one peek asks for at most; Service Bus gives fewer where it pleases.
pub(super) const MOST: u32 = 1_000;
/// Matches that are kept of a selector whose sessions are counted, where no bound follows from the
/// count.
const SESSION_MATCHES: usize = 100_000;
/// Scheduled messages that are remembered; they wait at the head of the queue.
const SCHEDULED: usize = 10_000;
/// Matches among which the oldest is looked for.
const OLDEST_OF: usize = 1_000;

/// How far behind what is wanted a selector may be to be read along, though nobody wants it now:
/// those who poll in turn would else each read what is new.
const NEAR: u64 = 5_000;
/// Partitions that are asked for by number once an entity is seen to have any: 16 in Standard,
/// fewer in Premium. They may have other numbers than these; those are found by what replies hold.
const PARTITIONS: u16 = 16;
/// Matches that are kept of a selector at most, whatever limit a trigger gives: some 40 MB.
const MATCHES: usize = 1_000_000;

/// What one trigger wants counted of a queue.
#[derive(Debug)]
pub(super) struct Want {
    /// Which messages count; none is in two of them.
    pub(super) selectors: Vec<Selector>,
    /// What one message counts as.
    pub(super) by: CountBy,
    /// Counting stops here; above 0.
    pub(super) limit: u64,
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
    /// A selector's place in here is its slot.
    watched: Vec<Watched>,
    judge: Judge,
    verdicts: Verdicts,
    sessions: RandomState,
    /// The message with the largest number judged in each partition, by which a queue that was made
    /// again is told.
    ground: BTreeMap<u16, QueuePosition>,
    /// First messages of partitions that do not fit the ground, and were read from anew once.
    odd: BTreeMap<u16, QueuePosition>,
    /// Scheduled messages by number, with when they are said to be enqueued: that may be in the
    /// future, and does not tell the queue from another one.
    scheduled: BTreeMap<u64, i64>,
    /// Partitions that messages have been seen in, or may be.
    partitions: BTreeSet<u16>,
    /// Matches that are kept of a selector at most.
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
        let wanted: HashSet<&Selector> =
            self.round.wanted.iter().flat_map(|want| &want.selectors).collect();
        let watched = self.watched.iter().filter(|watched| wanted.contains(&watched.selector));
        let matches: BTreeSet<u64> =
            watched.flat_map(|watched| watched.matches.keys().copied()).collect();
        // A peek more costs as much as some messages read for nothing, but with few matches these
        // are to be few as well.
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
                let first = reply.first().map(|first| first.position);
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
                    // Where nothing is left, reading from there again costs nothing; and if it was
                    // only not in this reply, it is found by that.
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
                && self.selectors_of(want).all(|watched| watched.room() > length)
        });
        goes_on.then(|| Ask { from: last + 1, count: grown(self.peek_size()) })
    }

    /// The messages of a reply that [`Browse::read`] will take for the first time and that a
    /// receiver could get.
    pub(super) fn fresh<'r, 'm>(
        &self,
        reply: &'r [Peeked<'m>],
    ) -> impl Iterator<Item = &'r Peeked<'m>> {
        let partition = self.round.unread.front().copied();
        let from = partition.map(|partition| self.front(partition));
        let now = self.round.now;
        reply.iter().filter(move |peeked| {
            let sequence = peeked.position.sequence;
            Some(self::partition(sequence)) == partition
                && from.is_some_and(|from| from <= sequence)
                && is_receivable(peeked, now)
        })
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
            reply.iter().filter(|peeked| self::partition(peeked.position.sequence) == partition)
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
        let bounded = seen >= want.limit || self.selectors_of(want).any(|watched| watched.full);
        if self.lacks(want) && !self.round.unread.is_empty() {
            return None;
        }
        Some(match NonZeroU64::new(seen) {
            Some(bound) if bounded => Backlog::AtLeast(bound),
            _ => Backlog::Exact(seen),
        })
    }

    /// When the oldest match of one that is wanted was enqueued, in milliseconds since 1970.
    pub(super) fn oldest(&self, want: &Want) -> Option<i64> {
        let of = |watched: &Watched| {
            // A partition's come in their order; of each the first ones do.
            watched.matches.values().take(OLDEST_OF).map(|found| found.enqueued).min()
        };
        self.selectors_of(want).filter_map(of).min()
    }

    /// What was seen of late for one that is wanted, of which some may be gone; `None` where every
    /// message counts.
    pub(super) fn sight(&self, want: &Want) -> Option<Sight> {
        self.judge.sight(want.selectors.first()?, |_| true)
    }

    /// Messages judged in this round.
    pub(super) fn judged(&self) -> u64 {
        self.round.judged
    }

    /// Parts of which it could not be told of a message whether it matches, with the first such
    /// message and why; each selector once.
    pub(super) fn take_indeterminate(&mut self) -> Vec<(Selector, u64, Reason)> {
        let untold = self.watched.iter_mut().filter(|watched| !watched.told);
        untold
            .filter_map(|watched| {
                let (sequence, reason) = watched.indeterminate?;
                watched.told = true;
                Some((watched.selector.clone(), sequence, reason))
            })
            .collect()
    }

    /// Whether this measurement reads from the beginning for someone, and another would do so
    /// again.
    pub(super) fn reads_anew(&self) -> bool {
        let changeable = |want| self.selectors_of(want).any(|watched| watched.changeable);
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
        let mut caps: HashMap<Selector, (usize, bool)> = HashMap::new();
        for want in &wants {
            let (cap, by_sessions) = match want.by {
                CountBy::Messages => {
                    (usize::try_from(want.limit).unwrap_or(MATCHES).min(self.most), false)
                }
                CountBy::Sessions => (SESSION_MATCHES, true),
            };
            for selector in &want.selectors {
                let (largest, any_sessions) = caps.entry(selector.clone()).or_default();
                *largest = cap.max(*largest);
                *any_sessions |= by_sessions;
            }
        }
        let before = self.watched.len();
        self.watched.retain(|watched| caps.contains_key(&watched.selector));
        let mut changed = self.watched.len() != before;
        for (selector, (cap, by_sessions)) in caps {
            let known = self.watched.iter().position(|watched| watched.selector == selector);
            let at = known.unwrap_or_else(|| {
                changed = true;
                self.watched.push(Watched::new(selector));
                self.watched.len() - 1
            });
            self.watched[at].cap = cap;
            self.watched[at].sessions = by_sessions.then(HashSet::new);
        }
        if changed {
            let slots = (0..).map(Slot);
            let selectors = self.watched.iter().map(|watched| watched.selector.clone());
            self.judge = self.judge.for_others(slots.zip(selectors));
        }
    }

    /// Whether the first message of the queue fits what was judged before.
    fn is_known_ground(&self, first: QueuePosition) -> bool {
        let Some(ground) = self.ground.get(&partition(first.sequence)) else { return true };
        let same = first.sequence == ground.sequence;
        // A message with a smaller number came earlier, unless it is of another queue or the clock
        // was set.
        let fits = first.sequence > ground.sequence
            || (same && first.enqueued == ground.enqueued)
            || (!same && first.enqueued <= ground.enqueued);
        fits || self.odd.get(&partition(first.sequence)) == Some(&first)
            || self.scheduled.get(&first.sequence) == Some(&first.enqueued)
    }

    /// Learns of partitions that messages are in.
    fn discover(&mut self, reply: &[Peeked<'_>]) {
        let unknown =
            |peeked: &&Peeked<'_>| !self.partitions.contains(&partition(peeked.position.sequence));
        let found: Vec<u16> =
            reply.iter().filter(unknown).map(|p| partition(p.position.sequence)).collect();
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

    /// Judges a message for the selectors that read on from `from`.
    fn judge(&mut self, from: u64, peeked: &Peeked<'_>) {
        let QueuePosition { sequence, enqueued, state } = peeked.position;
        self.round.judged += 1;
        // A scheduled one may be enqueued in the future, which says nothing about what comes after
        // it.
        let position = QueuePosition { enqueued: enqueued.min(self.round.now), ..peeked.position };
        let ground = self.ground.entry(partition(sequence)).or_insert(position);
        // What is read again for a selector that is behind lowers nothing: a queue that was made
        // again would soon be past it, and pass as this one.
        if ground.sequence < sequence {
            *ground = position;
        }
        if state == State::Scheduled && self.scheduled.len() < SCHEDULED {
            self.scheduled.insert(sequence, enqueued);
        }
        if !is_receivable(peeked, self.round.now) {
            return;
        }
        let expires = peeked.expires().unwrap_or(i64::MAX);
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

    /// Keeps of the matches from `first` to `last` those that a reply has in their places, active
    /// and still selected: who gives a message back can change its properties with it.
    fn look_again(&mut self, first: u64, last: u64, reply: &[Peeked<'_>]) {
        let matches = self.watched.iter().flat_map(|watched| watched.matches.range(first..=last));
        let known: HashSet<u64> = matches.map(|(sequence, _)| *sequence).collect();
        let mut selected = HashMap::new();
        for peeked in reply {
            let QueuePosition { sequence, enqueued, state } = peeked.position;
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

    /// The first number in a partition that is to be judged for someone who needs it, or who is
    /// close behind.
    fn front(&self, partition: u16) -> u64 {
        let lacking = self.round.wanted.iter().filter(|want| self.lacks(want));
        let selectors: HashSet<&Selector> = lacking.flat_map(|want| &want.selectors).collect();
        let open = || self.watched.iter().filter(|watched| !watched.full);
        let needed = open().filter(|watched| selectors.contains(&watched.selector));
        let needed = needed.map(|watched| watched.next(partition)).min();
        let needed = needed.unwrap_or_else(|| beginning(partition));
        let near = needed.saturating_sub(NEAR);
        let along = open().map(|watched| watched.next(partition)).filter(|next| *next >= near);
        along.min().unwrap_or(needed)
    }

    /// Whether all who want something have their limit. What was selected before does not count for
    /// it until it has been looked at again, even where that is so much that no more is read.
    pub(super) fn has_seen_enough(&self) -> bool {
        self.round.wanted.iter().all(|want| self.waiting(want) >= want.limit)
    }

    /// Whether enough is known for all who want something, once what was selected before has been
    /// looked at.
    fn is_satisfied(&self) -> bool {
        !self.round.wanted.iter().any(|want| self.lacks(want))
    }

    /// Whether more messages would tell more about what is wanted.
    fn lacks(&self, want: &Want) -> bool {
        self.waiting(want) < want.limit && self.selectors_of(want).any(|watched| !watched.full)
    }

    /// How many messages to ask for: at first no more than whoever needs most; where it may be that
    /// they are another partition's, one.
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

    /// What is known of the selectors of one that is wanted.
    fn selectors_of(&self, want: &Want) -> impl Iterator<Item = &Watched> {
        self.watched.iter().filter(|watched| want.selectors.contains(&watched.selector))
    }

    fn waiting(&self, want: &Want) -> u64 {
        let selectors = self.selectors_of(want);
        match want.by {
            CountBy::Messages => selectors.map(|watched| watched.waiting).sum(),
            CountBy::Sessions => {
                let mut sessions = selectors.filter_map(|watched| watched.sessions.as_ref());
                let first = sessions.next();
                let union: HashSet<_> = sessions.flatten().collect();
                let first = first.into_iter().flatten().filter(|session| !union.contains(session));
                (union.len() + first.count()) as u64
            }
        }
    }
}

/// Whether a receiver could get a message, or holds it locked. A deferred one comes back under its
/// number alone, a scheduled one under another number.
fn is_receivable(peeked: &Peeked<'_>, now: i64) -> bool {
    peeked.position.state == State::Active && peeked.expires().is_none_or(|expires| expires > now)
}

/// The last of a partition's messages in a reply.
fn last_of(partition: u16, reply: &[Peeked<'_>]) -> Option<u64> {
    let sequences = reply.iter().map(|peeked| peeked.position.sequence);
    sequences.filter(|sequence| self::partition(*sequence) == partition).max()
}

fn grown(count: u32) -> u32 {
    count.saturating_mul(2).min(MOST)
}

#[cfg(test)]
mod tests;
