//! What is remembered of a topic from one poll to the next, and when it is forgotten.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::kafka::names::Offset;
use crate::kafka::poll::partition::{BELIEVE_AFTER, Committed, Waiting};

const RULES: Rules =
    Rules { without_offset: WithoutOffset::FromFirstSeen, exclude_persistent_lag: true };

/// What is seen of topic t and its partition 0.
fn seen(id: u8, asked: Instant, end: Offset, committed: Option<Offset>) -> ObservedTopic {
    let committed = committed.map_or(Committed::Absent, Committed::At);
    let seen = Observed { start: 0, end, committed, high_watermark: None, since: None };
    let partitions = ByPartition::from_iter([(0, seen)]);
    ObservedTopic { topic: Topic::from("t"), id: TopicId::of(id), asked, partitions }
}

fn after(start: Instant, milliseconds: u64) -> Instant {
    start + Duration::from_millis(milliseconds)
}

impl Memory {
    fn plan_at(&mut self, seen: &ObservedTopic, now: Instant) -> Option<Questions> {
        self.plan(std::slice::from_ref(seen), RULES, None, now)
    }

    /// From where on the only partition counts.
    fn commit_one(&mut self, seen: &ObservedTopic) -> Option<Waiting> {
        let polled = self.commit(std::slice::from_ref(seen), RULES, None)?;
        polled.first().map(|polled| polled.waiting)
    }

    fn poll(&mut self, seen: &ObservedTopic) -> Option<Waiting> {
        self.plan_at(seen, seen.asked)?;
        self.commit_one(seen)
    }

    fn answer(&mut self, seen: &ObservedTopic) -> bool {
        let observed = std::slice::from_ref(seen);
        assert!(self.plan_at(seen, seen.asked).is_some());
        let polled = self.commit(observed, RULES, None).expect("an answer");
        self.answered(observed, &polled);
        polled.iter().all(|polled| polled.persistent)
    }
}

#[test]
fn what_a_poll_learnt_of_a_topic_is_refused_once_it_was_made_again() {
    let start = Instant::now();
    let rows = [
        ("the group had passed 10", seen(1, start, 10, Some(10)), None),
        ("the log had been cut", seen(1, start, 3, None), Some(5)),
    ];
    for (name, mut old, high_watermark) in rows {
        let mut memory = Memory::default();
        let first = seen(1, start, 8, None);
        assert_eq!(memory.poll(&first), Some(Waiting::From(8)), "{name}");
        assert!(memory.plan_at(&old, start).is_some(), "{name}");
        let new = seen(2, after(start, 1), 3, None);
        assert_eq!(memory.plan_at(&new, new.asked), Some(Questions::default()), "{name}");
        old.partitions.get_mut(0).expect("one").high_watermark = high_watermark;
        assert_eq!(memory.commit_one(&old), None, "{name}: of the old one");
        assert_eq!(memory.commit_one(&new), Some(Waiting::From(0)), "{name}: all is new");
    }
}

#[test]
fn an_answer_from_before_a_topic_was_made_again_is_refused() {
    let start = Instant::now();
    let mut memory = Memory::default();
    let old = seen(1, start, 8, None);
    let new = seen(2, after(start, 1), 3, None);
    assert_eq!(memory.poll(&new), Some(Waiting::From(3)), "seen for the first time");
    assert_eq!(memory.plan_at(&old, new.asked), None);
    assert_eq!(memory.commit_one(&old), None);
    assert_eq!(memory.poll(&seen(2, after(start, 3), 5, None)), Some(Waiting::From(3)));
    let late = seen(1, after(start, 2), 8, None);
    assert_eq!(memory.poll(&late), None, "the new one has been seen since");
    assert_eq!(memory.poll(&seen(2, after(start, 4), 5, None)), Some(Waiting::From(3)));
}

#[test]
fn a_topic_made_again_is_new_from_its_start_and_so_is_its_group() {
    let start = Instant::now();
    let mut memory = Memory::default();
    assert!(!memory.answer(&seen(1, start, 8, Some(6))));
    assert!(memory.answer(&seen(1, start, 8, Some(6))), "it stands still");
    let new = seen(2, after(start, 1), 8, Some(6));
    assert!(!memory.answer(&new), "nobody knows whether it stands still");
    let back = seen(3, after(start, 2), 8, Some(4));
    assert_eq!(memory.poll(&back), Some(Waiting::From(4)), "it was never further");
    let none = seen(4, after(start, 3), 8, None);
    assert_eq!(memory.poll(&none), Some(Waiting::From(0)), "all is new");
}

#[test]
fn an_answer_is_not_remembered_for_a_topic_that_was_made_again_meanwhile() {
    let start = Instant::now();
    let mut memory = Memory::default();
    let old = seen(1, start, 8, Some(6));
    assert!(memory.plan_at(&old, start).is_some());
    let polled = memory.commit(std::slice::from_ref(&old), RULES, None).expect("an answer");
    let new = seen(2, after(start, 1), 8, Some(6));
    assert!(memory.poll(&new).is_some());
    memory.answered(std::slice::from_ref(&old), &polled);
    assert!(!memory.answer(&new), "the old one's does not say that it stands still");
}

#[test]
fn only_an_answer_moves_on_what_lag_is_compared_with() {
    let start = Instant::now();
    let mut memory = Memory::default();
    assert!(!memory.answer(&seen(1, start, 8, Some(5))));
    assert!(memory.poll(&seen(1, start, 8, Some(6))).is_some(), "without an answer");
    assert!(!memory.answer(&seen(1, start, 8, Some(6))), "moved since the answer before");
    // An answer that does not speak of the topic.
    memory.answered(&[], &[]);
    assert!(!memory.answer(&seen(1, start, 8, Some(6))), "nothing to compare with");
    assert!(memory.answer(&seen(1, start, 8, Some(6))));
}

#[test]
fn partitions_that_are_added_are_seen_from_their_start() {
    let start = Instant::now();
    let mut memory = Memory::default();
    let mut seen = seen(1, start, 8, None);
    assert_eq!(memory.poll(&seen), Some(Waiting::From(8)));
    let added = Observed { end: 9, ..*seen.partitions.get(0).expect("one") };
    seen.partitions.insert(1, added);
    assert!(memory.plan_at(&seen, start).is_some());
    let polled = memory.commit(std::slice::from_ref(&seen), RULES, None).expect("both");
    let waiting: Vec<Waiting> = polled.iter().map(|polled| polled.waiting).collect();
    assert_eq!(waiting, [Waiting::From(8), Waiting::From(0)]);
}

#[test]
fn a_topic_is_first_seen_even_where_its_group_was_not_asked_for_it_yet() {
    let start = Instant::now();
    let mut memory = Memory::default();
    let mut first = seen(1, start, 8, None);
    first.partitions.get_mut(0).expect("one").committed = Committed::NotAsked;
    assert_eq!(memory.poll(&first), None);
    let then = seen(1, after(start, 1), 11, None);
    assert_eq!(memory.poll(&then), Some(Waiting::From(8)), "3 came since");
}

#[test]
fn all_topics_are_looked_at_though_one_has_to_be_asked_about_again() {
    let start = Instant::now();
    let mut memory = Memory::default();
    let of = |name, committed, at| ObservedTopic {
        topic: Topic::from(name),
        ..seen(1, at, 8, Some(committed))
    };
    let before = [of("a", 5, start), of("b", 5, start)];
    assert!(memory.plan(&before, RULES, None, start).is_some());
    let back = [of("a", 3, start), of("b", 3, start)];
    assert!(memory.plan(&back, RULES, None, start).is_none());
    let believed = memory.plan(&back, RULES, None, start + BELIEVE_AFTER);
    assert_eq!(believed, Some(Questions::default()), "both have stood for a second");
    // The same beside an answer that is too old.
    let old = ObservedTopic { id: TopicId::default(), asked: start, ..of("a", 3, start) };
    let new = of("a", 3, after(start, 1));
    let further_back = of("b", 2, start);
    assert!(memory.plan(&[new], RULES, None, start).is_some());
    assert!(memory.plan(&[old, further_back.clone()], RULES, None, start).is_none());
    let believed = memory.plan(&[further_back], RULES, None, start + BELIEVE_AFTER);
    assert!(believed.is_some(), "it has stood for a second");
}

#[test]
fn a_refused_commit_remembers_nothing() {
    let start = Instant::now();
    let mut memory = Memory::default();
    let of = |name, id, at, committed| ObservedTopic {
        topic: Topic::from(name),
        ..seen(id, at, 8, committed)
    };
    let both = [of("a", 1, start, None), of("b", 1, start, None)];
    assert!(memory.plan(&both, RULES, None, start).is_some());
    let mut late = [of("a", 1, start, None), of("b", 2, after(start, 1), None)];
    late[0].partitions.get_mut(0).expect("one").since = Some(2);
    assert!(memory.commit(&late, RULES, Some(7)).is_none());
    let questions = memory.plan(&both, RULES, Some(7), start).expect("questions");
    assert_eq!(questions.since.len(), 2, "it still has to be asked for");
    let polled = memory.commit(&both, RULES, None).expect("both");
    assert!(polled.iter().all(|polled| polled.waiting == Waiting::From(8)));
}

#[test]
fn a_time_is_asked_for_once_and_again_when_it_is_another() {
    let start = Instant::now();
    let mut memory = Memory::default();
    let mut seen = seen(1, start, 8, None);
    let mut poll = |time, first| {
        let observed = std::slice::from_ref(&seen);
        let questions = memory.plan(observed, RULES, Some(time), start).expect("questions");
        let asks = questions.since.len() == 1;
        seen.partitions.get_mut(0).expect("one").since = asks.then_some(first);
        let polled = memory.commit(std::slice::from_ref(&seen), RULES, Some(time));
        (asks, polled.expect("an answer")[0].waiting)
    };
    assert_eq!(poll(700, 5), (true, Waiting::From(5)));
    assert_eq!(poll(700, 2), (false, Waiting::From(5)));
    assert_eq!(poll(900, 6), (true, Waiting::From(5)), "it only ever lowers");
    assert_eq!(poll(600, 3), (true, Waiting::From(3)));
    let rules = Rules { without_offset: WithoutOffset::One, ..RULES };
    let mut memory = Memory::default();
    let questions = memory.plan(std::slice::from_ref(&seen), rules, Some(7), start);
    assert_eq!(questions, Some(Questions::default()), "the rules do not ask for it");
}

/// What a poll saw, and how far it came.
#[derive(Debug, Clone)]
struct Poll {
    after: u64,
    end: Offset,
    committed: Option<Offset>,
    high_watermark: Offset,
    commits: bool,
    answers: bool,
}

fn poll() -> impl Strategy<Value = Poll> {
    let after = prop_oneof![1_u64..100, 900_u64..2_000];
    let committed = prop::option::weighted(0.7, 0_u64..30);
    (after, 0_u64..20, committed, 0_u64..5, any::<bool>(), any::<bool>()).prop_map(
        |(after, end, committed, unstable, commits, answers)| {
            let high_watermark = end + unstable;
            Poll { after, end, committed, high_watermark, commits, answers }
        },
    )
}

/// A poll that begins now: what it saw, and with what it commits.
fn begin(memory: &mut Memory, id: u8, poll: &Poll, now: Instant) -> Option<ObservedTopic> {
    let mut seen = seen(id, now, poll.end, poll.committed);
    let questions = memory.plan_at(&seen, now)?;
    if !questions.high_watermarks.is_empty() {
        seen.partitions.get_mut(0)?.high_watermark = Some(poll.high_watermark);
    }
    Some(seen)
}

proptest! {
    #[test]
    fn after_a_topic_was_made_again_nothing_of_the_old_one_decides(
        before in prop::collection::vec(poll(), 1..12),
        since in prop::collection::vec(poll(), 1..12),
    ) {
        let mut now = Instant::now();
        let mut memory = Memory::default();
        let mut late: Vec<(Poll, ObservedTopic)> = Vec::new();
        for poll in before {
            now = after(now, poll.after);
            let Some(seen) = begin(&mut memory, 1, &poll, now) else { continue };
            if !poll.commits {
                late.push((poll, seen));
            } else if let Some(polled) = memory.commit(std::slice::from_ref(&seen), RULES, None)
                && poll.answers
            {
                memory.answered(std::slice::from_ref(&seen), &polled);
            }
        }
        // Knows of the old topic only that there was one.
        let mut fresh = Memory::default();
        let empty = ObservedTopic { partitions: ByPartition::new(), ..seen(1, now, 0, None) };
        fresh.plan(&[empty], RULES, None, now);
        for poll in since {
            now = after(now, poll.after);
            let seen = begin(&mut memory, 2, &poll, now);
            let expected = begin(&mut fresh, 2, &poll, now);
            // What polls bring that began with the old one changes nothing.
            if let Some((_, late)) = late.pop() {
                prop_assert!(memory.commit(std::slice::from_ref(&late), RULES, None).is_none());
                prop_assert!(memory.plan_at(&late, now).is_none());
            }
            prop_assert_eq!(seen.is_some(), expected.is_some());
            let (Some(seen), Some(expected)) = (seen, expected) else { continue };
            let polled = memory.commit(std::slice::from_ref(&seen), RULES, None);
            let expected_polled = fresh.commit(std::slice::from_ref(&expected), RULES, None);
            prop_assert_eq!(&polled, &expected_polled);
            if let (Some(polled), true) = (polled, poll.answers) {
                memory.answered(std::slice::from_ref(&seen), &polled);
                fresh.answered(std::slice::from_ref(&expected), &polled);
            }
        }
    }
}
