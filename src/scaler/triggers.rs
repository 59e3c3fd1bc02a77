//! Which triggers KEDA asks about: each decoded once, and forgotten when no poll has come for a
//! while.
//!
//! One that names a TriggerAuthentication is decoded again when that gives other parameters.
//!
//! KEDA does not say when a trigger is gone. It stops asking, and with the trigger goes its hold on
//! clusters and tails. What cannot be decoded is kept the same way, with its complaint, which
//! follows from the metadata alone.
//!
//! A poll that finds its trigger takes a read lock, briefly; only a new trigger and
//! [`Triggers::forget`] write.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::history::{self, History, Poll};
use super::identity::Identity;
use super::key::TriggerKey;
use super::live::LiveTrigger;
use super::proto::ScaledObjectRef;
use super::status::Error;
use crate::backlog::Scope;
use crate::kubernetes::{Authentication, Scaled};
use crate::ledger::{Charge, Ledger, Use};
use crate::lock::lock;
use crate::metadata::Reader;
use crate::trigger::{Invalid, Spec, Trigger};

/// How many triggers are kept at most, so that memory has a bound whoever asks. Ten times of what
/// one KEDA is known to run.
pub(crate) const LIMIT: usize = 100_000;

/// Bytes of a trigger besides its metadata, and of what is seen beside it where nothing matches.
const TRIGGER_BYTES: usize = 5_120 + history::BYTES;

/// How many times the size of its metadata a trigger takes once it is decoded.
const DECODED: usize = 2;

/// Bytes of an entry of the metadata at most, as it may be shown.
const SHOWN: usize = 512;

/// Every trigger that was polled lately.
pub(crate) struct Triggers {
    entries: RwLock<HashMap<TriggerKey, Arc<Entry>>>,
    started: Instant,
    ledger: Arc<Ledger>,
    /// Whether anybody may ask how a trigger was.
    is_told: bool,
}

/// A trigger that was polled; whoever holds one keeps it from being forgotten.
pub struct Entry {
    identity: Identity,
    history: Mutex<History>,
    /// Milliseconds from `Triggers::started` to the latest poll.
    polled: AtomicU64,
    /// How many Jobs there can be; 0 where nobody has said.
    max_jobs: AtomicU64,
    /// When its object was made, in milliseconds since 1970; 0 likewise.
    made: AtomicI64,
    /// Of whoever wrote it, for what is kept of its metadata.
    charge: Charge,
    /// Filled outside the map's lock, since decoding compiles the selection, and by one caller
    /// alone, however many come at once.
    held: Mutex<Option<Held>>,
}

/// An entry that is kept because its object is there, whether it is polled or not.
pub(crate) struct Followed {
    /// Its place among the triggers of its object.
    pub(crate) number: usize,
    key: TriggerKey,
    pub(crate) entry: Arc<Entry>,
}

/// What an entry's metadata was decoded to, and with what.
struct Held {
    authentication: Option<Arc<Authentication>>,
    live: Result<Arc<LiveTrigger>, Invalid>,
}

impl Triggers {
    /// None yet, and the memory that they share. How each was is remembered where somebody may ask.
    pub(crate) fn new(ledger: Arc<Ledger>, is_told: bool) -> Self {
        Self { entries: RwLock::default(), started: Instant::now(), ledger, is_told }
    }

    /// The trigger that a request names, which thereby counts as polled.
    ///
    /// # Errors
    /// [`Error::Full`] for a new trigger beyond [`LIMIT`], [`Error::Memory`] for one that is more
    /// than its namespace may have kept. Metadata that cannot be read is not an error here but in
    /// [`Entry::live`].
    pub(crate) fn find(&self, asked: &ScaledObjectRef) -> Result<Arc<Entry>, Error> {
        let key = TriggerKey::of(asked);
        let known = self.entries.read().expect(UNPOISONED).get(&key).cloned();
        let entry = match known {
            Some(entry) => entry,
            None => self.add(key, asked)?,
        };
        entry.polled.store(self.now(), Ordering::Relaxed);
        Ok(entry)
    }

    /// What a request takes, for as long as it is held.
    ///
    /// # Errors
    /// [`Error::Memory`] where that is more than its namespace's share.
    pub(crate) fn hold(&self, asked: &ScaledObjectRef) -> Result<Charge, Error> {
        Ok(self.ledger.account(&asked.namespace).charge(Use::Asking, size(asked))?)
    }

    /// The memory that triggers share.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Forgets every trigger without a poll for that long, and says how many there were. One that a
    /// call or a stream still holds is kept.
    pub(crate) fn forget(&self, unpolled_for: Duration) -> usize {
        let now = self.now();
        let due = |entry: &Arc<Entry>| {
            let idle = now.saturating_sub(entry.polled.load(Ordering::Relaxed));
            // All clones are made under the lock, so one that is alone stays alone.
            u128::from(idle) >= unpolled_for.as_millis() && Arc::strong_count(entry) == 1
        };
        let forgotten: Vec<_> = {
            let mut entries = self.entries.write().expect(UNPOISONED);
            entries.extract_if(|_, entry| due(entry)).collect()
        };
        // Dropped here, outside the lock: letting go of a source may take a moment.
        forgotten.len()
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.entries.read().expect(UNPOISONED).len()
    }

    /// The triggers that are kept and meant, in no order.
    pub(crate) fn entries(&self, is_meant: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let entries = self.entries.read().expect(UNPOISONED);
        entries.values().filter(|entry| is_meant(entry)).map(Arc::clone).collect()
    }

    /// Lets go of entries that were followed, and forgets those that nobody else holds.
    pub(crate) fn release(&self, released: Vec<Followed>) {
        let mut entries = self.entries.write().expect(UNPOISONED);
        let mut forgotten = Vec::new();
        for Followed { key, entry, .. } in released {
            drop(entry);
            if entries.get(&key).is_some_and(|entry| Arc::strong_count(entry) == 1) {
                forgotten.extend(entries.remove(&key));
            }
        }
        drop(entries);
        // Dropped here, outside the lock: letting go of a source may take a moment.
    }

    /// The trigger that a request would name, kept until it is released.
    ///
    /// # Errors
    /// [`Error::Full`] likewise.
    pub(crate) fn follow(&self, asked: &ScaledObjectRef, number: usize) -> Result<Followed, Error> {
        Ok(Followed { number, key: TriggerKey::of(asked), entry: self.find(asked)? })
    }

    fn add(&self, key: TriggerKey, asked: &ScaledObjectRef) -> Result<Arc<Entry>, Error> {
        let shown = SHOWN * asked.scaler_metadata.len();
        let bytes = TRIGGER_BYTES + DECODED * size(asked) + shown.min(size(asked));
        let charge = self.ledger.account(&asked.namespace).charge(Use::Keeping, bytes)?;
        let mut entries = self.entries.write().expect(UNPOISONED);
        if entries.len() >= LIMIT && !entries.contains_key(&key) {
            return Err(Error::Full { limit: LIMIT });
        }
        let entry = entries.entry(key).or_insert_with(|| {
            Arc::new(Entry {
                identity: Identity::of(asked, SystemTime::now(), self.is_told),
                history: Mutex::new(History::new(self.is_told)),
                polled: AtomicU64::new(self.now()),
                max_jobs: AtomicU64::new(0),
                made: AtomicI64::new(0),
                charge,
                held: Mutex::default(),
            })
        });
        Ok(Arc::clone(entry))
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

const UNPOISONED: &str = "nothing panics while it is held";

impl Entry {
    /// The trigger itself, of the request that it was found by, with the parameters of its
    /// TriggerAuthentication.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every complaint about the metadata.
    pub(crate) fn live(
        &self,
        asked: &ScaledObjectRef,
        authentication: Option<Arc<Authentication>>,
    ) -> Result<Arc<LiveTrigger>, Error> {
        let mut held = lock(&self.held);
        let live = match &*held {
            Some(held) if held.authentication == authentication => &held.live,
            _ => {
                let live = decode(asked, authentication.as_deref());
                let live = live.map(|trigger| {
                    Arc::new(LiveTrigger::new(trigger, self.charge.account().clone()))
                });
                &held.insert(Held { authentication, live }).live
            }
        };
        Ok(live.as_ref().map(Arc::clone).map_err(Invalid::clone)?)
    }

    /// What it was decoded to, if it has been; one that is being decoded just now is not waited
    /// for.
    pub(crate) fn decoded(&self) -> Option<Result<Arc<LiveTrigger>, Invalid>> {
        let held = self.held.try_lock().ok()?;
        held.as_ref().map(|held| held.live.clone())
    }

    /// Which trigger it is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What its polls were answered.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// The answers after that many, the oldest first, as far as they are kept; and how many there
    /// were by now.
    pub fn answers_after(&self, told: u64) -> (Vec<Poll>, u64) {
        let history = self.history();
        let new = usize::try_from(history.count().saturating_sub(told)).unwrap_or(usize::MAX);
        let mut new: Vec<_> = history.polls().take(new).cloned().collect();
        new.reverse();
        (new, history.count())
    }

    /// Whether nobody has ever asked for its value.
    pub(crate) fn is_unpolled(&self) -> bool {
        self.history().count() == 0
    }

    /// When it was asked about last, in milliseconds of this process.
    pub(crate) fn polled(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }

    /// The most Jobs there can be, where its object says that.
    pub(crate) fn max_jobs(&self) -> Option<u64> {
        Some(self.max_jobs.load(Ordering::Relaxed)).filter(|max_jobs| *max_jobs > 0)
    }

    /// What KEDA is told of the trigger before anything is measured, by its metadata alone.
    pub(crate) fn spec(&self, asked: &ScaledObjectRef) -> Spec {
        if Trigger::authentication(&asked.scaler_metadata).is_none() {
            return self.live(asked, None).map(|live| live.trigger().spec()).unwrap_or_default();
        }
        let held = lock(&self.held).as_ref().and_then(|held| held.live.clone().ok());
        held.map_or_else(|| Spec::decode(&asked.scaler_metadata), |live| live.trigger().spec())
    }

    /// Takes what the object says that the trigger is of.
    pub(crate) fn describe(&self, scaled: &Scaled) {
        let max_jobs = scaled.max_jobs.map_or(0, NonZeroU64::get);
        self.max_jobs.store(max_jobs, Ordering::Relaxed);
        self.made.store(scaled.made.unwrap_or(0), Ordering::Relaxed);
    }

    /// How far a count of the trigger need go, and from when on, as far as anyone has said.
    pub(crate) fn scope(&self, trigger: &Trigger) -> Scope {
        let max_jobs = NonZeroU64::new(self.max_jobs.load(Ordering::Relaxed));
        let made = Some(self.made.load(Ordering::Relaxed)).filter(|made| *made > 0);
        Scope { enough: max_jobs.and_then(|max_jobs| trigger.enough(max_jobs)), since: made }
    }
}

/// Bytes of what a request says.
fn size(asked: &ScaledObjectRef) -> usize {
    let texts = asked.scaler_metadata.iter().map(|(key, value)| key.len() + value.len());
    asked.namespace.len() + asked.name.len() + texts.sum::<usize>()
}

fn decode(
    asked: &ScaledObjectRef,
    authentication: Option<&Authentication>,
) -> Result<Trigger, Invalid> {
    let parameters = authentication.map(|authentication| &authentication.parameters);
    let reader = Reader::new(&asked.scaler_metadata).within(&asked.namespace).with(parameters);
    Trigger::read(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(name: &str) -> ScaledObjectRef {
        ScaledObjectRef { name: name.to_owned(), ..ScaledObjectRef::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_is_forgotten_when_no_poll_came_for_the_whole_time() {
        let triggers = Triggers::new(Ledger::new(1_000_000_000), true);
        let minute = Duration::from_secs(60);
        triggers.find(&trigger("polled")).unwrap();
        triggers.find(&trigger("left")).unwrap();
        tokio::time::advance(minute / 2).await;
        triggers.find(&trigger("polled")).unwrap();
        assert_eq!(triggers.forget(minute), 0);
        tokio::time::advance(minute / 2).await;
        assert_eq!(triggers.forget(minute), 1);
        assert_eq!(triggers.len(), 1);
        tokio::time::advance(minute / 2).await;
        assert_eq!(triggers.forget(minute), 1);
        assert_eq!(triggers.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_in_use_is_not_forgotten() {
        let triggers = Triggers::new(Ledger::new(1_000_000_000), true);
        let held = triggers.find(&trigger("held")).unwrap();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(triggers.forget(Duration::from_secs(1)), 0);
        drop(held);
        assert_eq!(triggers.forget(Duration::from_secs(1)), 1);
    }

    #[test]
    fn the_same_request_finds_the_same_trigger() {
        let triggers = Triggers::new(Ledger::new(1_000_000_000), true);
        let first = triggers.find(&trigger("one")).unwrap();
        assert!(Arc::ptr_eq(&first, &triggers.find(&trigger("one")).unwrap()));
        assert!(!Arc::ptr_eq(&first, &triggers.find(&trigger("two")).unwrap()));
    }

    #[test]
    fn beyond_the_limit_a_new_trigger_is_refused_and_a_known_one_is_not() {
        let triggers = Triggers::new(Ledger::new(10_000_000_000), false);
        for n in 0..LIMIT {
            triggers.find(&trigger(&n.to_string())).unwrap();
        }
        assert!(matches!(triggers.find(&trigger("new")), Err(Error::Full { .. })));
        assert!(triggers.find(&trigger("7")).is_ok());
    }
}
