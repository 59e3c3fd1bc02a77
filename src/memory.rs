//! A source in memory, which tests steer: it measures what it is told to, when it is told to, and
//! keeps what it was asked. Its triggers have `topic`, `password`, `threshold` and
//! `activationThreshold`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backlog::{Backlog, Measured, Purpose, Scope};
use crate::failure::{Class, Failure};
use crate::ledger::Account;
use crate::metadata::{Parameter, Reader, Table};
use crate::selection::{Selection, Sight};
use crate::source::{
    Explanation, Figures, Measure, Progress, Scaling, ScalingKeys, Source, SurveyPlan, Surveyed,
    Surveyor, Wanted,
};

/// What every trigger is measured by; it says 0 before it is told something else.
#[derive(Clone)]
pub struct Memory {
    reply: watch::Sender<Reply>,
    open: watch::Sender<bool>,
    asked: watch::Sender<Vec<Purpose>>,
    sight: watch::Sender<Option<Sight>>,
    followed: Arc<AtomicUsize>,
}

pub(crate) type Reply = Result<Backlog, Unreachable>;

/// The failure that it knows.
#[derive(Debug, Clone, thiserror::Error)]
#[error("connection refused")]
pub(crate) struct Unreachable;

/// A trigger of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryTrigger {
    scaling: Scaling,
    selection: Selection,
}

struct TriggerPoller(Memory);

impl Memory {
    /// Measures this from now on.
    pub(crate) fn saying(reply: Reply) -> Self {
        Self {
            reply: watch::Sender::new(reply),
            open: watch::Sender::new(true),
            asked: watch::Sender::default(),
            sight: watch::Sender::default(),
            followed: Arc::default(),
        }
    }

    pub(crate) fn say(&self, reply: Reply) {
        self.reply.send_modify(|said| *said = reply);
    }

    /// Has seen this of the messages.
    pub(crate) fn show(&self, sight: Sight) {
        self.sight.send_replace(Some(sight));
    }

    /// Keeps all answers back until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn release(&self) {
        self.open.send_replace(true);
    }

    /// What it has been asked for so far.
    pub(crate) fn asked(&self) -> Vec<Purpose> {
        self.asked.borrow().clone()
    }

    /// Waits until it has been asked this many times.
    pub(crate) async fn asked_times(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| asked.len() >= times).await.expect("its sender is here");
    }

    /// How many triggers are followed.
    pub(crate) fn followed(&self) -> usize {
        self.followed.load(Ordering::Relaxed)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::saying(Ok(Backlog::Exact(0)))
    }
}

impl Source for Memory {
    const NAME: &'static str = "memory";
    const TOLD_BY: &'static [&'static str] = &[];
    const TABLE: &'static Table = &Table {
        parameters: &[
            Parameter::new("topic", "all", "a part of the metric's name"),
            Parameter::new("threshold", "1", "messages for one replica or Job"),
            Parameter::new("activationThreshold", "0", "active above this many"),
            Parameter::secret("password", "", "of no use"),
        ],
        usual: "threshold, activationThreshold, topic",
        by_heart: &[],
    };
    const GROUP: Option<&'static str> = None;
    const FILTER_VARIABLES: &'static [&'static str] = &[];
    const SCALING: ScalingKeys =
        ScalingKeys { target: "threshold", default_target: 1, activation: "activationThreshold" };

    type Trigger = MemoryTrigger;

    fn follow(&self, _trigger: &Arc<MemoryTrigger>, _account: &Account) -> Box<dyn Measure> {
        self.followed.fetch_add(1, Ordering::Relaxed);
        Box::new(TriggerPoller(self.clone()))
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }

    /// It has no messages, only numbers.
    fn survey<'a>(
        &'a self,
        _trigger: &'a Arc<MemoryTrigger>,
        _account: &'a Account,
        _plan: SurveyPlan,
        surveyor: &'a mut dyn Surveyor,
    ) -> BoxFuture<'a, Result<Surveyed, Failure>> {
        surveyor.expect(0);
        ready(Ok(Surveyed { is_whole: true, notes: Vec::new() })).boxed()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}

impl Wanted for MemoryTrigger {
    fn metric_name(reader: &mut Reader<'_>) -> String {
        format!("memory-{}", reader.text("topic").unwrap_or("all"))
    }

    fn decode(reader: &mut Reader<'_>, scaling: Scaling, selection: Selection) -> Option<Self> {
        let _no_use: Option<SecretString> = reader.secret("password");
        Some(Self { scaling, selection })
    }

    fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    fn selection(&self) -> &Selection {
        &self.selection
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

impl Measure for TriggerPoller {
    fn measure(
        &self,
        _deadline: Instant,
        purpose: Purpose,
        _scope: Scope,
    ) -> BoxFuture<'_, Result<Measured, Failure>> {
        let Memory { reply, open, asked, .. } = &self.0;
        let measured = async move {
            asked.send_modify(|asked| asked.push(purpose));
            open.subscribe().wait_for(|open| *open).await.expect("its sender is here");
            let backlog = reply.borrow().clone();
            let backlog = backlog.map_err(|error| Failure::new(Class::Unavailable, error))?;
            Ok(Measured { metric: backlog, activity: backlog })
        };
        measured.boxed()
    }

    fn explain(
        &self,
        deadline: Instant,
        scope: Scope,
    ) -> BoxFuture<'_, Result<Explanation, Failure>> {
        let measured = self.measure(deadline, Purpose::Activity, scope);
        async { Ok(Explanation::of(measured.await?)) }.boxed()
    }

    fn progress(&self) -> Progress {
        Progress::default()
    }

    fn sight(&self) -> Option<Sight> {
        self.0.sight.borrow().clone()
    }
}

impl Drop for TriggerPoller {
    fn drop(&mut self) {
        self.0.followed.fetch_sub(1, Ordering::Relaxed);
    }
}
