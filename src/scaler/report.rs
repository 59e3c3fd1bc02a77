//! What is known of triggers, for people who ask and pages that show it: one description of each,
//! made once and read by all.
//!
//! An overview measures nothing. To explain a trigger measures it, as a poll would, and remembers
//! nothing that a poll would. Neither tells a secret.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::history::{Answer, Point, Poll, Refusal, State};
use super::identity::Identity;
use super::proto::ScaledObjectRef;
use super::service::Scaler;
use super::status::Error;
use super::triggers::Entry;
use crate::backlog::Backlog;
use crate::selection::Sight;
use crate::source::Explanation;
use crate::trigger::Trigger;

/// One trigger, by what is known of it.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Follows from its object and metadata, secrets left out; the same in each replica.
    pub id: String,
    /// The namespace of its ScaledJob or ScaledObject, as KEDA said it.
    pub namespace: Arc<str>,
    /// The name of that.
    pub name: Arc<str>,
    /// What it says; `None` of one whose metadata cannot be read, or has not been yet.
    pub trigger: Option<Trigger>,
    /// How it is.
    pub state: State,
    /// Answers since this process knows it.
    pub polls: u64,
    /// The latest of them.
    pub last: Option<Poll>,
    /// Since when each is an error.
    pub failing_since: Option<SystemTime>,
    /// Since when this process knows it.
    pub known_since: SystemTime,
    /// The most Jobs that KEDA starts, where that is known.
    pub max_jobs: Option<u64>,
    /// Why it counts 0 while other messages wait, if nothing of its own has ever been seen.
    pub note: Option<String>,
}

/// One trigger, explained.
#[derive(Debug, Clone)]
pub struct Explained {
    /// What is known without asking its source.
    pub overview: Overview,
    /// Its metadata; what may be a secret is hidden.
    pub metadata: Vec<(String, String)>,
    /// The latest answers, the newest first.
    pub polls: Vec<Poll>,
    /// How much waited over the last hours, the oldest first.
    pub points: Vec<Point>,
    /// What was measured now.
    pub measured: Result<Explanation, Refusal>,
    /// How many wait of each thing that is selected, in the order of the trigger; none where
    /// messages are not looked at, or the trigger could not be measured.
    pub by_type: Vec<(String, u64)>,
    /// What the messages were that were looked at last.
    pub sight: Option<Sight>,
}

/// Which triggers are meant; an empty text means any.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The id.
    pub id: String,
}

/// Why no trigger is the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is none.
    #[error(
        "no such trigger is known; KEDA has not asked about it in the last {0:?}, and warm-up does not follow it"
    )]
    None(Duration),
    /// There are several; some of their ids.
    #[error("{count} triggers are meant; give the id of one: {}", ids.join(", "))]
    Several {
        /// How many.
        count: usize,
        /// The first ids.
        ids: Vec<String>,
    },
}

/// Ids that an error lists.
const LISTED: usize = 8;

/// The id of the trigger that a request names.
pub fn id(asked: &ScaledObjectRef) -> String {
    Identity::of(asked, SystemTime::UNIX_EPOCH, false).id()
}

impl Overview {
    /// The source and where the messages wait.
    pub fn place(&self) -> String {
        self.trigger.as_ref().map(Trigger::place).unwrap_or_default()
    }

    /// Which messages count, in a few words.
    pub fn selection(&self) -> String {
        self.trigger.as_ref().map(|trigger| trigger.selection().to_string()).unwrap_or_default()
    }

    /// A value as an answer to KEDA.
    pub fn answer(&self, backlog: Backlog) -> Answer {
        let is_limit = self.trigger.as_ref().is_some_and(|trigger| {
            let max_jobs = self.max_jobs.and_then(NonZeroU64::new);
            trigger.stops_at(backlog, max_jobs.and_then(|max_jobs| trigger.enough(max_jobs)))
        });
        Answer { backlog, is_limit }
    }

    /// How many Jobs KEDA wants for so many messages: by the target, rounded up, and not above what
    /// there may be.
    pub fn jobs_wanted(&self, value: u64) -> Option<u64> {
        let target = self.trigger.as_ref()?.scaling().target;
        Some(value.div_ceil(target).min(self.max_jobs.unwrap_or(u64::MAX)))
    }
}

impl Query {
    fn means(&self, entry: &Entry) -> bool {
        let is = |wanted: &str, of: &str| wanted.is_empty() || wanted == of;
        let of = entry.identity();
        is(&self.namespace, &of.namespace)
            && is(&self.name, &of.name)
            && (self.id.is_empty() || self.id == of.id())
    }
}

impl Scaler {
    /// The triggers that are meant, of namespaces that may be seen, by namespace, name and id. One
    /// whose secret has changed is known twice for a while; the one polled last stands for both.
    pub fn overviews(&self, query: &Query, may_see: impl Fn(&str) -> bool) -> Vec<Overview> {
        self.meant(query, may_see).iter().map(|entry| self.overview(entry)).collect()
    }

    /// The one trigger that is meant, of those that may be seen.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn one(
        &self,
        query: &Query,
        may_see: impl Fn(&str) -> bool,
    ) -> Result<Arc<Entry>, FindError> {
        let mut found = self.meant(query, may_see);
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(FindError::None(self.forget_after())),
            (Some(entry), true) => Ok(entry),
            (Some(last), false) => {
                let count = found.len() + 1;
                let ids = found.iter().chain([&last]).map(|entry| entry.identity().id());
                Err(FindError::Several { count, ids: ids.take(LISTED).collect() })
            }
        }
    }

    /// What is known of a trigger without asking anybody.
    pub fn overview(&self, entry: &Entry) -> Overview {
        let identity = entry.identity();
        let live = entry.decoded().and_then(Result::ok);
        let history = entry.history();
        let note = live.as_ref().filter(|live| live.has_others_alone());
        Overview {
            id: identity.id(),
            namespace: Arc::clone(&identity.namespace),
            name: Arc::clone(&identity.name),
            state: history.state(SystemTime::now(), self.forget_after()),
            polls: history.count(),
            last: history.last().cloned(),
            failing_since: history.failing_since(),
            known_since: identity.known_since,
            max_jobs: entry.max_jobs(),
            note: note.and_then(|live| live.nothing_matches()).map(|nothing| nothing.words),
            trigger: live.map(|live| live.trigger().clone()),
        }
    }

    /// Measures a trigger, and says all that is known of it.
    pub async fn explain(&self, entry: &Entry) -> Explained {
        let live = entry.decoded();
        let measured = match &live {
            None => Err(Error::NotDecoded),
            Some(Err(invalid)) => Err(invalid.clone().into()),
            Some(Ok(live)) => self.explanation(entry, live).await,
        };
        // After the measurement, which sees messages.
        let live = live.and_then(Result::ok);
        let by_type = live.as_ref().filter(|_| measured.is_ok()).map(|live| live.by_type());
        let sight = live.and_then(|live| live.sight());
        let overview = self.overview(entry);
        let history = entry.history();
        Explained {
            overview,
            metadata: entry.identity().metadata(),
            polls: history.polls().cloned().collect(),
            points: history.points().collect(),
            measured: measured.map_err(|error| Refusal::of(&error)),
            by_type: by_type.unwrap_or_default(),
            sight,
        }
    }

    /// The entries that are meant, each id once.
    pub(super) fn meant(&self, query: &Query, may_see: impl Fn(&str) -> bool) -> Vec<Arc<Entry>> {
        let is_meant = |entry: &Entry| query.means(entry) && may_see(&entry.identity().namespace);
        let mut entries = self.triggers.entries(is_meant);
        let place = |entry: &Entry| {
            let of = entry.identity();
            (Arc::clone(&of.namespace), Arc::clone(&of.name), of.number)
        };
        // Of those of one id the one polled last comes first, and stays.
        entries.sort_by_cached_key(|entry| (place(entry), std::cmp::Reverse(entry.polled())));
        entries.dedup_by_key(|entry| place(entry));
        entries
    }
}
