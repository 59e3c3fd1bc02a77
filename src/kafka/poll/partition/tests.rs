//! From where on messages of a partition wait, for each way of a group to stand.

use proptest::prelude::*;

use super::*;
use crate::kafka::Kafka;
use crate::selection::{EventTypes, Selection};
use crate::source;

const START: Offset = 10;
const END: Offset = 40;
const HIGH_WATERMARK: Offset = 50;

const FIRST_SEEN: Rules =
    Rules { without_offset: WithoutOffset::FromFirstSeen, exclude_persistent_lag: false };

/// The log has offsets from 10 up to 50, of which those from 40 on are not stable.
fn seen(committed: Option<Offset>) -> Observed {
    let committed = committed.map_or(Committed::Absent, Committed::At);
    Observed { start: START, end: END, committed, high_watermark: None, since: None }
}

/// What a poll comes to that also asks for a high watermark where it has to.
fn polled(first_seen: Offset, mut seen: Observed, rules: Rules) -> (Remembered, Step) {
    let now = Instant::now();
    let (next, first) = step(Remembered::new(first_seen), &seen, rules, now);
    if first != Step::AskHighWatermark {
        return (next, first);
    }
    seen.high_watermark = Some(HIGH_WATERMARK);
    count_from(next, &seen, rules)
}

#[test]
fn a_committed_offset_further_back_is_believed_once_it_has_stood_for_a_second() {
    use GroupOffset::{At, Unknown};
    let since = Instant::now();
    let back = |since| GroupOffset::Regressed { from: 5, since };
    let rows = [
        ("nothing is known, nothing is said", Unknown, 0, None, Unknown),
        ("it is heard of for the first time", Unknown, 0, Some(5), At(5)),
        ("it stands still", At(5), 0, Some(5), At(5)),
        ("it moves on", At(5), 0, Some(7), At(7)),
        ("it is said to stand further back", At(5), 0, Some(4), back(since)),
        ("it is said to be gone", At(5), 0, None, back(since)),
        ("further back for a moment", back(since), 999, Some(4), back(since)),
        ("gone for a moment", back(since), 999, None, back(since)),
        ("further back for a second", back(since), 1_000, Some(4), At(4)),
        ("gone for a second", back(since), 1_000, None, Unknown),
        ("back where it stood", back(since), 999, Some(5), At(5)),
        ("further on than it stood", back(since), 999, Some(6), At(6)),
        ("back where it stood, late", back(since), 2_000, Some(5), At(5)),
    ];
    for (name, before, after, committed, expected) in rows {
        let group = before.heard(committed, since + Duration::from_millis(after));
        assert_eq!(group, expected, "{name}");
        let remembered = Remembered { group: before, ..Remembered::new(0) };
        let now = since + Duration::from_millis(after);
        let (next, step) = step(remembered, &seen(committed), FIRST_SEEN, now);
        let asks_again = matches!(expected, GroupOffset::Regressed { .. });
        assert_eq!((next.group, step == Step::AskAgain), (expected, asks_again), "{name}");
    }
}

#[test]
fn a_partition_that_was_not_asked_about_is_asked_about_again() {
    let known = Remembered { group: GroupOffset::At(7), ..Remembered::new(3) };
    let seen = Observed { committed: Committed::NotAsked, ..seen(None) };
    let answer = step(known, &seen, FIRST_SEEN, Instant::now());
    assert_eq!(answer, (known, Step::AskAgain), "and nothing is learnt");
    assert_eq!(count_from(known, &seen, FIRST_SEEN), (known, Step::AskAgain));
}

#[test]
fn what_waits_goes_by_the_committed_offset_and_else_by_the_rules() {
    use Waiting::{Fixed, From};
    use WithoutOffset::{FromFirstSeen, FromLogStart, Nothing, One};
    let past_start = seen(Some(20));
    let before_start = seen(Some(3));
    let none = seen(None);
    let rows = [
        ("a committed offset", past_start, [From(20); 4]),
        ("one before the log start", before_start, [From(START); 4]),
        ("none", none, [Fixed(0), From(START), Fixed(1), From(30)]),
        ("one past the end", seen(Some(45)), [From(45); 4]),
        (
            "one past the high watermark",
            seen(Some(51)),
            [Fixed(0), From(START), Fixed(1), From(30)],
        ),
    ];
    for (name, seen, expected) in rows {
        for (without_offset, expected) in
            [Nothing, FromLogStart, One, FromFirstSeen].into_iter().zip(expected)
        {
            let rules = Rules { without_offset, exclude_persistent_lag: false };
            let first_seen = if without_offset == FromFirstSeen { 30 } else { 0 };
            let (_, step) = polled(first_seen, seen, rules);
            assert_eq!(step, Step::Count(expected), "{name}, {without_offset:?}");
        }
    }
    let (_, first_seen_before) = polled(3, none, FIRST_SEEN);
    assert_eq!(first_seen_before, Step::Count(From(START)), "never before the log start");
}

#[test]
fn the_high_watermark_is_asked_for_where_the_offset_lies_past_the_end() {
    let rows = [
        ("a committed offset at the end", Some(40), 99, false),
        ("a committed offset past it", Some(41), 0, true),
        ("first seen at the end", None, 40, false),
        ("first seen past it", None, 41, true),
    ];
    for (name, committed, first_seen, asks) in rows {
        let remembered = Remembered::new(first_seen);
        let (next, step) = step(remembered, &seen(committed), FIRST_SEEN, Instant::now());
        assert_eq!(step == Step::AskHighWatermark, asks, "{name}");
        if asks {
            assert_eq!(next.first_seen, first_seen, "{name}: nothing is concluded yet");
        }
    }
}

#[test]
fn only_an_offset_past_the_high_watermark_is_not_valid() {
    // Expected are the committed offset that is valid, and where the trigger first saw it then.
    let rows = [
        ("up to the end", Some(40), 40, Some(40), 40),
        ("into an open transaction", Some(45), 40, Some(45), 45),
        ("up to the high watermark", Some(50), 40, Some(50), 50),
        ("past it", Some(51), 40, None, 40),
        ("past it, and so was the end", Some(51), 51, None, START),
        ("none, and the log was cut", None, 51, None, START),
        ("none, and a transaction is open", None, 45, None, 45),
        ("none, and all of the log is unstable", None, 50, None, 50),
        ("the log was cut before it", Some(30), 51, Some(30), 51),
    ];
    for (name, committed, first_seen, valid, expected) in rows {
        let seen = seen(committed);
        let (next, _) = polled(first_seen, seen, FIRST_SEEN);
        assert_eq!(next.first_seen, expected, "{name}");
        let high_watermark = Some(HIGH_WATERMARK);
        assert_eq!(Observed { high_watermark, ..seen }.valid_committed(), valid, "{name}");
    }
}

#[test]
fn what_the_group_has_passed_does_not_wait_once_it_is_forgotten() {
    let now = Instant::now();
    let (passed, _) = step(Remembered::new(15), &seen(Some(35)), FIRST_SEEN, now);
    let (gone, first) = step(passed, &seen(None), FIRST_SEEN, now);
    assert_eq!(first, Step::AskAgain);
    let (_, then) = step(gone, &seen(None), FIRST_SEEN, now + BELIEVE_AFTER);
    assert_eq!(then, Step::Count(Waiting::From(35)));
}

#[test]
fn a_time_only_adds_what_came_before_the_trigger_was_first_seen() {
    let rows = [
        ("earlier", None, 30, Some(20), 20),
        ("later", None, 30, Some(35), 30),
        ("no record is of that time", None, 30, None, 30),
        ("a partition that was added", None, 0, Some(20), 0),
        ("the group has passed it", Some(25), 30, Some(20), 25),
        ("the log was cut, so that all is new", None, 51, Some(20), START),
    ];
    for (name, committed, first_seen, since, expected) in rows {
        let seen = Observed { since, ..seen(committed) };
        assert_eq!(polled(first_seen, seen, FIRST_SEEN).0.first_seen, expected, "{name}");
    }
}

#[test]
fn where_the_rules_do_not_ask_nothing_is_first_seen() {
    let rules = Rules { without_offset: WithoutOffset::FromLogStart, ..FIRST_SEEN };
    let seen = Observed { since: Some(20), ..seen(Some(35)) };
    assert_eq!(polled(0, seen, rules).0.first_seen, 0);
}

#[test]
fn lag_persists_where_the_group_has_not_moved_since_the_last_poll_for_the_metric() {
    let rows = [
        ("not moved", true, Some(5), Some(5), true),
        ("moved", true, Some(5), Some(6), false),
        ("no poll before", true, None, Some(5), false),
        ("nothing committed, again", true, None, None, false),
        ("gone", true, Some(5), None, false),
        ("not excluded", false, Some(5), Some(5), false),
    ];
    for (name, exclude_persistent_lag, last_metric, committed, expected) in rows {
        let rules = Rules { exclude_persistent_lag, ..FIRST_SEEN };
        let known = Remembered { last_metric, ..Remembered::new(0) };
        assert_eq!(known.is_persistent(committed, rules), expected, "{name}");
    }
}

#[test]
fn the_rules_are_those_of_the_trigger() {
    let rows = [
        ("latest", "false", None, WithoutOffset::One),
        ("latest", "false", Some("a"), WithoutOffset::FromFirstSeen),
        ("latest", "true", None, WithoutOffset::Nothing),
        ("latest", "true", Some("a"), WithoutOffset::Nothing),
        ("earliest", "false", None, WithoutOffset::FromLogStart),
        ("earliest", "false", Some("a"), WithoutOffset::FromLogStart),
        ("earliest", "true", Some("a"), WithoutOffset::Nothing),
    ];
    for (policy, to_zero, types, expected) in rows {
        let rows = [
            ("bootstrapServers", "127.0.0.1:9"),
            ("consumerGroup", "g"),
            ("topic", "t"),
            ("offsetResetPolicy", policy),
            ("scaleToZeroOnInvalidOffset", to_zero),
        ];
        let types = types.map(|types| EventTypes::parse(types).expect("a type"));
        let selection = Selection { types, ..Selection::default() };
        let trigger = source::decode::<Kafka>(&rows, selection);
        let rules = Rules::of(&trigger.expect("a trigger"));
        assert_eq!(rules.without_offset, expected, "{policy}, {to_zero}");
    }
}

/// What one poll sees, and how long after the one before it comes.
#[derive(Debug, Clone)]
struct Poll {
    after: u64,
    start: Offset,
    end: Offset,
    committed: Option<Offset>,
    /// From the end on.
    high_watermark: Offset,
    since: Option<Offset>,
}

fn poll() -> impl Strategy<Value = Poll> {
    let after = prop_oneof![0_u64..100, 900_u64..1_100, 0_u64..5_000];
    let committed = prop::option::weighted(0.8, 0_u64..60);
    let since = prop::option::weighted(0.2, 0_u64..60);
    (after, 0_u64..20, 0_u64..30, committed, 0_u64..10, since).prop_map(
        |(after, start, length, committed, unstable, since)| {
            let end = start + length;
            Poll { after, start, end, committed, high_watermark: end + unstable, since }
        },
    )
}

fn rules() -> impl Strategy<Value = Rules> {
    let without_offset = prop_oneof![
        Just(WithoutOffset::Nothing),
        Just(WithoutOffset::FromLogStart),
        Just(WithoutOffset::One),
        Just(WithoutOffset::FromFirstSeen),
    ];
    without_offset
        .prop_map(|without_offset| Rules { without_offset, exclude_persistent_lag: false })
}

proptest! {
    #[test]
    fn whatever_brokers_say_the_rules_hold(
        rules in rules(),
        first_seen in 0_u64..60,
        polls in prop::collection::vec(poll(), 1..40),
    ) {
        let is_first_seen = rules.without_offset == WithoutOffset::FromFirstSeen;
        let mut remembered = Remembered::new(if is_first_seen { first_seen } else { 0 });
        let mut now = Instant::now();
        // What was heard, and what was last counted from because it was committed.
        let mut heard: Vec<(Instant, Option<Offset>)> = Vec::new();
        let mut believed: Option<Offset> = None;
        // How far the group has come since the log was last cut.
        let mut passed = 0;
        for poll in polls {
            now += Duration::from_millis(poll.after);
            heard.push((now, poll.committed));
            let committed = poll.committed.map_or(Committed::Absent, Committed::At);
            let Poll { start, end, since, .. } = poll;
            let mut seen = Observed { start, end, committed, high_watermark: None, since };
            let (mut next, mut then) = step(remembered, &seen, rules, now);
            if then == Step::AskHighWatermark {
                prop_assert!(poll.committed.unwrap_or(next.first_seen) > poll.end);
                seen.high_watermark = Some(poll.high_watermark);
                (next, then) = count_from(next, &seen, rules);
                prop_assert!(matches!(then, Step::Count(_)), "one question is enough");
            }
            let was_cut = seen.valid_committed().is_none()
                && seen.high_watermark.is_some_and(|high| remembered.first_seen > high);
            if was_cut || since.is_some() {
                passed = 0;
            }
            remembered = next;
            match then {
                Step::AskAgain => {
                    let back = poll.committed.is_none_or(|now| Some(now) < believed);
                    prop_assert!(back && believed.is_some(), "asked again without a reason");
                }
                Step::AskHighWatermark => unreachable!("it was asked for"),
                Step::Count(waiting) => {
                    if let Some(believed) = believed
                        && poll.committed.is_none_or(|committed| committed < believed)
                    {
                        // All that was heard for a second and more was further back.
                        let is_back = |said: &&(Instant, Option<Offset>)| {
                            said.1.is_none_or(|committed| committed < believed)
                        };
                        let back = heard.iter().rev().take_while(is_back).last();
                        let (since, _) = back.expect("this one");
                        prop_assert!(now - *since >= BELIEVE_AFTER, "lowered at once");
                    }
                    believed = poll.committed;
                    let valid = seen.valid_committed();
                    passed = valid.map_or(passed, |valid| passed.max(valid));
                    match (waiting, valid) {
                        (Waiting::Fixed(count), valid) => {
                            prop_assert!(valid.is_none() && count <= 1);
                        }
                        (Waiting::From(from), Some(valid)) => {
                            prop_assert_eq!(from, valid.max(start));
                        }
                        (Waiting::From(from), None) => {
                            prop_assert!(from >= start, "from before the log start");
                            if is_first_seen {
                                prop_assert!(from >= passed, "what the group had passed");
                            }
                        }
                    }
                    // The same answers again, and nothing comes out otherwise.
                    let again = count_from(remembered, &seen, rules);
                    prop_assert_eq!(again, (remembered, then));
                }
            }
            if !is_first_seen {
                prop_assert_eq!(remembered.first_seen, 0);
            }
        }
    }
}
