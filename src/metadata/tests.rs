use super::*;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use test_basics::{Rows, metadata};

/// What rows decode to, where these parameters are known.
pub(crate) fn decode<'a, T>(
    tables: &[&'static Table],
    rows: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<T, Invalid> {
    let metadata = metadata(rows);
    let mut reader = Reader::new(&metadata);
    tables.iter().for_each(|table| reader.know(table));
    let decoded = read(&mut reader);
    reader.finish(decoded)
}

static TABLE: Table = Table {
    parameters: &[
        Parameter::new("a", "", ""),
        Parameter::new("b", "", ""),
        Parameter::new("topic", "", ""),
        Parameter::new("user", "", ""),
        Parameter::new("consumerGroup", "", ""),
        Parameter::new("bootstrapServers", "", ""),
        Parameter::new("lagThreshold", "", ""),
        Parameter::new("sasl", "", ""),
        Parameter::new("filter", "", ""),
        Parameter::secret("password", "", ""),
        Parameter::secret("keyPassword", "", ""),
        Parameter::secret("key", "", ""),
        Parameter::ignored("scalerAddress", ""),
        Parameter::of_authentication("caCert", ""),
    ],
    usual: "",
    by_heart: &[("groupId", "is not a parameter; give consumerGroup")],
};

fn reading(values: &HashMap<String, String>) -> Reader<'_> {
    let mut reader = Reader::new(values);
    reader.know(&TABLE);
    reader
}

fn message(rows: Rows<'_>, read: impl Fn(&mut Reader<'_>)) -> String {
    let read = |reader: &mut Reader<'_>| {
        read(reader);
        Some(())
    };
    decode(&[&TABLE], rows, read).expect_err("a complaint").to_string()
}

#[test]
fn booleans_are_what_go_takes_for_one() {
    for (word, expected) in
        [("1", true), ("t", true), ("T", true), ("TRUE", true), ("true", true), ("True", true)]
            .into_iter()
            .chain(["0", "f", "F", "FALSE", "false", "False", "", "  "].map(|word| (word, false)))
    {
        let map = metadata(&[("a", word)]);
        let mut reader = reading(&map);
        assert_eq!(reader.boolean("a"), expected, "{word}");
        assert!(reader.finish(Some(())).is_ok(), "{word}");
    }
    for word in ["yes", "on", "tRUE", "2"] {
        message(&[("a", word)], |reader| assert!(!reader.boolean("a"), "{word}"));
    }
}

#[test]
fn a_blank_value_is_absent() {
    let map = metadata(&[("a", " \t\n"), ("b", ""), ("bFromEnv", "x"), ("unknown", "")]);
    let mut reader = reading(&map);
    assert!(!reader.has("a"));
    assert_eq!(reader.text("a"), None);
    assert_eq!(reader.text("b"), Some("x"));
    assert!(reader.finish(Some(())).is_ok());
}

#[test]
fn a_secret_is_handed_out_as_it_stands() {
    let map = metadata(&[("passwordFromEnv", " hunter2\n")]);
    let mut reader = reading(&map);
    let secret = reader.secret("password").expect("given");
    assert_eq!(secret.expose_secret(), " hunter2\n");
    assert!(!format!("{secret:?} {reader:?}").contains("hunter2"));
}

#[test]
fn a_list_has_its_elements_trimmed() {
    assert_eq!(list(" a,b ,, c d,").collect::<Vec<_>>(), ["a", "b", "c d"]);
    assert_eq!(list(" , ").count(), 0);
}

#[test]
fn a_value_is_shown_only_where_it_may_be() {
    let withheld = "its value is odd";
    for (key, name, expected) in [
        ("topic", "topic", "\"hunter2\" is odd"),
        ("topicFromEnv", "topic", withheld),
        ("password", "password", withheld),
        ("scalerAddress", "scalerAddress", withheld),
    ] {
        let told = message(&[(key, "hunter2")], |reader| reader.complain(name, "is odd"));
        assert_eq!(told, format!("{key}: {expected}"));
    }
    let url = |reader: &mut Reader<'_>| reader.complain("topic", "is odd");
    let url = message(&[("topic", "kafka://me:hunter2@host")], url);
    assert_eq!(url, "topic: its value is odd");
    let blindly = |reader: &mut Reader<'_>| reader.complain_blindly("topic", "is odd");
    assert_eq!(message(&[("topic", "hunter2")], blindly), "topic: its value is odd");
}

#[test]
fn whether_a_key_is_one_depends_on_no_other() {
    for read in [&[][..], &["a"], &["topic", "b"]] {
        let told =
            message(&[("groupId", "x"), ("caCert", "x"), ("scalerAddress", "x")], |reader| {
                for key in read {
                    reader.text(key);
                }
            });
        assert_eq!(
            told,
            "caCert: is for KEDA alone, in a TriggerAuthentication | \
             groupId: is not a parameter; give consumerGroup"
        );
    }
}

#[test]
fn an_error_is_told_unless_it_is_secret_or_too_long() {
    let quote = |reader: &mut Reader<'_>| {
        let parsed: Option<()> = reader.parsed("filter", "give another", |text| {
            Err(format!("\"{text}\" is bad; give a good one"))
        });
        assert_eq!(parsed, None);
    };
    let long = "a".repeat(1_000);
    let rows = [
        ("plain", "filter", " a ", "filter: \"a\" is bad; give a good one".to_owned()),
        (
            "secret",
            "filterFromEnv",
            "a",
            "filterFromEnv: its value does not fit; give another".to_owned(),
        ),
        (
            "long",
            "filter",
            &long,
            format!("filter: \"{}…\" does not fit; give another", &long[..40]),
        ),
    ];
    for (name, key, value, expected) in rows {
        assert_eq!(message(&[(key, value)], quote), expected, "{name}");
    }
}

#[test]
fn a_trigger_authentication_gives_parameters_that_are_secret() {
    let given = |rows: &[(&str, &str)]| -> BTreeMap<String, Secret> {
        rows.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value))).collect()
    };
    let values = metadata(&[("topic", "a")]);
    let authentication =
        given(&[("password", "hunter2"), ("sasl", "plaintext"), ("caCert", "pem"), ("blank", " ")]);
    let mut reader = reading(&values).with(Some(&authentication));
    assert_eq!(reader.text("topic"), Some("a"));
    assert_eq!(reader.secret("password").expect("given").expose_secret(), "hunter2");
    assert!(reader.has("sasl") && !reader.has("blank"));
    reader.text("sasl");
    reader.complain("sasl", "is odd");
    let told = reader.finish(Some(())).expect_err("a complaint").to_string();
    assert_eq!(told, "sasl of the TriggerAuthentication: its value is odd");

    let twice = given(&[("topic", "b"), ("user", "c"), ("pasword", "hunter2")]);
    let values = metadata(&[("topic", "a"), ("userFromEnv", "b")]);
    let mut reader = reading(&values).with(Some(&twice));
    for key in ["topic", "user", "password"] {
        reader.text(key);
    }
    let told = reader.finish(Some(())).expect_err("complaints");
    assert_eq!(
        told.complaints(),
        [
            "topic: \"a\" is given a second time by the TriggerAuthentication; give one of the two",
            "userFromEnv: its value is given a second time by the TriggerAuthentication; give one of the two",
            "pasword: is not a parameter; the nearest is password",
        ]
    );
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one() {
    let rows = [
        ("a letter too few", "pasword", "password"),
        ("two letters changed", "lagTreshhold", "lagThreshold"),
        ("letters swapped", "tpoic", "topic"),
        ("the wrong case", "LAGTHRESHOLD", "lagThreshold"),
        ("one of many", "topics", "topic"),
        ("a part of a word", "group", "consumerGroup"),
        ("a word too many", "saslPassword", "password"),
        ("a near word before a part", "keyPasword", "keyPassword"),
        ("from the environment", "paswordFromEnv", "passwordFromEnv"),
        ("from the environment in the wrong case", "passwordFromENV", "passwordFromEnv"),
    ];
    for (name, key, expected) in rows {
        let told = message(&[(key, "hunter2")], |_| ());
        assert_eq!(told, format!("{key}: is not a parameter; the nearest is {expected}"), "{name}");
    }
    for key in ["nonsense", "xyz"] {
        let told = message(&[(key, "hunter2")], |_| ());
        assert_eq!(told, format!("{key}: is not a parameter"));
    }
    let told = message(&[(&format!("a\n{}", "b".repeat(100_000)), "hunter2")], |_| ());
    assert!(
        told.starts_with("a bbbb") && told.contains("…: is not a parameter") && told.len() < 120,
        "{told}"
    );
}

#[test]
fn a_nul_fits_no_parameter() {
    let told = message(&[("topic", "a\0b"), ("password", "c\0d")], |reader| {
        reader.text("topic");
        reader.secret("password");
    });
    assert_eq!(
        told,
        "password: its value has a NUL character; give text without it | \
         topic: \"a\\0b\" has a NUL character; give text without it"
    );
}

#[test]
fn complaints_come_in_the_order_of_their_keys_and_unknown_keys_last() {
    let told = message(&[("b", "x"), ("a", "y"), ("A", "z"), ("0", "z")], |reader| {
        reader.boolean("b");
        reader.boolean("a");
    });
    let keys: Vec<_> = told.split(SEPARATOR).map(|complaint| &complaint[..1]).collect();
    assert_eq!(keys, ["a", "b", "0", "A"]);
}

#[test]
fn a_message_says_how_much_it_leaves_out() {
    let rows: Vec<_> =
        (0..5_000).map(|n| (format!("unknown{n:04}"), "hunter2".to_owned())).collect();
    let map: HashMap<_, _> = rows.into_iter().collect();
    let mut reader = reading(&map);
    reader.require("consumerGroup", "give one");
    let invalid = reader.finish(Some(())).expect_err("unknown keys");
    let told = invalid.to_string();
    assert!(
        told.starts_with("consumerGroup: is missing; give one | unknown0000: is not a parameter"),
        "{told}"
    );
    let shown = told.split(SEPARATOR).count() - 1;
    assert!(told.ends_with(&format!(" | and {} more", 5_001 - shown)), "{told}");
    assert!(told.len() <= MESSAGE_BYTES, "{}", told.len());
    assert_eq!(invalid.complaints().len(), 1 + UNKNOWN_DESCRIBED);
}

#[test]
fn hostile_text_is_shown_on_one_line() {
    assert_eq!(quoted("a\"b\\c'd\ne\u{202e}f"), r#""a\"b\\c'd\ne\u{202e}f""#);
    assert_eq!(one_line("a\r\nb \"c\" \\ \u{2028}d\u{7}", 100), "a  b \"c\" \\  d\\u{7}");
    assert_eq!(quoted(&"ä".repeat(30)), format!("\"{}…\"", "ä".repeat(20)));
}

proptest! {
    #[test]
    fn any_text_becomes_one_bounded_line(text in any::<String>(), bytes in 0..200_usize) {
        for line in [quoted(&text), one_line(&text, bytes)] {
            let printable = |c: char| !c.is_control() && (c == ' ' || !c.is_whitespace());
            prop_assert!(line.chars().all(printable), "{line:?}");
        }
        prop_assert!(one_line(&text, bytes).len() <= bytes + '…'.len_utf8());
        prop_assert!(quoted(&text).len() <= SHOWN_BYTES + '…'.len_utf8() + 2);
    }
}
