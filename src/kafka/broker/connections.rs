//! Which connection a question to a broker takes, and what becomes of one that fails.
//!
//! A broker answers a connection in order, so questions of one poll that are asked side by side
//! take connections of their own: its [`Lane`]s. Each broker and lane has a slot, in which there is
//! at most one connection.
//!
//! - There is no state without a next attempt: a slot that is asked for and has no connection opens
//!   one, after a back-off with jitter of at most a second.
//! - A question on a connection that turns out to be closed is asked again on a new one at once.
//!   One that has no answer after a second is asked on a new connection too, and the first answer
//!   counts: a network may have forgotten the old one without a word, and may not.
//! - Only brokers that are asked something are connected to, and of one cluster at most 256
//!   connections are kept, whatever it says of itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::health::ConnectionHealth;
use crate::coalescer::Tasks;
use crate::kafka::fault::{Fault, Kind};
use crate::kafka::pause::{FIRST_PAUSE, doubled};
use crate::kafka::wire::requests::{Fetch, FetchReply};
use crate::kafka::wire::{
    Connection, ConnectionError, Dialer, Endpoint, Received, Request, Traffic,
};
use crate::lock::lock;
use crate::source::Figures;

/// How long a connection may owe an answer before the question is asked on a new one too.
const ASK_ANEW_AFTER: Duration = Duration::from_secs(1);

/// How often a question is asked on a new connection because the old one does not answer.
const ASK_ANEW_EVERY: Duration = Duration::from_secs(5);

/// How long one broker may take to answer what any of them knows before another one is asked too.
const NEXT_BROKER_AFTER: Duration = Duration::from_secs(1);

/// How long every broker must be absent before that is believed: one that restarts is away for
/// less.
const ABSENT_FOR: Duration = Duration::from_secs(1);

/// Brokers that are asked the same at a time.
const BROKERS_AT_ONCE: usize = 4;

/// Connections that one cluster may have opened at a time.
const DIALS_AT_ONCE: usize = 32;

/// An answer that takes longer may be that of a broker that has stood still meanwhile.
const PROMPT: Duration = Duration::from_secs(1);

/// How long a broker that has stood still must answer again before it is taken to know what
/// happened meanwhile. It takes some hundred milliseconds until it learns what it leads no more.
const BELIEVE_AFTER: Duration = Duration::from_secs(5);

/// Slots of one cluster.
const MAX_SLOTS: usize = 256;

/// Brokers that are remembered for questions that any of them can answer, besides the servers of
/// the trigger.
const MAX_CANDIDATES: usize = 16;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::kafka) enum Lane {
    /// What topics look like, and where coordinators are.
    Describe,
    /// Where partitions begin.
    Starts,
    /// Where partitions end.
    Ends,
    /// What groups have committed.
    Groups,
    /// Records that are followed.
    Tails,
    /// Records of stretches before those.
    Backfills,
}

impl Lane {
    fn traffic(self) -> Traffic {
        match self {
            Lane::Describe | Lane::Starts | Lane::Ends | Lane::Groups => Traffic::Asking,
            Lane::Tails => Traffic::Following,
            Lane::Backfills => Traffic::Backfilling,
        }
    }
}

/// All connections to one cluster.
pub(in crate::kafka) struct Connections {
    dialer: Arc<Dialer>,
    tasks: Tasks,
    health: Arc<ConnectionHealth>,
    /// The servers of the trigger.
    servers: Vec<Endpoint>,
    /// Brokers that may be asked what each of them knows; the one that answered last comes first.
    candidates: Mutex<VecDeque<Endpoint>>,
    slots: Mutex<HashMap<(Endpoint, Lane), Arc<Slot>>>,
    /// Attempts to open one that may be under way.
    dials: Arc<Semaphore>,
    behind: Mutex<Behind>,
    /// Since when every broker that was asked has been absent.
    absent_since: Mutex<Option<Instant>>,
}

/// Brokers that did not answer for a while, and since when they do again. They may not know yet who
/// has taken over from them.
#[derive(Debug, Default)]
struct Behind(HashMap<Endpoint, Option<Instant>>);

/// The place of one connection.
struct Slot {
    endpoint: Endpoint,
    traffic: Traffic,
    state: Mutex<SlotState>,
}

struct SlotState {
    now: Occupied,
    /// Attempts and questions that have failed since the last one that did not.
    failures: u32,
    /// When the next attempt may begin.
    not_before: Instant,
    /// When a question may next be asked on a new connection beside the one it is under way on.
    anew_not_before: Instant,
    last_asked: Instant,
}

enum Occupied {
    Empty,
    /// Being opened; all who wait hear of the end.
    Opening(watch::Receiver<Option<Opened>>),
    Open(Arc<Connection>),
}

type Opened = Result<Arc<Connection>, ConnectionError>;

impl Connections {
    pub(in crate::kafka) fn new(
        dialer: Arc<Dialer>,
        servers: Vec<Endpoint>,
        tasks: Tasks,
        health: Arc<ConnectionHealth>,
    ) -> Connections {
        let (candidates, slots) = (Mutex::default(), Mutex::default());
        let behind = Mutex::default();
        let dials = Arc::new(Semaphore::new(DIALS_AT_ONCE));
        let absent_since = Mutex::default();
        Connections {
            dialer,
            tasks,
            health,
            servers,
            candidates,
            slots,
            dials,
            behind,
            absent_since,
        }
    }

    /// How many are open now, and of those are held back by their brokers.
    pub(in crate::kafka) fn figures(&self) -> Figures {
        let slots: Vec<_> = lock(&self.slots).values().map(Arc::clone).collect();
        let mut figures = Figures::default();
        for slot in slots {
            if let Occupied::Open(connection) = &lock(&slot.state).now
                && !connection.has_ended()
            {
                figures.connections += 1;
                figures.throttled += usize::from(!connection.throttled().is_zero());
            }
        }
        figures
    }

    /// Whether a broker has stood still lately, so that it may take itself for the leader or the
    /// coordinator that it was before. Only one that was asked meanwhile is known to have.
    pub(super) fn may_be_behind(&self, broker: &Endpoint) -> bool {
        lock(&self.behind).0.contains_key(broker)
    }

    /// Notes brokers that the cluster names, for questions that any of them can answer.
    pub(super) fn learn(&self, brokers: impl Iterator<Item = Endpoint>) {
        let mut candidates = lock(&self.candidates);
        let first = candidates.front().cloned();
        candidates.clear();
        // The one that answered stays first, even where the cluster calls it by another name.
        candidates.extend(first.iter().cloned());
        let others = brokers.filter(|broker| Some(broker) != first.as_ref());
        candidates.extend(others.take(MAX_CANDIDATES));
    }

    /// Asks one broker.
    ///
    /// # Errors
    /// [`Fault`] where there is no reply by the deadline. What the broker itself answers with an
    /// error is a reply.
    pub(in crate::kafka) async fn ask<R: Request>(
        &self,
        broker: &Endpoint,
        lane: Lane,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Reply, Fault> {
        let asked = Instant::now();
        let answer = self.ask_whole(broker, lane, request, deadline).await;
        let now = Instant::now();
        match &answer {
            Ok(_) if now - asked < PROMPT => lock(&self.behind).answered(broker, now),
            Err(fault) if fault.kind != Kind::Silent => {}
            Ok(_) | Err(_) => lock(&self.behind).silent(broker),
        }
        answer.map(|(reply, _)| reply)
    }

    /// Fetches records from one broker; gives the payload that the reply was read from, too.
    ///
    /// # Errors
    /// As [`ask`](Connections::ask).
    pub(in crate::kafka) async fn fetch(
        &self,
        broker: &Endpoint,
        lane: Lane,
        request: &Fetch,
        deadline: Instant,
    ) -> Result<(FetchReply, Bytes), Fault> {
        let (reply, payload) = self.ask_whole(broker, lane, request, deadline).await?;
        Ok((reply, payload.into_bytes()))
    }

    /// Closes the connections of a lane, once nothing is asked on them.
    pub(in crate::kafka) fn close(&self, lane: Lane) {
        lock(&self.slots).retain(|(_, of), _| *of != lane);
    }

    async fn ask_whole<R: Request>(
        &self,
        broker: &Endpoint,
        lane: Lane,
        request: &R,
        deadline: Instant,
    ) -> Result<(R::Reply, Received), Fault> {
        let slot = self.slot(broker, lane)?;
        let answer = self.ask_in(&slot, request, deadline).await;
        match &answer {
            Ok(_) => {
                lock(&slot.state).failures = 0;
                self.health.clear();
            }
            Err(error) => self.health.note(Fault::from(error.clone())),
        }
        answer.map_err(Fault::from)
    }

    /// Asks any broker, one after another until one answers.
    ///
    /// # Errors
    /// [`Fault`] where none does by the deadline, one refuses us, or nobody takes connections
    /// anywhere.
    pub(super) async fn ask_any<R: Request>(
        &self,
        lane: Lane,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Reply, Fault> {
        let brokers = self.candidates();
        let mut next = (0..brokers.len()).cycle();
        let mut faults: BTreeMap<usize, Fault> = BTreeMap::new();
        let mut failed = 0;
        let mut attempts = FuturesUnordered::new();
        loop {
            if attempts.len() < BROKERS_AT_ONCE.min(brokers.len())
                && let Some(number) = next.next()
                && let Some(broker) = brokers.get(number)
            {
                attempts.push(async move {
                    (number, broker, self.ask(broker, lane, request, deadline).await)
                });
            }
            tokio::select! {
                Some((number, broker, answer)) = attempts.next() => match answer {
                    Ok(reply) => {
                        *lock(&self.absent_since) = None;
                        self.prefer(broker);
                        return Ok(reply);
                    }
                    Err(fault) if matches!(fault.kind, Kind::Refused | Kind::Unaskable) => {
                        return Err(fault);
                    }
                    Err(fault) => {
                        self.demote(broker);
                        if fault.kind != Kind::Absent {
                            *lock(&self.absent_since) = None;
                        }
                        faults.insert(number, fault);
                        // One wrong port among the servers is no reason to give up; all of them
                        // are.
                        let foreign = || faults.values().filter(|of| of.kind == Kind::Foreign);
                        if foreign().count() == brokers.len() {
                            return Err(first_of(&faults));
                        }
                        let absent = || faults.values().filter(|of| of.kind == Kind::Absent);
                        if absent().count() == brokers.len() {
                            // An earlier question may have found them absent already.
                            let since = *lock(&self.absent_since).get_or_insert_with(Instant::now);
                            if since.elapsed() >= ABSENT_FOR {
                                return Err(Fault::new(Kind::AllAbsent, first_of(&faults).reason));
                            }
                        }
                        failed += 1;
                        if failed % brokers.len() == 0 {
                            // Each has had its turn; slots have pauses of their own.
                            sleep(FIRST_PAUSE).await;
                        }
                    }
                },
                () = sleep(NEXT_BROKER_AFTER), if attempts.len() < brokers.len() => {}
                () = sleep_until(deadline) => {
                    return Err(Fault::new(Kind::Silent, first_of(&faults).reason));
                }
            }
        }
    }

    /// Those to ask, in order: brokers that the cluster names and servers of the trigger in turn,
    /// since either may all be gone.
    fn candidates(&self) -> Vec<Endpoint> {
        let candidates = lock(&self.candidates);
        let others = self.servers.iter().filter(|server| !candidates.contains(*server));
        let (mut named, mut others) = (candidates.iter(), others);
        let mut brokers = Vec::with_capacity(candidates.len() + self.servers.len());
        loop {
            let (one, other) = (named.next(), others.next());
            if one.is_none() && other.is_none() {
                return brokers;
            }
            brokers.extend(one.into_iter().chain(other).cloned());
        }
    }

    fn prefer(&self, broker: &Endpoint) {
        let mut candidates = lock(&self.candidates);
        if candidates.front() != Some(broker) {
            candidates.retain(|candidate| candidate != broker);
            candidates.push_front(broker.clone());
            candidates.truncate(MAX_CANDIDATES + 1);
        }
    }

    /// A broker has not answered, so others are asked before it.
    fn demote(&self, broker: &Endpoint) {
        let mut candidates = lock(&self.candidates);
        if let Some(at) = candidates.iter().position(|candidate| candidate == broker) {
            candidates.remove(at);
        }
    }

    fn slot(&self, broker: &Endpoint, lane: Lane) -> Result<Arc<Slot>, Fault> {
        let mut slots = lock(&self.slots);
        let key = (broker.clone(), lane);
        if let Some(slot) = slots.get(&key) {
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= MAX_SLOTS {
            let unused = slots.iter().filter(|(_, slot)| Arc::strong_count(slot) == 1);
            let oldest = unused.min_by_key(|(_, slot)| lock(&slot.state).last_asked);
            let oldest = oldest.map(|(key, _)| key.clone());
            if oldest.and_then(|oldest| slots.remove(&oldest)).is_none() {
                let reason = format!("the cluster takes more than {MAX_SLOTS} connections");
                return Err(Fault::new(Kind::Passing, reason));
            }
        }
        let slot = Arc::new(Slot::new(broker.clone(), lane.traffic()));
        slots.insert(key, Arc::clone(&slot));
        Ok(slot)
    }

    async fn ask_in<R: Request>(
        &self,
        slot: &Arc<Slot>,
        request: &R,
        deadline: Instant,
    ) -> Result<(R::Reply, Received), ConnectionError> {
        let connection = self.connection(slot, None, deadline).await?;
        let mut first = Box::pin(self.call(slot, &connection, request, deadline));
        // A new connection is no way around what the broker has asked for.
        let anew_after = connection.throttled().saturating_add(ASK_ANEW_AFTER);
        let first = match timeout(anew_after, &mut first).await {
            Ok(Err(error)) if error.is_stale() => None,
            Ok(answer) => return answer,
            // A broker that is only slow is not to be asked everything twice.
            Err(_) if !slot.may_ask_anew() => return first.await,
            Err(_) => Some(first),
        };
        let anew = Box::pin(async {
            let other = self.connection(slot, Some(&connection), deadline).await?;
            self.call(slot, &other, request, deadline).await
        });
        let Some(first) = first else {
            return anew.await;
        };
        match select(first, anew).await {
            Either::Left((Ok(reply), _)) => {
                slot.put_back(&connection);
                Ok(reply)
            }
            Either::Right((Ok(reply), _)) => Ok(reply),
            Either::Left((Err(_), anew)) => anew.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    async fn call<R: Request>(
        &self,
        slot: &Slot,
        connection: &Arc<Connection>,
        request: &R,
        deadline: Instant,
    ) -> Result<(R::Reply, Received), ConnectionError> {
        let answer = connection.call(request, deadline).await;
        // A question that was given up says nothing against asking on another connection at once.
        if answer.as_ref().is_err_and(|error| !error.is_ours()) {
            slot.lost(connection);
        }
        answer
    }

    /// The connection in a slot, which is opened if there is none, or none but `old`.
    async fn connection(
        &self,
        slot: &Arc<Slot>,
        old: Option<&Arc<Connection>>,
        deadline: Instant,
    ) -> Opened {
        loop {
            let opening = match self.occupy(slot, old) {
                Next::Take(connection) => return Ok(connection),
                Next::Wait(opening) => opening,
                Next::Pause(until) if until >= deadline => {
                    sleep_until(deadline).await;
                    return Err(ConnectionError::Silent);
                }
                Next::Pause(until) => {
                    sleep_until(until).await;
                    continue;
                }
            };
            let mut opening = opening;
            let opened = timeout_at(deadline, opening.wait_for(Option::is_some)).await;
            match opened {
                Ok(Ok(opened)) => match &*opened {
                    Some(opened) => return opened.clone(),
                    None => return Err(ConnectionError::Ended),
                },
                Ok(Err(_)) => return Err(ConnectionError::Ended),
                Err(_) => return Err(ConnectionError::Silent),
            }
        }
    }

    /// What to do to have the connection of a slot; an attempt that is due is begun.
    fn occupy(&self, slot: &Arc<Slot>, old: Option<&Arc<Connection>>) -> Next {
        let now = Instant::now();
        let mut state = lock(&slot.state);
        state.last_asked = now;
        match &state.now {
            Occupied::Open(connection)
                if !connection.has_ended()
                    && old.is_none_or(|old| !Arc::ptr_eq(old, connection)) =>
            {
                return Next::Take(Arc::clone(connection));
            }
            Occupied::Opening(opening) => return Next::Wait(opening.clone()),
            Occupied::Open(_) | Occupied::Empty => {}
        }
        if state.not_before > now {
            return Next::Pause(state.not_before);
        }
        let (told, opening) = watch::channel(None);
        state.now = Occupied::Opening(opening.clone());
        drop(state);
        // However its task ends, the slot is not left as being opened.
        let attempt = Attempt { slot: Arc::clone(slot), told };
        let (dialer, tasks) = (Arc::clone(&self.dialer), self.tasks.clone());
        let (health, dials) = (Arc::clone(&self.health), Arc::clone(&self.dials));
        self.tasks.spawn(async move {
            // A cluster may name brokers by the thousand. The semaphore is never closed.
            let _turn = dials.acquire_owned().await;
            let slot = &attempt.slot;
            let opened = dialer.open(&slot.endpoint, slot.traffic, &tasks).await;
            if let Err(error) = &opened {
                health.note(Fault::from(error.clone()));
            }
            attempt.end(opened.map(Arc::new));
        });
        Next::Wait(opening)
    }
}

/// What has to be done to have a connection.
enum Next {
    Take(Arc<Connection>),
    Wait(watch::Receiver<Option<Opened>>),
    Pause(Instant),
}

/// An attempt to open a slot's connection.
struct Attempt {
    slot: Arc<Slot>,
    told: watch::Sender<Option<Opened>>,
}

impl Attempt {
    fn end(&self, opened: Opened) {
        {
            let mut state = lock(&self.slot.state);
            state.now = match &opened {
                Ok(connection) => Occupied::Open(Arc::clone(connection)),
                Err(_) => Occupied::Empty,
            };
        }
        if opened.is_err() {
            self.slot.failed();
        }
        self.told.send_replace(Some(opened));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut state = lock(&self.slot.state);
        if matches!(state.now, Occupied::Opening(_)) {
            state.now = Occupied::Empty;
        }
    }
}

impl Behind {
    fn silent(&mut self, broker: &Endpoint) {
        if self.0.len() >= MAX_SLOTS && !self.0.contains_key(broker) {
            // As many brokers as this are no cluster that works; what they say is their own loss.
            self.0.clear();
        }
        self.0.insert(broker.clone(), None);
    }

    fn answered(&mut self, broker: &Endpoint, now: Instant) {
        let Some(since) = self.0.get_mut(broker) else { return };
        if now.saturating_duration_since(*since.get_or_insert(now)) >= BELIEVE_AFTER {
            self.0.remove(broker);
        }
    }
}

impl Slot {
    fn new(endpoint: Endpoint, traffic: Traffic) -> Slot {
        let now = Instant::now();
        Slot {
            endpoint,
            traffic,
            state: Mutex::new(SlotState {
                now: Occupied::Empty,
                failures: 0,
                not_before: now,
                anew_not_before: now,
                last_asked: now,
            }),
        }
    }

    /// One more attempt has failed: the next one is put off.
    fn failed(&self) {
        lock(&self.state).put_off();
    }

    /// This connection has failed, of which each question on it tells.
    fn lost(&self, connection: &Arc<Connection>) {
        let mut state = lock(&self.state);
        if matches!(&state.now, Occupied::Open(now) if Arc::ptr_eq(now, connection)) {
            state.now = Occupied::Empty;
            state.put_off();
        }
    }

    /// Whether a question may be asked on a new connection too, which is now and then.
    fn may_ask_anew(&self) -> bool {
        let (now, mut state) = (Instant::now(), lock(&self.state));
        let may = state.anew_not_before <= now;
        if may {
            state.anew_not_before = now + ASK_ANEW_EVERY;
        }
        may
    }

    /// This connection has answered, late, and before the one that was to take its place.
    fn put_back(&self, connection: &Arc<Connection>) {
        let mut state = lock(&self.state);
        if !connection.has_ended() && !matches!(state.now, Occupied::Opening(_)) {
            state.now = Occupied::Open(Arc::clone(connection));
        }
    }
}

impl SlotState {
    fn put_off(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Instant::now() + pause(self.failures);
    }
}

/// How long to wait after so many failures: not at all after the first, which may only have shown
/// that a connection was old.
fn pause(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else {
        return Duration::ZERO;
    };
    // Between half of it and all of it, so that what failed together does not come back together.
    doubled(FIRST_PAUSE, doublings).mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}

/// The fault of the first broker in order, so that the same cause reads the same each time.
fn first_of(faults: &BTreeMap<usize, Fault>) -> Fault {
    let told = faults.values().find(|fault| fault.kind != Kind::Silent);
    told.or_else(|| faults.values().next()).cloned().unwrap_or_else(Fault::silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_stood_still_is_believed_once_it_has_answered_for_a_while() {
        let broker = Endpoint::new("broker", 9092).expect("an endpoint");
        let mut behind = Behind::default();
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let is_behind = |behind: &Behind| behind.0.contains_key(&broker);
        behind.answered(&broker, start);
        assert!(!is_behind(&behind), "it was never silent");
        behind.silent(&broker);
        // However long it was silent, and was not asked.
        behind.answered(&broker, after(60_000));
        behind.answered(&broker, after(64_999));
        assert!(is_behind(&behind));
        behind.silent(&broker);
        behind.answered(&broker, after(65_000));
        behind.answered(&broker, after(69_999));
        assert!(is_behind(&behind), "it was silent again");
        behind.answered(&broker, after(70_000));
        assert!(!is_behind(&behind));
    }

    #[test]
    fn of_brokers_that_stood_still_no_more_are_remembered_than_are_connected_to() {
        let mut behind = Behind::default();
        for port in 1..=2 * MAX_SLOTS {
            let port = u16::try_from(port).expect("a port");
            behind.silent(&Endpoint::new("broker", port).expect("an endpoint"));
            assert!(behind.0.len() <= MAX_SLOTS);
        }
    }

    #[test]
    fn attempts_are_put_off_longer_each_time_but_never_for_more_than_a_second() {
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(pause(1), Duration::ZERO);
        for (failures, longest) in [(2, 50), (3, 100), (6, 800), (7, 1_000), (u32::MAX, 1_000)] {
            let longest = Duration::from_millis(longest);
            let pause = pause(failures);
            assert!(pause <= longest && pause >= longest / 2, "{failures}: {pause:?}");
        }
    }
}
