//! Warm before Ready: the triggers of objects that point at us are measured before anybody polls
//! them, and followed as the objects change, so that a rollout shows KEDA no replica that has yet
//! to read its topics.
//!
//! An object's triggers are kept for as long as it is there, polled or not. KEDA writes an object's
//! status at each poll that finds something; only what else is in it is a change. Then its new
//! triggers are measured before its old ones are let go, so that what both need stays. What is
//! still being read holds up Ready; what fails does not: it is told on the object, and the poll
//! will say it again.
//!
//! Where KEDA cannot reach a scaler it passes over a ScaledJob's trigger in silence. So a trigger
//! that nobody has polled for [`Options::unpolled_after`](super::Options) is told on its object,
//! unless the object's status says that KEDA has had an answer: another replica may give it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::proto::ScaledObjectRef;
use super::service::Scaler;
use super::status::Error;
use super::triggers::Followed;
use crate::backlog::Backlog;
use crate::failure::Class;
use crate::kubernetes::{
    self, Change, Changes, ExternalTrigger, Kind, Name, Scaled, ScaledRef, Version,
};
use crate::telemetry;

/// Triggers that are measured at once: so many that those of a broker that is away do not keep the
/// others from their turn.
const AT_ONCE: usize = 256;

/// Objects whose environment is read at once; each is a few calls of the API server.
const READ_AT_ONCE: usize = 16;

/// Before a trigger that is still being read is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// How often an environment is asked for while the API server does not answer, and how long apart.
const TRIES: u32 = 4;
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// How often it is looked for triggers that nobody polls.
const LOOK_EVERY: Duration = Duration::from_secs(30);

type Key = (Kind, Name, Name);

/// How many triggers are in each of the states of [`telemetry::WARM_UP_STATES`].
type States = [usize; telemetry::WARM_UP_STATES.len()];

/// The objects that point at us, and their triggers.
struct Following {
    scaler: Arc<Scaler>,
    objects: HashMap<Key, Object>,
    /// The triggers of all of them, by state.
    states: States,
    warming: JoinSet<(Key, Warmed)>,
    turns: Turns,
    timeout: Duration,
    /// When it is looked for triggers that nobody polls.
    looks: Interval,
}

/// Whose turn it is.
#[derive(Clone)]
struct Turns {
    measure: Arc<Semaphore>,
    read: Arc<Semaphore>,
}

struct Object {
    of: ScaledRef,
    version: Version,
    /// Ends what is being measured for it.
    warming: Option<AbortHandle>,
    triggers: usize,
    followed: Vec<Followed>,
    /// Since when it is as it is.
    since: Instant,
    /// Those of its triggers that KEDA has had an answer about.
    answered: BTreeSet<usize>,
    paused: bool,
    polling_interval: Duration,
}

/// What has been measured of an object.
#[derive(Default)]
struct Warmed {
    followed: Vec<Followed>,
    /// Whether the metadata of some trigger could not be known now.
    unknown: bool,
}

impl Scaler {
    /// Follows the objects until the server ends. Calls `ready` once, when the triggers that were
    /// there are warm, or after `timeout`.
    pub async fn keep_warm(
        self: Arc<Self>,
        mut changes: Changes,
        timeout: Duration,
        ready: impl FnOnce(),
    ) {
        let calls = self.stop.calls.clone();
        let turns = Turns {
            measure: Arc::new(Semaphore::new(AT_ONCE)),
            read: Arc::new(Semaphore::new(READ_AT_ONCE)),
        };
        let mut looks = tokio::time::interval(LOOK_EVERY.min(self.options.unpolled_after));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut following = Following {
            looks,
            scaler: self,
            objects: HashMap::new(),
            states: States::default(),
            warming: JoinSet::new(),
            turns,
            timeout,
        };
        let keep = async {
            following.first(&mut changes).await;
            ready();
            loop {
                following.step(&mut changes).await;
            }
        };
        calls.run_until_cancelled(keep).await;
    }
}

impl Following {
    /// Until all that was there is warm, or the time is over.
    async fn first(&mut self, changes: &mut Changes) {
        let (began, timeout) = (Instant::now(), self.timeout);
        let mut unlisted = changes.feeds;
        while unlisted > 0 || !self.warming.is_empty() {
            tokio::select! {
                listed = self.step(changes) => unlisted -= usize::from(listed),
                () = sleep_until(began + timeout) => {
                    let warming = self.warming.len();
                    warn!(objects = self.objects.len(), warming, "ready, though not all triggers are warm; see --warm-timeout");
                    return;
                }
            }
        }
        if !self.objects.is_empty() {
            info!(objects = self.objects.len(), took = ?began.elapsed(), "triggers are warm");
        }
    }

    /// Takes what happens next; whether it is that a feed has told all that was there.
    async fn step(&mut self, changes: &mut Changes) -> bool {
        tokio::select! {
            change = changes.next() => match change {
                Some(Change::Applied(scaled)) => self.applied(*scaled),
                Some(Change::Gone(kind, namespace, name)) => self.gone(&(kind, namespace, name)),
                Some(Change::Listed) => return true,
                None => std::future::pending().await,
            },
            Some(joined) = self.warming.join_next_with_id() => match joined {
                Ok((id, (key, warmed))) => self.warmed(id, key, warmed),
                Err(error) => self.failed(&error),
            },
            _ = self.looks.tick() => self.tell_never_polled(),
        }
        self.scaler.metrics().warm_up(self.states);
        false
    }

    fn applied(&mut self, scaled: Scaled) {
        let key = (scaled.of.kind, scaled.of.namespace.clone(), scaled.of.name.clone());
        let (of, version, triggers) = (scaled.of.clone(), scaled.version, scaled.triggers.len());
        if let Some(known) = self.objects.get_mut(&key)
            && known.of == of
            && known.version.is(version)
        {
            known.answered = scaled.answered;
            return;
        }
        self.scaler.cluster.found(&of);
        let (answered, paused) = (scaled.answered.clone(), scaled.paused);
        let polling_interval = Duration::from_secs(scaled.polling_interval);
        let (scaler, turns, timeout) = (Arc::clone(&self.scaler), self.turns.clone(), self.timeout);
        let its = key.clone();
        let warming =
            self.warming.spawn(async move { (its, warm(&scaler, &turns, &scaled, timeout).await) });
        let followed = match self.take(&key) {
            Some(before) => {
                before.end();
                before.followed
            }
            None => Vec::new(),
        };
        let warming = Some(warming);
        let since = Instant::now();
        let object = Object {
            of,
            version,
            warming,
            triggers,
            followed,
            since,
            answered,
            paused,
            polling_interval,
        };
        self.keep(key, object);
    }

    fn warmed(&mut self, id: tokio::task::Id, key: Key, mut warmed: Warmed) {
        let is_latest = |object: &Object| object.is_warming(id);
        // Else it has changed again, or is gone.
        if self.objects.get(&key).is_some_and(is_latest)
            && let Some(mut object) = self.take(&key)
        {
            object.warming = None;
            // What is not known now was known before, perhaps: it stays.
            if warmed.unknown {
                warmed.followed.append(&mut object.followed);
            }
            std::mem::swap(&mut object.followed, &mut warmed.followed);
            self.keep(key, object);
        }
        self.scaler.triggers.release(warmed.followed);
    }

    /// A measurement was ended for a newer one, or by a fault of ours.
    fn failed(&mut self, error: &JoinError) {
        let mut keys = self.objects.iter().filter(|(_, object)| object.is_warming(error.id()));
        let Some(key) = keys.next().map(|(key, _)| key.clone()) else {
            return;
        };
        if let Some(mut object) = self.take(&key) {
            object.warming = None;
            warn!(object = %object.of, %error, "its triggers were not warmed");
            self.keep(key, object);
        }
    }

    fn gone(&mut self, key: &Key) {
        if let Some(object) = self.take(key) {
            debug!(object = %object.of, "no trigger of it points here any more");
            object.end();
            self.scaler.cluster.lost(&object.of);
            self.scaler.triggers.release(object.followed);
        }
    }

    /// Tells of triggers that nobody has asked about since they are known.
    fn tell_never_polled(&self) {
        let unpolled_after = self.scaler.options.unpolled_after;
        for object in self.objects.values() {
            // Of an object that was there before KEDA polls next at its own time.
            let due = unpolled_after.max(2 * object.polling_interval);
            if object.paused || object.since.elapsed() < due {
                continue;
            }
            let unpolled = object.followed.iter().filter(|followed| {
                !object.answered.contains(&followed.number) && followed.entry.is_unpolled()
            });
            for followed in unpolled {
                let live = followed.entry.decoded().and_then(Result::ok);
                let place = live.map(|live| format!(" ({})", live.trigger().place()));
                let words = format!(
                    "KEDA has never asked for the count of trigger {}{}; check that scalerAddress, \
                     the NetworkPolicy and TLS let KEDA reach keda-sift, and KEDA's own log",
                    followed.number,
                    place.unwrap_or_default()
                );
                self.scaler.cluster.tell_never_polled(&object.of, &words);
            }
        }
    }

    fn take(&mut self, key: &Key) -> Option<Object> {
        let object = self.objects.remove(key)?;
        self.states.iter_mut().zip(object.states()).for_each(|(all, its)| *all -= its);
        Some(object)
    }

    fn keep(&mut self, key: Key, object: Object) {
        self.states.iter_mut().zip(object.states()).for_each(|(all, its)| *all += its);
        self.objects.insert(key, object);
    }
}

impl Object {
    fn is_warming(&self, id: tokio::task::Id) -> bool {
        self.warming.as_ref().is_some_and(|warming| warming.id() == id)
    }

    fn states(&self) -> States {
        if self.warming.is_some() {
            return [self.triggers, 0, 0];
        }
        let known = self.followed.len().min(self.triggers);
        [0, known, self.triggers - known]
    }

    fn end(&self) {
        if let Some(warming) = &self.warming {
            warming.abort();
        }
    }
}

/// Measures an object's triggers, and keeps them.
async fn warm(scaler: &Scaler, turns: &Turns, scaled: &Scaled, timeout: Duration) -> Warmed {
    let mut warmed = Warmed::default();
    let namespace = &scaled.of.namespace;
    for trigger in &scaled.triggers {
        let number = trigger.number;
        let metadata = match metadata(scaler, turns, scaled, trigger).await {
            Ok(Some(metadata)) => metadata,
            Ok(None) => {
                debug!(object = %scaled.of, "not warmed: it takes values from an environment that is not known");
                continue;
            }
            Err(error) => {
                warmed.unknown |= error.passes();
                info!(object = %scaled.of, %error, "not warmed: what it takes from the environment is not known");
                continue;
            }
        };
        let asked = ScaledObjectRef {
            name: scaled.of.name.to_string(),
            namespace: namespace.to_string(),
            scaler_metadata: metadata,
        };
        let Ok(trigger) = scaler.triggers.follow(&asked, number) else {
            continue;
        };
        trigger.entry.describe(scaled);
        if !scaled.paused
            && let Err(error) = until_warm(scaler, turns, &trigger, &asked, timeout).await
        {
            debug!(object = %scaled.of, %error, "not warmed");
            scaler.cluster.tell(&asked, &error);
        }
        warmed.followed.push(trigger);
    }
    warmed
}

/// A trigger's metadata as KEDA sends it, which may take a few calls of the API server.
async fn metadata(
    scaler: &Scaler,
    turns: &Turns,
    scaled: &Scaled,
    trigger: &ExternalTrigger,
) -> Result<Option<HashMap<String, String>>, kubernetes::Error> {
    let mut tries = TRIES;
    loop {
        let turn = turns.read.acquire().await;
        let read = scaler.cluster.kubernetes.metadata(trigger, &scaled.of.namespace).await;
        drop(turn);
        tries -= 1;
        match read {
            Err(error) if error.passes() && tries > 0 => sleep(TRY_AGAIN).await,
            read => return read,
        }
    }
}

/// Measures until there is nothing left to read, or no more can be read.
async fn until_warm(
    scaler: &Scaler,
    turns: &Turns,
    trigger: &Followed,
    asked: &ScaledObjectRef,
    timeout: Duration,
) -> Result<(), Error> {
    let mut deadline = None;
    loop {
        let turn = turns.measure.acquire().await;
        // Waiting for a turn does not count.
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout);
        let warmth = scaler.warm(&trigger.entry, asked).await;
        drop(turn);
        match warmth {
            Ok(warmth) if warmth.is_limit || matches!(warmth.backlog, Backlog::Exact(_)) => {
                return Ok(());
            }
            Err(error) if error.class() != Class::Reading => return Err(error),
            Ok(_) | Err(_) => {}
        }
        if Instant::now() + AGAIN > deadline {
            return Ok(());
        }
        sleep(AGAIN).await;
    }
}
