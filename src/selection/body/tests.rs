use proptest::prelude::*;

use super::*;

fn path(text: &str) -> BodyPath {
    BodyPath::parse(text).expect("the path is well formed")
}

#[test]
fn a_path_finds_its_value() {
    let body = br#" {"a":{"b":[{"c":1},{"c":"x"}]},"a.b":2,"q\"]":3,"a":9,"t":[[5]]} trailing"#;
    let body = Body::new(Some(body));
    for (text, expected) in [
        ("t[0][0]", Some("5")),
        ("a.b[0].c", Some("1")),
        ("a.b[1].c", Some("\"x\"")),
        ("a.b[2].c", None),
        ("a.b.c", None),
        ("a.b", Some(r#"[{"c":1},{"c":"x"}]"#)),
        (r#"["a.b"]"#, Some("2")),
        (r#"["q\"]"]"#, Some("3")),
        (r#"["a"].b[0]["c"]"#, Some("1")),
        ("[0]", None),
        ("nothing", None),
    ] {
        assert_eq!(body.find(&path(text)).value().map(Json::text), expected, "{text}");
    }
    let list = Body::new(Some(b"[1,2]"));
    assert_eq!(list.find(&path("[1]")).value().map(Json::text), Some("2"));
}

#[test]
fn a_path_that_is_not_one_is_refused() {
    for text in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[",
        "a[]",
        "a[x]",
        "a[-1]",
        "a[+1]",
        "a[0",
        "a]",
        "a[0]b",
        "[\"a]",
        "[\"a\"",
        "[\"a\"x]",
        "[\"\\q\"]",
        "a[99999999999999999999999]",
        "a[*]",
        "*",
        "a.*.b",
        "a.b*",
    ] {
        assert!(BodyPath::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_path_steps_into_the_json_that_a_string_holds() {
    let twice = r#"{"a":"{\"b\":\"{\\\"c\\\":1}\",\"d\":[2]}","list":"[1,{\"x\":3}]","plain":"{}","word":"made"}"#;
    let body = Body::new(Some(twice.as_bytes()));
    for (text, expected) in [
        ("a.b.c", Some("1")),
        ("a.d[0]", Some("2")),
        ("a.b", Some(r#""{\"c\":1}""#)),
        ("list[1].x", Some("3")),
        ("list[2]", None),
        ("plain.a", None),
        ("word.a", None),
        ("word[0]", None),
    ] {
        for asked in ["once", "again"] {
            let found = body.find(&path(text)).value().map(Json::text);
            assert_eq!(found, expected, "{text}, {asked}");
        }
    }
    assert_eq!(body.find(&path("plain.a")), Found::Absent);
    let whole = serde_json::to_string(r#"{"type":"made"}"#).expect("a text");
    let whole = Body::new(Some(whole.as_bytes()));
    assert_eq!(whole.find(&path("type")).value().map(Json::text), Some("\"made\""));
}

#[test]
fn so_many_strings_are_stepped_into_and_no_more() {
    let members: Vec<String> = (0..100).map(|n| format!(r#""a{n}":"{{\"b\":{n}}}""#)).collect();
    let text = format!("{{{}}}", members.join(","));
    let body = Body::new(Some(text.as_bytes()));
    let found = (0..100).filter(|n| body.find(&path(&format!("a{n}.b"))).value().is_some());
    assert_eq!(found.count(), MAX_STRINGS);
}

#[test]
fn strings_in_strings_take_a_bounded_memory() {
    let nested = |levels: usize| {
        let innermost = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000));
        let text = (0..levels).fold(innermost, |text, _| {
            format!(r#"{{"a":{}}}"#, serde_json::to_string(&text).expect("a text"))
        });
        let body = Body::new(Some(text.as_bytes()));
        body.find(&path(&vec!["a"; levels + 1].join("."))).value().is_some()
    };
    // Deeper ones are longer for their backslashes, which makes room for more.
    assert_eq!([1, 4, 5].map(nested), [true, true, false]);
}

#[test]
fn a_path_to_several_is_read_or_refused() {
    let each = |text| BodyPath::parse_each(text);
    assert_eq!(each("a[*]"), Ok((path("a"), Some(BodyPath::of(vec![])))));
    assert_eq!(each("a[*].b[0]"), Ok((path("a"), Some(path("b[0]")))));
    assert_eq!(each("[*].b"), Ok((BodyPath::of(vec![]), Some(path("b")))));
    assert_eq!(each(r#"["[*]"]"#), Ok((path(r#"["[*]"]"#), None)));
    assert_eq!(each("a.b"), Ok((path("a.b"), None)));
    for text in ["", "a[*][*]", "a[*]b", "[*", "a.*.b", "*[*]"] {
        assert!(each(text).is_err(), "{text}");
    }
}

#[test]
fn absent_is_told_from_nowhere() {
    for (body, expected) in [
        (&br#"{"a":{}}"#[..], Found::Absent),
        (br#"{"a":{"c":1}}"#, Found::Absent),
        (br#"{"a":{"c":1"#, Found::Nowhere),
        (br#"{"a":1}"#, Found::Nowhere),
        (br#"{"a":[]}"#, Found::Nowhere),
        (br#"{}"#, Found::Nowhere),
        (b"", Found::Nowhere),
        (b"\xff", Found::Nowhere),
    ] {
        assert_eq!(Body::new(Some(body)).find(&path("a.b")), expected, "{}", body.escape_ascii());
    }
    let broken = Body::new(Some(br#"{"a":1,"#));
    assert_eq!(broken.find(&path("b")), Found::Nowhere);
    assert_eq!(broken.find(&path("c")), Found::Nowhere, "asked again");
    assert_eq!(broken.find(&path("a")).value().map(Json::text), Some("1"));
}

proptest! {
    #[test]
    fn a_path_of_any_text_is_read_or_refused(text in "[a\"\\[\\].\\\\0 é]{0,12}") {
        let _read_or_refused = BodyPath::parse(&text);
    }

    #[test]
    fn a_name_in_quotes_is_any_name(name in ".{0,8}") {
        let quoted = serde_json::to_string(&name).expect("a string has a text");
        let body = format!("{{{quoted}:1}}");
        let body = Body::new(Some(body.as_bytes()));
        let found = body.find(&path(&format!("[{quoted}]")));
        prop_assert_eq!(found.value().map(Json::text), Some("1"));
    }

    #[test]
    fn what_is_found_does_not_depend_on_what_was_asked_before(
        members in proptest::collection::vec(("[a-d]", 0..9u8), 0..6), asked in proptest::collection::vec("[a-d]", 1..6),
    ) {
        let members: Vec<_> = members.iter().map(|(name, number)| format!("\"{name}\":{number}")).collect();
        let text = format!("{{{}}}", members.join(","));
        let body = Body::new(Some(text.as_bytes()));
        for name in &asked {
            let alone = Body::new(Some(text.as_bytes()));
            prop_assert_eq!(body.find(&path(name)), alone.find(&path(name)));
        }
    }
}
