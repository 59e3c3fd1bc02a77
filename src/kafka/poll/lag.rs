//! From what waits in each partition to the two numbers that KEDA compares: pure arithmetic, as
//! KEDA's own Kafka scaler does it.
//!
//! # References
//! - KEDA 2.20.2, `pkg/scalers/kafka_scaler.go`: lag of a partition, and of all together

use std::num::NonZeroU64;

use crate::kafka::trigger::{KafkaTrigger, Spread};

/// What waits in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionLag {
    pub(super) count: u64,
    /// Whether this counts for being active only: the group has stood still since the poll before,
    /// and the trigger excludes that.
    pub(super) persistent: bool,
}

/// The value for KEDA's metric, and the one that says whether the trigger is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) metric: u64,
    pub(super) activity: u64,
}

/// The value and the activity of a trigger: `all` and `moving` are how much waits altogether and in
/// the partitions that are not persistent, bounded here as the trigger says and by `limit`.
pub(super) fn add_up(
    trigger: &KafkaTrigger,
    partitions: &[PartitionLag],
    all: u64,
    moving: u64,
    limit: Option<NonZeroU64>,
) -> Lag {
    let limit = limit.map_or(u64::MAX, u64::from);
    let with_lag = partitions.iter().filter(|lag| !lag.persistent && lag.count > 0).count() as u64;
    let partitions = partitions.len() as u64;
    Lag {
        metric: bounded(
            trigger.spread,
            moving.min(limit),
            trigger.scaling.target,
            partitions,
            with_lag,
        ),
        activity: all.min(limit),
    }
}

/// The metric for a lag, of which `with_lag` among `partitions` partitions have a part.
fn bounded(spread: Spread, lag: u64, threshold: u64, partitions: u64, with_lag: u64) -> u64 {
    let at_most = |replicas: u64| {
        // The quotient decides, so a remainder within the last replica stays.
        if lag / threshold > replicas { replicas.saturating_mul(threshold) } else { lag }
    };
    match spread {
        Spread::Unbounded => lag,
        Spread::Partitions => at_most(partitions),
        Spread::PartitionsWithLag => at_most(with_lag),
        Spread::Even => {
            let divides = |replicas: &u64| partitions.is_multiple_of(*replicas);
            let covers = |replicas: &u64| replicas.saturating_mul(threshold) >= lag;
            let even = (1..=partitions).filter(divides).find(covers);
            even.unwrap_or(partitions).saturating_mul(threshold)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_bounds_as_keda_does() {
        use Spread::{Even, Partitions, PartitionsWithLag, Unbounded};
        // Threshold 10; 10 partitions, of which 3 have lag.
        let rows = [
            ("idle consumers are not bounded", Unbounded, 1_000, 1_000),
            ("a bound of one replica a partition", Partitions, 1_000, 100),
            ("the quotient decides, not the lag", Partitions, 109, 109),
            ("the quotient is above", Partitions, 110, 100),
            ("below the bound the lag itself", Partitions, 42, 42),
            ("a bound of one replica a partition with lag", PartitionsWithLag, 1_000, 30),
            ("below it the lag itself", PartitionsWithLag, 29, 29),
            ("one divides", Even, 5, 10),
            ("two divide", Even, 11, 20),
            ("three to five are five", Even, 21, 50),
            ("exactly five", Even, 50, 50),
            ("more than five are all", Even, 51, 100),
            ("more than all are all", Even, 1_000, 100),
            ("even nothing is covered by one", Even, 0, 10),
        ];
        for (name, spread, lag, expected) in rows {
            assert_eq!(bounded(spread, lag, 10, 10, 3), expected, "{name}");
        }
        assert_eq!(bounded(Even, u64::MAX, u64::MAX, 7, 7), u64::MAX, "no overflow");
        assert_eq!(bounded(Even, 5, 10, 0, 0), 0, "no partition");
    }
}
