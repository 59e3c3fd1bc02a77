//! What a queue or subscription does with its messages.
//!
//! No I/O and no clock: who calls says what time it is, in milliseconds since 1970. Every entry
//! first calls [`Entity::turn`], so that locks end and scheduled messages come due without a timer.
//! A message past its time to live stays until it is swept, which a receiver's coming does, and the
//! service now and then: a browse still sees it.
//!
//! # References
//! - Microsoft Learn: Message transfers, locks, and settlement · Message browsing · Message
//!   sessions · Partitioned queues and topics

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::codec::Value;
use crate::message::{Sent, Stamp, State};

/// How often the service sweeps on its own, in milliseconds.
const SWEEP: i64 = 60_000;

/// A queue, a subscription, or the dead letters of one.
#[derive(Debug)]
pub(crate) struct Entity {
    /// As it was created: `orders`, `events/Subscriptions/billing`.
    pub(crate) path: String,
    pub(crate) options: Options,
    pub(crate) created: i64,
    pub(crate) counters: Counters,
    messages: BTreeMap<i64, Stored>,
    /// What a receiver could get now, by session; under `None` where the entity has no sessions.
    ready: HashMap<Option<Arc<str>>, BTreeSet<i64>>,
    scheduled: BTreeSet<(i64, i64)>,
    expiring: BTreeSet<(i64, i64)>,
    locks: HashMap<Uuid, i64>,
    lock_ends: BTreeSet<(i64, Uuid)>,
    sessions: BTreeMap<Arc<str>, Session>,
    /// The next sequence number of each partition, without its top 16 bits.
    next: Vec<i64>,
    round: usize,
    swept: i64,
    dead: Option<Box<Entity>>,
}

/// What an entity was created with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) sessions: bool,
    /// The numbers of its partitions; of one without any, 0 alone.
    pub(crate) partitions: Vec<u16>,
    /// Whether a reply to a peek ends with its partition.
    pub(crate) one_partition: bool,
    pub(crate) lock: Duration,
    pub(crate) deliveries: u32,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) bury_expired: bool,
}

/// What was asked of an entity so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that replies to peeks held.
    pub peeked: u64,
    /// Requests to peek, answered or not.
    pub peeks: u64,
    /// Requests to the management endpoint that named it.
    pub management: u64,
}

/// How many messages there are, as the management endpoint counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// What a receiver could get or has locked, deferred ones too.
    pub active: u64,
    /// Not yet due.
    pub scheduled: u64,
    /// In the dead-letter queue.
    pub dead: u64,
    /// All bytes.
    pub bytes: u64,
}

/// What becomes of a locked message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Settlement {
    Complete,
    /// With application properties that the message has from then on.
    Abandon(Vec<(Value, Value)>),
    /// Given back without having been looked at.
    Release,
    /// With application properties that the message has from then on.
    Defer(Vec<(Value, Value)>),
    Bury {
        reason: Option<String>,
        description: Option<String>,
    },
}

/// The lock has ended, or there never was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LockLost;

/// A message handed out.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    pub(crate) token: Uuid,
    pub(crate) message: Vec<u8>,
}

/// Whether a message is only lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taking {
    Lock,
    Delete,
}

#[derive(Debug)]
struct Stored {
    sent: Sent,
    enqueued: i64,
    state: State,
    deliveries: u32,
    time_to_live: Option<u32>,
    expires: Option<i64>,
    lock: Option<Lock>,
    /// The message as a reply to a peek holds it.
    entry: Bytes,
}

#[derive(Debug, Clone, Copy)]
struct Lock {
    token: Uuid,
    until: i64,
}

#[derive(Debug, Default)]
struct Session {
    /// The link that holds it.
    holder: Option<u64>,
    until: i64,
    state: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sessions: false,
            partitions: vec![0],
            one_partition: false,
            lock: Duration::from_secs(60),
            deliveries: 10,
            time_to_live: None,
            bury_expired: false,
        }
    }
}

impl Entity {
    pub(crate) fn new(path: String, options: Options, now: i64) -> Self {
        Self {
            path,
            next: vec![1; options.partitions.len()],
            options,
            created: now,
            counters: Counters::default(),
            messages: BTreeMap::new(),
            ready: HashMap::new(),
            scheduled: BTreeSet::new(),
            expiring: BTreeSet::new(),
            locks: HashMap::new(),
            lock_ends: BTreeSet::new(),
            sessions: BTreeMap::new(),
            round: 0,
            swept: now,
            dead: None,
        }
    }

    /// The dead-letter queue.
    pub(crate) fn dead(&mut self) -> &mut Entity {
        let options =
            Options { lock: self.options.lock, deliveries: u32::MAX, ..Options::default() };
        self.dead.get_or_insert_with(|| {
            Box::new(Entity::new(format!("{}/$DeadLetterQueue", self.path), options, self.created))
        })
    }

    /// Lets happen what has come due: locks and sessions end, scheduled messages become active.
    /// Whether there is anything new for a receiver.
    pub(crate) fn turn(&mut self, now: i64) -> bool {
        let mut changed = false;
        while let Some((_, token)) =
            self.lock_ends.first().copied().filter(|(until, _)| *until <= now)
        {
            self.settle(token, Settlement::Abandon(Vec::new()), now).ok();
            changed = true;
        }
        for session in self.sessions.values_mut() {
            if session.holder.is_some() && session.until <= now {
                session.holder = None;
                changed = true;
            }
        }
        while let Some((due, sequence)) =
            self.scheduled.first().copied().filter(|(due, _)| *due <= now)
        {
            self.scheduled.remove(&(due, sequence));
            if let Some(stored) = self.messages.remove(&sequence) {
                // A scheduled message is enqueued anew when it is due, under a number of its own.
                self.store(stored.sent, State::Active, now);
                changed = true;
            }
        }
        if now - self.swept >= SWEEP {
            self.sweep(now);
        }
        if let Some(dead) = &mut self.dead {
            changed |= dead.turn(now);
        }
        changed
    }

    /// Takes a message in; its sequence number.
    pub(crate) fn enqueue(&mut self, sent: Sent, now: i64) -> i64 {
        let state =
            if sent.due.is_some_and(|due| due > now) { State::Scheduled } else { State::Active };
        self.store(sent, state, now)
    }

    fn store(&mut self, mut sent: Sent, state: State, now: i64) -> i64 {
        let sequence = self.number(&sent);
        let default =
            self.options.time_to_live.map(|ttl| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX));
        let time_to_live = [sent.time_to_live, default].into_iter().flatten().min();
        // The life of a scheduled message begins when it is due.
        let lives_from = sent.due.filter(|_| state == State::Scheduled).unwrap_or(now);
        let expires = time_to_live.map(|ttl| lives_from + i64::from(ttl));
        if let Some(expires) = expires {
            sent.date(lives_from, expires);
            self.expiring.insert((expires, sequence));
        }
        match state {
            State::Scheduled => {
                self.scheduled.insert((sent.due.unwrap_or(now), sequence));
            }
            State::Active => {
                let session = self.session_of(&sent);
                self.ready.entry(session).or_default().insert(sequence);
            }
            State::Deferred => {}
        }
        let mut stored = Stored {
            sent,
            enqueued: now,
            state,
            deliveries: 0,
            time_to_live,
            expires,
            lock: None,
            entry: Bytes::new(),
        };
        stored.write(sequence);
        self.messages.insert(sequence, stored);
        sequence
    }

    /// The next number of the partition that the session, the key, or else the round picks.
    fn number(&mut self, sent: &Sent) -> i64 {
        let partitions = self.next.len();
        let partition = match sent.session.as_deref().or(sent.partition_key.as_deref()) {
            _ if partitions == 1 => 0,
            Some(key) => {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                usize::try_from(hasher.finish() % 65_536).unwrap_or(0) % partitions
            }
            None => {
                self.round = (self.round + 1) % partitions;
                self.round
            }
        };
        let next = &mut self.next[partition];
        let sequence = (i64::from(self.options.partitions[partition]) << 48) | *next;
        *next += 1;
        sequence
    }

    fn session_of(&self, sent: &Sent) -> Option<Arc<str>> {
        sent.session.clone().filter(|_| self.options.sessions)
    }

    /// Messages from this number on, in whatever state, without taking any: the partition the
    /// number is in, and those after it. At most `count`, and not more bytes than `bytes` unless
    /// the first is longer by itself.
    pub(crate) fn peek(
        &self,
        from: i64,
        count: usize,
        bytes: usize,
        session: Option<&str>,
    ) -> Vec<Bytes> {
        let mut left = bytes;
        let mut entries = Vec::new();
        let mut partition = None;
        for (sequence, stored) in self.messages.range(from..) {
            if *partition.get_or_insert(sequence >> 48) != sequence >> 48
                && self.options.one_partition
            {
                break;
            }
            if session.is_some() && stored.sent.session.as_deref() != session {
                continue;
            }
            if entries.len() == count || (stored.entry.len() > left && !entries.is_empty()) {
                break;
            }
            left = left.saturating_sub(stored.entry.len());
            entries.push(stored.entry.clone());
        }
        entries
    }

    /// The next message for a receiver, of this session if it holds one.
    pub(crate) fn take(
        &mut self,
        session: Option<&str>,
        taking: Taking,
        now: i64,
    ) -> Option<Delivered> {
        self.turn(now);
        self.sweep(now);
        let sequence = *self.ready.get(&session.map(Into::into))?.first()?;
        self.hand_out(sequence, taking, now)
    }

    /// A deferred message by its number.
    pub(crate) fn take_deferred(
        &mut self,
        sequence: i64,
        taking: Taking,
        now: i64,
    ) -> Option<Delivered> {
        self.turn(now);
        let stored = self.messages.get(&sequence)?;
        (stored.state == State::Deferred && stored.lock.is_none()).then_some(())?;
        self.hand_out(sequence, taking, now)
    }

    fn hand_out(&mut self, sequence: i64, taking: Taking, now: i64) -> Option<Delivered> {
        let lock = i64::try_from(self.options.lock.as_millis()).unwrap_or(i64::MAX);
        let token = Uuid::new_v4();
        let stored = self.messages.get_mut(&sequence)?;
        // The header says how often the message was delivered before.
        let mut stamp = stored.stamp(sequence);
        stored.deliveries += 1;
        let session = stored.sent.session.clone().filter(|_| self.options.sessions);
        if let Some(ready) = self.ready.get_mut(&session) {
            ready.remove(&sequence);
            if ready.is_empty() {
                self.ready.remove(&session);
            }
        }
        if taking == Taking::Delete {
            let stored = self.remove(sequence)?;
            return Some(Delivered { token, message: stored.sent.encode(stamp) });
        }
        let until = match session.as_ref().and_then(|session| self.sessions.get(session)) {
            Some(session) => session.until,
            None => now.saturating_add(lock),
        };
        let stored = self.messages.get_mut(&sequence)?;
        stored.lock = Some(Lock { token, until });
        stored.write(sequence);
        stamp.lock = Some((token, until));
        let message = stored.sent.encode(stamp);
        self.locks.insert(token, sequence);
        self.lock_ends.insert((until, token));
        Some(Delivered { token, message })
    }

    /// What a receiver decided about a message it has locked.
    pub(crate) fn settle(
        &mut self,
        token: Uuid,
        settlement: Settlement,
        now: i64,
    ) -> Result<(), LockLost> {
        let sequence = self.locks.remove(&token).ok_or(LockLost)?;
        let stored = self.messages.get_mut(&sequence).ok_or(LockLost)?;
        if let Some(lock) = stored.lock.take() {
            self.lock_ends.remove(&(lock.until, token));
        }
        match settlement {
            Settlement::Complete => {
                self.remove(sequence);
            }
            Settlement::Bury { reason, description } => {
                self.bury(sequence, reason.as_deref(), description.as_deref(), now);
            }
            Settlement::Abandon(_) if stored.deliveries >= self.options.deliveries => {
                let description =
                    "Message could not be consumed after the maximum number of delivery attempts.";
                self.bury(sequence, Some("MaxDeliveryCountExceeded"), Some(description), now);
            }
            Settlement::Abandon(_) | Settlement::Release => {
                match settlement {
                    Settlement::Abandon(properties) => stored.sent.modify(&properties),
                    _ => stored.deliveries -= 1,
                }
                stored.write(sequence);
                if stored.state == State::Active {
                    let session = stored.sent.session.clone().filter(|_| self.options.sessions);
                    self.ready.entry(session).or_default().insert(sequence);
                }
            }
            Settlement::Defer(properties) => {
                stored.sent.modify(&properties);
                stored.state = State::Deferred;
                stored.write(sequence);
            }
        }
        Ok(())
    }

    /// Locks a message for as long again; when that ends.
    pub(crate) fn renew(&mut self, token: Uuid, now: i64) -> Result<i64, LockLost> {
        let sequence = self.locks.get(&token).ok_or(LockLost)?;
        let lock = self
            .messages
            .get_mut(sequence)
            .and_then(|stored| stored.lock.as_mut())
            .ok_or(LockLost)?;
        self.lock_ends.remove(&(lock.until, token));
        lock.until = now + i64::try_from(self.options.lock.as_millis()).unwrap_or(i64::MAX / 2);
        self.lock_ends.insert((lock.until, token));
        Ok(lock.until)
    }

    /// Takes a scheduled message back; whether it was still there.
    pub(crate) fn cancel(&mut self, sequence: i64) -> bool {
        let scheduled =
            self.messages.get(&sequence).is_some_and(|stored| stored.state == State::Scheduled);
        scheduled && self.remove(sequence).is_some()
    }

    /// Gives the session to the link: the named one, or one that has messages and no holder. Its
    /// name and until when.
    pub(crate) fn hold(
        &mut self,
        session: Option<&str>,
        link: u64,
        now: i64,
    ) -> Option<(Arc<str>, i64)> {
        self.turn(now);
        self.sweep(now);
        let free = |sessions: &BTreeMap<Arc<str>, Session>, name: &str| {
            sessions.get(name).is_none_or(|session| session.holder.is_none())
        };
        let name: Arc<str> = match session {
            Some(name) => free(&self.sessions, name).then(|| name.into())?,
            None => {
                let waiting = self
                    .ready
                    .iter()
                    .filter_map(|(session, ready)| Some((ready.first()?, session.as_ref()?)));
                waiting.filter(|(_, session)| free(&self.sessions, session)).min()?.1.clone()
            }
        };
        let until = now + i64::try_from(self.options.lock.as_millis()).unwrap_or(i64::MAX / 2);
        let held = self.sessions.entry(name.clone()).or_default();
        held.holder = Some(link);
        held.until = until;
        Some((name, until))
    }

    /// Holds the session, and what is locked in it, for as long again; when that ends.
    pub(crate) fn renew_session(&mut self, name: &str, now: i64) -> Result<i64, LockLost> {
        let until = now + i64::try_from(self.options.lock.as_millis()).unwrap_or(i64::MAX / 2);
        let session = self
            .sessions
            .get_mut(name)
            .filter(|session| session.holder.is_some())
            .ok_or(LockLost)?;
        session.until = until;
        for token in self.locked_in(name) {
            self.renew(token, now).ok();
        }
        Ok(until)
    }

    /// The link has gone: the session and what was locked in it are free again.
    pub(crate) fn let_go(&mut self, name: &str, link: u64, now: i64) {
        let Some(session) =
            self.sessions.get_mut(name).filter(|session| session.holder == Some(link))
        else {
            return;
        };
        session.holder = None;
        for token in self.locked_in(name) {
            self.settle(token, Settlement::Abandon(Vec::new()), now).ok();
        }
    }

    fn locked_in(&self, name: &str) -> Vec<Uuid> {
        let of_session = |sequence: &i64| {
            self.messages
                .get(sequence)
                .is_some_and(|stored| stored.sent.session.as_deref() == Some(name))
        };
        self.locks
            .iter()
            .filter(|(_, sequence)| of_session(sequence))
            .map(|(token, _)| *token)
            .collect()
    }

    /// What a receiver has noted down about a session.
    pub(crate) fn session_state(&mut self, name: &str) -> &mut Option<Vec<u8>> {
        &mut self.sessions.entry(name.into()).or_default().state
    }

    /// Sessions that have a message in any state, in order of their names.
    pub(crate) fn session_names(&self) -> BTreeSet<Arc<str>> {
        self.messages.values().filter_map(|stored| stored.sent.session.clone()).collect()
    }

    /// Removes what is past its time to live and not locked.
    pub(crate) fn sweep(&mut self, now: i64) {
        self.swept = now;
        let mut locked = Vec::new();
        while let Some((expires, sequence)) =
            self.expiring.first().copied().filter(|(expires, _)| *expires <= now)
        {
            self.expiring.remove(&(expires, sequence));
            match self.messages.get(&sequence) {
                Some(stored) if stored.lock.is_some() => locked.push((expires, sequence)),
                Some(_) if self.options.bury_expired => {
                    self.bury(
                        sequence,
                        Some("TTLExpiredException"),
                        Some("The message expired and was dead lettered."),
                        now,
                    );
                }
                Some(_) => {
                    self.remove(sequence);
                }
                None => {}
            }
        }
        self.expiring.extend(locked);
    }

    /// Removes the first `count` messages a receiver could get for which `which` holds; how many
    /// there were.
    pub(crate) fn complete(&mut self, count: usize, which: impl Fn(&Sent) -> bool) -> usize {
        let found: Vec<i64> = self
            .messages
            .iter()
            .filter(|(_, stored)| {
                stored.state == State::Active && stored.lock.is_none() && which(&stored.sent)
            })
            .map(|(sequence, _)| *sequence)
            .take(count)
            .collect();
        found.iter().filter(|sequence| self.remove(**sequence).is_some()).count()
    }

    /// Takes out everything that is active.
    pub(crate) fn drain(&mut self) -> Vec<Sent> {
        let ready: Vec<i64> = self.ready.values().flatten().copied().collect();
        ready
            .into_iter()
            .filter_map(|sequence| self.remove(sequence))
            .map(|stored| stored.sent)
            .collect()
    }

    /// How many messages there are.
    pub(crate) fn depth(&self) -> Depth {
        let scheduled = self.scheduled.len() as u64;
        Depth {
            active: self.messages.len() as u64 - scheduled,
            scheduled,
            dead: self.dead.as_ref().map_or(0, |dead| dead.messages.len() as u64),
            bytes: self.messages.values().map(|stored| stored.entry.len() as u64).sum(),
        }
    }

    fn bury(&mut self, sequence: i64, reason: Option<&str>, description: Option<&str>, now: i64) {
        let Some(mut stored) = self.remove(sequence) else { return };
        stored.sent.explain(reason, description);
        stored.sent.time_to_live = None;
        stored.sent.due = None;
        let source = Value::string(self.path.clone());
        stored.sent.annotations.push((Value::symbol("x-opt-deadletter-source"), source));
        self.dead().enqueue(stored.sent, now);
    }

    fn remove(&mut self, sequence: i64) -> Option<Stored> {
        let stored = self.messages.remove(&sequence)?;
        let session = self.session_of(&stored.sent);
        if let Some(ready) = self.ready.get_mut(&session) {
            ready.remove(&sequence);
            if ready.is_empty() {
                self.ready.remove(&session);
            }
        }
        if stored.state == State::Scheduled {
            self.scheduled.remove(&(stored.sent.due.unwrap_or(stored.enqueued), sequence));
        }
        if let Some(expires) = stored.expires {
            self.expiring.remove(&(expires, sequence));
        }
        if let Some(lock) = stored.lock {
            self.locks.remove(&lock.token);
            self.lock_ends.remove(&(lock.until, lock.token));
        }
        Some(stored)
    }
}

impl Stored {
    fn stamp(&self, sequence: i64) -> Stamp {
        Stamp {
            sequence,
            enqueued: self.enqueued,
            state: self.state,
            deliveries: self.deliveries,
            time_to_live: self.time_to_live,
            lock: None,
        }
    }

    /// Writes down anew what a peek sees, once for all peeks.
    fn write(&mut self, sequence: i64) {
        self.entry = self.sent.peeked(self.stamp(sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    const MINUTE: i64 = 60_000;

    fn entity(change: impl FnOnce(&mut Options)) -> Entity {
        let mut options = Options::default();
        change(&mut options);
        Entity::new("orders".into(), options, 0)
    }

    fn add(entity: &mut Entity, message: Message, now: i64) -> i64 {
        entity.enqueue(message.into_sent(), now)
    }

    fn peeked(entity: &Entity, from: i64, count: usize) -> usize {
        entity.peek(from, count, usize::MAX, None).len()
    }

    #[test]
    fn a_lock_ends_by_itself_and_the_last_delivery_buries() {
        let mut entity = entity(|options| options.deliveries = 2);
        add(&mut entity, Message::new("a"), 0);
        let first = entity.take(None, Taking::Lock, 0).expect("it is there");
        assert!(entity.take(None, Taking::Lock, MINUTE - 1).is_none(), "it is locked");
        let second = entity.take(None, Taking::Lock, MINUTE).expect("the lock has ended");
        assert_eq!(entity.settle(first.token, Settlement::Complete, MINUTE), Err(LockLost));
        assert_eq!(entity.renew(second.token, MINUTE + 1), Ok(2 * MINUTE + 1));
        assert_eq!(
            entity.settle(second.token, Settlement::Abandon(Vec::new()), MINUTE + 2),
            Ok(())
        );
        assert_eq!((entity.depth().active, entity.depth().dead), (0, 1));
        assert!(entity.dead().take(None, Taking::Delete, MINUTE + 3).is_some());
    }

    #[test]
    fn a_message_given_back_unread_counts_no_delivery() {
        let mut entity = entity(|options| options.deliveries = 1);
        add(&mut entity, Message::new("a"), 0);
        for _ in 0..3 {
            let lent = entity.take(None, Taking::Lock, 0).expect("it is there");
            assert_eq!(entity.settle(lent.token, Settlement::Release, 0), Ok(()));
        }
        assert_eq!(entity.depth().active, 1);
    }

    #[test]
    fn a_scheduled_message_has_a_new_number_when_it_is_due() {
        let mut entity = entity(|_| {});
        let due = std::time::UNIX_EPOCH + Duration::from_secs(60);
        let scheduled = add(&mut entity, Message::new("a").due(due), 0);
        let cancelled = add(&mut entity, Message::new("b").due(due), 0);
        assert!(entity.cancel(cancelled) && !entity.cancel(cancelled));
        assert!(entity.take(None, Taking::Delete, MINUTE - 1).is_none());
        assert_eq!(peeked(&entity, scheduled, 10), 1);
        assert!(entity.turn(MINUTE));
        assert_eq!((peeked(&entity, 0, 10), peeked(&entity, cancelled + 1, 10)), (1, 1));
        assert!(entity.take(None, Taking::Delete, MINUTE).is_some());
    }

    #[test]
    fn an_expired_message_is_browsed_until_it_is_swept() {
        for (name, bury, dead) in [("removed", false, 0), ("dead-lettered", true, 1)] {
            let mut entity = entity(|options| options.bury_expired = bury);
            add(&mut entity, Message::new("a").time_to_live(Duration::from_millis(10)), 0);
            entity.turn(20);
            assert_eq!(peeked(&entity, 0, 10), 1, "{name}");
            assert!(entity.take(None, Taking::Delete, 20).is_none(), "{name}");
            assert_eq!((peeked(&entity, 0, 10), entity.depth().dead), (0, dead), "{name}");
        }
    }

    #[test]
    fn a_browse_goes_from_its_partition_to_those_after_it() {
        let mut entity = entity(|options| options.partitions = vec![0, 1, 2]);
        for n in 0..9 {
            add(&mut entity, Message::new(n.to_string()), 0);
        }
        assert_eq!(peeked(&entity, 0, 100), 9);
        assert_eq!(peeked(&entity, 1 << 48, 100), 6);
        assert_eq!(peeked(&entity, (1 << 48) + 2, 100), 5);
        assert_eq!(peeked(&entity, (2 << 48) + 4, 100), 0);
        for _ in 0..4 {
            let number = add(&mut entity, Message::new("").partition_key("same"), 0);
            assert_eq!(number >> 48, add(&mut entity, Message::new("").session("same"), 0) >> 48);
        }
    }

    #[test]
    fn a_session_has_one_holder_and_is_free_when_its_lock_ends() {
        let mut entity = entity(|options| options.sessions = true);
        for session in ["b", "a", "b"] {
            add(&mut entity, Message::new(session).session(session), 0);
        }
        let name = |held: Option<(Arc<str>, i64)>| held.map(|(name, _)| name.to_string());
        assert_eq!(name(entity.hold(None, 1, 0)).as_deref(), Some("b"), "it has waited longest");
        assert_eq!(name(entity.hold(Some("b"), 2, 0)), None);
        assert_eq!(name(entity.hold(None, 2, 0)).as_deref(), Some("a"));
        assert_eq!(name(entity.hold(None, 3, 0)), None);

        let lent = entity.take(Some("b"), Taking::Lock, 0).expect("it is there");
        assert_eq!(entity.renew_session("b", 10), Ok(MINUTE + 10));
        assert_eq!(entity.settle(lent.token, Settlement::Defer(Vec::new()), MINUTE + 5), Ok(()));
        entity.let_go("a", 2, 20);
        assert_eq!(name(entity.hold(None, 3, 20)).as_deref(), Some("a"));
        entity.turn(MINUTE + 10);
        assert_eq!(name(entity.hold(Some("b"), 4, MINUTE + 10)).as_deref(), Some("b"));
        assert_eq!(entity.session_names().len(), 2);
    }

    #[test]
    fn a_reply_holds_as_many_as_fit_and_at_least_one() {
        let mut entity = entity(|_| {});
        for _ in 0..10 {
            add(&mut entity, Message::new(vec![0; 1_000]), 0);
        }
        for (count, bytes, expected) in [(3, usize::MAX, 3), (10, 3_500, 3), (10, 10, 1)] {
            assert_eq!(
                entity.peek(0, count, bytes, None).len(),
                expected,
                "{count} messages, {bytes} bytes"
            );
        }
    }
}
