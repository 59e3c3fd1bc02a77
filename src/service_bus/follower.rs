//! One trigger's hold on its namespace, and the way of a poll: by the management endpoint, or by peeking.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::browse::Want;
use super::entity::Entities;
use super::error::Error;
use super::namespaces::{Namespace, Namespaces};
use super::peek::Peeker;
use super::trigger::{CountBy, CountFrom, ServiceBusTrigger};
use crate::backlog::{Backlog, Measured};

/// A trigger that is followed.
pub struct Follower(Result<Followed, Error>);

struct Followed {
    namespace: Arc<Namespace>,
    entities: Entities,
    limit: Option<NonZeroU64>,
    way: Way,
}

/// Who counts.
enum Way {
    Management,
    Peek(Arc<Peeker>, Arc<Want>),
    /// The management endpoint, and where that refuses, we.
    Either(Arc<Peeker>, Arc<Want>),
}

impl Follower {
    pub(super) fn new(trigger: &Arc<ServiceBusTrigger>, namespaces: &Namespaces) -> Follower {
        let followed = namespaces.get(trigger).map(|namespace| Followed::new(trigger, namespace));
        Follower(followed.map_err(Error::from))
    }

    /// How many messages wait, now: both figures are the same.
    ///
    /// Dropping the future gives up this caller's wait and nothing that others wait for.
    ///
    /// # Errors
    /// When the count cannot be had by the deadline; an unknown is never 0.
    pub async fn measure(&self, deadline: Instant) -> Result<Measured, Error> {
        let followed = self.0.as_ref().map_err(Clone::clone)?;
        let backlog = followed.count(deadline).await?;
        Ok(Measured { metric: backlog, activity: backlog })
    }
}

impl Followed {
    fn new(trigger: &ServiceBusTrigger, namespace: Arc<Namespace>) -> Followed {
        let limit = trigger.count_limit;
        let Entities::One(entity) = &trigger.entities else {
            let entities = trigger.entities.clone();
            return Followed { namespace, entities, limit, way: Way::Management };
        };
        let peeked = || {
            let parts = trigger.selection.parts();
            let want = Want { parts, by: trigger.count_by, limit: trigger.peek_limit };
            (namespace.peeker(entity), Arc::new(want))
        };
        let counts_all = trigger.selection.is_all() && trigger.count_by == CountBy::Messages;
        let way = match trigger.count_from {
            CountFrom::Management => Way::Management,
            CountFrom::Auto if counts_all => {
                let (peeker, want) = peeked();
                Way::Either(peeker, want)
            }
            CountFrom::Auto | CountFrom::Peek => {
                let (peeker, want) = peeked();
                Way::Peek(peeker, want)
            }
        };
        Followed { entities: trigger.entities.clone(), namespace, limit, way }
    }

    async fn count(&self, deadline: Instant) -> Result<Backlog, Error> {
        match &self.way {
            Way::Management => self.managed(deadline).await,
            Way::Peek(peeker, want) => peeker.count(want, deadline).await,
            Way::Either(peeker, want) => {
                if peeker.instead.load(Ordering::Relaxed) {
                    return peeker.count(want, deadline).await;
                }
                match self.managed(deadline).await {
                    Err(refusal) if refusal.is_refusal() => {
                        let counted = peeker.count(want, deadline).await?;
                        // Not before it works: the refusal may be mended first.
                        peeker.count_instead(&refusal);
                        Ok(counted)
                    }
                    counted => counted,
                }
            }
        }
    }

    async fn managed(&self, deadline: Instant) -> Result<Backlog, Error> {
        let count = self.namespace.counts.active(&self.entities, deadline).await?;
        Ok(match self.limit {
            Some(limit) if count >= limit.get() => Backlog::AtLeast(limit),
            _ => Backlog::Exact(count),
        })
    }
}
