//! What the pages show of triggers made up here, whatever their authors call things.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use maud::Markup;
use proptest::prelude::*;
use tonic::Code;

use super::query::{PAGE, Query};
use super::why::why;
use super::{overview, trigger};
use crate::backlog::{Backlog, Measured};
use crate::metadata::one_line;
use crate::scaler::{Answer, Explained, Overview, Poll, Refusal, State};
use crate::source::{Explanation, Partition};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn exact(count: u64) -> Answer {
    Answer { backlog: Backlog::Exact(count), is_limit: false }
}

fn refusal(words: &str, is_reading: bool) -> Refusal {
    Refusal { code: Code::Unavailable, is_reading, words: words.into() }
}

fn poll(seconds: u64, answer: Result<u64, &str>) -> Poll {
    Poll {
        at: NOW + Duration::from_secs(seconds),
        took: Duration::from_millis(3),
        answer: answer.map(exact).map_err(|words| refusal(words, false)),
    }
}

/// A trigger of which each text is this one.
fn of(name: &str, state: State, last: Option<Poll>) -> Overview {
    Overview {
        id: "0123456789abcdef".to_owned(),
        namespace: name.into(),
        name: name.into(),
        trigger: None,
        state,
        polls: 1,
        last,
        failing_since: None,
        known_since: NOW,
        max_jobs: Some(3),
        note: Some(name.to_owned()),
    }
}

fn partition(start: u64, committed: Option<u64>, from: u64, end: u64) -> Partition {
    Partition {
        topic: "uploads".to_owned(),
        number: 0,
        start,
        end,
        committed,
        from: Some(from),
        tail: Some(end),
        waiting: 0,
        persistent: false,
    }
}

fn explained(text: &str, partitions: Vec<Partition>) -> Explained {
    let metric = Backlog::Exact(0);
    let explanation = Explanation {
        facts: vec![("counted by", text.to_owned())],
        ..Explanation::of(Measured { metric, activity: metric }).with(partitions)
    };
    Explained {
        overview: of(text, State::Zero, None),
        metadata: vec![(text.to_owned(), text.to_owned())],
        polls: vec![poll(1, Err(text)), poll(0, Ok(3))],
        points: Vec::new(),
        measured: Ok(explanation),
        by_type: vec![(text.to_owned(), 3)],
        sight: None,
    }
}

/// Both pages with this wherever an author may write something.
fn pages(text: &str) -> String {
    let topic = Partition { topic: text.to_owned(), ..partition(0, None, 0, 4) };
    let query = Query { q: text.to_owned(), ..Query::default() };
    let failing = of(text, State::Failing, Some(poll(0, Err(text))));
    let mut all = overview::overview(&query, vec![failing]).into_string();
    let refused = Explained { measured: Err(refusal(text, false)), ..explained(text, Vec::new()) };
    for page in [explained(text, vec![topic]), refused] {
        let page: Markup = trigger::trigger(&page, NOW);
        all.push_str(&page.into_string());
    }
    all
}

/// The tags of a page with the names of their attributes, and its text; as a browser reads them.
fn read(page: &str) -> (String, String) {
    let (mut tags, mut text) = (String::new(), String::new());
    let mut chars = page.chars();
    while let Some(c) = chars.next() {
        if c != '<' {
            text.push(c);
            continue;
        }
        let mut quoted = false;
        for c in chars.by_ref() {
            match c {
                '"' => quoted = !quoted,
                '>' if !quoted => break,
                _ if quoted => {}
                c => tags.push(c),
            }
        }
        tags.push('\n');
    }
    (tags, text)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in one_line(text, 2_000).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c => write!(escaped, "{c}").expect("a String takes everything"),
        }
    }
    escaped
}

proptest! {
    /// Whatever a tenant writes is text: it makes no tag, ends none, and adds no attribute.
    #[test]
    fn what_tenants_write_is_text_alone(text in r#"[ -~]{0,12}(<script>|"|'|&|<!--|]]>|\u{202e}|</bdi>| on\w=)?\PC{0,12}"#) {
        // The same without anything that means something in HTML, and found by the same search.
        let plain: String = text.chars().map(|c| if c.is_alphanumeric() || c.is_whitespace() { c } else { 'x' }).collect();
        let ((tags, shown), (expected, _)) = (read(&pages(&text)), read(&pages(&plain)));
        prop_assert_eq!(tags, expected);
        prop_assert!(shown.contains(&escaped(&text)));
        let is_turned = shown.contains('\u{202e}');
        prop_assert!(!is_turned);
    }
}

#[test]
fn a_page_has_a_bound_however_many_triggers_there_are() {
    let name = "ش".repeat(126);
    let all = |count| (0..count).map(|_| of(&name, State::Zero, None)).collect();
    let page = |count| overview::overview(&Query::default(), all(count)).into_string();
    assert_eq!(page(10_000).matches("<tr>").count(), PAGE + 1);
    assert!(page(10_000).len() < page(PAGE).len() + 1_000);
}

#[test]
fn an_address_says_what_is_shown() {
    let named = |name: &str, state, last| of(name, state, last);
    let all = || {
        vec![
            named("a", State::Zero, Some(poll(1, Ok(0)))),
            named("b", State::Failing, Some(poll(3, Err("Broker gone")))),
            named("c", State::Waiting, Some(poll(2, Ok(12)))),
            named("d", State::Unpolled, None),
        ]
    };
    let rows = [
        ("", "", "", "abcd"),
        ("", "", "-name", "dcba"),
        ("", "", "state", "bdca"),
        ("", "", "backlog", "cabd"),
        ("", "", "-backlog", "dbac"),
        ("", "", "polled", "bcad"),
        ("", "", "nonsense", "abcd"),
        ("", "zero", "", "a"),
        ("", "nonsense", "", "abcd"),
        ("gone BROKER", "", "", "b"),
        ("gone", "zero", "", ""),
        ("0123456789ABCDEF", "", "", "abcd"),
    ];
    for (q, state, sort, expected) in rows {
        let [q, state, sort] = [q, state, sort].map(str::to_owned);
        let query = Query { q, state, sort, page: String::new() };
        let shown = query.select(all()).shown;
        let names: String = shown.iter().map(|overview| &*overview.name).collect();
        assert_eq!(names, expected, "{query:?}");
    }
}

#[test]
fn pages_are_counted_from_one_and_there_is_always_one() {
    let all = |count: usize| {
        (0..count).map(|n| of(&n.to_string(), State::Zero, None)).collect::<Vec<_>>()
    };
    let rows = [
        ("", 0, (1, 1, 0)),
        ("2", PAGE + 1, (2, 2, 1)),
        ("9", PAGE + 1, (2, 2, 1)),
        ("0", PAGE + 1, (1, 2, PAGE)),
        ("-1", PAGE + 1, (1, 2, PAGE)),
        ("18446744073709551616", 1, (1, 1, 1)),
    ];
    for (page, count, expected) in rows {
        let query = Query { page: page.to_owned(), ..Query::default() };
        let selected = query.select(all(count));
        assert_eq!((selected.page, selected.pages, selected.shown.len()), expected, "{page}");
    }
}

#[test]
fn links_keep_what_is_searched_for() {
    let query = Query { q: "a&b=\"<".to_owned(), sort: "backlog".to_owned(), ..Query::default() };
    assert_eq!(query.with_state(Some(State::Zero)), "./?q=a%26b%3D%22%3C&state=zero&sort=backlog");
    assert_eq!(query.by(super::query::Column::Backlog), "./?q=a%26b%3D%22%3C&sort=-backlog");
    assert_eq!(query.at(2), "./?q=a%26b%3D%22%3C&sort=backlog&page=2");
    assert_eq!(Query::default().with_state(None), "./");
}

#[test]
fn why_it_is_0_is_a_sentence() {
    let rows: [(&str, Vec<Partition>, &str); 5] = [
        ("no partitions", vec![], "0, because nothing waits there."),
        ("empty", vec![partition(4, None, 4, 4)], "0, because the topic holds no messages."),
        (
            "read",
            vec![partition(0, Some(9), 9, 9), partition(0, Some(4), 4, 4)],
            "0, because the group has read everything: it stands at the end of each partition.",
        ),
        (
            "latest",
            vec![partition(0, None, 9, 9)],
            "0, because the group has committed nothing and begins at the end, as \
             offsetResetPolicy says.",
        ),
        (
            "others",
            vec![partition(0, Some(4), 4, 9)],
            "0, because of the 5 offsets before the end none is a message that is selected.",
        ),
    ];
    for (case, partitions, expected) in rows {
        let mut explained = explained("x", partitions);
        explained.overview.note = None;
        assert_eq!(why(&explained).as_deref(), Some(expected), "{case}");
    }
    let mut noted = explained("x", Vec::new());
    assert_eq!(why(&noted).as_deref(), Some("0, because x."));
    noted.measured = Err(Refusal { words: Arc::from("broker gone"), ..refusal("", false) });
    assert_eq!(why(&noted).as_deref(), Some("There is no number: broker gone."));
    noted.measured = Err(refusal("3 of 4 read", true));
    assert_eq!(why(&noted).as_deref(), Some("Not known yet: 3 of 4 read."));
    let one = Backlog::Exact(1);
    noted.measured = Ok(Explanation::of(Measured { metric: one, activity: one }));
    assert_eq!(why(&noted), None);
}
