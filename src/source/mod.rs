//! What a source is to the rest of the program: it reads a trigger's metadata, and measures the
//! trigger.
//!
//! A source's folder implements [`Source`] for what holds its connections, [`Wanted`] for what it
//! decodes a trigger to, and [`Measure`] for a trigger that is followed.
//! [`sources`](crate::sources) names it.

mod explanation;
mod parameters;
mod survey;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::backlog::{Measured, Purpose, Scope};
use crate::failure::Failure;
use crate::ledger::Account;
#[cfg(test)]
use crate::metadata;
use crate::metadata::{Reader, Table, cut, quoted};
use crate::selection::{Selection, Sight};

pub use self::explanation::{Explanation, MAX_PARTITIONS, Partition};
pub use self::parameters::TABLE as PARAMETERS;
pub use self::survey::{SurveyFrom, SurveyPlan, Surveyed, Surveyor};

/// Bytes of the longest metric name: what Kubernetes takes as the name of anything.
const METRIC_NAME_BYTES: usize = 253;

/// Where messages wait.
pub trait Source: Send + Sync + 'static {
    /// What a trigger's `source` and the metrics call it.
    const NAME: &'static str;

    /// Keys of which one at least tells that this source is meant, where `source` is not given.
    const TOLD_BY: &'static [&'static str];

    /// Its parameters, beside [`PARAMETERS`].
    const TABLE: &'static Table;

    /// The key of the consumer group for which messages wait; `None` where there are no groups.
    const GROUP: Option<&'static str>;

    /// What a filter can ask of a message beyond what it can of every message.
    const FILTER_VARIABLES: &'static [&'static str];

    /// The keys that say when and how far to scale.
    const SCALING: ScalingKeys;

    /// What a trigger asks of it.
    type Trigger: Wanted + PartialEq + 'static;

    /// Reads a whole trigger but for its selection.
    fn read(reader: &mut Reader<'_>, selection: Selection) -> Option<Self::Trigger>
    where
        Self: Sized,
    {
        let scaling = Scaling::decode::<Self>(reader);
        Self::Trigger::decode(reader, scaling, selection)
    }

    /// Begins to follow a trigger, which connects when it is first measured; `account` pays for
    /// what that makes the process hold.
    fn follow(&self, trigger: &Arc<Self::Trigger>, account: &Account) -> Box<dyn Measure>;

    /// How it is connected now.
    fn figures(&self) -> Figures;

    /// Shows `surveyor` the messages where a trigger counts, whatever it selects; `account` pays for
    /// what that makes the process hold.
    ///
    /// # Errors
    /// When they cannot be read, or none is seen by the plan's deadline.
    fn survey<'a>(
        &'a self,
        trigger: &'a Arc<Self::Trigger>,
        account: &'a Account,
        plan: SurveyPlan,
        surveyor: &'a mut dyn Surveyor,
    ) -> BoxFuture<'a, Result<Surveyed, Failure>>;

    /// Ends every connection and task, and waits for it.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// How a source is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Connections that are open.
    pub connections: usize,
    /// Connections or namespaces that are left alone for now, because they have asked for it.
    pub throttled: usize,
}

/// A trigger that is followed. Dropping it lets go of what nobody else needs.
pub trait Measure: Send + Sync {
    /// How many messages wait, now; of a trigger without a `countLimit` no further than the scope
    /// says.
    ///
    /// Dropping the future gives up this caller's wait and nothing that others wait for.
    ///
    /// # Errors
    /// When the count cannot be had by the deadline; an unknown is never 0.
    fn measure(
        &self,
        deadline: Instant,
        purpose: Purpose,
        scope: Scope,
    ) -> BoxFuture<'_, Result<Measured, Failure>>;

    /// Measures as [`Measure::measure`] does, and says what the number is made of. It remembers
    /// nothing that a poll would.
    ///
    /// # Errors
    /// As there.
    fn explain(
        &self,
        deadline: Instant,
        scope: Scope,
    ) -> BoxFuture<'_, Result<Explanation, Failure>>;

    /// How far the source has been read for it, as of the latest measurement. No I/O.
    fn progress(&self) -> Progress;

    /// What was seen of late of the messages that wait; `None` where every message counts, or none
    /// is looked at.
    fn sight(&self) -> Option<Sight>;
}

/// How far a source has been read for a trigger; nothing of what it does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Offsets read since the beginning of the log, over all partitions.
    pub position: Option<u64>,
    /// Offsets that the latest measurement would have needed besides.
    pub behind: Option<u64>,
    /// When the oldest message was sent that waits and is selected.
    pub oldest: Option<SystemTime>,
}

/// What a trigger asks of its source, as far as everybody needs to know.
pub trait Wanted: fmt::Debug + Send + Sync {
    /// The metric's name as KEDA's scaler would make it, not yet normalised, as far as the metadata
    /// says it.
    fn metric_name(reader: &mut Reader<'_>) -> String
    where
        Self: Sized;

    /// Reads what a trigger says beside what every source has. `None` after a complaint; there may
    /// be one even so.
    fn decode(reader: &mut Reader<'_>, scaling: Scaling, selection: Selection) -> Option<Self>
    where
        Self: Sized;

    /// When and how far to scale.
    fn scaling(&self) -> &Scaling;

    /// Which messages count.
    fn selection(&self) -> &Selection;

    /// Where they wait, in words for a person.
    fn place(&self) -> String;

    /// Whether the number is not counted but reckoned, so that it is the same however many are
    /// enough.
    fn is_reckoned(&self) -> bool {
        false
    }

    /// Where a count stops of which nobody says how many are enough.
    fn default_limit(&self) -> Option<NonZeroU64> {
        None
    }
}

/// What KEDA is told of a trigger, and where counting may stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaling {
    /// Name of the trigger's one metric.
    pub metric_name: String,
    /// Messages for one replica or Job, above 0.
    pub target: u64,
    /// The trigger is active above this many messages.
    pub activation: u64,
    /// Where counting may stop; above `activation`.
    pub count_limit: Option<NonZeroU64>,
}

/// What a source calls the keys of [`Scaling`].
#[derive(Debug, Clone, Copy)]
pub struct ScalingKeys {
    /// The key of the target.
    pub target: &'static str,
    /// The target where there is none.
    pub default_target: u64,
    /// The key of the activation threshold.
    pub activation: &'static str,
}

impl Figures {
    /// With others.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            throttled: self.throttled + other.throttled,
        }
    }
}

impl Scaling {
    /// Reads what the metadata says. After a complaint a number is at its default.
    pub fn decode<S: Source>(reader: &mut Reader<'_>) -> Self {
        let keys = S::SCALING;
        let count_limit =
            reader.number("countLimit", 1..=i64::MAX as u64).and_then(NonZeroU64::new);
        let target = reader.number(keys.target, 1..=i64::MAX as u64).unwrap_or(keys.default_target);
        let activation = reader.number(keys.activation, 0..=i64::MAX as u64).unwrap_or(0);
        // A count that stops at or below the activation threshold would never tell whether it is
        // passed.
        if count_limit.is_some_and(|limit| limit.get() <= activation) {
            let below = format!("is not above {}; give more than {activation}", keys.activation);
            reader.complain("countLimit", below);
        }
        let default_name = S::Trigger::metric_name(reader);
        let metric_name = metric_name(reader, &default_name);
        Self { metric_name, target, activation, count_limit }
    }
}

/// What the rows of a whole trigger decode to, but for its selection.
#[cfg(test)]
pub(crate) fn decode<'a, S: Source>(
    rows: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
    selection: Selection,
) -> Result<S::Trigger, metadata::Invalid> {
    metadata::tests::decode(&[&PARAMETERS, S::TABLE], rows, |reader| S::read(reader, selection))
}

/// The metric's name: the user's, or else `default`, in the form KEDA gives its own.
fn metric_name(reader: &mut Reader<'_>, default: &str) -> String {
    let name = reader.parsed("metricName", "give a short name", |text| {
        let fits = text.len() <= METRIC_NAME_BYTES && !text.chars().any(char::is_control);
        if fits {
            Ok(text)
        } else {
            Err(format!(
                "{} is too long or has control characters; give a short name",
                quoted(text)
            ))
        }
    });
    let name = name.unwrap_or(default);
    cut(name, METRIC_NAME_BYTES)
        .replace(|c: char| matches!(c, '/' | '.' | ':' | '%' | '(' | ')') || c.is_control(), "-")
}
