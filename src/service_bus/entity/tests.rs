//! Which names and patterns are taken, and which entities a pattern matches.

use proptest::prelude::*;
use url::Url;

use super::*;

#[test]
fn names_are_what_azure_allows() {
    for text in
        ["orders", "a/b/c", "Orders-1.eu_west~2", "a..b", "9", "subscriptions/a", "a/subscriptions"]
    {
        assert_eq!(Name::parse(text).as_ref().map(Name::as_str), Ok(text));
    }
    let refused = [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/./b",
        "a b",
        "a?b",
        "a#b",
        "a\\b",
        "a%2fb",
        "a@b",
        "a:b",
        "$Resources",
        "a/$DeadLetterQueue",
        "a\nb",
        "ä",
        "a;b",
    ];
    for text in refused {
        assert_eq!(Name::parse(text), Err(NameError::Characters(text.to_owned())), "{text:?}");
    }
    let long = "a".repeat(NAME_CHARS + 1);
    assert_eq!(Name::parse(&long), Err(NameError::Length(long.clone())));
    let subscription = "t/Subscriptions/s";
    assert_eq!(Name::parse(subscription), Err(NameError::Subscription(subscription.to_owned())));
}

#[test]
fn an_entity_has_one_address() {
    let rows = [
        ("a/b", "a/b"),
        ("t/Subscriptions/s", "t/Subscriptions/s"),
        ("a/t/SUBSCRIPTIONS/s", "a/t/Subscriptions/s"),
    ];
    for (path, expected) in rows {
        assert_eq!(
            Entity::parse(path).map(|entity| entity.path()).as_deref(),
            Ok(expected),
            "{path}"
        );
    }
    assert!(Entity::parse("t/subscriptions/..").is_err());
    assert!(Entity::parse("../subscriptions/s").is_err());
}

#[test]
fn a_pattern_matches_whole_names() {
    let rows = [
        ("orders", "orders", true),
        ("orders", "orders-eu", false),
        ("rders", "orders", false),
        ("orders-.*", "orders-eu", true),
        // Leftmost-first would stop at `a`; leftmost-longest goes on.
        ("a|ab", "ab", true),
        ("a|ab", "abc", false),
        ("(?i)ORDERS", "orders", true),
        ("ORDERS", "orders", false),
        ("^orders$", "orders", true),
        ("[a-z]+-[0-9]{2}", "orders-12", true),
        (r"orders\d", "orders1", true),
        ("", "orders", false),
        // What Go reads otherwise than the regex crate.
        (r"[\w-.]+", "orders-eu.1", true),
        (r"[\w-.]+", "orders eu", false),
        (r"[\d-a]+", "1-a", true),
        (r"[a-c-e]+", "b-e", true),
        (r"[a-c-e]+", "d", false),
        ("[a-]+", "a-a", true),
        ("[-a]+", "a-a", true),
        ("[+--]+", "+,-", true),
        ("[a&&b]+", "a&b", true),
        ("[a~~b]+", "a~b", true),
        ("[[a]+", "[a", true),
        ("[]a]+", "]a", true),
        ("[^]a]+", "bc", true),
        ("[^]a]+", "b]", false),
        ("[[:alpha:]-]+", "a-b", true),
        (r"[\]a]+", "]a", true),
        (r"[\pL\p{Nd}-.]+", "a1-.", true),
        (r"[\x41-\x{43}]+", "ABC", true),
        (r"\Qa.b\E-\d", "a.b-1", true),
        (r"\Qa.b\E-\d", "axb-1", false),
        (r"x\Q(a", "x(a", true),
        (r"\Q\E", "", true),
        (r"\[a\]", "[a]", true),
    ];
    for (pattern, name, expected) in rows {
        let matches = Pattern::parse(pattern).expect("a pattern").is_match(name);
        assert_eq!(matches, expected, "{pattern} on {name}");
    }
}

#[test]
fn a_pattern_that_is_none_or_too_large_is_refused() {
    for text in ["(", "a)(b", "*", "[a", "[", "[^", r"[\", "[b-a]", r"[a-\d]", "(?=a)", r"a\1"] {
        let error = Pattern::parse(text).unwrap_err();
        assert!(matches!(error, PatternError::Syntax { .. }), "{text}: {error}");
    }
    let error = Pattern::parse("orders**").unwrap_err().to_string();
    assert_eq!(
        error,
        "\"orders**\" is not a regular expression: a repetition of a repetition; put brackets between; give one such as orders-.*"
    );
    for text in [r"(\pL{100}){10}".to_owned(), "a".repeat(PATTERN_BYTES + 1)] {
        assert_eq!(Pattern::parse(&text).unwrap_err(), PatternError::Size(text.clone()));
    }
}

#[test]
fn counts_become_one_as_keda_has_it() {
    let rows: &[(&[u64], [u64; 3])] = &[
        (&[], [0, 0, 0]),
        (&[7], [7, 7, 7]),
        (&[1, 2, 5], [8, 5, 2]),
        (&[u64::MAX, 1], [u64::MAX, u64::MAX, u64::MAX / 2]),
    ];
    for (counts, expected) in rows {
        let all = [Operation::Sum, Operation::Max, Operation::Avg];
        assert_eq!(
            all.map(|operation| operation.apply(counts.iter().copied())),
            *expected,
            "{counts:?}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_accepted_stays_in_its_url(text in "[a-z./~%?#$@:\\\\ -]{0,12}|\\PC{0,12}") {
        if let Ok(entity) = Entity::parse(&text) {
            let path = entity.path();
            let url = Url::parse("https://namespace.example/").unwrap().join(&path).unwrap();
            prop_assert_eq!(url.as_str(), format!("https://namespace.example/{path}"));
        }
    }
}
