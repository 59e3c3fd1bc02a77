//! Warm before Ready: the triggers of objects that point at us are measured before anybody polls them, and followed as the
//! objects change, so that a rollout shows KEDA no replica that has yet to read its topics.
//!
//! An object's triggers are kept for as long as it is there, polled or not. When it changes, its new triggers are measured
//! before its old ones are let go, so that what both need stays. What cannot be measured now does not hold up Ready: it is
//! told on the object, and the poll will say it again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Code;
use tracing::{debug, info, warn};

use super::proto::ScaledObjectRef;
use super::service::Scaler;
use super::status::Error;
use super::triggers::Followed;
use crate::backlog::Backlog;
use crate::kubernetes::{Change, Changes, Kind, Name, Scaled, ScaledRef};

/// Triggers that are measured at once.
const AT_ONCE: usize = 32;

/// Before a trigger that is still being read is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// How often one that fails for a reason that may pass is tried.
const TRIES: u32 = 3;

type Key = (Kind, Name, Name);

/// The objects that point at us, and their triggers.
struct Following {
    scaler: Arc<Scaler>,
    objects: HashMap<Key, Object>,
    warming: JoinSet<Warmed>,
    at_once: Arc<Semaphore>,
    timeout: Duration,
    changes: u64,
    /// Triggers that are being measured, and those that have been.
    waiting: usize,
    ready: usize,
}

struct Object {
    of: ScaledRef,
    /// Which change of it is the latest.
    change: u64,
    followed: Vec<Followed>,
}

/// An object whose triggers have been measured.
struct Warmed {
    key: Key,
    change: u64,
    /// How many triggers it has, and those that could be followed.
    triggers: usize,
    followed: Vec<Followed>,
}

impl Scaler {
    /// Follows the objects until the server ends. Calls `ready` once, when the triggers that were there are warm, or after
    /// `timeout`.
    pub async fn keep_warm(
        self: Arc<Self>,
        mut changes: Changes,
        timeout: Duration,
        ready: impl FnOnce(),
    ) {
        let calls = self.stop.calls.clone();
        let mut following = Following {
            scaler: self,
            objects: HashMap::new(),
            warming: JoinSet::new(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            timeout,
            changes: 0,
            waiting: 0,
            ready: 0,
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
            Some(warmed) = self.warming.join_next() => match warmed {
                Ok(warmed) => self.warmed(warmed),
                Err(error) => warn!(%error, "an object's triggers were not warmed"),
            },
        }
        false
    }

    fn applied(&mut self, scaled: Scaled) {
        let key = (scaled.of.kind, scaled.of.namespace.clone(), scaled.of.name.clone());
        self.scaler.cluster.found(&scaled.of);
        self.changes += 1;
        let change = self.changes;
        let object = self.objects.entry(key.clone()).or_insert_with(|| Object {
            of: scaled.of.clone(),
            change,
            followed: Vec::new(),
        });
        object.of = scaled.of.clone();
        object.change = change;
        let triggers = scaled.triggers.len();
        self.waiting += triggers;
        let warm = warm(Arc::clone(&self.scaler), Arc::clone(&self.at_once), scaled, self.timeout);
        self.warming.spawn(async move { Warmed { key, change, triggers, followed: warm.await } });
        self.tell();
    }

    fn warmed(&mut self, warmed: Warmed) {
        let Warmed { key, change, triggers, followed } = warmed;
        self.waiting -= triggers;
        self.ready += followed.len();
        let released = match self.objects.get_mut(&key) {
            Some(object) if object.change == change => {
                std::mem::replace(&mut object.followed, followed)
            }
            // It has changed again, or is gone.
            _ => followed,
        };
        self.release(released);
    }

    fn gone(&mut self, key: &Key) {
        if let Some(object) = self.objects.remove(key) {
            debug!(object = %object.of, "no trigger of it points here any more");
            self.scaler.cluster.lost(&object.of);
            self.release(object.followed);
        }
    }

    fn release(&mut self, released: Vec<Followed>) {
        self.ready -= released.len();
        self.scaler.triggers.release(released);
        self.tell();
    }

    fn tell(&self) {
        self.scaler.metrics().warm_up(self.waiting as u64, self.ready as u64);
    }
}

/// Measures an object's triggers, and keeps them.
async fn warm(
    scaler: Arc<Scaler>,
    at_once: Arc<Semaphore>,
    scaled: Scaled,
    timeout: Duration,
) -> Vec<Followed> {
    let mut followed = Vec::new();
    for trigger in &scaled.triggers {
        let namespace = &scaled.of.namespace;
        let metadata = match scaler.cluster.kubernetes.metadata(trigger, namespace).await {
            Ok(Some(metadata)) => metadata,
            Ok(None) => {
                debug!(object = %scaled.of, "not warmed: it takes values from an environment that is not known");
                continue;
            }
            Err(error) => {
                info!(object = %scaled.of, %error, "not warmed: what it takes from the environment is not known");
                continue;
            }
        };
        let asked = ScaledObjectRef {
            name: scaled.of.name.to_string(),
            namespace: namespace.to_string(),
            scaler_metadata: metadata,
        };
        let Ok(trigger) = scaler.triggers.follow(&asked) else {
            continue;
        };
        trigger.entry.set_max_jobs(scaled.max_jobs);
        if !scaled.paused {
            // Waiting for a turn does not count.
            let Ok(_turn) = at_once.acquire().await else {
                return followed;
            };
            if let Err(error) = until_warm(&scaler, &trigger, &asked, timeout).await {
                debug!(object = %scaled.of, %error, "not warmed");
                scaler.cluster.tell(&asked, &error);
            }
        }
        followed.push(trigger);
    }
    followed
}

/// Measures until there is nothing left to read.
async fn until_warm(
    scaler: &Scaler,
    trigger: &Followed,
    asked: &ScaledObjectRef,
    timeout: Duration,
) -> Result<(), Error> {
    let deadline = Instant::now() + timeout;
    let mut tries = TRIES;
    loop {
        let failed = match scaler.warm(&trigger.entry, asked).await {
            Ok(warmth) if warmth.is_limit || matches!(warmth.backlog, Backlog::Exact(_)) => {
                return Ok(());
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            tries -= u32::from(!error.is_progress());
            if tries == 0 || error.code() != Code::Unavailable {
                return Err(error);
            }
        }
        if Instant::now() + AGAIN > deadline {
            return Ok(());
        }
        sleep(AGAIN).await;
    }
}
