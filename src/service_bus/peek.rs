//! One entity as it is peeked, once for all triggers that count in it.
//!
//! Polls that arrive together share a measurement. One that has much to read makes way for polls
//! that have come since, and goes on together with them. What goes wrong on the way is ordinary
//! life for Service Bus, which closes what is idle and moves what it serves: a link that is gone is
//! made again, and the measurement goes on from where it was, until the time is up. A
//! namespace that asks for quiet has it.
//!
//! What has been read is kept between measurements. It is dropped when the entity is, and when a
//! measurement is given up halfway.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::amqp::{Ask, Connection, ConnectionSlot, Fault, Link, Reply};
use super::browse::{self, Browse, Checked, Want};
use super::entity::Entity;
use super::error::{Error, Right};
use super::gate::{Gate, QUIET, Quiet};
use super::trigger::CountBy;
use crate::backlog::Backlog;
use crate::coalescer::{Coalescer, ENDED, Tasks};
use crate::lock::lock;
use crate::selection::{Selection, Sight};
use crate::source::{SurveyPlan, Surveyed, Surveyor};

/// Requests that may be under way on one link.
const WINDOW: usize = 16;
/// Requests that may be under way to one namespace, so that not all leave together when it has had
/// its quiet.
pub(super) const AT_ONCE: usize = 64;
/// For how long a measurement reads on while others wait for the next one.
const SHARE: Duration = Duration::from_millis(500);
/// How long until a link is made again, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// An entity that is peeked.
pub(super) struct Peeker {
    looking: Arc<Looking>,
    tasks: Tasks,
    /// Whether the management endpoint has refused to count, and peeking has not.
    pub(super) instead: AtomicBool,
}

type Wanted = Vec<Arc<Want>>;

type Measurement = Result<Arc<Counts>, Error>;

/// What one measurement came to, by the addresses of the wants; nothing for one that has more to
/// read.
type Counts = HashMap<usize, Backlog>;

/// What a measurement works with.
struct Looking {
    namespace: Arc<str>,
    entity: Entity,
    path: Arc<str>,
    slot: Arc<ConnectionSlot>,
    gate: Arc<Gate>,
    turns: Arc<Semaphore>,
    step_timeout: Duration,
    coalescer: Arc<Coalescer<Wanted, Measurement>>,
    /// Messages that one peek asks for at most.
    at_most: AtomicU32,
    /// Taken by the measurement that is under way.
    known: Mutex<Option<Browse>>,
    link: Mutex<Option<Link>>,
    progress: Mutex<Progress>,
}

/// How far the measurement that is under way has come.
#[derive(Default)]
struct Progress {
    judged: u64,
    seen: Counts,
    /// What kept it last.
    trouble: Option<String>,
}

impl Peeker {
    /// Peeks nothing before it is asked to. Without a reply for `step_timeout`, a measurement
    /// fails. `turns` are the namespace's, [`AT_ONCE`].
    pub(super) fn new(
        namespace: &str,
        entity: &Entity,
        slot: Arc<ConnectionSlot>,
        gate: Arc<Gate>,
        turns: Arc<Semaphore>,
        step_timeout: Duration,
    ) -> Peeker {
        let looking = Looking {
            namespace: namespace.into(),
            entity: entity.clone(),
            path: entity.path().into(),
            slot,
            gate,
            turns,
            step_timeout,
            coalescer: Coalescer::new(),
            at_most: AtomicU32::new(u32::MAX),
            known: Mutex::default(),
            link: Mutex::default(),
            progress: Mutex::default(),
        };
        let looking = Arc::new(looking);
        Peeker { looking, tasks: Tasks::default(), instead: AtomicBool::new(false) }
    }

    /// How many messages wait of those wanted, peeked after this call and known by the deadline;
    /// what is known by then, if it is not all.
    ///
    /// Dropping the future gives up this caller's wait and nothing that others wait for.
    ///
    /// # Errors
    /// When not one is known of.
    pub(super) async fn count(
        &self,
        want: &Arc<Want>,
        deadline: Instant,
    ) -> Result<Backlog, Error> {
        let looking = &self.looking;
        let opens = looking.gate.opens(deadline);
        opens.map_err(|quiet| looking.throttled(quiet))?;
        match timeout_at(deadline, self.measured(want)).await {
            Ok(counted) => counted,
            Err(_) => looking.so_far(want, deadline),
        }
    }

    /// Shows a surveyor every message that waits, of which nothing is kept.
    ///
    /// # Errors
    /// They cannot be peeked, none has come by the deadline, or the entity was made again
    /// meanwhile.
    pub(super) async fn survey(
        &self,
        plan: SurveyPlan,
        surveyor: &mut dyn Surveyor,
    ) -> Result<Surveyed, Error> {
        let selectors = Selection::default().selectors();
        let want = Arc::new(Want { selectors, by: CountBy::Messages, limit: plan.limit });
        let (mut browse, mut link) = (Browse::new(), None);
        browse.begin(vec![Arc::clone(&want)], now());
        let persist = self.looking.persist(&mut browse, &mut link, Some(surveyor));
        let ended = timeout_at(plan.deadline, persist).await;
        match ended {
            Ok(ended) => ended?,
            Err(_) if browse.judged() == 0 => {
                return Err(self.looking.unreachable(Fault::SILENT.to_owned()));
            }
            Err(_) => {}
        }
        let is_whole = matches!(browse.count(&want), Some(Backlog::Exact(_)));
        Ok(Surveyed { is_whole, notes: Vec::new() })
    }

    /// What was seen of late for one that wants something; `None` while there is a measurement.
    pub(super) fn sight(&self, want: &Want) -> Option<Sight> {
        lock(&self.looking.known).as_ref()?.sight(want)
    }

    /// When the oldest message was enqueued of those that one wants; `None` likewise.
    pub(super) fn oldest(&self, want: &Want) -> Option<SystemTime> {
        let millis = lock(&self.looking.known).as_ref()?.oldest(want)?;
        UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
    }

    /// As many measurements as it takes.
    async fn measured(&self, want: &Arc<Want>) -> Result<Backlog, Error> {
        loop {
            let looking = Arc::clone(&self.looking);
            let answer = self.looking.coalescer.ask(
                &self.tasks,
                |wanted| wanted.push(Arc::clone(want)),
                move |wanted| Arc::clone(&looking).measure(wanted),
            );
            let counts = answer.await.ok_or_else(|| self.looking.ended())??;
            if let Some(counted) = counts.get(&address(want)) {
                return Ok(*counted);
            }
        }
    }

    /// Ends the measurement that is under way, and waits for it.
    pub(super) async fn end(&self) {
        self.tasks.end();
        self.tasks.ended().await;
        lock(&self.looking.link).take();
    }

    /// Remembers that peeking does what the management endpoint refuses; says so the first time.
    pub(super) fn count_instead(&self, refusal: &Error) {
        if !self.instead.swap(true, Ordering::Relaxed) {
            let Looking { namespace, path, .. } = &*self.looking;
            let refusal = refusal.to_string();
            warn!(
                namespace = &**namespace,
                entity = &**path,
                refusal,
                "counting by peeking instead"
            );
        }
    }
}

impl Drop for Peeker {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

impl Looking {
    async fn measure(self: Arc<Self>, wanted: Wanted) -> Measurement {
        *lock(&self.progress) = Progress::default();
        self.at_most.store(u32::MAX, Ordering::Relaxed);
        let mut browse = lock(&self.known).take().unwrap_or_else(Browse::new);
        let mut link = lock(&self.link).take();
        browse.begin(wanted, now());
        let outcome = self.persist(&mut browse, &mut link, None).await;
        for (selection, sequence_number, reason) in browse.take_indeterminate() {
            let entity = &*self.path;
            warn!(
                entity,
                sequence_number,
                %selection,
                %reason,
                "a message cannot be judged, and does not count"
            );
        }
        let counts = outcome.map(|()| Arc::new(counts(&browse, Browse::count)));
        *lock(&self.known) = (!matches!(counts, Err(Error::NotFound { .. }))).then_some(browse);
        *lock(&self.link) = link;
        counts
    }

    /// Looks until all is known, through whatever passes. A surveyor is shown each message once.
    async fn persist(
        &self,
        browse: &mut Browse,
        link: &mut Option<Link>,
        mut surveyor: Option<&mut dyn Surveyor>,
    ) -> Result<(), Error> {
        let mut last_word = Instant::now();
        let mut back_off = BACK_OFF.0;
        let (mut refused, mut missing) = (false, false);
        loop {
            let until = last_word + self.step_timeout;
            self.gate.pass(until).await.map_err(|quiet| self.throttled(quiet))?;
            let judged = browse.judged();
            let shown = surveyor.as_mut().map(|surveyor| &mut **surveyor as &mut dyn Surveyor);
            let Err(fault) = self.look(browse, link, shown).await else { return Ok(()) };
            debug!(entity = &*self.path, ?fault, "peeking was interrupted");
            *link = None;
            if browse.judged() > judged {
                last_word = Instant::now();
                back_off = BACK_OFF.0;
                refused = false;
            }
            match fault {
                // A claim may have lapsed; a new link has a new one.
                Fault::Unauthorized(_) if !std::mem::replace(&mut refused, true) => {}
                Fault::Unauthorized(reason) => return Err(self.unauthorized(reason)),
                // It may have been made again since the link was. Once: to read it anew is
                // progress, and would come to the same over and over.
                Fault::NotFound(_)
                    if surveyor.is_none() && !std::mem::replace(&mut missing, true) =>
                {
                    browse.forget();
                    lock(&self.progress).seen.clear();
                }
                Fault::NotFound(_) => return Err(self.not_found()),
                Fault::Token(error) => return Err(error.into()),
                Fault::Final(reason) => return Err(self.service(reason)),
                // The library holds a link to the size that the other side would take, not only
                // ours.
                Fault::TooLong(reason) => self.ask_for_less(reason)?,
                Fault::Busy(reason) => self.gate.close(Instant::now() + QUIET, reason),
                Fault::Lost(reason) => {
                    lock(&self.progress).trouble = Some(reason.clone());
                    if Instant::now() + back_off >= until {
                        return Err(self.unreachable(reason));
                    }
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
            browse.begin_again(now());
        }
    }

    /// Looks once, over the link there is or a new one.
    async fn look(
        &self,
        browse: &mut Browse,
        link: &mut Option<Link>,
        surveyor: Option<&mut dyn Surveyor>,
    ) -> Result<(), Fault> {
        let link = match link {
            Some(link) => link,
            None => link.insert(self.slot.link(&self.path).await?),
        };
        let mut checks = VecDeque::from(browse.checks());
        let mut asked = VecDeque::new();
        loop {
            while asked.len() < WINDOW && !browse.has_seen_enough() {
                let Some(check) = checks.front().copied() else { break };
                let turn = match asked.is_empty() {
                    true => self.turn().await,
                    false => match self.turn_at_once() {
                        Some(turn) => turn,
                        None => break,
                    },
                };
                self.ask(link, check.ask(), turn).await?;
                asked.push_back(check);
                checks.pop_front();
            }
            let Some(check) = asked.pop_front() else { break };
            let reply = self.answer(link).await?;
            match browse.checked(check, &reply.messages()?) {
                Checked::Done => {}
                Checked::More(more) => checks.push_front(more),
                Checked::NewQueue if surveyor.is_some() => {
                    return Err(Fault::Final("the entity was made again".to_owned()));
                }
                Checked::NewQueue => {
                    checks.clear();
                    for _ in asked.drain(..) {
                        self.answer(link).await?;
                    }
                }
            }
            self.note(browse);
        }
        self.read_on(browse, link, surveyor).await
    }

    /// Reads what is not known yet. The next request is under way while a reply is judged, if it is
    /// certain.
    async fn read_on(
        &self,
        browse: &mut Browse,
        link: &mut Link,
        mut surveyor: Option<&mut dyn Surveyor>,
    ) -> Result<(), Fault> {
        let begun = Instant::now();
        let mut next = browse.next();
        if let Some(ask) = next {
            self.ask(link, ask, self.turn().await).await?;
        }
        while next.is_some() {
            let reply = self.answer(link).await?;
            let reply = reply.messages()?;
            let turn = self.turn_at_once();
            let ahead = browse.foresee(&reply).filter(|_| turn.is_some());
            if let Some((ask, turn)) = ahead.zip(turn) {
                self.ask(link, ask, turn).await?;
            }
            if let Some(surveyor) = &mut surveyor {
                let mut fresh = browse.fresh(&reply);
                if fresh.any(|peeked| surveyor.see(peeked, true).is_break()) {
                    // What was asked ahead is not waited for; its link ends.
                    return Ok(());
                }
            }
            browse.read(&reply);
            self.note(browse);
            let makes_way =
                begun.elapsed() > SHARE && self.coalescer.is_awaited() && !browse.reads_anew();
            next = browse.next().filter(|_| browse.is_wanted() && !makes_way);
            if ahead != next {
                if ahead.is_some() {
                    self.answer(link).await?;
                }
                if let Some(ask) = next {
                    self.ask(link, ask, self.turn().await).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits for a turn to ask, while the namespace wants no quiet. Who has asked something already
    /// reads the answer first, as others wait for that.
    async fn turn(&self) -> OwnedSemaphorePermit {
        loop {
            self.gate.wait().await;
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let turn = turn.expect("turns are never closed");
            if self.gate.is_open() {
                return turn;
            }
        }
    }

    /// A turn to ask ahead. Half of them are for those who have asked nothing, so that entities
    /// without an answer do not hold up the others.
    fn turn_at_once(&self) -> Option<OwnedSemaphorePermit> {
        let free = self.turns.available_permits() > AT_ONCE / 2 && self.gate.is_open();
        free.then(|| Arc::clone(&self.turns).try_acquire_owned().ok()).flatten()
    }

    async fn ask(
        &self,
        link: &mut Link,
        ask: Ask,
        turn: OwnedSemaphorePermit,
    ) -> Result<(), Fault> {
        let count = ask.count.min(self.at_most.load(Ordering::Relaxed));
        let connection = Arc::clone(link.connection());
        self.in_time(&connection, link.ask(Ask { count, ..ask }, turn, self.step_timeout / 2)).await
    }

    async fn answer(&self, link: &mut Link) -> Result<Reply, Fault> {
        let connection = Arc::clone(link.connection());
        self.in_time(&connection, link.answer()).await
    }

    /// Has later peeks ask for fewer messages, so that a reply fits.
    fn ask_for_less(&self, reason: String) -> Result<(), Error> {
        let less = self.at_most.load(Ordering::Relaxed).min(browse::MOST) / 8;
        if less == 0 {
            return Err(self.service(reason));
        }
        self.at_most.store(less, Ordering::Relaxed);
        Ok(())
    }

    /// Half of `step_timeout` for one step, so that there is time for another try over another
    /// connection.
    async fn in_time<T>(
        &self,
        connection: &Arc<Connection>,
        step: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let begun = Instant::now();
        timeout(self.step_timeout / 2, step).await.unwrap_or_else(|_| {
            self.slot.give_up(connection, begun);
            Err(Fault::silent())
        })
    }

    /// Lets those who wait know how far it is.
    fn note(&self, browse: &Browse) {
        let mut progress = lock(&self.progress);
        progress.judged = browse.judged();
        progress.trouble = None;
        progress.seen = counts(browse, |browse, want| Some(Backlog::Exact(browse.seen(want))));
    }

    /// What is known at a deadline: a lower bound, if it is above zero.
    fn so_far(&self, want: &Arc<Want>, deadline: Instant) -> Result<Backlog, Error> {
        let progress = lock(&self.progress);
        let seen = progress.seen.get(&address(want)).map_or(0, |seen| seen.count());
        if let Some(bound) = NonZeroU64::new(seen) {
            return Ok(Backlog::AtLeast(bound));
        }
        Err(match (&progress.trouble, self.gate.opens(deadline)) {
            (_, Err(quiet)) => self.throttled(quiet),
            (Some(trouble), _) => self.unreachable(trouble.clone()),
            (None, _) if progress.judged == 0 => self.unreachable(Fault::SILENT.to_owned()),
            (None, _) => {
                Error::StillReading { entity: self.entity.to_string(), judged: progress.judged }
            }
        })
    }

    fn unauthorized(&self, reason: String) -> Error {
        Error::Unauthorized { entity: self.entity.to_string(), right: Right::Listen, reason }
    }

    fn not_found(&self) -> Error {
        let namespace = self.namespace.to_string();
        Error::NotFound { entity: self.entity.to_string(), namespace }
    }

    fn throttled(&self, quiet: Quiet) -> Error {
        Error::Throttled { entity: self.entity.to_string(), reason: quiet.0 }
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { namespace: self.namespace.to_string(), reason }
    }

    fn service(&self, reason: String) -> Error {
        Error::Service { entity: self.entity.to_string(), reason }
    }

    fn ended(&self) -> Error {
        self.unreachable(ENDED.to_owned())
    }
}

fn counts(browse: &Browse, count: impl Fn(&Browse, &Want) -> Option<Backlog>) -> Counts {
    let counted = |want: &Arc<Want>| Some((address(want), count(browse, want)?));
    browse.wanted().iter().filter_map(counted).collect()
}

/// Stands for a want as long as it is held.
fn address(want: &Arc<Want>) -> usize {
    Arc::as_ptr(want).addr()
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
