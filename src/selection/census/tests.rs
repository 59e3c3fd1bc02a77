use proptest::prelude::*;

use super::*;
use crate::selection::{EventTypes, Judge, Sample, Selection, Slot, Verdicts};

/// The places found in these messages, best first, as `place: messages with it / types`.
fn found(messages: &[Sample]) -> Vec<String> {
    let places = census(messages, None).into_places();
    let told = |place: &Place| {
        let written = place.from.written().unwrap_or_else(|| "default".to_owned());
        format!("{written}: {} / {}", place.with, place.types.len())
    };
    places.iter().map(told).collect()
}

fn census(messages: &[Sample], told: Option<EventTypeFrom>) -> Census {
    let mut census = Census::new(told);
    for message in messages {
        census.add(message, false);
    }
    census
}

fn plain() -> Sample {
    Sample::default()
}

/// So many messages, made of their numbers.
fn many(count: usize, of: impl Fn(usize) -> Sample) -> Vec<Sample> {
    (0..count).map(of).collect()
}

fn one_of(number: usize, names: &[&'static str]) -> &'static str {
    names[number % names.len()]
}

#[test]
fn the_best_place_is_where_people_look_first() {
    let two = |n| one_of(n, &["order.made", "order.paid"]);
    let rows: Vec<(&str, Vec<Sample>, &str)> = vec![
        (
            "CloudEvents beside a field of the body",
            many(20, |n| plain().header("ce_type", two(n)).body(r#"{"type":"x","kind":"y"}"#)),
            "default: 20 / 2",
        ),
        (
            "structured CloudEvents",
            many(20, |n| {
                plain()
                    .header("content-type", "application/cloudevents+json")
                    .body(format!(r#"{{"specversion":"1.0","type":"{}"}}"#, two(n)))
            }),
            "default: 20 / 2",
        ),
        (
            "a header in any spelling",
            many(20, |n| plain().header("X-Event-Type", two(n)).header("trace", n.to_string())),
            "header:X-Event-Type: 20 / 2",
        ),
        (
            "a header, not the field that every message has alike",
            many(20, |n| plain().header("kind", two(n)).body(r#"{"version":"1.0"}"#)),
            "header:kind: 20 / 2",
        ),
        (
            "NServiceBus",
            many(20, |n| {
                let types = format!("Shop.{}, Shop, Version=1;Shop.Any, Shop", two(n));
                plain().header("NServiceBus.EnclosedMessageTypes", types)
            }),
            "header:NServiceBus.EnclosedMessageTypes[;]: 20 / 3",
        ),
        (
            "MassTransit",
            many(20, |n| {
                plain().body(format!(
                    r#"{{"messageId":"{n}","messageType":["urn:message:{}"],"message":{{}}}}"#,
                    two(n)
                ))
            }),
            "body:messageType[*]: 20 / 2",
        ),
        (
            "a field within an object",
            many(20, |n| {
                plain().body(format!(r#"{{"id":{n},"event":{{"type":"{}","at":"{n}"}}}}"#, two(n)))
            }),
            "body:event.type: 20 / 2",
        ),
        (
            "names with marks",
            many(20, |n| plain().body(format!(r#"{{"$type":"{}"}}"#, two(n)))),
            "body:$type: 20 / 2",
        ),
        (
            "a name with a dot",
            many(20, |n| plain().body(format!(r#"{{"event.type":"{}"}}"#, two(n)))),
            r#"body:["event.type"]: 20 / 2"#,
        ),
        (
            "a list of events",
            many(20, |n| plain().body(format!(r#"[{{"id":"{n}","eventType":"{}"}}]"#, two(n)))),
            "body:[*].eventType: 20 / 2",
        ),
        (
            "a short text that repeats, where no name says type",
            many(20, |n| plain().body(format!(r#"{{"id":"{n}","status":"{}"}}"#, two(n)))),
            "body:status: 20 / 2",
        ),
        ("the key, where there is nothing else", many(20, |n| plain().key(two(n))), "key: 20 / 2"),
        (
            "what most messages have",
            many(20, |n| match n % 4 {
                0 => plain().header("type", "rare"),
                _ => plain().body(format!(r#"{{"type":"{}"}}"#, two(n))),
            }),
            "body:type: 15 / 2",
        ),
    ];
    for (name, messages, expected) in rows {
        let found = found(&messages);
        assert_eq!(found.first().map(String::as_str), Some(expected), "{name}: {found:?}");
    }
}

#[test]
fn what_tells_every_message_from_the_others_is_no_type() {
    let messages = many(200, |n| {
        plain().key(format!("k-{n}")).body(format!(r#"{{"id":"{n}","email":"{n}@example.com"}}"#))
    });
    assert_eq!(found(&messages), Vec::<String>::new());
}

#[test]
fn a_place_that_is_found_late_says_what_it_does_not_count() {
    let mut messages = vec![plain(), plain().body("<a/>"), plain().body("{}"), plain().body("")];
    messages.extend(many(6, |_| plain().body(r#"{"type":"made"}"#)));
    messages.push(plain().body(r#"{"type":null}"#));
    let places = census(&messages, None).into_places();
    let without = BTreeMap::from([(Reason::NoScalar, 1)]);
    assert_eq!((places[0].before, places[0].with, &places[0].without), (4, 6, &without));

    let places = census(&messages, Some(places[0].from.clone())).into_places();
    let without = BTreeMap::from([
        (Reason::NoBody, 1),
        (Reason::EmptyBody, 1),
        (Reason::Xml, 1),
        (Reason::NoField, 1),
        (Reason::NoScalar, 1),
    ]);
    assert_eq!((places[0].before, places[0].with, &places[0].without), (0, 6, &without));
}

#[test]
fn counts_sizes_and_times_are_those_of_the_messages() {
    let mut census = Census::new(None);
    let message = |time: i64, body: &str| plain().header("type", "made").time(time).body(body);
    census.add(&message(30, "12345"), true);
    census.add(&message(10, "1"), false);
    census.add(&message(20, "123"), true);
    assert_eq!((census.messages(), census.waiting()), (3, 2));
    let places = census.into_places();
    let expected = TypeCount {
        messages: 3,
        waiting: 2,
        oldest: Some(10),
        waiting_since: Some(20),
        bytes: 9,
        largest: 5,
        carriers: BTreeSet::new(),
    };
    assert_eq!(places[0].types["made"], expected);
}

#[test]
fn a_given_place_is_the_only_one() {
    let messages = many(5, |n| plain().header("ce_type", "made").key(n.to_string()));
    let places = census(&messages, Some(EventTypeFrom::Subject)).into_places();
    assert_eq!(places.len(), 1);
    assert_eq!((&places[0].from, places[0].with), (&EventTypeFrom::Subject, 0));
    assert_eq!(places[0].without, BTreeMap::from([(Reason::NoSubject, 5)]));
}

#[test]
fn what_producers_make_up_takes_no_more_than_so_much() {
    let mut census = Census::new(None);
    for number in 0..3_000 {
        let fields: Vec<_> =
            (0..60).map(|field| format!(r#""f{number}x{field}Type":"a{number}""#)).collect();
        let mut message = plain().body(format!("{{{}}}", fields.join(",")));
        message = message.header("type", format!("{number}-{}", "x".repeat(number % 400)));
        for header in 0..20 {
            message = message.header(&format!("h{number}x{header}Type"), "a");
        }
        census.add(&message, true);
    }
    assert!(census.places.len() <= MAX_PLACES, "{}", census.places.len());
    assert!(census.dropped.len() <= MAX_DROPPED + MAX_PLACES, "{}", census.dropped.len());
    let places = census.into_places();
    let of_header = places.iter().find(|place| place.from == EventTypeFrom::Header("type".into()));
    let of_header = of_header.expect("what all have stays");
    assert_eq!(of_header.types.len(), MAX_TYPES);
    let told: u64 = of_header.types.values().map(|count| count.messages).sum();
    assert_eq!(told + of_header.others.messages, 3_000);
    assert!(of_header.types.keys().all(|name| name.len() <= TYPE_BYTES));
}

/// Something that a body, a header or a key may be.
fn anything() -> impl Strategy<Value = Sample> {
    let json = prop_oneof![
        Just(r#"{"type":"a"}"#.to_owned()),
        Just(r#"{"type":["a","b","a"],"event":{"kind":1}}"#.to_owned()),
        Just(r#"[{"eventType":"a"},{"eventType":"b"}]"#.to_owned()),
        "[\\[\\]{}\",:type1]{0,30}",
        ".{0,20}",
    ];
    let header = ("(type|ce_type|[a-z]*Types?|.{0,6})", ".{0,8}");
    (
        proptest::option::of(json),
        proptest::collection::vec(header, 0..4),
        proptest::option::of(".{0,4}"),
    )
        .prop_map(|(body, headers, key)| {
            let mut message = plain();
            message.body = body.map(String::into_bytes);
            message.key = key.map(String::into_bytes);
            headers.into_iter().fold(message, |message, (name, value)| message.header(&name, value))
        })
}

proptest! {
    /// Each place accounts for each message since it was found.
    #[test]
    fn every_message_has_a_type_in_a_place_or_a_reason(
        messages in proptest::collection::vec(anything(), 0..40)
    ) {
        let count = messages.len() as u64;
        for place in census(&messages, None).into_places() {
            let without: u64 = place.without.values().sum();
            prop_assert_eq!(place.before + place.with + without, count, "{:?}", place.from);
        }
    }

    /// What is counted of a type is what a trigger with that place and type selects.
    #[test]
    fn a_type_has_the_count_that_a_trigger_has(
        messages in proptest::collection::vec(anything(), 1..40)
    ) {
        for place in census(&messages, None).into_places() {
            let again = census(&messages, Some(place.from.clone())).into_places();
            let [place] = &again[..] else { return Err(TestCaseError::fail("one place")) };
            let written = place.from.written();
            let from = written.as_deref().map(EventTypeFrom::parse).transpose();
            let from = from.expect("a place that can be written").unwrap_or_default();
            for (name, count) in &place.types {
                let Some(text) = EventTypes::only(name) else { continue };
                let types = Some(EventTypes::parse(&text).expect("a list"));
                let selection = Selection { types, from: from.clone(), filter: None };
                prop_assert_eq!(selected(&selection, &messages), count.messages, "{:?}", name);
            }
        }
    }
}

/// How many messages a selection counts.
fn selected(selection: &Selection, messages: &[Sample]) -> u64 {
    let selectors = (0..).map(Slot).zip(selection.selectors());
    let judge = Judge::new(selectors);
    let mut verdicts = Verdicts::default();
    let mut count = 0;
    for message in messages {
        judge.judge(message, None, &mut verdicts);
        count += verdicts.selected.len() as u64;
    }
    count
}
