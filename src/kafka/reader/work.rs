//! The task of a reader.
//!
//! - To each broker one fetch is under way, for all that it leads and that can take more. It waits
//!   a moment for records where there are none, so that a tail is where its partition ends without
//!   being asked.
//! - Where the next fetch begins is told by the heads of the batches. So a partition is fetched on
//!   while what came before is judged; with two such portions it waits, and so does everything once
//!   [`MOST_WAITING`] bytes wait. What a broker has faster than it can be judged stays with the
//!   broker.
//! - A partition whose leader has moved, or does not answer, is looked up anew, and fetched again
//!   after a pause. One of which the log no longer holds the position is told to its tail, which
//!   has it read anew.
//! - Where a reply cannot be read, each of its partitions is fetched alone for once. What cannot be
//!   read alone is told to who waits for it, and tried again each second.
//! - There is no state without a next attempt, and none without a pause before it.
//!
//! # References
//! - KIP-74: a fetch has a first batch whole, however large
//! - KIP-98 (read_committed), KIP-320 (leader epochs, and logs that were cut), KIP-516 (topic ids)
//! - KIP-227 (sessions) · KIP-219: a broker that has had enough of a client answers without
//!   partitions

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::desk::{Change, Desk, Parts, TopicPartition};
use super::session::{Question, Wanted};
use super::turns::Broker;
use crate::kafka::broker::{Lane, Leader};
use crate::kafka::fault::{Fault, Kind};
use crate::kafka::judges::{Outcome, Portion};
use crate::kafka::names::{Offset, Partition, Topic};
use crate::kafka::pause::{FIRST_PAUSE, LONGEST_PAUSE, doubled};
use crate::kafka::tail::Reading;
use crate::kafka::wire::Endpoint;
use crate::kafka::wire::records::{Aborted, Batches, Heads, HeadsError};
use crate::kafka::wire::requests::{
    Fetch, FetchPartition, FetchReply, FetchSession, FetchedPartition, InSession, Isolation,
};
use crate::lock::lock;

/// How long a broker waits for records where there are none. A partition that is begun meanwhile
/// waits as long.
const WAIT: Duration = Duration::from_millis(100);

/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one partition in a fetch.
pub(in crate::kafka) const PARTITION_BYTES: u32 = 2 * 1024 * 1024;

/// Bytes of a fetch.
pub(in crate::kafka) const FETCH_BYTES: u32 = 4 * 1024 * 1024;

/// Bytes of a fetch from a broker that is slow, or where there is hardly any room.
const LEAST_BYTES: u32 = 64 * 1024;

/// Bytes that may wait to be judged before nothing more is fetched.
const MOST_WAITING: usize = 8 * 1024 * 1024;

/// Brokers of which it is remembered that they are slow.
const MAX_SIZES: usize = 1_000;

/// How long it waits where a partition that it leads can be fetched from again any moment.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// After how long without an answer it is looked whether others have taken over.
const LATE_AFTER: Duration = Duration::from_secs(1);

/// The first pause between two questions about leaders; it doubles while they change nothing.
const FIRST_LOOK_UP: Duration = Duration::from_millis(250);

/// Partitions in a fetch.
const MAX_PARTITIONS: usize = 10_000;

/// Portions that wait to be judged before nothing more is fetched.
const MAX_PORTIONS: usize = 256;

/// What is said of records that nobody asked for.
const NOT_ASKED: &str = "records from before it";

/// A reader without partitions ends after this time.
const LINGER: Duration = Duration::from_secs(10);

/// The task's own state.
pub(super) struct Work {
    lane: Lane,
    parts: Parts,
    desk: Arc<Desk>,
    partitions: BTreeMap<TopicPartition, Followed>,
    /// Those of which it is not known who leads them.
    leaderless: BTreeSet<TopicPartition>,
    brokers: HashMap<Endpoint, Broker>,
    fetching: FuturesUnordered<BoxFuture<'static, Fetched>>,
    judging: FuturesUnordered<BoxFuture<'static, Judged>>,
    /// A question about topics whose leaders are not known that is under way, and about which.
    looking_up: Option<BoxFuture<'static, BTreeSet<Topic>>>,
    /// When the next such question may be asked.
    look_up_at: Instant,
    /// How many of them have changed nothing.
    vain_look_ups: u32,
    /// Bytes of what is being judged, or waits for it.
    waiting: usize,
    /// Bytes of a fetch from a broker that could not send more in time.
    sizes: HashMap<Endpoint, u32>,
    /// How many partitions have been followed.
    count: u64,
}

/// A partition that is read.
struct Followed {
    /// Tells it from what the partition was read for before. What is under way does not hold the
    /// reading, whose tail is to hear at once of its end.
    number: u64,
    reading: Arc<Reading>,
    /// Where the next fetch begins.
    position: Offset,
    /// The leader epoch of the batch before.
    last_epoch: Option<i32>,
    /// Whose fetches it is part of; `None` while it is not known who leads it.
    leader: Option<Leader>,
    /// Whether what is known of its leader is no longer believed.
    is_in_doubt: bool,
    /// How often the topic was seen with another id.
    other_ids: u8,
    /// Whether it is fetched by itself: something could not be read of a reply with others.
    is_alone: bool,
    is_judged: bool,
    /// Fetched, and not being judged yet.
    next: Option<Portion>,
    failures: u32,
    /// When it may be fetched again.
    not_before: Instant,
}

/// When something can be done next.
struct Due(Option<Instant>);

/// What the task wakes for.
enum Event {
    Posted,
    Due,
    Fetched(Fetched),
    Judged(Judged),
    LookedUp(BTreeSet<Topic>),
}

/// What to fetch from a broker now.
struct Picked {
    wanted: Vec<Wanted>,
    asked: Vec<Asked>,
    /// How long the broker may wait for records.
    wait: Duration,
    /// Whether this is a partition that is fetched by itself.
    is_alone: bool,
    /// One that is to be, next time.
    starved: Option<TopicPartition>,
}

/// What became of a fetch.
struct Fetched {
    broker: Endpoint,
    session: FetchSession,
    /// What the reply may name.
    names: Arc<InSession>,
    /// What was asked for, and from where on.
    asked: Vec<Asked>,
    answer: Result<(FetchReply, Bytes), Fault>,
}

struct Asked {
    place: TopicPartition,
    number: u64,
    from: Offset,
}

/// What became of judging a portion.
struct Judged {
    place: TopicPartition,
    number: u64,
    /// Bytes of the portion.
    size: usize,
    /// `None` where judging panicked, or the task ends.
    outcome: Option<Outcome>,
}

impl Work {
    pub(super) fn new(lane: Lane, parts: Parts, desk: Arc<Desk>) -> Work {
        Work {
            lane,
            parts,
            desk,
            partitions: BTreeMap::new(),
            leaderless: BTreeSet::new(),
            brokers: HashMap::new(),
            fetching: FuturesUnordered::new(),
            judging: FuturesUnordered::new(),
            looking_up: None,
            look_up_at: Instant::now(),
            vain_look_ups: 0,
            waiting: 0,
            sizes: HashMap::new(),
            count: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut idle_since = Instant::now();
        loop {
            let Some(changes) = self.take_changes(idle_since) else { break };
            for (place, change) in changes {
                self.change(place, change);
            }
            if !self.partitions.is_empty() {
                idle_since = Instant::now();
            }
            self.find_leaders();
            let due = self.fetch().unwrap_or(idle_since + LINGER);
            let looks_up = !self.leaderless.is_empty() && self.looking_up.is_none();
            let due = if looks_up { due.min(self.look_up_at) } else { due };
            let Work { fetching, judging, looking_up, desk, .. } = &mut self;
            let looked_up = async {
                match looking_up {
                    Some(question) => question.await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                () = desk.posted.notified() => Event::Posted,
                Some(fetched) = fetching.next() => Event::Fetched(fetched),
                Some(judged) = judging.next() => Event::Judged(judged),
                topics = looked_up => Event::LookedUp(topics),
                () = sleep_until(due) => Event::Due,
            };
            match event {
                Event::Posted | Event::Due => {}
                Event::Fetched(fetched) => self.fetched(fetched),
                Event::Judged(judged) => self.judged(judged),
                Event::LookedUp(topics) => self.looked_up(&topics),
            }
        }
        self.parts.connections.close(self.lane);
    }

    /// What has changed since last time; `None` when the task is to end.
    fn take_changes(&self, idle_since: Instant) -> Option<HashMap<TopicPartition, Change>> {
        let mut changes = lock(&self.desk.changes);
        let taken = std::mem::take(changes.as_mut()?);
        if taken.is_empty() && self.partitions.is_empty() && idle_since.elapsed() >= LINGER {
            *changes = None;
            return None;
        }
        Some(taken)
    }

    fn change(&mut self, place: TopicPartition, change: Change) {
        self.forget(&place);
        if let Change::Read(reading) = change {
            self.count += 1;
            self.leaderless.insert(place.clone());
            self.partitions.insert(place, Followed::new(self.count, reading));
        }
    }

    fn forget(&mut self, place: &TopicPartition) {
        self.unlead(place);
        self.leaderless.remove(place);
        if let Some(followed) = self.partitions.remove(place) {
            self.waiting -= followed.next.map_or(0, |portion| portion.bytes.len());
        }
    }

    /// Forgets who leads a partition.
    fn unlead(&mut self, place: &TopicPartition) {
        let Some(followed) = self.partitions.get_mut(place) else { return };
        self.leaderless.insert(place.clone());
        if let Some(leader) = followed.leader.take()
            && let Some(broker) = self.brokers.get_mut(&leader.broker)
        {
            broker.leads.remove(place);
            if broker.leads.is_empty() && broker.asked.is_none() {
                self.brokers.remove(&leader.broker);
            }
        }
    }

    /// Notes who leads the partitions of which that is not known, as far as anybody has heard, and
    /// asks about the others.
    fn find_leaders(&mut self) {
        let now = Instant::now();
        let (mut unknown, mut led, mut remade) = (BTreeSet::new(), Vec::new(), Vec::new());
        for place in &self.leaderless {
            let Some(followed) = self.partitions.get(place) else { continue };
            let (topic, partition) = place;
            match self.parts.topics.leader(topic, *partition) {
                Some((id, _)) if id != followed.reading.id() && followed.other_ids > 1 => {
                    remade.push(place.clone());
                }
                Some((id, Some(leader)))
                    if id == followed.reading.id() && !followed.is_in_doubt =>
                {
                    led.push((place.clone(), leader));
                }
                _ => drop(unknown.insert(topic.clone())),
            }
        }
        for (place, leader) in led {
            self.leaderless.remove(&place);
            let broker = self.brokers.entry(leader.broker.clone()).or_default();
            broker.leads.insert(place.clone());
            if let Some(followed) = self.partitions.get_mut(&place) {
                followed.leader = Some(leader);
            }
            self.vain_look_ups = 0;
        }
        // The next poll knows what is to be read of the new topic.
        remade.iter().for_each(|place| self.forget(place));
        if !unknown.is_empty() && self.looking_up.is_none() && self.look_up_at <= now {
            self.look_up_at = now + doubled(FIRST_LOOK_UP, self.vain_look_ups);
            self.vain_look_ups = self.vain_look_ups.saturating_add(1);
            let Parts { connections, topics, .. } = self.parts.clone();
            let question = async move {
                topics.look_up(&connections, &unknown, now + FETCH_TIMEOUT).await;
                unknown
            };
            self.looking_up = Some(question.boxed());
        }
    }

    fn looked_up(&mut self, topics: &BTreeSet<Topic>) {
        self.looking_up = None;
        let mut unwanted = Vec::new();
        for place in self.leaderless.iter().filter(|place| topics.contains(&place.0)) {
            let Some(followed) = self.partitions.get_mut(place) else { continue };
            followed.is_in_doubt = false;
            let now = self.parts.topics.leader(&place.0, place.1);
            if now.is_some_and(|(id, _)| id != followed.reading.id()) {
                // One broker that lags is no proof.
                followed.other_ids = followed.other_ids.saturating_add(1);
            }
            if !followed.is_wanted() {
                unwanted.push(place.clone());
            }
        }
        unwanted.iter().for_each(|place| self.forget(place));
    }

    /// Asks each broker that is not being asked for what can be fetched from it now. Gives when
    /// something more can be done, by the time alone.
    fn fetch(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut due = Due(None);
        self.leave_the_late(now, &mut due);
        let room = MOST_WAITING.saturating_sub(self.waiting);
        if room == 0 || self.judging.len() >= MAX_PORTIONS {
            return due.0;
        }
        let Work { partitions, brokers, fetching, parts, lane, sizes, .. } = self;
        for (endpoint, broker) in brokers.iter_mut().filter(|(_, broker)| broker.asked.is_none()) {
            if let Some(not_before) = broker.not_before.filter(|not_before| *not_before > now) {
                due.at(not_before);
                continue;
            }
            let size = sizes.get(endpoint).copied().unwrap_or(FETCH_BYTES);
            let max_bytes = size.min(u32::try_from(room).unwrap_or(u32::MAX)).max(LEAST_BYTES);
            let picked = Picked::of(broker, partitions, size, now, &mut due);
            let Some(question) = picked.question(broker, *lane) else { continue };
            broker.starved = picked.starved;
            broker.asked = Some((now, picked.wait));
            let (connections, lane) = (Arc::clone(&parts.connections), *lane);
            let (broker, asked) = (endpoint.clone(), picked.asked);
            let (session, names) = (question.session, Arc::clone(&question.names));
            let request = request(question, picked.wait, max_bytes);
            let fetch = async move {
                let deadline = now + FETCH_TIMEOUT;
                let answer = connections.fetch(&broker, lane, &request, deadline).await;
                Fetched { broker, session, names, asked, answer }
            };
            fetching.push(fetch.boxed());
        }
        due.0
    }

    /// Leaves brokers that do not answer where others are known to have taken over: they may be
    /// gone without a word.
    fn leave_the_late(&mut self, now: Instant, due: &mut Due) {
        let mut moved = Vec::new();
        for broker in self.brokers.values() {
            let Some((asked, _)) = broker.asked else { continue };
            let late = asked + LATE_AFTER;
            if late > now {
                due.at(late);
                continue;
            }
            due.at(now + LATE_AFTER);
            moved.extend(broker.leads.iter().filter(|place| self.has_moved(place)).cloned());
        }
        moved.iter().for_each(|place| self.unlead(place));
        if !moved.is_empty() {
            due.at(now);
        }
    }

    /// Whether a partition is known to be led by another election than the one that is asked.
    fn has_moved(&self, place: &TopicPartition) -> bool {
        let asked = self.partitions.get(place).and_then(|followed| followed.leader.as_ref());
        let known = self.parts.topics.leader(&place.0, place.1).and_then(|(_, leader)| leader);
        asked.zip(known).is_some_and(|(asked, known)| known.epoch > asked.epoch)
    }

    fn fetched(&mut self, fetched: Fetched) {
        let Fetched { broker: endpoint, session, names, asked, answer } = fetched;
        let reply = answer.as_ref().ok().map(|(reply, _)| reply);
        let sent = self.answered(&endpoint, session, reply);
        let is_alone = asked.len() == 1;
        // Not what has been replaced meanwhile, or set back.
        let mut asked: HashMap<TopicPartition, Asked> =
            asked.into_iter().map(|asked| (asked.place.clone(), asked)).collect();
        asked.retain(|place, asked| {
            let followed = self.partitions.get(place);
            followed.is_some_and(|followed| followed.is_as_asked(asked, &endpoint))
        });
        let answer = answer.and_then(|(reply, payload)| match reply.error {
            // Another one is begun, after a pause.
            Some(code) if session.is_incremental() && code.is_of_session() => {
                asked.clear();
                Ok((FetchReply { partitions: Vec::new(), ..reply }, payload))
            }
            Some(code) => Err(Fault::of_broker(code, None)),
            None => Ok((reply, payload)),
        });
        self.note_size(&endpoint, answer.as_ref().err());
        match answer {
            Ok(answer) => {
                let gave = self.take_all(&endpoint, session, &names, asked, answer);
                if !gave
                    && let Some(broker) = self.brokers.get_mut(&endpoint)
                    && let Some((sent, wait)) = sent
                {
                    // One that answers at once without anything is not asked without a pause.
                    broker.not_before = Some(sent + wait);
                }
            }
            // It may be one partition alone of which something cannot be read.
            Err(fault) if fault.kind == Kind::Foreign => {
                let fault = Fault { kind: Kind::Unreadable, ..fault };
                for place in asked.keys() {
                    self.single_out(place, is_alone.then_some(&fault));
                }
            }
            Err(fault) => asked.keys().for_each(|place| self.fail(place, &fault)),
        }
    }

    /// Notes that a broker is not being asked any more. Gives when it was, and how long it might
    /// wait.
    fn answered(
        &mut self,
        endpoint: &Endpoint,
        session: FetchSession,
        reply: Option<&FetchReply>,
    ) -> Option<(Instant, Duration)> {
        let broker = self.brokers.get_mut(endpoint)?;
        let sent = broker.asked.take();
        if session != FetchSession::NONE {
            broker.session.answered(reply.filter(|reply| reply.error.is_none()));
        }
        if broker.leads.is_empty() {
            self.brokers.remove(endpoint);
        }
        sent
    }

    /// Takes what a broker has of all partitions that it was asked for; whether any of that was
    /// records.
    fn take_all(
        &mut self,
        endpoint: &Endpoint,
        session: FetchSession,
        names: &InSession,
        mut asked: HashMap<TopicPartition, Asked>,
        (reply, payload): (FetchReply, Bytes),
    ) -> bool {
        let (mut gave, mut is_first) = (false, true);
        // A broker that has had enough of us answers without any (KIP-219).
        let is_throttled = reply.partitions.is_empty();
        for fetched in reply.partitions {
            let Some(topic) = names.topic(fetched.topic) else { continue };
            let place = (topic.clone(), fetched.partition);
            let is_empty = fetched.records.is_empty();
            if asked.remove(&place).is_some() {
                gave |= self.take(endpoint, &place, fetched, &payload, is_first);
            }
            is_first &= is_empty;
        }
        for place in asked.keys() {
            if session.is_incremental() {
                // Nothing has changed there.
                self.heal(place);
            } else if !is_throttled {
                self.fail(place, &Fault::left_out("a partition"));
            }
        }
        gave
    }

    /// Notes how much a broker can send in time.
    fn note_size(&mut self, endpoint: &Endpoint, fault: Option<&Fault>) {
        let size = self.sizes.get(endpoint).copied();
        match fault {
            None => match size.map(|size| size.saturating_mul(2)) {
                Some(size) if size < FETCH_BYTES => drop(self.sizes.insert(endpoint.clone(), size)),
                _ => drop(self.sizes.remove(endpoint)),
            },
            Some(fault) if fault.kind == Kind::Silent && self.sizes.len() < MAX_SIZES => {
                let size = (size.unwrap_or(FETCH_BYTES) / 2).max(LEAST_BYTES);
                self.sizes.insert(endpoint.clone(), size);
            }
            Some(_) => {}
        }
    }

    /// Takes what a broker has of a partition; whether that was records.
    fn take(
        &mut self,
        endpoint: &Endpoint,
        place: &TopicPartition,
        fetched: FetchedPartition,
        payload: &Bytes,
        is_first: bool,
    ) -> bool {
        if let Some(code) = fetched.error {
            self.fail(place, &Fault::of_fetch(code));
            return false;
        }
        if fetched.diverging.is_some() {
            self.fail(place, &Fault::new(Kind::Gone, "the log was cut"));
            return false;
        }
        let Some(followed) = self.partitions.get_mut(place) else { return false };
        followed.is_alone = false;
        let bytes = payload.get(fetched.records.clone()).unwrap_or_default();
        if bytes.is_empty() {
            let has_more = fetched.last_stable_offset.is_some_and(|end| end > followed.position);
            self.heal(place);
            if has_more {
                self.starve(endpoint, place);
            }
            return false;
        }
        let heads = match Heads::of(bytes) {
            Ok(heads) if heads.next > followed.position => heads,
            Ok(_) => {
                let fault = Fault::unreadable(place.1, followed.position, NOT_ASKED);
                self.fail(place, &fault);
                return false;
            }
            Err(HeadsError::Cut(_)) if !is_first => {
                // It comes whole where it comes first (KIP-74).
                followed.is_alone = true;
                return false;
            }
            Err(error) => {
                let from = followed.position;
                let fault = match Batches::new(bytes).next() {
                    Some(Err(error)) => Fault::unreadable(place.1, from, error),
                    _ => Fault::unreadable(place.1, from, error),
                };
                self.fail(place, &fault);
                return false;
            }
        };
        followed.failures = 0;
        let (bytes, aborted) = (payload.slice(fetched.records), Aborted::new(fetched.aborted));
        self.waiting += bytes.len();
        followed.next = Some(Portion { bytes, aborted, from: followed.position });
        (followed.position, followed.last_epoch) = (heads.next, heads.leader_epoch);
        if let Some(broker) = self.brokers.get_mut(endpoint) {
            broker.gave(place);
        }
        self.judge(place);
        true
    }

    /// A partition has nothing to give.
    fn heal(&mut self, place: &TopicPartition) {
        let Some(followed) = self.partitions.get_mut(place) else { return };
        followed.failures = 0;
        followed.reading.tail().heal(followed.reading.ticket());
        if followed.reading.is_backfill() && !followed.is_wanted() {
            self.forget(place);
        }
    }

    /// A partition comes first next time.
    fn starve(&mut self, endpoint: &Endpoint, place: &TopicPartition) {
        if let Some(broker) = self.brokers.get_mut(endpoint) {
            broker.starved.get_or_insert_with(|| place.clone());
        }
    }

    /// Has judged what comes next of a partition, once what came before is.
    fn judge(&mut self, place: &TopicPartition) {
        let Some(followed) = self.partitions.get_mut(place) else { return };
        if followed.is_judged {
            return;
        }
        let Some(portion) = followed.next.take() else { return };
        followed.is_judged = true;
        let Parts { judges, payers, .. } = &self.parts;
        let (judges, payers, place) = (Arc::clone(judges), Arc::clone(payers), place.clone());
        let (number, reading) = (followed.number, Arc::clone(&followed.reading));
        let size = portion.bytes.len();
        let judging = async move {
            let outcome = judges.judge(reading, portion, &payers).await;
            Judged { place, number, size, outcome }
        };
        self.judging.push(judging.boxed());
    }

    fn judged(&mut self, judged: Judged) {
        let Judged { place, number, size, outcome } = judged;
        self.waiting -= size;
        let followed = self.partitions.get_mut(&place);
        let Some(followed) = followed.filter(|now| now.number == number) else {
            return;
        };
        followed.is_judged = false;
        match outcome {
            Some(Outcome::Going) => self.judge(&place),
            Some(Outcome::Next(next)) => self.change(place, Change::Read(next)),
            Some(Outcome::Over) => self.forget(&place),
            Some(Outcome::Failed(at)) => {
                let dropped = followed.next.take().map_or(0, |portion| portion.bytes.len());
                (followed.position, followed.last_epoch) = (at, None);
                followed.not_before = Instant::now() + LONGEST_PAUSE;
                self.waiting -= dropped;
            }
            None => {
                // Filters are of tenants, and what judges them is not ours: where it panics, the
                // other partitions must go on.
                let reading = &followed.reading;
                reading.tail().break_off(reading.ticket(), Fault::panicked());
                self.forget(&place);
            }
        }
    }

    /// A partition cannot be fetched now: it is tried again after a moment, or read anew by the
    /// next poll.
    fn fail(&mut self, place: &TopicPartition, fault: &Fault) {
        let Some(followed) = self.partitions.get_mut(place) else { return };
        if fault.loses_position() || fault.is_lasting() {
            followed.reading.tail().fail(followed.reading.ticket(), fault.clone());
        }
        if fault.loses_position() || !followed.is_wanted() {
            self.forget(place);
            return;
        }
        followed.pause();
        if !fault.is_lasting() {
            followed.is_in_doubt = true;
            self.unlead(place);
        }
    }

    /// A fetch of several partitions could not be read, so each is fetched alone for once; what
    /// cannot be read alone is its own fault.
    fn single_out(&mut self, place: &TopicPartition, fault: Option<&Fault>) {
        match (fault, self.partitions.get_mut(place)) {
            (Some(fault), _) => self.fail(place, fault),
            (None, Some(followed)) => followed.is_alone = true,
            (None, None) => {}
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // However the task ends, so that nothing is posted to a desk at which nobody sits.
        self.desk.close();
    }
}

impl Due {
    fn at(&mut self, at: Instant) {
        self.0 = Some(self.0.map_or(at, |due| due.min(at)));
    }
}

impl Picked {
    /// All that can take more of what a broker leads, in turn.
    fn of(
        broker: &Broker,
        partitions: &BTreeMap<TopicPartition, Followed>,
        size: u32,
        now: Instant,
        due: &mut Due,
    ) -> Picked {
        let mut picked = Picked {
            wanted: Vec::new(),
            asked: Vec::new(),
            wait: WAIT,
            is_alone: false,
            starved: None,
        };
        for place in broker.in_turn() {
            let Some(followed) = partitions.get(place) else { continue };
            if followed.next.is_some() {
                // It can be fetched again as soon as that is judged.
                picked.wait = SHORT_WAIT;
                continue;
            }
            if followed.not_before > now {
                due.at(followed.not_before);
                continue;
            }
            if followed.is_alone && !picked.wanted.is_empty() {
                picked.starved.get_or_insert_with(|| place.clone());
                continue;
            }
            let id = followed.reading.id().given();
            if let Some(((topic, _), of_topic, _)) = picked.wanted.last()
                && *topic == place.0
                && *of_topic != id
            {
                // One of them is of the topic as it was before it was made again.
                continue;
            }
            let (number, from) = (followed.number, followed.position);
            picked.asked.push(Asked { place: place.clone(), number, from });
            picked.wanted.push((place.clone(), id, followed.question(place.1, size)));
            if followed.is_alone {
                (picked.is_alone, picked.wait) = (true, Duration::ZERO);
                break;
            }
            if picked.wanted.len() == MAX_PARTITIONS {
                break;
            }
        }
        picked
    }

    /// What a broker is asked for them; `None` where there are none.
    fn question(&self, broker: &mut Broker, lane: Lane) -> Option<Question> {
        let (last, ..) = self.wanted.last()?;
        if self.wanted.len() == MAX_PARTITIONS {
            // The others come next.
            broker.gave(last);
        }
        Some(match lane {
            Lane::Tails if !self.is_alone => broker.session.question(&self.wanted),
            _ => Question::without_session(&self.wanted),
        })
    }
}

/// The request for records that asks a question.
fn request(question: Question, max_wait: Duration, max_bytes: u32) -> Fetch {
    Fetch {
        max_wait,
        min_bytes: 1,
        max_bytes,
        isolation: Isolation::ReadCommitted,
        session: question.session,
        topics: question.topics,
        forgotten: question.forgotten,
        in_session: Some(question.names),
    }
}

impl Followed {
    fn new(number: u64, reading: Reading) -> Followed {
        Followed {
            number,
            position: reading.from(),
            reading: Arc::new(reading),
            last_epoch: None,
            leader: None,
            is_in_doubt: false,
            other_ids: 0,
            is_alone: false,
            is_judged: false,
            next: None,
            failures: 0,
            not_before: Instant::now(),
        }
    }

    /// What is asked of a broker about this partition.
    fn question(&self, partition: Partition, max_bytes: u32) -> FetchPartition {
        FetchPartition {
            partition,
            leader_epoch: self.leader.as_ref().and_then(|leader| leader.epoch),
            fetch_offset: self.position,
            last_fetched_epoch: self.last_epoch,
            max_bytes: PARTITION_BYTES.min(max_bytes),
        }
    }

    /// Whether this is what was asked for, of this broker.
    fn is_as_asked(&self, asked: &Asked, broker: &Endpoint) -> bool {
        let is_led = self.leader.as_ref().is_some_and(|leader| leader.broker == *broker);
        is_led && self.number == asked.number && self.position == asked.from
    }

    fn is_wanted(&self) -> bool {
        self.reading.tail().wants(self.reading.ticket())
    }

    /// Puts off the next fetch.
    fn pause(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Instant::now() + doubled(FIRST_PAUSE, self.failures);
    }
}
