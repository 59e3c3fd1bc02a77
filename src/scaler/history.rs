//! What a trigger's polls were answered of late. Bounded, and kept for whoever asks how it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::Code;

use super::status::{Error, words};
use crate::backlog::Backlog;
use crate::failure::Class;

/// Answers that are kept.
const POLLS: usize = 16;

/// What one point of the past spans.
pub const POINT_SPAN: Duration = Duration::from_secs(120);

/// How many there are at most: four hours.
pub const POINTS: usize = 120;

/// The types of a trigger that a point tells apart, the first ones.
pub const TYPES: usize = 4;

/// Bytes that all of it takes at most, but for the texts of errors.
pub(super) const BYTES: usize = POLLS * size_of::<Poll>() + POINTS * size_of::<Point>();

/// An answer to `GetMetrics`.
#[derive(Debug, Clone)]
pub struct Poll {
    /// When it was given.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The value, or why there was none.
    pub answer: Result<Answer, Refusal>,
}

/// A value that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// How many messages wait.
    pub backlog: Backlog,
    /// Whether it stopped there because it need not count further.
    pub is_limit: bool,
}

/// Why a poll got no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What KEDA was told.
    pub code: Code,
    /// Whether it is only that the source is still being read.
    pub is_reading: bool,
    /// In these words, on one line; shared by answers that are the same.
    pub words: Arc<str>,
}

/// How a trigger is, by the latest answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Nobody has asked, or not for long.
    Unpolled,
    /// The answer was an error.
    Failing,
    /// The source was still being read.
    Reading,
    /// Nothing waits.
    Zero,
    /// Messages wait.
    Waiting,
}

/// How much waited at most in two minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The spans since 1970 before it.
    span: u32,
    /// Messages; so many or more at the largest number there is.
    most: u32,
    /// How many of each type there were then.
    by_type: [u32; TYPES],
}

/// What is kept of one trigger.
#[derive(Debug)]
pub(crate) struct History {
    /// One at least.
    polls: VecDeque<Poll>,
    points: VecDeque<Point>,
    /// Whether anybody may ask for more than the latest answer.
    is_kept: bool,
    count: u64,
    failing_since: Option<SystemTime>,
}

impl History {
    /// No answer yet; nothing but the latest one is kept unless somebody may ask for more.
    pub(crate) fn new(is_kept: bool) -> Self {
        Self {
            polls: VecDeque::new(),
            points: VecDeque::new(),
            is_kept,
            count: 0,
            failing_since: None,
        }
    }

    /// Adds an answer, with how many waited of each type where that was looked at.
    pub(crate) fn note(
        &mut self,
        at: SystemTime,
        took: Duration,
        answer: Result<Answer, &Error>,
        by_type: &[u64],
    ) {
        let answer = match answer {
            Ok(answer) => {
                self.failing_since = None;
                self.add_point(at, answer.backlog.count(), by_type);
                Ok(answer)
            }
            Err(error) => {
                let refusal = self.refusal(error);
                if !refusal.is_reading {
                    self.failing_since.get_or_insert(at);
                }
                Err(refusal)
            }
        };
        if self.polls.len() >= if self.is_kept { POLLS } else { 1 } {
            self.polls.pop_front();
        }
        self.polls.push_back(Poll { at, took, answer });
        self.count = self.count.saturating_add(1);
    }

    fn refusal(&self, error: &Error) -> Refusal {
        let refusal = Refusal::of(error);
        let last = self.last().and_then(|poll| poll.answer.as_ref().err());
        match last {
            Some(last) if *last == refusal => last.clone(),
            _ => refusal,
        }
    }

    /// Whether so many are the most of their span so far, so that its point tells of them.
    pub(crate) fn is_most(&self, at: SystemTime, count: u64) -> bool {
        self.is_kept
            && self
                .points
                .back()
                .is_none_or(|last| last.span < span(at) || last.most < whole(count))
    }

    fn add_point(&mut self, at: SystemTime, count: u64, types: &[u64]) {
        if !self.is_most(at, count) {
            return;
        }
        let mut by_type = [0; TYPES];
        for (kept, count) in by_type.iter_mut().zip(types) {
            *kept = whole(*count);
        }
        let mut point = Point { span: span(at), most: whole(count), by_type };
        match self.points.back_mut() {
            Some(last) if last.span >= point.span => {
                point.span = last.span;
                *last = point;
            }
            _ => {
                if self.points.len() >= POINTS {
                    self.points.pop_front();
                }
                self.points.push_back(point);
            }
        }
    }

    /// The latest answer.
    pub(crate) fn last(&self) -> Option<&Poll> {
        self.polls.back()
    }

    /// The answers that are kept, the newest first.
    pub(crate) fn polls(&self) -> impl Iterator<Item = &Poll> {
        self.polls.iter().rev()
    }

    /// The points of the past, the oldest first.
    pub(crate) fn points(&self) -> impl Iterator<Item = Point> {
        self.points.iter().copied()
    }

    /// How many answers there were altogether.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Since when each answer is an error; passing reading is none.
    pub(crate) fn failing_since(&self) -> Option<SystemTime> {
        self.failing_since
    }

    /// How the trigger is, where answers that are older than `long` count no more.
    pub(crate) fn state(&self, now: SystemTime, long: Duration) -> State {
        let is_old = |poll: &&Poll| now.duration_since(poll.at).is_ok_and(|age| age > long);
        match self.last().filter(|poll| !is_old(poll)).map(|poll| &poll.answer) {
            None => State::Unpolled,
            Some(Err(refusal)) if refusal.is_reading => State::Reading,
            Some(Err(_)) => State::Failing,
            Some(Ok(Answer { backlog: Backlog::Exact(0), .. })) => State::Zero,
            Some(Ok(_)) => State::Waiting,
        }
    }
}

impl Refusal {
    /// What KEDA is told of an error.
    pub(super) fn of(error: &Error) -> Self {
        Self {
            code: error.code(),
            is_reading: error.class() == Class::Reading,
            words: words(error).into(),
        }
    }
}

impl Point {
    /// When it began.
    pub fn at(self) -> SystemTime {
        UNIX_EPOCH + POINT_SPAN * self.span
    }

    /// How much waited at most.
    pub fn most(self) -> u64 {
        self.most.into()
    }

    /// How many there were then of the first [`TYPES`] types of the trigger; 0 of each where types
    /// are not told apart.
    pub fn by_type(self) -> [u64; TYPES] {
        self.by_type.map(u64::from)
    }
}

impl State {
    /// All there are, in the order in which they matter.
    pub const ALL: [Self; 5] =
        [Self::Failing, Self::Unpolled, Self::Reading, Self::Waiting, Self::Zero];

    /// Its name for metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unpolled => "unpolled",
            Self::Failing => "failing",
            Self::Reading => "reading",
            Self::Zero => "zero",
            Self::Waiting => "waiting",
        }
    }
}

fn span(at: SystemTime) -> u32 {
    u32::try_from(since_1970(at).as_secs() / POINT_SPAN.as_secs()).unwrap_or(u32::MAX)
}

fn whole(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn since_1970(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(900);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn note(history: &mut History, seconds: u64, answer: Result<u64, &Error>) {
        let answer = answer.map(|count| Answer { backlog: Backlog::Exact(count), is_limit: false });
        history.note(at(seconds), Duration::ZERO, answer, &[]);
    }

    #[test]
    fn what_is_kept_has_a_bound_and_the_newest_comes_first() {
        let mut history = History::new(true);
        for n in 0..10_000 {
            note(&mut history, n * 60, Ok(n));
        }
        let counts: Vec<_> = history
            .polls()
            .filter_map(|poll| poll.answer.as_ref().ok()?.backlog.count().into())
            .collect();
        assert_eq!(counts, (9_984..10_000).rev().collect::<Vec<u64>>());
        let points: Vec<_> = history.points().map(Point::most).collect();
        assert_eq!((points.len(), points[POINTS - 1]), (POINTS, 9_999));
        assert_eq!(history.points().last().map(Point::at), Some(at(9_998 * 60)));
        assert_eq!(history.count(), 10_000);
    }

    #[test]
    fn the_most_of_a_span_is_kept_and_a_clock_that_goes_back_adds_none() {
        let mut history = History::new(true);
        for (seconds, count) in [(240, 1), (300, 7), (250, 2), (10, 9)] {
            note(&mut history, seconds, Ok(count));
        }
        let points: Vec<_> = history.points().map(|point| (point.at(), point.most())).collect();
        assert_eq!(points, [(at(240), 9)]);
        note(&mut history, 360, Ok(u64::MAX));
        assert_eq!(history.points().last().map(Point::most), Some(u32::MAX.into()));
    }

    #[test]
    fn a_point_has_the_types_of_when_most_waited() {
        let mut history = History::new(true);
        for (seconds, count, by_type) in
            [(240, 3, [1, 2].as_slice()), (250, 9, &[4, 5]), (260, 6, &[3, 3]), (360, 5, &[1; 9])]
        {
            assert_eq!(history.is_most(at(seconds), count), count != 6);
            history.note(
                at(seconds),
                Duration::ZERO,
                Ok(Answer { backlog: Backlog::Exact(count), is_limit: false }),
                by_type,
            );
        }
        let points: Vec<_> = history.points().map(|of| (of.most(), of.by_type())).collect();
        assert_eq!(points, [(9, [4, 5, 0, 0]), (5, [1; TYPES])]);
    }

    #[test]
    fn the_state_is_that_of_the_latest_answer_while_it_is_fresh() {
        let reading = Error::Undecided { activation: 1 };
        type Row<'a> = (&'a [Result<u64, &'a Error>], State, Option<u64>);
        let rows: [Row<'_>; 6] = [
            (&[], State::Unpolled, None),
            (&[Ok(0)], State::Zero, None),
            (&[Err(&Error::ShuttingDown), Ok(3)], State::Waiting, None),
            (&[Ok(3), Err(&Error::ShuttingDown)], State::Failing, Some(1)),
            (&[Err(&Error::ShuttingDown), Err(&reading)], State::Reading, Some(0)),
            (&[Err(&reading)], State::Reading, None),
        ];
        for (answers, expected, failing_since) in rows {
            let mut history = History::new(true);
            for (seconds, answer) in (0..).zip(answers) {
                note(&mut history, seconds, *answer);
            }
            assert_eq!(history.state(at(10), LONG), expected, "{answers:?}");
            assert_eq!(history.failing_since(), failing_since.map(at), "{answers:?}");
            assert_eq!(history.state(at(10_000), LONG), State::Unpolled, "{answers:?}");
        }
    }

    #[test]
    fn where_nobody_may_ask_the_latest_answer_alone_is_kept() {
        let mut history = History::new(false);
        for n in 0..100 {
            note(&mut history, n * 60, Ok(n));
        }
        assert_eq!((history.polls().count(), history.points().count()), (1, 0));
        assert_eq!(history.state(at(99 * 60), LONG), State::Waiting);
        assert_eq!(history.count(), 100);
    }

    #[test]
    fn errors_that_are_the_same_share_their_words() {
        let mut history = History::new(true);
        note(&mut history, 0, Err(&Error::ShuttingDown));
        note(&mut history, 1, Err(&Error::ShuttingDown));
        let words: Vec<_> =
            history.polls().filter_map(|poll| Some(&poll.answer.as_ref().err()?.words)).collect();
        assert!(Arc::ptr_eq(words[0], words[1]));
    }
}
