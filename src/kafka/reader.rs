//! What fetches partitions and has their records judged.
//!
//! A cluster has two readers: one for the tails, which follows the ends, and one for backfills, which
//! reads stretches that lie before. Each is one task, with a connection of its own to every broker that
//! leads something it reads, so that asking is never behind it. Polls post what is to be read as a
//! desired state, one entry a partition, so that nothing queues up. A reader that has had nothing to
//! read for a while ends.
//!
//! - To each broker one fetch is under way, for all that it leads and that can take more. It waits a
//!   moment for records where there are none, so that a tail is where its partition ends without
//!   being asked.
//! - Where the next fetch begins is told by the heads of the batches. So a partition fetches on while
//!   what it fetched last is judged; with two such portions it waits. What a broker sends faster than it can be judged stays with
//!   the broker.
//! - Each fetch begins after the partition that the one before gave records of last, so that a topic
//!   that floods takes its turn and no more.
//! - A partition whose leader has moved, or does not answer, is looked up anew, and fetched again
//!   after a moment. One of which the log no longer holds the position is told to its tail, which has
//!   it read anew.
//!
//! A [`Reading`] that is dropped before it is over, for whatever reason, says so to its tail, and the
//! next poll has the partition read anew.
//!
//! # References
//! - KIP-74: a fetch has a first batch whole, however large
//! - KIP-98 (read_committed), KIP-320 (leader epochs, and logs that were cut), KIP-516 (topic ids)

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::broker::{Connections, Lane, Leader, TopicId, Topics};
use super::fault::{Fault, Kind};
use super::judges::{Judges, Outcome, Portion};
use super::names::{Offset, Partition, Topic};
use super::tail::{Epoch, Judging, TopicTail};
use super::wire::Endpoint;
use super::wire::records::Heads;
use super::wire::requests::{
    Fetch, FetchPartition, FetchReply, FetchSession, FetchTopic, FetchedPartition, Isolation,
};
use crate::coalescer::Tasks;
use crate::lock::lock;
use crate::selection::Judge;

/// How long a broker waits for records where there are none. A partition that is begun meanwhile waits
/// as long.
const WAIT: Duration = Duration::from_millis(100);

/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one partition in a fetch.
const PARTITION_BYTES: u32 = 1024 * 1024;

/// Bytes of a fetch.
const FETCH_BYTES: u32 = 8 * 1024 * 1024;

/// How long it waits where a partition that it leads can be fetched from again any moment.
const SHORT_WAIT: Duration = Duration::from_millis(5);

/// How often leaders are asked for.
const LOOK_UP_EVERY: Duration = Duration::from_millis(250);

/// Bytes of the largest batch that a reply can hold beside all else.
const LARGEST_BATCH: usize = 15 * 1024 * 1024;

/// Partitions in a fetch.
const MAX_PARTITIONS: usize = 10_000;

/// Portions that wait to be judged before nothing more is fetched.
const MAX_PORTIONS: usize = 256;

/// The first pause after a failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    /// Whose records: a topic that is made again has another id.
    id: TopicId,
    from: Offset,
    /// For a backfill where it ends and what it is judged with; the tail has no end.
    backfill: Option<(Offset, Arc<Judging>)>,
}

/// Where readings are posted, and the task that reads them while there are any.
pub(super) struct Reader {
    lane: Lane,
    parts: Parts,
    tasks: Tasks,
    desk: Mutex<Option<Arc<Desk>>>,
}

/// What reading takes.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) connections: Arc<Connections>,
    pub(super) topics: Arc<Topics>,
    pub(super) judges: Arc<Judges>,
}

/// What polls and the task share.
struct Desk {
    /// `None` once the task takes nothing more.
    changes: Mutex<Option<HashMap<Place, Change>>>,
    posted: Notify,
}

enum Change {
    Read(Reading),
    Stop,
}

type Place = (Topic, Partition);

/// The task's own state.
struct Work {
    lane: Lane,
    parts: Parts,
    desk: Arc<Desk>,
    partitions: BTreeMap<Place, Followed>,
    /// Those of which it is not known who leads them.
    leaderless: BTreeSet<Place>,
    brokers: HashMap<Endpoint, Broker>,
    fetching: FuturesUnordered<BoxFuture<'static, Fetched>>,
    judging: FuturesUnordered<BoxFuture<'static, Judged>>,
    /// A question about topics whose leaders are not known that is under way, and about which.
    looking_up: Option<BoxFuture<'static, BTreeSet<Topic>>>,
    /// When the next such question may be asked.
    look_up_at: Instant,
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
    is_judged: bool,
    /// Fetched, and not being judged yet.
    next: Option<Portion>,
    failures: u32,
    /// When it may be fetched again.
    not_before: Instant,
}

/// A broker that leads something.
#[derive(Default)]
struct Broker {
    is_asked: bool,
    leads: BTreeSet<Place>,
    /// The partition that the last fetch gave records of last.
    last: Option<Place>,
}

/// What the task wakes for.
enum Event {
    Posted,
    Due,
    Fetched(Fetched),
    Judged(Judged),
    LookedUp(BTreeSet<Topic>),
}

/// What became of a fetch.
struct Fetched {
    broker: Endpoint,
    /// The topics, in the order of the request.
    topics: Vec<Topic>,
    /// What was asked for, and from where on.
    asked: Vec<Asked>,
    answer: Result<(FetchReply, Bytes), Fault>,
}

struct Asked {
    place: Place,
    number: u64,
    from: Offset,
}

/// What became of judging a portion.
struct Judged {
    place: Place,
    number: u64,
    /// `None` where judging panicked, or the task ends.
    outcome: Option<Outcome>,
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
    pub(super) fn following(ticket: ReadTicket, id: TopicId, from: Offset) -> Reading {
        Reading { ticket, id, from, backfill: None }
    }

    /// Reading a stretch once.
    pub(super) fn backfill(
        ticket: ReadTicket,
        id: TopicId,
        from: Offset,
        until: Offset,
        judge: Judge,
        by_key: bool,
    ) -> Reading {
        let judging = Judging { judge: Arc::new(judge), by_key, version: 0 };
        Reading { ticket, id, from, backfill: Some((until, Arc::new(judging))) }
    }

    /// Whether this is a stretch before the tail, for the reader of those.
    pub(super) fn is_backfill(&self) -> bool {
        self.backfill.is_some()
    }

    pub(super) fn tail(&self) -> &Arc<TopicTail> {
        &self.ticket.tail
    }

    pub(super) fn ticket(&self) -> &ReadTicket {
        &self.ticket
    }

    pub(super) fn topic(&self) -> &Topic {
        self.ticket.tail.topic()
    }

    pub(super) fn partition(&self) -> Partition {
        self.ticket.partition
    }

    /// What the next records are judged with.
    pub(super) fn judging(&self) -> Arc<Judging> {
        match &self.backfill {
            Some((_, judging)) => Arc::clone(judging),
            None => Arc::new(self.ticket.tail.judging()),
        }
    }

    #[cfg(test)]
    pub(super) fn from(&self) -> Offset {
        self.from
    }

    fn place(&self) -> Place {
        (self.ticket.tail.topic().clone(), self.ticket.partition)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.ticket.tail.let_go(&self.ticket);
    }
}

impl Reader {
    /// A reader that has yet to read anything: no connection, no task.
    pub(super) fn new(lane: Lane, parts: Parts, tasks: Tasks) -> Reader {
        Reader { lane, parts, tasks, desk: Mutex::default() }
    }

    /// Has a partition read, in place of what it was read for before.
    pub(super) fn read(&self, reading: Reading) {
        let mut desk = lock(&self.desk);
        let (place, mut change) = (reading.place(), Change::Read(reading));
        if let Some(desk) = &*desk {
            match desk.put(place.clone(), change) {
                Ok(()) => return,
                Err(refused) => change = refused,
            }
        }
        let changes = HashMap::from([(place, change)]);
        let new = Arc::new(Desk { changes: Mutex::new(Some(changes)), posted: Notify::new() });
        let work = Work::new(self.lane, self.parts.clone(), Arc::clone(&new));
        *desk = Some(new);
        self.tasks.spawn(work.run());
    }

    /// Ends the task, without waiting for it.
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
    fn put(&self, place: Place, change: Change) -> Result<(), Change> {
        // Dropped outside the lock: a reading that is replaced tells its tail.
        let _replaced = match &mut *lock(&self.changes) {
            Some(changes) => changes.insert(place, change),
            None => return Err(change),
        };
        self.posted.notify_one();
        Ok(())
    }

    fn close(&self) {
        let _left = lock(&self.changes).take();
        self.posted.notify_one();
    }
}

impl Work {
    fn new(lane: Lane, parts: Parts, desk: Arc<Desk>) -> Work {
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
            count: 0,
        }
    }

    async fn run(mut self) {
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
            let due = if self.leaderless.is_empty() { due } else { due.min(self.look_up_at) };
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
    fn take_changes(&self, idle_since: Instant) -> Option<HashMap<Place, Change>> {
        let mut changes = lock(&self.desk.changes);
        let taken = std::mem::take(changes.as_mut()?);
        if taken.is_empty() && self.partitions.is_empty() && idle_since.elapsed() >= LINGER {
            *changes = None;
            return None;
        }
        Some(taken)
    }

    fn change(&mut self, place: Place, change: Change) {
        self.forget(&place);
        if let Change::Read(reading) = change {
            self.count += 1;
            self.leaderless.insert(place.clone());
            self.partitions.insert(place, Followed::new(self.count, reading));
        }
    }

    fn forget(&mut self, place: &Place) {
        self.unlead(place);
        self.leaderless.remove(place);
        self.partitions.remove(place);
    }

    /// Forgets who leads a partition.
    fn unlead(&mut self, place: &Place) {
        let Some(followed) = self.partitions.get_mut(place) else { return };
        self.leaderless.insert(place.clone());
        if let Some(leader) = followed.leader.take()
            && let Some(broker) = self.brokers.get_mut(&leader.broker)
        {
            broker.leads.remove(place);
            if broker.leads.is_empty() && !broker.is_asked {
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
                Some((id, _)) if id != followed.reading.id => remade.push(place.clone()),
                Some((_, Some(leader))) if !followed.is_in_doubt => {
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
        }
        // The next poll knows what is to be read of the new topic.
        remade.iter().for_each(|place| self.forget(place));
        if !unknown.is_empty() && self.looking_up.is_none() && self.look_up_at <= now {
            self.look_up_at = now + LOOK_UP_EVERY;
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
        for place in &self.leaderless {
            if topics.contains(&place.0)
                && let Some(followed) = self.partitions.get_mut(place)
            {
                followed.is_in_doubt = false;
            }
        }
    }

    /// Asks each broker that is not being asked for what can be fetched from it now. Gives when
    /// something more can be, by the time alone.
    fn fetch(&mut self) -> Option<Instant> {
        if self.judging.len() >= MAX_PORTIONS {
            return None;
        }
        let now = Instant::now();
        let mut due: Option<Instant> = None;
        let Work { partitions, brokers, fetching, parts, lane, .. } = self;
        for (endpoint, broker) in brokers.iter_mut().filter(|(_, broker)| !broker.is_asked) {
            let (mut topics, mut asked): (Vec<FetchTopic>, Vec<Asked>) = (Vec::new(), Vec::new());
            let mut wait = WAIT;
            for place in broker.in_turn() {
                let Some(followed) = partitions.get_mut(place) else { continue };
                if followed.next.is_some() {
                    // It can be fetched again as soon as that is judged.
                    wait = SHORT_WAIT;
                } else if followed.not_before > now {
                    due = Some(due.map_or(followed.not_before, |due| due.min(followed.not_before)));
                } else if asked.len() < MAX_PARTITIONS {
                    followed.ask(place, &mut topics);
                    let (number, from) = (followed.number, followed.position);
                    asked.push(Asked { place: place.clone(), number, from });
                }
            }
            if asked.len() == MAX_PARTITIONS {
                // The others come next.
                broker.last = asked.last().map(|asked| asked.place.clone());
            }
            if asked.is_empty() {
                continue;
            }
            broker.is_asked = true;
            let (connections, lane) = (Arc::clone(&parts.connections), *lane);
            let broker = endpoint.clone();
            let fetch = async move {
                let request = Fetch {
                    max_wait: wait,
                    min_bytes: 1,
                    max_bytes: FETCH_BYTES,
                    isolation: Isolation::ReadCommitted,
                    session: FetchSession::NONE,
                    topics,
                    forgotten: Vec::new(),
                    in_session: None,
                };
                let deadline = now + FETCH_TIMEOUT;
                let answer = connections.fetch(&broker, lane, &request, deadline).await;
                let topics = request.topics.into_iter().map(|topic| topic.name).collect();
                Fetched { broker, topics, asked, answer }
            };
            fetching.push(fetch.boxed());
        }
        due
    }

    fn fetched(&mut self, fetched: Fetched) {
        let Fetched { broker: endpoint, topics, asked, answer } = fetched;
        if let Some(broker) = self.brokers.get_mut(&endpoint) {
            broker.is_asked = false;
            if broker.leads.is_empty() {
                self.brokers.remove(&endpoint);
            }
        }
        // Not what has been replaced meanwhile, or set back.
        let mut asked: HashMap<Place, Asked> =
            asked.into_iter().map(|asked| (asked.place.clone(), asked)).collect();
        asked.retain(|place, asked| {
            let followed = self.partitions.get(place);
            followed.is_some_and(|followed| followed.is_as_asked(asked))
        });
        let answer = answer.and_then(|(reply, payload)| match reply.error {
            Some(code) => Err(Fault::of_broker(code, None)),
            None => Ok((reply, payload)),
        });
        let (reply, payload) = match answer {
            Ok(answer) => answer,
            Err(fault) => {
                asked.keys().for_each(|place| self.fail(place, &fault));
                return;
            }
        };
        for fetched in reply.partitions {
            let Some(topic) = topics.get(fetched.topic) else { continue };
            let place = (topic.clone(), fetched.partition);
            if asked.remove(&place).is_some() {
                self.take(&endpoint, &place, fetched, &payload);
            }
        }
        let left_out = Fault::left_out("a partition");
        asked.keys().for_each(|place| self.fail(place, &left_out));
    }

    /// Takes what a broker has of a partition.
    fn take(
        &mut self,
        endpoint: &Endpoint,
        place: &Place,
        fetched: FetchedPartition,
        payload: &Bytes,
    ) {
        if let Some(code) = fetched.error {
            self.fail(place, &Fault::of_fetch(code));
            return;
        }
        if fetched.diverging.is_some() {
            self.fail(place, &Fault::new(Kind::Gone, "the log was cut"));
            return;
        }
        let Some(followed) = self.partitions.get_mut(place) else { return };
        followed.failures = 0;
        if fetched.records.is_empty() {
            return;
        }
        let Some(bytes) = payload.get(fetched.records.clone()) else { return };
        let heads = match Heads::of(bytes) {
            Ok(heads) if heads.next > followed.position => heads,
            Ok(_) => {
                let reason = "a broker sends records from before those that were asked for";
                self.fail(place, &Fault::new(Kind::Foreign, reason));
                return;
            }
            // It is larger than the bytes of a partition, and comes whole where it comes first.
            Err(size) if size <= LARGEST_BATCH => return,
            Err(size) => {
                let fault = Fault::too_large(place.1, followed.position, size);
                self.fail(place, &fault);
                return;
            }
        };
        let bytes = payload.slice(fetched.records);
        let portion = Portion { bytes, aborted: fetched.aborted, from: followed.position };
        (followed.position, followed.last_epoch) = (heads.next, heads.leader_epoch);
        followed.next = Some(portion);
        if let Some(broker) = self.brokers.get_mut(endpoint) {
            broker.last = Some(place.clone());
        }
        self.judge(place);
    }

    /// Has judged what comes next of a partition, once what came before is.
    fn judge(&mut self, place: &Place) {
        let Some(followed) = self.partitions.get_mut(place) else { return };
        if followed.is_judged {
            return;
        }
        let Some(portion) = followed.next.take() else { return };
        followed.is_judged = true;
        let (judges, place) = (Arc::clone(&self.parts.judges), place.clone());
        let (number, reading) = (followed.number, Arc::clone(&followed.reading));
        let judging = async move {
            let outcome = judges.judge(reading, portion).await;
            Judged { place, number, outcome }
        };
        self.judging.push(judging.boxed());
    }

    fn judged(&mut self, judged: Judged) {
        let Judged { place, number, outcome } = judged;
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
                (followed.position, followed.last_epoch, followed.next) = (at, None, None);
                followed.not_before = Instant::now() + LONGEST_PAUSE;
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

    /// A partition cannot be fetched now: it is tried again after a moment, or read anew by the next
    /// poll.
    fn fail(&mut self, place: &Place, fault: &Fault) {
        let Some(followed) = self.partitions.get_mut(place) else { return };
        let reading = Arc::clone(&followed.reading);
        if fault.loses_position() {
            reading.tail().fail(reading.ticket(), fault.clone());
            self.forget(place);
            return;
        }
        if fault.is_lasting() {
            reading.tail().fail(reading.ticket(), fault.clone());
        }
        followed.failures = followed.failures.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << followed.failures.min(6)).min(LONGEST_PAUSE);
        followed.not_before = Instant::now() + pause;
        followed.is_in_doubt = true;
        self.unlead(place);
    }
}

impl Followed {
    fn new(number: u64, reading: Reading) -> Followed {
        Followed {
            number,
            position: reading.from,
            reading: Arc::new(reading),
            last_epoch: None,
            leader: None,
            is_in_doubt: false,
            is_judged: false,
            next: None,
            failures: 0,
            not_before: Instant::now(),
        }
    }

    /// Adds this partition to a fetch.
    fn ask(&self, (topic, partition): &Place, topics: &mut Vec<FetchTopic>) {
        let question = FetchPartition {
            partition: *partition,
            leader_epoch: self.leader.as_ref().and_then(|leader| leader.epoch),
            fetch_offset: self.position,
            last_fetched_epoch: self.last_epoch,
            max_bytes: PARTITION_BYTES,
        };
        match topics.last_mut() {
            Some(last) if last.name == *topic => last.partitions.push(question),
            _ => {
                let (name, id) = (topic.clone(), self.reading.id.given());
                topics.push(FetchTopic { name, id, partitions: vec![question] });
            }
        }
    }

    /// Whether this is what was asked for.
    fn is_as_asked(&self, asked: &Asked) -> bool {
        self.number == asked.number && self.position == asked.from
    }
}

impl Broker {
    /// What it leads: the topic that gave records last comes last, and of its partitions the one that
    /// did.
    fn in_turn(&self) -> impl Iterator<Item = &Place> {
        let (after, before, own) = match &self.last {
            None => (Some(self.leads.range::<Place, _>(..)), None, None),
            Some(last) => {
                let at = |partition| (last.0.clone(), partition);
                let (first, end) = (at(Partition::MIN), at(Partition::MAX));
                let after = self.leads.range((Bound::Excluded(&end), Bound::Unbounded));
                let others = self.leads.range((Bound::Excluded(last), Bound::Included(&end)));
                let own = others.chain(self.leads.range(&first..=last));
                (Some(after), Some(self.leads.range(..&first)), Some(own))
            }
        };
        let topics = after.into_iter().flatten().chain(before.into_iter().flatten());
        topics.chain(own.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(topic: &str, partition: Partition) -> Place {
        (Topic::from(topic), partition)
    }

    #[test]
    fn what_gave_records_last_comes_last() {
        let leads: BTreeSet<Place> = [("a", 0), ("b", 0), ("b", 1), ("b", 2), ("c", 0), ("c", 7)]
            .map(|(topic, partition)| place(topic, partition))
            .into();
        let rows = [
            (None, "a0 b0 b1 b2 c0 c7"),
            (Some(place("a", 0)), "b0 b1 b2 c0 c7 a0"),
            (Some(place("b", 1)), "c0 c7 a0 b2 b0 b1"),
            (Some(place("c", 7)), "a0 b0 b1 b2 c0 c7"),
            (Some(place("bb", 3)), "c0 c7 a0 b0 b1 b2"),
        ];
        for (last, expected) in rows {
            let broker = Broker { is_asked: false, leads: leads.clone(), last: last.clone() };
            let order = broker.in_turn().map(|(topic, partition)| format!("{topic}{partition}"));
            assert_eq!(order.collect::<Vec<_>>().join(" "), expected, "{last:?}");
        }
    }

    /// A reading and whether the next poll has its partition read.
    fn reading() -> (Reading, impl Fn() -> bool) {
        use crate::kafka::tail::tests::{every_record, need, view};
        let tail = Arc::new(TopicTail::new(Topic::from("t")));
        let subscriber = tail.follow(&[every_record()]);
        let mut readings = tail.look(subscriber, &[need(0, 10)], view()).readings;
        let reading = readings.pop().expect("a tail");
        (reading, move || tail.look(subscriber, &[need(0, 10)], view()).readings.len() == 1)
    }

    #[test]
    fn a_reading_is_not_lost_with_a_task_that_ends() {
        let (posted, posted_again) = reading();
        let (replaced, replaced_again) = reading();
        let desk = Desk { changes: Mutex::new(Some(HashMap::new())), posted: Notify::new() };
        assert!(desk.put(place("t", 0), Change::Read(replaced)).is_ok());
        assert!(desk.put(place("t", 0), Change::Read(posted)).is_ok());
        assert!(replaced_again() && !posted_again());
        desk.close();
        assert!(posted_again());
        assert!(desk.put(place("t", 0), Change::Read(reading().0)).is_err(), "a closed desk");
    }
}
