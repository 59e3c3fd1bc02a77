//! One trigger's hold on its namespace, and the way of a poll: by the management endpoint, or by
//! peeking.

use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::Instant;
use tracing::{Instrument as _, info_span};

use super::browse::Want;
use super::entity::Entities;
use super::error::Error;
use super::namespaces::{Namespace, Namespaces};
use super::peek::Peeker;
use super::trigger::{CountBy, CountFrom, ServiceBusTrigger};
use crate::backlog::{Backlog, Measured, Purpose, Scope};
use crate::failure::Failure;
use crate::lock::lock;
use crate::selection::Sight;
use crate::source::{Explanation, Measure, Progress, SurveyPlan, Surveyed, Surveyor};
use crate::telemetry::POLL;

/// A trigger that is followed.
pub(super) struct TriggerPoller(Result<Followed, Error>);

struct Followed {
    namespace: Arc<Namespace>,
    entities: Entities,
    limit: Option<NonZeroU64>,
    way: Way,
}

/// Who counts.
enum Way {
    Management,
    Peek(Peeked),
    /// The management endpoint, and where that refuses, we.
    Either(Peeked),
}

/// What is peeked for, on an entity that others may peek at too.
struct Peeked {
    peeker: Arc<Peeker>,
    /// Another one whenever another number is enough.
    want: Mutex<Arc<Want>>,
    limit: NonZeroU64,
}

impl TriggerPoller {
    pub(super) fn new(trigger: &Arc<ServiceBusTrigger>, namespaces: &Namespaces) -> TriggerPoller {
        let followed = namespaces.get(trigger).map(|namespace| Followed::new(trigger, namespace));
        TriggerPoller(followed.map_err(Error::from))
    }

    /// Both figures are the same.
    async fn count(&self, deadline: Instant, scope: Scope) -> Result<Measured, Failure> {
        let followed = self.0.as_ref().map_err(Clone::clone)?;
        let backlog = followed.count(deadline, scope.enough).await?;
        Ok(Measured { metric: backlog, activity: backlog })
    }
}

/// Shows a surveyor the messages that wait where a trigger counts.
///
/// # Errors
/// They cannot be peeked, or the trigger counts in several entities.
pub(super) async fn survey(
    trigger: &ServiceBusTrigger,
    namespaces: &Namespaces,
    plan: SurveyPlan,
    surveyor: &mut dyn Surveyor,
) -> Result<Surveyed, Error> {
    let Entities::One(entity) = &trigger.entities else { return Err(Error::Several) };
    // Held until the end, as its connections end with it.
    let namespace = namespaces.get(trigger)?;
    namespace.peeker(entity).survey(plan, surveyor).await
}

impl Measure for TriggerPoller {
    fn measure(
        &self,
        deadline: Instant,
        _purpose: Purpose,
        scope: Scope,
    ) -> BoxFuture<'_, Result<Measured, Failure>> {
        self.count(deadline, scope).boxed()
    }

    fn explain(
        &self,
        deadline: Instant,
        scope: Scope,
    ) -> BoxFuture<'_, Result<Explanation, Failure>> {
        let explained = async move {
            let measured = self.count(deadline, scope).await?;
            let facts = self.0.as_ref().map(Followed::facts).unwrap_or_default();
            Ok(Explanation { facts, ..Explanation::of(measured) })
        };
        explained.boxed()
    }

    /// Where there is no measurement under way: the messages that were seen waiting.
    fn progress(&self) -> Progress {
        let oldest = match self.0.as_ref().map(|followed| &followed.way) {
            Ok(Way::Peek(peeked) | Way::Either(peeked)) => {
                peeked.peeker.oldest(&lock(&peeked.want))
            }
            Ok(Way::Management) | Err(_) => None,
        };
        Progress { oldest, ..Progress::default() }
    }

    /// Of the messages peeked at.
    fn sight(&self) -> Option<Sight> {
        let (Way::Peek(peeked) | Way::Either(peeked)) = &self.0.as_ref().ok()?.way else {
            return None;
        };
        peeked.peeker.sight(&lock(&peeked.want))
    }
}

impl Followed {
    fn new(trigger: &ServiceBusTrigger, namespace: Arc<Namespace>) -> Followed {
        let limit = trigger.scaling.count_limit;
        let Entities::One(entity) = &trigger.entities else {
            let entities = trigger.entities.clone();
            return Followed { namespace, entities, limit, way: Way::Management };
        };
        let peeked = || {
            let (selectors, limit) = (trigger.selection.selectors(), trigger.peek_limit());
            let want = Arc::new(Want { selectors, by: trigger.count_by, limit: limit.get() });
            Peeked { peeker: namespace.peeker(entity), want: Mutex::new(want), limit }
        };
        let counts_all = trigger.selection.is_all() && trigger.count_by == CountBy::Messages;
        let way = match trigger.count_from {
            CountFrom::Management => Way::Management,
            CountFrom::Auto if counts_all => Way::Either(peeked()),
            CountFrom::Auto | CountFrom::Peek => Way::Peek(peeked()),
        };
        Followed { entities: trigger.entities.clone(), namespace, limit, way }
    }

    async fn count(&self, deadline: Instant, enough: Option<NonZeroU64>) -> Result<Backlog, Error> {
        match &self.way {
            Way::Management => self.managed(deadline).await,
            Way::Peek(peeked) => peeked.count(deadline, enough).await,
            Way::Either(peeked) => {
                if peeked.peeker.instead.load(Ordering::Relaxed) {
                    return peeked.count(deadline, enough).await;
                }
                match self.managed(deadline).await {
                    Err(refusal) if refusal.is_refusal() => {
                        let counted = peeked.count(deadline, enough).await?;
                        // Not before it works: the refusal may be mended first.
                        peeked.peeker.count_instead(&refusal);
                        Ok(counted)
                    }
                    counted => counted,
                }
            }
        }
    }

    /// Who counts, and how far.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let by = match &self.way {
            Way::Management => "the management endpoint",
            Way::Peek(_) => "peeking",
            Way::Either(peeked) if peeked.peeker.instead.load(Ordering::Relaxed) => {
                "peeking, as the management endpoint refuses"
            }
            Way::Either(_) => "the management endpoint, and by peeking if that refuses",
        };
        let mut facts = vec![("counted by", by.to_owned())];
        if let Way::Peek(peeked) | Way::Either(peeked) = &self.way {
            facts.push(("counts at most", lock(&peeked.want).limit.to_string()));
        }
        facts
    }

    async fn managed(&self, deadline: Instant) -> Result<Backlog, Error> {
        let count = self.namespace.counts.active(&self.entities, deadline);
        let count =
            count.instrument(info_span!(target: POLL, "ask the management endpoint")).await?;
        Ok(match self.limit {
            Some(limit) if count >= limit.get() => Backlog::AtLeast(limit),
            _ => Backlog::Exact(count),
        })
    }
}

impl Peeked {
    async fn count(&self, deadline: Instant, enough: Option<NonZeroU64>) -> Result<Backlog, Error> {
        let want = self.want(enough.unwrap_or(self.limit).get());
        self.peeker.count(&want, deadline).instrument(info_span!(target: POLL, "peek")).await
    }

    /// What is wanted, up to this many. Polls that want the same share it.
    fn want(&self, limit: u64) -> Arc<Want> {
        let mut want = lock(&self.want);
        if want.limit != limit {
            *want = Arc::new(Want { selectors: want.selectors.clone(), by: want.by, limit });
        }
        Arc::clone(&want)
    }
}
