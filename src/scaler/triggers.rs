//! Which triggers KEDA asks about: each decoded once, and forgotten when no poll has come for a while.
//!
//! KEDA does not say when a trigger is gone. It stops asking, and with the trigger goes its hold on
//! clusters and tails. What cannot be decoded is kept the same way, with its complaint, which follows
//! from the metadata alone.
//!
//! A poll that finds its trigger takes a read lock, briefly; only a new trigger and
//! [`Triggers::forget`] write.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::key::TriggerKey;
use super::live::LiveTrigger;
use super::proto::ScaledObjectRef;
use super::status::Error;
use crate::trigger::{Invalid, Trigger};

/// How many triggers are kept at most, so that memory has a bound whoever asks. Ten times of what
/// one KEDA is known to run.
pub(crate) const LIMIT: usize = 100_000;

/// Every trigger that was polled lately.
pub(crate) struct Triggers {
    entries: RwLock<HashMap<TriggerKey, Arc<Entry>>>,
    started: Instant,
}

/// A trigger that was polled; whoever holds one keeps it from being forgotten.
pub(crate) struct Entry {
    /// Milliseconds from `Triggers::started` to the latest poll.
    polled: AtomicU64,
    /// Filled outside the map's lock, since decoding compiles the selection, and by one caller alone,
    /// however many come at once.
    decoded: OnceLock<Result<LiveTrigger, Invalid>>,
}

impl Triggers {
    pub(crate) fn new() -> Self {
        Self { entries: RwLock::default(), started: Instant::now() }
    }

    /// The trigger that a request names, which thereby counts as polled.
    ///
    /// # Errors
    /// [`Error::Full`] for a new trigger beyond [`LIMIT`]. Metadata that cannot be read is not an error
    /// here but in [`Entry::live`].
    pub(crate) fn find(&self, asked: &ScaledObjectRef) -> Result<Arc<Entry>, Error> {
        let key = TriggerKey::of(asked);
        let known = self.entries.read().expect(UNPOISONED).get(&key).cloned();
        let entry = match known {
            Some(entry) => entry,
            None => self.add(key)?,
        };
        entry.polled.store(self.now(), Ordering::Relaxed);
        entry.decoded.get_or_init(|| Trigger::decode(&asked.scaler_metadata).map(LiveTrigger::new));
        Ok(entry)
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

    fn add(&self, key: TriggerKey) -> Result<Arc<Entry>, Error> {
        let mut entries = self.entries.write().expect(UNPOISONED);
        if entries.len() >= LIMIT && !entries.contains_key(&key) {
            return Err(Error::Full { limit: LIMIT });
        }
        let entry = entries.entry(key).or_insert_with(|| {
            Arc::new(Entry { polled: AtomicU64::new(self.now()), decoded: OnceLock::new() })
        });
        Ok(Arc::clone(entry))
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

const UNPOISONED: &str = "nothing panics while it is held";

impl Entry {
    /// The trigger itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every complaint about the metadata.
    pub(crate) fn live(&self) -> Result<&LiveTrigger, Error> {
        let decoded = self.decoded.get().expect("find decodes before it hands out");
        Ok(decoded.as_ref().map_err(Invalid::clone)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(name: &str) -> ScaledObjectRef {
        ScaledObjectRef { name: name.to_owned(), ..ScaledObjectRef::default() }
    }

    fn len(triggers: &Triggers) -> usize {
        triggers.entries.read().unwrap().len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_is_forgotten_when_no_poll_came_for_the_whole_time() {
        let triggers = Triggers::new();
        let minute = Duration::from_secs(60);
        triggers.find(&trigger("polled")).unwrap();
        triggers.find(&trigger("left")).unwrap();
        tokio::time::advance(minute / 2).await;
        triggers.find(&trigger("polled")).unwrap();
        assert_eq!(triggers.forget(minute), 0);
        tokio::time::advance(minute / 2).await;
        assert_eq!(triggers.forget(minute), 1);
        assert_eq!(len(&triggers), 1);
        tokio::time::advance(minute / 2).await;
        assert_eq!(triggers.forget(minute), 1);
        assert_eq!(len(&triggers), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_in_use_is_not_forgotten() {
        let triggers = Triggers::new();
        let held = triggers.find(&trigger("held")).unwrap();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(triggers.forget(Duration::from_secs(1)), 0);
        drop(held);
        assert_eq!(triggers.forget(Duration::from_secs(1)), 1);
    }

    #[test]
    fn the_same_request_finds_the_same_trigger() {
        let triggers = Triggers::new();
        let first = triggers.find(&trigger("one")).unwrap();
        assert!(Arc::ptr_eq(&first, &triggers.find(&trigger("one")).unwrap()));
        assert!(!Arc::ptr_eq(&first, &triggers.find(&trigger("two")).unwrap()));
    }

    #[test]
    fn beyond_the_limit_a_new_trigger_is_refused_and_a_known_one_is_not() {
        let triggers = Triggers::new();
        for n in 0..LIMIT {
            triggers.add(TriggerKey::of(&trigger(&n.to_string()))).unwrap();
        }
        assert!(matches!(triggers.find(&trigger("new")), Err(Error::Full { .. })));
        assert!(triggers.find(&trigger("7")).is_ok());
    }
}
