//! What a poll answers, once its partitions are counted: the value and the activity of its trigger,
//! or why there are none.
//!
//! An unknown is never 0. Where not all has been counted, what was is a lower bound if it is above
//! 0, and [`Error::Warming`] if it is not.

use std::num::NonZeroU64;

use super::lag::{self, PartitionLag};
use super::partition::Polled;
use crate::backlog::{Backlog, Measured};
use crate::kafka::error::Error;
use crate::kafka::fault::{Fault, Kind};
use crate::kafka::names::{Offset, Topic};
use crate::kafka::trigger::{CountBy, KafkaTrigger};

/// What is known of a poll's messages beside how many there are in each partition.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Only where keys are counted.
    pub(super) keys: DistinctKeys,
    /// A topic in which more matches, or keys, have been found than are kept.
    pub(super) are_more: Option<Topic>,
    /// Where it is not all that there is: a topic that is still being read.
    pub(super) reading: Option<StillReading>,
}

/// How many distinct keys there are.
#[derive(Debug, Default)]
pub(super) struct DistinctKeys {
    /// Altogether.
    pub(super) all: u64,
    /// In the partitions that are not persistent.
    pub(super) moving: u64,
}

/// How far a topic has been read that has to be read further.
#[derive(Debug)]
pub(super) struct StillReading {
    pub(super) topic: Topic,
    /// How many offsets have been judged of those that the answer needs.
    pub(super) judged: Offset,
    /// How many have not.
    pub(super) behind: Offset,
    /// What keeps them from being judged.
    pub(super) fault: Option<Fault>,
}

/// Adds up what waits in all partitions; so many as `limit` says are enough.
///
/// # Errors
/// [`Error::Warming`] where a topic is still being read and nothing has been found yet.
pub(super) fn add_up(
    trigger: &KafkaTrigger,
    partitions: &[Polled],
    tally: &Tally,
    limit: Option<NonZeroU64>,
) -> Result<Measured, Error> {
    let lags: Vec<PartitionLag> = partitions.iter().map(Polled::lag).collect();
    let moving = || lags.iter().filter(|lag| !lag.persistent);
    let (all, moving) = match trigger.count_by {
        CountBy::Messages => {
            (total(lags.iter().map(|lag| lag.count)), total(moving().map(|lag| lag.count)))
        }
        CountBy::Partitions => (
            lags.iter().filter(|lag| lag.count > 0).count() as u64,
            moving().filter(|lag| lag.count > 0).count() as u64,
        ),
        CountBy::Keys => (tally.keys.all, tally.keys.moving),
    };
    let sum = lag::add_up(trigger, &lags, all, moving, limit);
    let limited = limit.is_some_and(|limit| all >= limit.get());
    // Bounded or rounded, what was counted may be another number; but nothing stays unknown.
    let answer = |counted: u64, value: u64| match (
        &tally.reading,
        &tally.are_more,
        NonZeroU64::new(value),
    ) {
        (Some(reading), _, _) if counted == 0 => Err(reading.error()),
        (None, Some(topic), _) if counted == 0 => Err(no_memory(topic)),
        (None, None, Some(_)) if !limited => Ok(Backlog::Exact(value)),
        (_, _, Some(value)) => Ok(Backlog::AtLeast(value)),
        (_, _, None) => Ok(Backlog::Exact(0)),
    };
    Ok(Measured { metric: answer(moving, sum.metric)?, activity: answer(all, sum.activity)? })
}

/// Where matches are known of, and none is kept.
fn no_memory(topic: &Topic) -> Error {
    let what = format!("the matches in topic {topic}");
    let reason = "its namespace holds all that --memory-limit leaves it".to_owned();
    Error::Memory { what, reason }
}

impl StillReading {
    fn error(&self) -> Error {
        let StillReading { topic, judged, behind, fault } = self;
        if let Some(fault) = fault
            && fault.kind == Kind::Exhausted
        {
            let what = format!("the records of topic {topic}");
            return Error::Memory { what, reason: fault.reason.clone() };
        }
        Error::Warming { topic: topic.clone(), judged: *judged, behind: *behind }
    }
}

impl Polled {
    fn lag(&self) -> PartitionLag {
        PartitionLag { count: self.count, persistent: self.persistent }
    }
}

/// All together. A broker may give offsets of any size.
pub(super) fn total(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::poll::partition::Waiting;
    use crate::kafka::trigger::Spread;

    fn trigger() -> KafkaTrigger {
        KafkaTrigger { spread: Spread::Unbounded, ..crate::kafka::poll::tests::trigger() }
    }

    /// A partition with so much to count.
    fn partition(count: u64, persistent: bool) -> Polled {
        let (topic, waiting) = (Topic::from("t"), Waiting::From(0));
        let (start, end, committed) = (0, 100, None);
        Polled { topic, partition: 0, start, end, committed, waiting, persistent, count }
    }

    fn at_least(count: u64) -> Backlog {
        Backlog::AtLeast(NonZeroU64::new(count).expect("above zero"))
    }

    #[test]
    fn where_not_all_keys_are_kept_the_answer_is_a_lower_bound() {
        let trigger = KafkaTrigger { count_by: CountBy::Keys, ..trigger() };
        for (are_more, expected) in [(false, Backlog::Exact(5)), (true, at_least(5))] {
            let keys = DistinctKeys { all: 5, moving: 5 };
            let are_more = are_more.then(|| Topic::from("t"));
            let tally = Tally { keys, are_more, reading: None };
            let measured = add_up(&trigger, &[partition(5, false)], &tally, None).unwrap();
            assert_eq!((measured.metric, measured.activity), (expected, expected));
        }
    }

    #[test]
    fn where_matches_were_let_go_of_the_answer_is_a_lower_bound_or_an_error() {
        let tally = Tally { are_more: Some(Topic::from("t")), ..Tally::default() };
        let some = add_up(&trigger(), &[partition(2, false)], &tally, None).unwrap();
        assert_eq!(some.metric, at_least(2));
        let none = add_up(&trigger(), &[partition(0, false)], &tally, None).unwrap_err();
        assert!(none.to_string().contains("--memory-limit"), "{none}");
    }

    #[test]
    fn what_is_still_being_read_is_a_lower_bound_or_an_error() {
        let reading =
            || StillReading { topic: Topic::from("t"), judged: 3, behind: 4, fault: None };
        let warming = Err(Error::Warming { topic: Topic::from("t"), judged: 3, behind: 4 });
        let fault = Some(Fault::new(Kind::Exhausted, "namespace shop holds too much"));
        let tally =
            Tally { reading: Some(StillReading { fault, ..reading() }), ..Tally::default() };
        let none = add_up(&trigger(), &[partition(0, false)], &tally, None).unwrap_err();
        assert!(none.to_string().contains("namespace shop holds"), "{none}");
        let tally = Tally { reading: Some(reading()), ..Tally::default() };
        let rows = [
            ("nothing is known", vec![partition(0, false)], warming.clone()),
            ("some are", vec![partition(0, false), partition(2, false)], Ok(at_least(2))),
            ("only persistent ones are", vec![partition(2, true)], warming),
        ];
        for (name, partitions, expected) in rows {
            let measured = add_up(&trigger(), &partitions, &tally, None);
            assert_eq!(measured.map(|measured| measured.metric), expected, "{name}");
        }
    }

    #[test]
    fn persistent_partitions_count_for_being_active_only() {
        let partitions = [partition(2, true), partition(3, false), partition(0, false)];
        let rows =
            [("messages", CountBy::Messages, 3, 5), ("partitions", CountBy::Partitions, 1, 2)];
        for (name, count_by, metric, activity) in rows {
            let trigger = KafkaTrigger { count_by, ..trigger() };
            let measured = add_up(&trigger, &partitions, &Tally::default(), None).unwrap();
            let expected = (Backlog::Exact(metric), Backlog::Exact(activity));
            assert_eq!((measured.metric, measured.activity), expected, "{name}");
        }
    }

    #[test]
    fn at_its_limit_a_count_is_a_lower_bound() {
        let limit = NonZeroU64::new(5);
        for (count, expected) in [(4, Backlog::Exact(4)), (5, at_least(5)), (9, at_least(5))] {
            let partitions = [partition(count, false)];
            let measured = add_up(&trigger(), &partitions, &Tally::default(), limit).unwrap();
            assert_eq!(measured.metric, expected, "{count}");
        }
    }
}
