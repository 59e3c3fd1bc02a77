use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::selection::message::tests::Sample;
use crate::selection::selector::Selection;

/// A selection as a trigger writes it; an empty text is an absent key.
fn selection(types: &str, from: &str, filter: &str) -> Selection {
    Selection {
        types: (!types.is_empty())
            .then(|| EventTypes::parse(types).expect("the list is well formed")),
        from: match from {
            "" => EventTypeFrom::CloudEvents,
            from => EventTypeFrom::parse(from).expect("the place is well formed"),
        },
        filter: (!filter.is_empty()).then(|| {
            Filter::compile(filter, &["topic", "partition"]).expect("the filter is well formed")
        }),
    }
}

/// The numbers of the selections that a message counts for, and of those it is indeterminate for.
fn judge(selections: &[Selection], message: &Sample) -> (Vec<u32>, BTreeSet<u32>) {
    let selectors = selections.iter().zip(0..).flat_map(|(selection, number)| {
        selection.selectors().into_iter().map(move |selector| (Slot(number), selector))
    });
    let mut verdicts =
        Verdicts { selected: vec![Slot(99)], indeterminate: vec![(Slot(99), Reason::NoKey)] };
    Judge::new(selectors).judge(message, None, &mut verdicts);
    let mut selected: Vec<u32> = verdicts.selected.iter().map(|slot| slot.0).collect();
    selected.sort_unstable();
    (selected, verdicts.indeterminate.iter().map(|(slot, _)| slot.0).collect())
}

#[test]
fn each_selection_gets_its_verdict() {
    let selections = [
        selection("", "", ""),
        selection("made,sent", "", ""),
        selection("ma*", "", ""),
        selection("*", "", ""),
        selection("made", "key", ""),
        selection("made", "body:type", ""),
        selection("", "", "body.amount > 100"),
        selection("made", "", "body.amount > 100"),
        selection("sent", "", "body.nothing"),
        selection("", "key", "eventType == ''"),
    ];
    let made = Sample::default().header("ce_type", "made").body(r#"{"type":"made","amount":101}"#);
    assert_eq!(judge(&selections, &made), (vec![0, 1, 2, 3, 5, 6, 7, 9], BTreeSet::from([4])));
    let lost = Sample::default().key("made").body("{");
    assert_eq!(judge(&selections, &lost), (vec![0, 4], BTreeSet::from([1, 2, 3, 5, 6, 7, 8])));
}

#[test]
fn a_filter_beside_types_is_not_asked_about_other_types() {
    let selections = [selection("made", "", "body.amount > 100")];
    let sent = Sample::default().header("ce_type", "sent").body("no JSON");
    assert_eq!(judge(&selections, &sent), (vec![], BTreeSet::new()));
}

#[test]
fn a_message_with_several_types_counts_once_where_one_matches() {
    let selections = [
        selection("a,b", "body:types[*]", ""),
        selection("b.*,*", "header:types[;]", ""),
        selection("c", "body:types[*]", ""),
        selection("b", "body:types[*]", "eventType == 'a'"),
    ];
    let both = Sample::default().header("types", "b.1;b.2").body(r#"{"types":["a","b"]}"#);
    assert_eq!(judge(&selections, &both), (vec![0, 1, 3], BTreeSet::new()));
    let none = Sample::default().header("types", "").body(r#"{"types":[]}"#);
    assert_eq!(judge(&selections, &none), (vec![], BTreeSet::new()));
    let lost = Sample::default().body(r#"{"types":"a"}"#);
    assert_eq!(judge(&selections, &lost), (vec![], BTreeSet::from([0, 1, 2, 3])));
}

#[test]
fn why_it_cannot_be_told_is_said() {
    let rows = [
        ("a", "", "", Sample::default(), Reason::NoEventType),
        ("a", "header:x", "", Sample::default(), Reason::NoHeader),
        ("a", "header:x", "", Sample::default().header("x", b"\xff"), Reason::HeaderNoText),
        ("a", "key", "", Sample::default(), Reason::NoKey),
        ("a", "key", "", Sample::default().key(b"\xff"), Reason::KeyNoText),
        ("a", "subject", "", Sample::default(), Reason::NoSubject),
        ("a", "schema:id", "", Sample::default().body("{}"), Reason::NoSchema),
        ("a", "body:t", "", Sample::default(), Reason::NoBody),
        ("a", "body:t", "", Sample::default().body(""), Reason::EmptyBody),
        ("a", "body:t", "", Sample::default().body("made"), Reason::NoJson),
        ("a", "body:t", "", Sample::default().body(r#"{"a":1"#), Reason::NoJson),
        ("a", "body:t", "", Sample::default().body(b"\x1f\x8b\x08"), Reason::Compressed),
        ("a", "body:t", "", Sample::default().body(b"\0\0\0\0\x2a\x06abc"), Reason::Binary),
        ("a", "body:t", "", Sample::default().body("{}"), Reason::NoField),
        ("a", "body:t.u", "", Sample::default().body(r#"{"t":1}"#), Reason::NoField),
        ("a", "body:t", "", Sample::default().body(r#"{"t":null}"#), Reason::NoScalar),
        ("a", "body:t[*]", "", Sample::default().body(r#"{"t":1}"#), Reason::NoList),
        ("", "", "body.t == 1", Sample::default(), Reason::NoBody),
        ("", "", "body.t == 1", Sample::default().body("<a/>"), Reason::Xml),
        ("", "", "body.t == 1", Sample::default().body("{}"), Reason::NoField),
        ("", "", "headers.x == ''", Sample::default(), Reason::NoHeader),
        ("", "", "key == ''", Sample::default().key(b"\xff"), Reason::KeyNoText),
        ("", "", "time > time", Sample::default(), Reason::NoTime),
        ("", "", "body.t", Sample::default().body(r#"{"t":1}"#), Reason::NoBoolean),
        ("", "", "1 / size > 0", Sample::default(), Reason::FilterFails),
        (
            "",
            "",
            "size(body) > 0",
            Sample::default().body(format!("[{}1]", "1,".repeat(200_000))),
            Reason::TooMuch,
        ),
    ];
    for (types, from, filter, message, expected) in rows {
        let selectors = selection(types, from, filter).selectors();
        let mut verdicts = Verdicts::default();
        let judge = Judge::new(selectors.into_iter().map(|selector| (Slot(0), selector)));
        judge.judge(&message, None, &mut verdicts);
        let told: Vec<Reason> = verdicts.indeterminate.iter().map(|(_, reason)| *reason).collect();
        assert_eq!(told, [expected], "{types} {from} {filter}: {message:?}");
    }
}

#[test]
fn what_was_seen_is_told_for_each_part_and_outlives_its_judge() {
    let selectors = |selections: &[Selection]| -> Vec<(Slot, Selector)> {
        selections
            .iter()
            .flat_map(Selection::selectors)
            .map(|selector| (Slot(0), selector))
            .collect()
    };
    let (by_header, by_filter) = (selection("other", "", ""), selection("", "", "body.n > 1"));
    let by_both = selection("made", "", "body.n > 1");
    let judge = Judge::new(selectors(&[by_header.clone(), by_filter.clone(), by_both.clone()]));
    let mut verdicts = Verdicts::default();
    let messages = [
        Sample::default().header("ce_type", "made").body(r#"{"n":1}"#),
        Sample::default().header("ce_type", "made").body("{}"),
        Sample::default().body(r#"{"n":1}"#),
    ];
    for (number, message) in (0..).zip(&messages) {
        judge.judge(message, Some(Position { partition: 0, number }), &mut verdicts);
    }
    judge.judge(&messages[0], None, &mut verdicts);
    let judge = judge.for_others(selectors(&[selection("*", "", ""), by_filter.clone(), by_both]));
    let told = |selection: &Selection| {
        let sight = judge.sight(&selection.selectors()[0], |_| true)?;
        Some(sight.to_string())
    };
    let untyped = "1 that cannot be judged (it has no event type where CloudEvents keeps it)";
    let no_field = "1 that cannot be judged (the body has nothing at the path)";
    assert_eq!(told(&by_header), Some(format!(r#"2 "made", {untyped}"#)));
    assert_eq!(told(&by_filter), Some(format!("2 for which the filter is false, {no_field}")));
    let both = selection("made", "", "body.n > 1");
    assert_eq!(told(&both), Some(format!(r#"1 "made", {untyped}, {no_field}"#)));
    assert_eq!(told(&selection("", "", "")), None);
    assert_eq!(told(&selection("", "", "size > 1")), None, "nobody has wanted it");
    judge.forget(|at| at.number > 1);
    assert_eq!(told(&by_header), Some(untyped.to_owned()));
}

fn any_message() -> impl Strategy<Value = Sample> {
    let bytes = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[{\\[\"a:,1\\]}]{0,30}".prop_map(String::into_bytes),
            (r#"[ab.]{0,3}"#, any::<i64>()).prop_map(|(text, number)| format!(
                r#"{{"type":"{text}","n":{number},"l":[{number}]}}"#
            )
            .into_bytes()),
        ]
    };
    let name = prop_oneof![Just("ce_type".to_owned()), Just("content-type".to_owned()), ".{0,5}"];
    let value = prop_oneof![
        bytes(),
        Just(b"application/cloudevents+json".to_vec()),
        "[ab.]{0,3}".prop_map(String::into_bytes)
    ];
    (
        proptest::option::of(bytes()),
        proptest::option::of(".{0,8}"),
        proptest::collection::vec((name, value), 0..4),
        proptest::option::of(bytes()),
        proptest::option::of(any::<i64>()),
    )
        .prop_map(|(key, subject, headers, body, time)| Sample {
            key,
            subject,
            headers,
            body,
            time,
            plain_event_type: None,
        })
}

proptest! {
    #[test]
    fn any_message_is_judged(message in any_message()) {
        let selections = [
            selection("a,b.*", "", ""),
            selection("*", "body:l[0]", ""),
            selection("a", "key", "true"),
            selection("", "", "body.type == 'a' && body.n > 0"),
            selection("", "", "size(body) > 1 || headers.exists(h, h == 'x')"),
            selection("", "", "has(body.n) ? body.l.all(x, x > 0) : subject == key"),
            selection("", "", "time > timestamp('2020-01-01T00:00:00Z') || time + duration('2000000h') > time"),
            selection("", "", "body == headers || size == partition"),
        ];
        judge(&selections, &message);
    }

    #[test]
    fn a_selection_counts_a_message_once_and_only_if_an_entry_matches(
        lists in proptest::collection::vec(proptest::collection::vec("[ab.]{1,3}\\*?|\\*", 1..5), 1..4),
        event_type in proptest::option::of("[ab.]{0,4}"),
    ) {
        let selections: Vec<_> = lists.iter().map(|list| selection(&list.join(","), "header:t", "")).collect();
        let message = match &event_type {
            Some(event_type) => Sample::default().header("t", event_type),
            None => Sample::default(),
        };
        let matched = |list: &Vec<String>| list.iter().any(|entry| {
            event_type.as_ref().is_some_and(|event_type| match entry.strip_suffix('*') {
                Some(prefix) => event_type.starts_with(prefix),
                None => event_type == entry,
            })
        });
        let expected = lists.iter().zip(0..).filter(|(list, _)| matched(list)).map(|(_, number)| number).collect();
        let indeterminate = if event_type.is_none() { (0..).take(lists.len()).collect() } else { BTreeSet::new() };
        prop_assert_eq!(judge(&selections, &message), (expected, indeterminate));
    }
}
