//! One trigger as KEDA polls it: its value and whether it is active, both from one measurement.
//!
//! KEDA asks `GetMetrics` and then `IsActive`, and makes nonsense of answers that do not agree. So
//! `GetMetrics` measures, always, and what it said last is kept for [`SNAPSHOT_LIFE`]; `IsActive`
//! answers from that, and measures without it. An error is never kept, and drops what was: after a
//! failed `GetMetrics` there is nothing that `IsActive` could agree with.
//!
//! What `IsActive` measured is not kept: it would only ever be read by another `IsActive`.

use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::status::Error;
use crate::backlog::{Backlog, Measured, Purpose, Scope};
use crate::ledger::Account;
use crate::lock::lock;
use crate::selection::Sight;
use crate::source::{Explanation, Measure, Progress};
use crate::sources::Sources;
use crate::trigger::Trigger;

/// How long `IsActive` may answer from what `GetMetrics` said. The two calls of one poll are 0.3 ms
/// apart as a rule, and were seen 0.1 s apart where KEDA was short of time; two polls of a trigger
/// are a second apart at least. Less than that, because among replicas the two calls of the next
/// poll may each go to another one.
const SNAPSHOT_LIFE: Duration = Duration::from_millis(900);

/// A trigger that is polled, with its hold on the source.
pub(crate) struct LiveTrigger {
    trigger: Trigger,
    account: Account,
    /// Made by the first measurement and not before, so that to ask for the spec does no I/O.
    poller: OnceLock<Box<dyn Measure>>,
    said: Mutex<Option<Snapshot>>,
    matches: Mutex<Matches>,
}

/// Whether anything has matched since the trigger is polled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Matches {
    /// Nothing yet, nor was anything seen that could have.
    None,
    /// Nothing, though other messages wait; that was told.
    OthersAlone,
    Some,
}

/// Why a trigger counts 0.
pub(crate) struct NothingMatches {
    /// What waits instead, and what may be meant by its event types.
    pub(crate) words: String,
    /// Whether it is told for the first time.
    pub(crate) is_new: bool,
}

/// What `GetMetrics` said last, for `IsActive` to agree with.
#[derive(Clone, Copy)]
struct Snapshot {
    activity: Backlog,
    at: Instant,
}

impl LiveTrigger {
    /// A trigger of whoever pays for what it makes the process hold.
    pub(crate) fn new(trigger: Trigger, account: Account) -> Self {
        Self {
            trigger,
            account,
            poller: OnceLock::new(),
            said: Mutex::default(),
            matches: Mutex::new(Matches::None),
        }
    }

    pub(crate) fn trigger(&self) -> &Trigger {
        &self.trigger
    }

    /// The value of the metric, measured now.
    pub(crate) async fn metric(
        &self,
        sources: &Sources,
        deadline: Instant,
        scope: Scope,
    ) -> Result<Backlog, Error> {
        let measured = self.measure(sources, deadline, Purpose::Metric, scope).await;
        // A caller that has gone by now was told nothing, and leaves what was said before.
        *self.said() = measured
            .as_ref()
            .ok()
            .map(|measured| Snapshot { activity: measured.activity, at: Instant::now() });
        let measured = measured?;
        if measured.activity.count() > 0 {
            *lock(&self.matches) = Matches::Some;
        }
        Ok(measured.metric)
    }

    /// Why it counted 0, where other messages than its own wait and none of its own has ever been
    /// seen: most triggers whose types are no longer the topic's alone are at 0 at times, and all
    /// is well.
    pub(crate) fn nothing_matches(&self) -> Option<NothingMatches> {
        let mut matches = lock(&self.matches);
        if *matches == Matches::Some {
            return None;
        }
        let sight = self.sight().filter(|sight| sight.messages() > 0)?;
        let is_new = *matches != Matches::OthersAlone;
        *matches = Matches::OthersAlone;
        let mut words = format!("nothing matches among the messages looked at last: {sight}");
        if let Some(hint) = self.trigger.selection().hint() {
            words.push_str("; eventType ");
            words.push_str(&hint);
        }
        Some(NothingMatches { words, is_new })
    }

    /// Whether other messages wait, and none of its own has ever been seen.
    pub(crate) fn has_others_alone(&self) -> bool {
        *lock(&self.matches) == Matches::OthersAlone
    }

    /// Measures without saying anything of it, so that what a measurement needs is there when one
    /// is asked for.
    pub(crate) async fn warm(
        &self,
        sources: &Sources,
        deadline: Instant,
        scope: Scope,
    ) -> Result<Backlog, Error> {
        Ok(self.measure(sources, deadline, Purpose::Activity, scope).await?.activity)
    }

    /// Whether more messages wait than the activation threshold.
    pub(crate) async fn is_active(
        &self,
        sources: &Sources,
        deadline: Instant,
        scope: Scope,
    ) -> Result<bool, Error> {
        let said = *self.said();
        let activity = match said {
            Some(said) if said.at.elapsed() < SNAPSHOT_LIFE => said.activity,
            _ => self.measure(sources, deadline, Purpose::Activity, scope).await?.activity,
        };
        let activation = self.trigger.scaling().activation;
        activity.exceeds(activation).ok_or(Error::Undecided { activation })
    }

    /// Measures, says what the number is made of, and leaves everything else as it was.
    pub(crate) async fn explain(
        &self,
        sources: &Sources,
        deadline: Instant,
        scope: Scope,
    ) -> Result<Explanation, Error> {
        Ok(self.poller(sources).explain(deadline, scope).await?)
    }

    /// How far its source has been read for it.
    pub(crate) fn progress(&self) -> Progress {
        self.poller.get().map(|poller| poller.progress()).unwrap_or_default()
    }

    /// How many messages wait of each thing that is selected, as of the latest measurement.
    pub(crate) fn by_type(&self) -> Vec<(String, u64)> {
        self.poller.get().map(|poller| poller.by_type()).unwrap_or_default()
    }

    /// What was seen of late of the messages that wait.
    pub(crate) fn sight(&self) -> Option<Sight> {
        self.poller.get()?.sight()
    }

    async fn measure(
        &self,
        sources: &Sources,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> Result<Measured, Error> {
        Ok(self.poller(sources).measure(deadline, purpose, scope).await?)
    }

    fn poller(&self, sources: &Sources) -> &dyn Measure {
        let follow = || sources.follow(&self.trigger, &self.account);
        &**self.poller.get_or_init(follow)
    }

    fn said(&self) -> MutexGuard<'_, Option<Snapshot>> {
        lock(&self.said)
    }
}
