use proptest::prelude::*;

use super::*;
use crate::selection::message::tests::Sample;

fn read(from: &str, message: &Sample) -> Option<String> {
    let from = match from {
        "" => EventTypeFrom::CloudEvents,
        from => EventTypeFrom::parse(from).expect("the place is well formed"),
    };
    let record = Record::new(message);
    let types = from.read(&record).ok()?;
    let types: Vec<&str> = types.as_slice().iter().map(|it| &**it).collect();
    Some(types.join(" and "))
}

#[test]
fn a_list_is_normalised() {
    for (list, names, prefixes) in [
        ("a", &["a"][..], &[][..]),
        (" a , b ", &["a", "b"], &[]),
        ("b,a,b", &["a", "b"], &[]),
        ("order.*,order.made", &[], &["order."]),
        ("order.*,order", &["order"], &["order."]),
        ("order.*,order.item.*,o.*", &[], &["o.", "order."]),
        ("*,a,b.*", &[], &[""]),
        (r"a\,b,c", &["a,b", "c"], &[]),
        (r"App\Events\Made,App\Events\*", &[], &[r"App\Events\"]),
        ("a b", &["a b"], &[]),
    ] {
        let types = EventTypes::parse(list).expect("the list is well formed");
        let arcs = |texts: &[&str]| texts.iter().copied().map(Arc::from).collect();
        assert_eq!(types, EventTypes { names: arcs(names), prefixes: arcs(prefixes) }, "{list}");
    }
}

#[test]
fn a_list_that_is_not_one_is_refused() {
    for (list, expected) in [
        ("", r#""" has an empty entry; give types with one comma between"#),
        ("a,,b", r#""a,,b" has an empty entry; give types with one comma between"#),
        ("a, ", r#""a, " has an empty entry; give types with one comma between"#),
        (
            "a,b*c",
            r#""b*c" has a * before its end; give * only at the end, for all types that begin so"#,
        ),
        (
            "a**",
            r#""a**" has a * before its end; give * only at the end, for all types that begin so"#,
        ),
    ] {
        let error = EventTypes::parse(list).expect_err(list);
        assert_eq!(error.to_string(), expected, "{list}");
    }
    let types = |count: u32| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert!(EventTypes::parse(&types(1_000)).is_ok());
    let error = EventTypes::parse(&types(1_001)).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "1001 types are too many; give at most 1000, or a prefix for several"
    );
}

#[test]
fn a_place_is_read_or_refused() {
    let path = BodyPath::parse("a.b[0]").expect("the path is well formed");
    assert_eq!(EventTypeFrom::parse("body:a.b[0]"), Ok(EventTypeFrom::Body(path)));
    assert_eq!(
        EventTypeFrom::parse(" header: x-type "),
        Ok(EventTypeFrom::Header("x-type".into()))
    );
    assert_eq!(EventTypeFrom::parse("key"), Ok(EventTypeFrom::Key));
    assert_eq!(EventTypeFrom::parse("subject"), Ok(EventTypeFrom::Subject));
    assert_eq!(EventTypeFrom::parse("schema: id"), Ok(EventTypeFrom::Schema));
    for (text, name, separator) in [
        ("header:types[;]", "types", ';'),
        ("header: a b [,]", "a b ", ','),
        ("header:x[1][|]", "x[1]", '|'),
    ] {
        let expected = EventTypeFrom::HeaderList(name.to_owned(), separator);
        assert_eq!(EventTypeFrom::parse(text), Ok(expected), "{text}");
    }
    for text in ["header:x[;", "header:x[0].y", "header:x]"] {
        let name = text.trim_start_matches("header:").to_owned();
        assert_eq!(EventTypeFrom::parse(text), Ok(EventTypeFrom::Header(name)), "{text}");
    }
    for text in [
        "schema",
        "schema:",
        "schema:name",
        "body:a[*].b[*]",
        "",
        "Key",
        "header",
        "header:",
        "body",
        "body:",
        "key:x",
        "body:a..b",
        "body:a.*.b",
        "header:x[0]",
        "header:x[a]",
        "header:x[]",
        "header:[;]",
        "x:y",
    ] {
        assert!(EventTypeFrom::parse(text).is_err(), "{text}");
    }
}

/// Of a source that has something for the type of a message that is no CloudEvent.
fn plain(sample: Sample) -> Sample {
    Sample { plain_event_type: Some("plain".to_owned()), ..sample }
}

#[test]
fn the_type_is_read_where_it_is_kept() {
    let structured = |content_type: &str| {
        Sample::default()
            .header("content-type", content_type)
            .body(r#"{"specversion":"1.0","type":"made"}"#)
    };
    let rows = [
        ("binary event", "", Sample::default().header("ce_type", "made"), Some("made")),
        (
            "last header wins",
            "",
            Sample::default().header("ce_type", "a").header("ce_type", "b"),
            Some("b"),
        ),
        ("structured event", "", structured("application/cloudevents+json"), Some("made")),
        (
            "with parameters",
            "",
            structured("Application/CloudEvents+JSON ; charset=utf-8"),
            Some("made"),
        ),
        ("a batch", "", structured("application/cloudevents-batch+json"), None),
        ("plain JSON", "", structured("application/json"), None),
        (
            "header before body",
            "",
            structured("application/cloudevents+json").header("ce_type", "sent"),
            Some("sent"),
        ),
        ("no type at all", "", Sample::default(), None),
        ("no CloudEvent", "", plain(Sample::default()), Some("plain")),
        ("a CloudEvent", "", plain(Sample::default().header("ce_type", "made")), Some("made")),
        ("no CloudEvent but a place", "key", plain(Sample::default()), None),
        (
            "header not UTF-8",
            "",
            structured("application/cloudevents+json").header("ce_type", b"\xff"),
            None,
        ),
        ("named header", "header:x", Sample::default().header("x", "made"), Some("made")),
        ("header's case counts", "header:X", Sample::default().header("x", "made"), None),
        ("key", "key", Sample::default().key("made"), Some("made")),
        ("key not UTF-8", "key", Sample::default().key(b"\xff"), None),
        ("no key", "key", Sample::default(), None),
        ("subject", "subject", Sample::default().subject("made"), Some("made")),
        ("body", "body:a.b", Sample::default().body(r#"{"a":{"b":"ma\u0064e"}}"#), Some("made")),
        ("number", "body:a", Sample::default().body(r#"{"a":1.50}"#), Some("1.50")),
        ("boolean", "body:a", Sample::default().body(r#"{"a":true}"#), Some("true")),
        ("no number", "body:a", Sample::default().body(r#"{"a":1x}"#), None),
        (
            "behind NaN",
            "body:a",
            Sample::default().body(r#"{"n":NaN,"i":[Infinity,-Infinity],"a":"made"}"#),
            Some("made"),
        ),
        ("before NaN", "body:a", Sample::default().body(r#"{"a":"made","n":NaN}"#), Some("made")),
        ("NaN", "body:a", Sample::default().body(r#"{"a":NaN}"#), Some("NaN")),
        (
            "behind a byte order mark",
            "body:a",
            Sample::default().body("\u{feff}{\"a\":\"made\"}"),
            Some("made"),
        ),
        (
            "a structured event behind a byte order mark",
            "",
            Sample::default()
                .header("content-type", "application/cloudevents+json")
                .body("\u{feff}{\"type\":\"made\"}"),
            Some("made"),
        ),
        (
            "a string's JSON",
            "body:a.b",
            Sample::default().body(r#"{"a":"{\"b\":\"made\"}"}"#),
            Some("made"),
        ),
        (
            "each of a header",
            "header:types[;]",
            Sample::default().header("types", "a; b;;c "),
            Some("a and b and c"),
        ),
        ("none of a header", "header:types[;]", Sample::default().header("types", ";"), Some("")),
        ("no such header", "header:types[;]", Sample::default(), None),
        (
            "each of a list",
            "body:types[*]",
            Sample::default().body(r#"{"types":["urn:a",1,null,["x"],"b\u0063"]}"#),
            Some("urn:a and 1 and bc"),
        ),
        (
            "from each of a list",
            "body:[*].data.type",
            Sample::default()
                .body(r#"[{"data":{"type":"a"}},{"data":"{\"type\":\"b\"}"},{"type":"c"}]"#),
            Some("a and b"),
        ),
        ("no list", "body:types[*]", Sample::default().body(r#"{"types":"a"}"#), None),
        ("a list cut short", "body:types[*]", Sample::default().body(r#"{"types":["a""#), None),
        ("an empty list", "body:types[*]", Sample::default().body(r#"{"types":[]}"#), Some("")),
        ("schema", "schema:id", Sample::default().body(b"\0\0\0\0\x2a{}"), Some("42")),
        (
            "schema by header",
            "schema:id",
            Sample::default()
                .header(
                    "__value_schema_id",
                    b"\x01\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef",
                )
                .body(b"\0\0\0\0\x2a"),
            Some("01234567-89ab-cdef-0123-456789abcdef"),
        ),
        (
            "schema by content type",
            "schema:id",
            Sample::default()
                .header("content-type", "avro/binary+64fc737160fc4c8ba4b1b0f4ef3a0b4b")
                .body("x"),
            Some("64fc737160fc4c8ba4b1b0f4ef3a0b4b"),
        ),
        ("no schema", "schema:id", Sample::default().body("{}"), None),
        (
            "behind a schema's id",
            "body:a",
            Sample::default().body(b"\0\0\0\0\x2a{\"a\":\"made\"}"),
            Some("made"),
        ),
        ("null", "body:a", Sample::default().body(r#"{"a":null}"#), None),
        ("list", "body:a", Sample::default().body(r#"{"a":["made"]}"#), None),
        ("lone surrogate", "body:a", Sample::default().body(r#"{"a":"\ud800"}"#), None),
        ("no JSON", "body:a", Sample::default().body("made"), None),
        ("no body", "body:a", Sample::default(), None),
    ];
    for (name, from, message, expected) in rows {
        assert_eq!(read(from, &message).as_deref(), expected, "{name}");
    }
}

proptest! {
    #[test]
    fn a_normalised_list_matches_what_its_entries_match(
        entries in proptest::collection::vec("[ab.]{1,3}\\*?|\\*", 1..6), event_type in "[ab.]{0,4}",
    ) {
        let types = EventTypes::parse(&entries.join(",")).expect("the list is well formed");
        let matched = entries.iter().any(|entry| match entry.strip_suffix('*') {
            Some(prefix) => event_type.starts_with(prefix),
            None => event_type == *entry,
        });
        prop_assert_eq!(types.contain(&event_type), matched);
        let names = types.names().iter().filter(|name| ***name == *event_type).count();
        let prefixes = types.prefixes().iter().filter(|prefix| event_type.starts_with(&***prefix)).count();
        prop_assert_eq!(names + prefixes, usize::from(matched));
    }
}
