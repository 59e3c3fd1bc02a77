//! The worst filter over the worst message: a search for what an evaluation can be made to do.
//!
//! What is counted here is not the meter's prices: the bytes that are allocated, the bytes that are
//! held at once, and how often anything is looked up or paid for.

use allocation_counter::measure;
use fastrand::Rng;
use tokio::time::Instant;

use super::super::compile::compile;
use super::super::meter::{BUDGET, PAYMENTS};
use super::*;
use crate::selection::message::tests::Sample;

/// What an evaluation may allocate, whether it is freed at once or not, and what it may hold at
/// once.
const MAX_ALLOCATED: u64 = 192 << 20;
const MAX_HELD: u64 = 48 << 20;

/// How often an evaluation may look something up or pay.
const MAX_PAYMENTS: usize = BUDGET / 8;

/// What one evaluation did.
#[derive(Debug, Clone, Copy)]
struct Work {
    allocated: u64,
    held: u64,
    payments: usize,
    spent: usize,
    microseconds: u128,
}

/// A filter that a list of choices leads to; a list that ends early ends in the simplest of each.
struct Choices<'c> {
    left: std::slice::Iter<'c, u8>,
    variables: Vec<String>,
}

impl Choices<'_> {
    fn of(&mut self, count: u8) -> u8 {
        self.left.next().map_or(0, |choice| choice % count)
    }

    fn variable(&mut self) -> String {
        let index = usize::from(self.of(4));
        let known = self.variables.len().saturating_sub(1);
        self.variables.get(index.min(known)).cloned().unwrap_or_else(|| "key".to_owned())
    }

    fn of_loop(
        &mut self,
        range: &str,
        name: &str,
        body: impl FnOnce(&mut Self) -> String,
    ) -> String {
        let variable = format!("v{}", self.variables.len());
        self.variables.push(variable.clone());
        let body = body(self);
        self.variables.pop();
        format!("{range}.{name}({variable}, {body})")
    }

    fn boolean(&mut self) -> String {
        match self.of(20) {
            0 => "true".to_owned(),
            1 => format!("!{}", self.boolean()),
            2..=5 => {
                let range = self.list();
                let name = ["all", "exists", "exists_one", "all"][usize::from(self.of(4))];
                self.of_loop(&range, name, Self::boolean)
            }
            6 => {
                let pattern = ["10", "1[01]{300}[^01]", "(a|b|x)*c", r"\\pL{9}x"];
                let pattern = pattern[usize::from(self.of(4))];
                format!("{}.matches('{pattern}')", self.text())
            }
            7 => format!("{}.contains({})", self.text(), self.text()),
            8 => format!("size({}) > 1000000", self.list()),
            9 => format!("{} == {}", self.any(), self.any()),
            10 => format!("{} in {}", self.any(), self.list()),
            11 | 12 => format!("({} || {})", self.boolean(), self.boolean()),
            13 => format!("({} && {})", self.boolean(), self.boolean()),
            14 => format!("size({}) > 1000000", self.text()),
            15 => format!("{}.?a.?b.hasValue()", self.any()),
            16 => format!("has({}.a)", self.variable()),
            17 => format!("({} ? {} : {})", self.boolean(), self.boolean(), self.boolean()),
            18 => format!("{} < {}", self.text(), self.text()),
            _ => format!("has(headers.h{})", self.of(2)),
        }
    }

    fn list(&mut self) -> String {
        match self.of(20) {
            0 | 1 => "body.ints".to_owned(),
            2 => "body.objects".to_owned(),
            3 => "body.lists".to_owned(),
            4 => "body.texts".to_owned(),
            5 => "body.map".to_owned(),
            6 => "headers".to_owned(),
            7 | 8 => self.variable(),
            9 | 10 => {
                let range = self.list();
                self.of_loop(&range, "map", Self::any)
            }
            11 => {
                let range = self.list();
                self.of_loop(&range, "filter", Self::boolean)
            }
            12 => format!("({} + {})", self.list(), self.list()),
            13 => format!("{}.split('')", self.text()),
            14 => format!("[{}, {}]", self.any(), self.any()),
            15 => format!("{}.?a.orValue([])", self.any()),
            16 => format!("({} ? {} : {})", self.boolean(), self.list(), self.list()),
            17 => format!("[{}1]", "1,".repeat(usize::from(self.of(255)))),
            18 => format!("{}[0]", self.list()),
            _ => format!("{}.a", self.any()),
        }
    }

    fn text(&mut self) -> String {
        match self.of(12) {
            0 => "body.text".to_owned(),
            1 => "key".to_owned(),
            2 => "headers.h".to_owned(),
            3 => format!("'{}'", "x".repeat(usize::from(self.of(255)))),
            4 | 5 => format!("({} + {})", self.text(), self.text()),
            6 => format!("{}.lowerAscii()", self.text()),
            7 => format!("{}.substring(1)", self.text()),
            8 => format!("string({})", self.any()),
            9 => format!("({} ? {} : {})", self.boolean(), self.text(), self.text()),
            _ => self.variable(),
        }
    }

    fn any(&mut self) -> String {
        match self.of(10) {
            0 | 1 => self.variable(),
            2 => self.list(),
            3 => self.text(),
            4 => "1".to_owned(),
            5 => format!("{{'a': {}, 'b': {}}}", self.any(), self.any()),
            6 => format!("optional.of({})", self.any()),
            7 => format!("{}.a.b.a.b", self.variable()),
            8 => format!("[{}]", self.any()),
            _ => format!("{}.?a", self.any()),
        }
    }
}

/// Messages that lists, objects and texts fill up to a size.
fn messages() -> Vec<Sample> {
    let sizes = [300, 3_000, 30_000, 250_000];
    let filled = |size: usize, element: &str, end: &str| {
        format!("{}{end}", element.repeat(size / element.len()))
    };
    let nested = "{\"a\":{\"b\":{\"a\":{\"b\":[1,1]}}}},";
    let sample = |size: usize| {
        let keys: String = (0..size / 8).map(|n| format!("\"{n}\":1,")).collect();
        let body = format!(
            r#"{{"ints":[{}],"objects":[{}],"lists":[{}],"texts":[{}],"map":{{{keys}"a":1}},"text":"{}"}}"#,
            filled(size, "1,", "1"),
            filled(size, nested, "{}"),
            filled(size, "[],", "[]"),
            filled(size, "\"x\",", "\"x\""),
            "x".repeat(4 * size),
        );
        let mut sample = Sample::default().key("01".repeat(1000)).body(body);
        sample.headers = (0..size / 4).map(|n| (format!("h{n}"), b"v".to_vec())).collect();
        sample.header("h", "01".repeat(size / 2))
    };
    sizes.into_iter().map(sample).collect()
}

/// What `text` does with each of the messages that it does most with; `None` if it is no filter.
fn work(text: &str, messages: &[Sample]) -> Option<Vec<Work>> {
    let program = compile(text, &["topic", "partition", "properties"]).ok()?;
    let works = messages.iter().map(|message| {
        let record = Record::new(message);
        let _parsed = record.body.find(&BodyPath::of(vec![]));
        PAYMENTS.set(0);
        let started = Instant::now();
        let mut evaluated = None;
        let memory = measure(|| evaluated = Some(metered(&program, &record, "made")));
        let (verdict, spent) = evaluated.expect("it was evaluated");
        let work = Work {
            allocated: memory.bytes_total,
            held: memory.bytes_max,
            payments: PAYMENTS.get(),
            spent,
            microseconds: started.elapsed().as_micros(),
        };
        assert!(work.allocated <= MAX_ALLOCATED, "{work:?}: {text}");
        assert!(work.held <= MAX_HELD, "{work:?}: {text}");
        assert!(work.payments <= MAX_PAYMENTS, "{work:?}: {text}");
        // What exceeds the budget is the last that is looked at.
        assert!(work.spent <= 2 * BUDGET + 1, "{work:?}: {text}");
        assert!(work.spent <= BUDGET || verdict == Err(Reason::TooMuch), "{verdict:?}: {text}");
        work
    });
    Some(works.collect())
}

/// Looks for the filter that does most by `measure`, by changing choices for better ones.
fn worst(seed: u64, rounds: usize, measure: Measure) -> (String, Work) {
    let messages = messages();
    let mut rng = Rng::with_seed(seed);
    let mut best: Option<(Vec<u8>, String, Work)> = None;
    for round in 0..rounds {
        let mut choices = match &best {
            Some((choices, ..)) if round % 50 != 0 => choices.clone(),
            _ => (0..60).map(|_| rng.u8(..)).collect(),
        };
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(..choices.len());
            match rng.u8(..4) {
                0 => choices.insert(at, rng.u8(..)),
                1 if choices.len() > 1 => drop(choices.remove(at)),
                _ => choices[at] = rng.u8(..),
            }
        }
        choices.truncate(200);
        let text = Choices { left: choices.iter(), variables: Vec::new() }.boolean();
        let Some(works) = work(&text, &messages) else { continue };
        let Some(most) = works.into_iter().max_by_key(measure) else { continue };
        if best.as_ref().is_none_or(|(_, _, held)| measure(&most) >= measure(held)) {
            best = Some((choices, text, most));
        }
    }
    let (_, text, work) = best.expect("some choices lead to a filter");
    (text, work)
}

/// What is looked for.
type Measure = fn(&Work) -> u128;

const MEASURES: [(&str, Measure); 4] = [
    ("bytes allocated", |work| work.allocated.into()),
    ("bytes held", |work| work.held.into()),
    ("payments", |work| work.payments as u128),
    ("time", |work| work.microseconds),
];

/// Filters that each make one kind of thing grow.
fn heavy() -> Vec<String> {
    let chained = |first: &str, step: &str| format!("{first}{}", step.repeat(20));
    let doubled = ".map(x, x + x)";
    let levels = ".a.b".repeat(20);
    let slow = "matches('1[01]{500}[^01]')";
    let long = "x".repeat(3000);
    vec![
        format!("size({}) > 0", chained("[body.text]", doubled)),
        format!("size({}) > 0", chained("[body.ints]", doubled)),
        format!("size({}) > 0", chained("[body.map]", ".map(x, [x, x])")),
        format!("size({}) > 0", chained("body.ints", ".map(x, {'a': x, 'b': [x]})")),
        format!("size(body.text{}) > 0", " + body.text".repeat(30)),
        format!("size(body.text{}) > 0", ".upperAscii()".repeat(30)),
        "size(body.text.split('').map(x, x.split(''))) > 0".to_owned(),
        "body.ints.all(x, body.ints.all(y, body.ints.all(z, x == y)))".to_owned(),
        format!("body.ints.all(x, {} || x == 1)", "x == 2 || ".repeat(60) + "false"),
        "body.ints.all(x, size(body.ints) > 0)".to_owned(),
        "body.ints.all(x, size(body.text) > 0)".to_owned(),
        "body.ints.all(x, body.none == 1 || x == 1)".to_owned(),
        "body.ints.all(x, headers.h != 'a' && !has(headers.none))".to_owned(),
        "body.ints.all(x, size(headers) > 0 && size(properties) > 0)".to_owned(),
        format!("body.ints.exists(x, headers.h.{slow})"),
        format!("[headers.h].exists(x, body.ints.exists(y, x.{slow}))"),
        format!("body.ints.exists(x, '{}'.{slow})", "01".repeat(900)),
        format!("body.ints.all(x, '{long}'.contains('y') || '{}' != 'x')", "x".repeat(900)),
        format!("size(body.ints.map(x, '{long}'.split(''))) > 0"),
        "[body.text] in body.ints".to_owned(),
        "[body.text].all(t, body.ints.all(y, !(t in [1, 2, 3])))".to_owned(),
        "[body.text].all(t, body.ints.all(y, !(t in {'a': 1})))".to_owned(),
        "[body.text].all(t, body.ints.all(y, 1 != t))".to_owned(),
        "[body.text].all(t, body.ints.all(y, {t: 1} != {'a': 1}))".to_owned(),
        "[body.objects].all(t, body.ints.all(y, t < 1 || y == 1))".to_owned(),
        "[body.objects].all(t, body.ints.all(y, t - 1 == 1 || y == 1))".to_owned(),
        "[body.objects].all(t, body.ints.all(y, t.matches('a') || y == 1))".to_owned(),
        "[body.objects].all(t, body.ints.all(y, t.?a == t.?b))".to_owned(),
        format!("[optional.of({{'a': body.objects}})].all(t, body.ints.all(y, has(t{levels})))"),
        format!("[optional.of(body.objects[0])].all(t, body.ints.all(y, t{levels} != t))"),
        "size(body.ints.map(x, body.ints.filter(y, false))) > 0".to_owned(),
        "body.ints.all(x, body.ints.exists_one(y, string(y) + string(x) == 'a') || true)"
            .to_owned(),
        format!("body.ints.all(x, {}x{} == x)", "[".repeat(25), "][0]".repeat(25)),
    ]
}

#[test]
fn what_grows_is_bounded() {
    let messages = messages();
    for text in heavy() {
        let works = work(&text, &messages).unwrap_or_else(|| panic!("no filter: {text}"));
        let longest = works.iter().max_by_key(|work| work.microseconds);
        println!("{longest:?}: {}", text.chars().take(90).collect::<String>());
    }
}

#[test]
fn the_worst_filter_over_the_worst_message_ends() {
    for (name, measure) in MEASURES {
        let (text, work) = worst(1, 60, measure);
        println!("most {name}: {work:?}: {text}");
    }
}

/// Run by hand, with optimisation, to see what the bounds are worth.
#[test]
#[ignore = "takes minutes"]
fn the_worst_filter_over_the_worst_message_is_looked_for_at_length() {
    for seed in 0..10 {
        for (name, measure) in MEASURES {
            let (text, work) = worst(seed, 5_000, measure);
            println!("most {name}: {work:?}: {text}");
        }
    }
}
