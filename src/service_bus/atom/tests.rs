//! Descriptions as the service writes them, and any other text in their place.

use proptest::prelude::*;

use super::*;

/// As the service answers, shortened to what is of use here and some of what is not.
fn queue(name: &str, details: &str) -> String {
    format!(
        r#"<entry xmlns="http://www.w3.org/2005/Atom"><id>https://a.servicebus.windows.net/{name}?api-version=2021-05</id><title type="text">{name}</title><published>2018-10-09T19:56:34Z</published><updated>2018-10-09T19:56:35Z</updated><author><name>a</name></author><link rel="self" href="https://a.servicebus.windows.net/{name}?api-version=2021-05"/><content type="application/xml"><QueueDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><LockDuration>PT1M</LockDuration><MessageCount>9</MessageCount><AuthorizationRules></AuthorizationRules><Status>Active</Status>{details}<EnableExpress>false</EnableExpress></QueueDescription></content></entry>"#
    )
}

fn some(active: u64) -> Counts {
    Counts { active: Some(active), dead: Some(2) }
}

fn counts(active: &str) -> String {
    format!(
        r#"<CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus"><d2p1:ActiveMessageCount>{active}</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>2</d2p1:DeadLetterMessageCount><d2p1:ScheduledMessageCount>3</d2p1:ScheduledMessageCount><d2p1:TransferMessageCount>0</d2p1:TransferMessageCount><d2p1:TransferDeadLetterMessageCount>0</d2p1:TransferDeadLetterMessageCount></CountDetails>"#
    )
}

fn feed(entries: &[String]) -> String {
    format!(
        r#"<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">Queues</title><id>https://a/$Resources/queues</id><updated>2021-01-01T00:00:00Z</updated><link rel="self" href="https://a/$Resources/queues"/><link rel="next" href="https://a/$Resources/queues?$skip=100"/>{}</feed>"#,
        entries.concat()
    )
}

fn entry(name: &str, description: Description) -> Entry {
    Entry { name: name.to_owned(), description }
}

#[test]
fn an_entry_tells_its_active_messages() {
    let other = |kind: &str| queue("s", &counts("5")).replace("QueueDescription", kind);
    let nameless = queue("x", &counts("5")).replace("<title type=\"text\">x</title>", "");
    let rows = [
        ("a queue", queue("in/q", &counts("5")), entry("in/q", Description::Queue(some(5)))),
        ("an empty one", queue("q", &counts("0")), entry("q", Description::Queue(some(0)))),
        (
            "a large one",
            queue("q", &counts("9223372036854775807")),
            entry("q", Description::Queue(some(i64::MAX as u64))),
        ),
        ("without counts", queue("q", ""), entry("q", Description::Queue(Counts::default()))),
        (
            "with empty counts",
            queue("q", "<CountDetails/>"),
            entry("q", Description::Queue(Counts::default())),
        ),
        (
            "with null counts",
            queue("q", r#"<CountDetails i:nil="true"/>"#),
            entry("q", Description::Queue(Counts::default())),
        ),
        (
            "other prefixes",
            queue("q", &counts("5").replace("d2p1", "x")),
            entry("q", Description::Queue(some(5))),
        ),
        (
            "no prefixes",
            queue("q", &counts("5").replace("d2p1:", "")),
            entry("q", Description::Queue(some(5))),
        ),
        (
            "a subscription",
            other("SubscriptionDescription"),
            entry("s", Description::Subscription(some(5))),
        ),
        ("a topic", other("TopicDescription"), entry("s", Description::Topic)),
        ("something else", other("RelayDescription"), entry("s", Description::Unknown)),
        ("no name", nameless, entry("", Description::Queue(some(5)))),
        (
            "with a declaration",
            format!(
                "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n{}\n",
                queue("q", &counts("5"))
            ),
            entry("q", Description::Queue(some(5))),
        ),
        (
            "indented",
            queue("q", &counts("5")).replace("><", ">\n  <"),
            entry("q", Description::Queue(some(5))),
        ),
        ("nothing in it", "<entry/>".to_owned(), entry("", Description::Unknown)),
    ];
    for (name, body, expected) in rows {
        assert_eq!(parse(body.as_bytes()), Ok(Document::Entry(expected)), "{name}");
    }
}

#[test]
fn a_feed_tells_all_of_its_entries() {
    let empty = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">Publicly Listed Services</title><subtitle type="text">This is the list of publicly-listed services currently available.</subtitle><id>uuid:27fcd1e2;id=30</id><updated>2019-12-27T13:11:47Z</updated><generator>Service Bus 1.1</generator></feed>"#;
    assert_eq!(parse(empty.as_bytes()), Ok(Document::Feed(Vec::new())));
    let page = feed(&[queue("a", &counts("1")), queue("b", ""), queue("c/d", &counts("3"))]);
    let expected = vec![
        entry("a", Description::Queue(some(1))),
        entry("b", Description::Queue(Counts::default())),
        entry("c/d", Description::Queue(some(3))),
    ];
    assert_eq!(parse(page.as_bytes()), Ok(Document::Feed(expected)));
}

#[test]
fn what_is_no_atom_is_an_error() {
    let rows = [
        ("nothing", String::new()),
        ("a page for people", "<html><body>Sign in</body></html>".to_owned()),
        ("JSON", "{}".to_owned()),
        ("an error", "<Error><Code>401</Code></Error>".to_owned()),
        ("a count that is none", queue("q", &counts("many"))),
        ("a count below nothing", queue("q", &counts("-1"))),
        ("a count too large", queue("q", &counts("18446744073709551616"))),
        ("counts twice", queue("q", &counts("1").repeat(2))),
    ];
    for (name, body) in rows {
        assert_eq!(parse(body.as_bytes()), Err(NoAtom), "{name}");
    }
    assert_eq!(parse(b"\xff<entry/>"), Err(NoAtom));
    let deep = format!("<entry>{}", "<a>".repeat(100_000));
    assert_eq!(parse(deep.as_bytes()), Err(NoAtom));
}

#[test]
fn an_answer_that_ends_early_is_an_error_wherever_it_ends() {
    for whole in
        [queue("q", &counts("5")), feed(&[queue("a", &counts("1")), queue("b", &counts("2"))])]
    {
        assert!(parse(whole.as_bytes()).is_ok());
        for end in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..end]), Err(NoAtom), "{end} bytes");
        }
    }
}

#[test]
fn an_error_tells_its_detail() {
    let body =
        b"<Error><Code>401</Code><Detail>Manage claim required. TrackingId:1</Detail></Error>";
    assert_eq!(detail(body).as_deref(), Some("Manage claim required. TrackingId:1"));
    for other in [&b""[..], b"<Error/>", b"<html></html>", b"Unauthorized", b"<Error><Detail>cut"] {
        assert_eq!(detail(other), None, "{other:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "(<[/a-z!?]{0,3}|entry|>|&|feed|\"|\\]\\]){0,30}") {
        // What it is does not matter; that it ends, does.
        drop((parse(&bytes), parse(text.as_bytes()), detail(text.as_bytes())));
    }
}
