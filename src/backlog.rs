//! The answer: how many selected messages wait, measured at one moment.
//!
//! An answer cannot lie: it is a number that was measured, or a lower bound that is above zero. Not
//! knowing is an error and has no value here, so that an unknown is never taken for 0.

use std::num::NonZeroU64;

/// How many selected messages wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// Looked at all of them: exactly this many. 0 means that there was nothing.
    Exact(u64),
    /// Looked at some of them: this many or more.
    AtLeast(NonZeroU64),
}

/// What a measurement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The metric's value: a poll, which the next poll may be compared with.
    Metric,
    /// Only whether the trigger is active.
    Activity,
}

/// How far a count need go, and from when on what came is the trigger's: as the object says that it
/// is of. Nothing of either where no object is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// So many are enough, of a trigger that does not say itself where to stop.
    pub enough: Option<NonZeroU64>,
    /// When the object was made, in milliseconds since 1970.
    pub since: Option<i64>,
}

/// What was measured at one moment. KEDA's value is `metric`; the trigger is active when `activity`
/// is above its activation threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What waits, bounded as the trigger says.
    pub metric: Backlog,
    /// What waits, whatever the metric leaves out.
    pub activity: Backlog,
}

impl Backlog {
    /// The number to report: messages, of a lower bound the bound itself.
    pub fn count(self) -> u64 {
        match self {
            Backlog::Exact(count) => count,
            Backlog::AtLeast(bound) => bound.get(),
        }
    }

    /// Whether more than `threshold` messages wait; `None` where a lower bound does not tell.
    pub fn exceeds(self, threshold: u64) -> Option<bool> {
        match self {
            Backlog::Exact(count) => Some(count > threshold),
            Backlog::AtLeast(bound) if bound.get() > threshold => Some(true),
            Backlog::AtLeast(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_bound_below_the_threshold_tells_nothing() {
        let bound = Backlog::AtLeast(NonZeroU64::new(3).expect("three is not zero"));
        assert_eq!(bound.exceeds(2), Some(true));
        assert_eq!(bound.exceeds(3), None);
        assert_eq!(Backlog::Exact(3).exceeds(3), Some(false));
        assert_eq!(Backlog::Exact(0).exceeds(0), Some(false));
    }
}
