//! A queue as Service Bus keeps it, in memory, and what a browse makes of what it replies.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::selection::{EventTypes, Filter, Selection};

const NOW: i64 = 1_000_000;

/// A queue as Service Bus keeps it, as far as a peek can tell.
#[derive(Default)]
struct Queue {
    messages: BTreeMap<u64, Waiting>,
    last: BTreeMap<u16, u64>,
    clock: i64,
    /// A reply holds no more than this.
    reply: usize,
    /// What a reply does at the end of a partition.
    edge: Edge,
    peeked: usize,
    asked: usize,
}

#[derive(Debug, Clone, Copy, Default)]
enum Edge {
    /// It goes on into the next one.
    #[default]
    Crosses,
    /// It ends, and the next one begins with it.
    Ends,
    /// It ends, and after the last message there is nothing.
    Stays,
}

#[derive(Clone)]
struct Waiting {
    subject: &'static str,
    session: Option<String>,
    enqueued: i64,
    expires: Option<i64>,
    state: State,
    delivery_count: i64,
}

impl Queue {
    fn of(subjects: impl IntoIterator<Item = &'static str>) -> Queue {
        let mut queue = Queue { reply: 250, ..Queue::default() };
        for subject in subjects {
            queue.send(0, subject);
        }
        queue
    }

    fn send(&mut self, partition: u16, subject: &'static str) -> u64 {
        let last = self.last.entry(partition).or_insert_with(|| beginning(partition));
        *last += 1;
        self.clock += 1;
        let message = Waiting {
            subject,
            session: None,
            enqueued: self.clock,
            expires: None,
            state: State::Active,
            delivery_count: 0,
        };
        self.messages.insert(*last, message);
        *last
    }

    /// From the number on in its partition, then on into the partitions that follow.
    fn peek(&mut self, ask: Ask) -> Vec<Peeked<'static>> {
        self.asked += 1;
        let mut found = self.messages.range(ask.from..).peekable();
        let from = partition(ask.from);
        let first = found.peek().map_or(from, |(sequence, _)| partition(**sequence));
        let stays = matches!(self.edge, Edge::Stays) && self.last.contains_key(&from);
        let within = |sequence: u64| match self.edge {
            Edge::Crosses => true,
            Edge::Ends | Edge::Stays => partition(sequence) == first && (first == from || !stays),
        };
        let found = found.take_while(|(sequence, _)| within(**sequence));
        let found = found.take(self.reply.min(ask.count as usize));
        let found: Vec<_> = found
            .map(|(sequence, message)| {
                let position = QueuePosition {
                    sequence: *sequence,
                    enqueued: message.enqueued,
                    state: message.state,
                };
                let session = message.session.clone().map(|session| &*session.leak());
                Peeked::sample(
                    position,
                    message.subject,
                    session,
                    message.expires,
                    message.delivery_count,
                )
            })
            .collect();
        self.peeked += found.len();
        found
    }

    /// What a receiver could get of these types.
    fn count(&self, types: &[&str]) -> u64 {
        let waits = |message: &&Waiting| {
            types.contains(&message.subject)
                && message.state == State::Active
                && message.expires.is_none_or(|expires| expires > NOW)
        };
        self.messages.values().filter(waits).count() as u64
    }

    /// A measurement as it goes over a link, except that nothing is pipelined.
    fn measure(&mut self, browse: &mut Browse, wanted: &[&Arc<Want>]) -> Vec<Backlog> {
        let counts = self.measure_in(usize::MAX, browse, wanted);
        counts.into_iter().map(|count| count.expect("all was peeked")).collect()
    }

    /// A measurement that reads on for so many peeks at most.
    fn measure_in(
        &mut self,
        peeks: usize,
        browse: &mut Browse,
        wanted: &[&Arc<Want>],
    ) -> Vec<Option<Backlog>> {
        browse.begin(wanted.iter().map(|want| Arc::clone(want)).collect(), NOW);
        let mut checks = VecDeque::from(browse.checks());
        while !browse.has_seen_enough()
            && let Some(check) = checks.pop_front()
        {
            match browse.checked(check, &self.peek(check.ask())) {
                Checked::Done => {}
                Checked::More(more) => checks.push_front(more),
                Checked::NewQueue => checks.clear(),
            }
        }
        let mut read = 0;
        while let Some(ask) = browse.next().filter(|_| read < peeks) {
            let reply = self.peek(ask);
            browse.read(&reply);
            read += 1;
            assert!(self.asked < 100_000, "a measurement ends");
        }
        wanted.iter().map(|want| browse.count(want)).collect()
    }
}

fn want(types: &str, limit: u64) -> Arc<Want> {
    let types = EventTypes::parse(types).expect("types");
    let selection = Selection { types: Some(types), ..Selection::default() };
    Arc::new(Want { selectors: selection.selectors(), by: CountBy::Messages, limit })
}

#[test]
fn an_unchanged_queue_costs_its_matches() {
    let mut queue = Queue::of((0..100_000).map(|n| if n % 10_000 == 7 { "a" } else { "b" }));
    let (mut browse, a) = (Browse::new(), want("a", 10_000));
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(10)]);
    assert_eq!(queue.peeked, 100_000);
    queue.peeked = 0;
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(10)]);
    assert!(queue.peeked <= 20, "{}", queue.peeked);
    for _ in 0..1_000 {
        queue.send(0, "b");
    }
    queue.peeked = 0;
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(10)]);
    assert!(queue.peeked <= 1_020, "{}", queue.peeked);
}

#[test]
fn matches_close_together_are_looked_at_with_one_peek() {
    let mut queue = Queue::of((0..1_000).map(|n| if n % 2 == 0 { "a" } else { "b" }));
    let (mut browse, a) = (Browse::new(), want("a", 10_000));
    queue.measure(&mut browse, &[&a]);
    queue.asked = 0;
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(500)]);
    assert!(queue.asked <= 7, "{} peeks", queue.asked);
}

#[test]
fn a_limit_ends_the_peeking() {
    let mut queue = Queue::of(std::iter::repeat_n("a", 100_000));
    let (mut browse, a) = (Browse::new(), want("a", 10));
    let ten = Backlog::AtLeast(10.try_into().expect("not zero"));
    for _ in 0..3 {
        queue.peeked = 0;
        assert_eq!(queue.measure(&mut browse, &[&a]), [ten]);
        assert!(queue.peeked <= 12, "{}", queue.peeked);
    }
    // The ones looked at go; others take their place.
    queue.messages = queue.messages.split_off(&6);
    assert_eq!(queue.measure(&mut browse, &[&a]), [ten]);
    queue.messages = queue.messages.split_off(&99_995);
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(6)]);
}

#[test]
fn what_is_kept_is_bounded_and_then_a_lower_bound_is_told() {
    let mut queue = Queue::of(std::iter::repeat_n("a", 1_000));
    let (mut browse, a) = (Browse { most: 100, ..Browse::new() }, want("a", 10_000));
    let hundred = Backlog::AtLeast(100.try_into().expect("not zero"));
    for _ in 0..2 {
        assert_eq!(queue.measure(&mut browse, &[&a]), [hundred]);
        assert_eq!(browse.watched[0].matches.len(), 100);
    }
    queue.messages = queue.messages.split_off(&950);
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(51)]);
}

#[test]
fn a_match_that_was_only_not_in_a_reply_is_found_again() {
    let mut queue = Queue { reply: 1, ..Queue::default() };
    let ours = queue.send(1, "a");
    queue.send(2, "b");
    let (mut browse, a) = (Browse::new(), want("a", 10));
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(1)]);
    browse.begin(vec![Arc::clone(&a)], NOW);
    let others = queue.peek(Ask { from: beginning(2), count: 1 });
    for check in browse.checks() {
        browse.checked(check, &others);
    }
    while let Some(ask) = browse.next() {
        let reply = queue.peek(ask);
        browse.read(&reply);
    }
    assert_eq!(browse.count(&a), Some(Backlog::Exact(1)));
    queue.messages.remove(&ours);
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(0)]);
}

#[test]
fn sessions_are_counted_once() {
    let mut queue = Queue::of([]);
    for n in 0..500 {
        let sequence = queue.send(0, if n % 7 < 3 { "a" } else { "b" });
        let message = queue.messages.get_mut(&sequence).expect("sent");
        message.session = Some(format!("session-{}", n % 7));
    }
    let a = want("a", 10_000);
    let by_session =
        Arc::new(Want { selectors: a.selectors.clone(), by: CountBy::Sessions, limit: 10_000 });
    let two = Arc::new(Want { selectors: a.selectors.clone(), by: CountBy::Sessions, limit: 2 });
    let mut browse = Browse::new();
    for _ in 0..2 {
        let counts = queue.measure(&mut browse, &[&by_session, &a, &two]);
        let bound = Backlog::AtLeast(2.try_into().expect("not zero"));
        assert_eq!(counts, [Backlog::Exact(3), Backlog::Exact(216), bound]);
    }
}

#[test]
fn a_queue_made_again_is_read_anew() {
    let mut queue = Queue::of(["a", "b", "a"]);
    let (mut browse, a) = (Browse::new(), want("a", 10));
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(2)]);
    let clock = queue.clock;
    queue = Queue { clock, ..Queue::of([]) };
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(0)]);
    queue.send(0, "a");
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(1)]);
    for subject in ["b", "a", "a"] {
        queue.send(0, subject);
    }
    assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(3)]);
}

#[test]
fn a_queue_made_again_is_told_after_reading_for_one_that_was_behind() {
    let old = (1..=31).map(|n| match n {
        1..=10 => "c",
        11..=30 => "b",
        _ => "a",
    });
    let mut queue = Queue { reply: 1, ..Queue::of(old) };
    let (mut browse, a, c) = (Browse::new(), want("a", 10_000), want("c", 5));
    let five = Backlog::AtLeast(5.try_into().expect("not zero"));
    assert_eq!(queue.measure(&mut browse, &[&a, &c]), [Backlog::Exact(1), five]);
    // `c` goes on at its sixth, far behind `a`.
    queue.messages = queue.messages.split_off(&4);
    assert_eq!(queue.measure(&mut browse, &[&a, &c]), [Backlog::Exact(1), five]);
    let clock = queue.clock;
    queue = Queue { clock, reply: 1, ..Queue::of([]) };
    for _ in 0..20 {
        queue.send(0, "a");
    }
    queue.messages = queue.messages.split_off(&10);
    let counts = queue.measure(&mut browse, &[&a, &c]);
    assert_eq!(counts, [Backlog::Exact(11), Backlog::Exact(0)]);
}

#[test]
fn a_clock_that_was_set_back_has_the_queue_read_anew_once() {
    let mut queue = Queue::of(["b"; 100]);
    queue.clock = -1_000;
    queue.send(0, "a");
    let (mut browse, a) = (Browse::new(), want("a", 10));
    for (round, most) in [(1, 101), (2, 103), (3, 2)] {
        queue.peeked = 0;
        assert_eq!(queue.measure(&mut browse, &[&a]), [Backlog::Exact(1)]);
        assert!(queue.peeked <= most, "round {round}: {}", queue.peeked);
    }
}

#[test]
fn a_filter_on_what_changes_has_the_queue_read_anew() {
    let filter = Filter::compile("deliveryCount > 0", &["deliveryCount"]).expect("a filter");
    let selection = Selection { filter: Some(filter), ..Selection::default() };
    let retried =
        Arc::new(Want { selectors: selection.selectors(), by: CountBy::Messages, limit: 10 });
    let mut queue = Queue::of(["a", "b"]);
    let mut browse = Browse::new();
    assert_eq!(queue.measure(&mut browse, &[&retried]), [Backlog::Exact(0)]);
    queue.messages.get_mut(&1).expect("sent").delivery_count = 1;
    assert_eq!(queue.measure(&mut browse, &[&retried]), [Backlog::Exact(1)]);
}

#[test]
fn a_match_that_is_given_back_as_something_else_counts_no_more() {
    let mut queue = Queue::of(["a", "b", "a", "c"]);
    let (mut browse, a, b) = (Browse::new(), want("a", 10), want("a,b", 10));
    assert_eq!(queue.measure(&mut browse, &[&a, &b]), [Backlog::Exact(2), Backlog::Exact(3)]);
    queue.messages.get_mut(&3).expect("sent").subject = "c";
    assert_eq!(queue.measure(&mut browse, &[&a, &b]), [Backlog::Exact(1), Backlog::Exact(2)]);
}

#[test]
fn who_polls_in_turn_reads_what_is_new_once() {
    let mut queue = Queue::of(["a", "b", "c"]);
    let (mut browse, a, b) = (Browse::new(), want("a", 10), want("b", 10));
    queue.measure(&mut browse, &[&a, &b]);
    for _ in 0..1_000 {
        queue.send(0, "c");
    }
    queue.peeked = 0;
    queue.measure(&mut browse, &[&a]);
    queue.measure(&mut browse, &[&b]);
    assert!(queue.peeked <= 1_010, "{}", queue.peeked);
}

#[test]
fn one_who_needs_little_does_not_wait_for_one_who_needs_all() {
    let mut queue = Queue::of((0..10_000).map(|n| if n < 5 { "a" } else { "b" }));
    let (mut browse, a, rare) = (Browse::new(), want("a", 5), want("rare", 10));
    assert_eq!(queue.measure_in(2, &mut browse, &[&rare]), [None]);
    let counts = queue.measure_in(10, &mut browse, &[&rare, &a]);
    assert_eq!(counts, [None, Some(Backlog::AtLeast(5.try_into().expect("not zero")))]);
    queue.peeked = 0;
    assert_eq!(queue.measure(&mut browse, &[&rare]), [Backlog::Exact(0)]);
    assert!(queue.peeked < 9_000, "goes on where it was: {}", queue.peeked);
}

#[test]
fn what_nobody_wants_any_more_is_let_go() {
    let mut queue = Queue::of(["a", "b"]);
    let (mut browse, a, b) = (Browse::new(), want("a", 10), want("b", 10));
    queue.measure(&mut browse, &[&a, &b]);
    drop(b);
    queue.measure(&mut browse, &[&a]);
    assert_eq!((browse.watched.len(), browse.followed.len()), (1, 1));
}

#[derive(Debug, Clone)]
enum Step {
    Send(u16, &'static str, u8),
    Take(prop::sample::Index),
    Defer(prop::sample::Index),
    Schedule(u16, &'static str),
    Due(prop::sample::Index),
    Expire(prop::sample::Index),
    MakeAgain,
    Measure(Vec<bool>, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let subject = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let index = any::<prop::sample::Index>;
    let at = 0..4_u16;
    prop_oneof![
        8 => (at.clone(), subject(), 1..40_u8).prop_map(|(p, s, n)| Step::Send(p, s, n)),
        4 => index().prop_map(Step::Take),
        1 => index().prop_map(Step::Defer),
        1 => (at, subject()).prop_map(|(p, s)| Step::Schedule(p, s)),
        1 => index().prop_map(Step::Due),
        1 => index().prop_map(Step::Expire),
        1 => Just(Step::MakeAgain),
        6 => (proptest::collection::vec(any::<bool>(), 4), prop_oneof![Just(usize::MAX), 0..5_usize])
            .prop_map(|(which, peeks)| Step::Measure(which, peeks)),
    ]
}

fn play(partitions: &[u16], reply: usize, edge: Edge, steps: Vec<Step>) {
    let partition_of = |at: u16| partitions[usize::from(at) % partitions.len()];
    let wants = [want("a", 1_000), want("a,b", 1_000), want("c", 5), want("b,c", 20)];
    let types: [&[&str]; 4] = [&["a"], &["a", "b"], &["c"], &["b", "c"]];
    let mut queue = Queue { reply, edge, ..Queue::default() };
    let mut browse = Browse::new();
    for step in steps {
        let pick = |queue: &Queue, at: prop::sample::Index, state: State| {
            let fits = queue.messages.iter().filter(|(_, message)| message.state == state);
            let fits: Vec<u64> = fits.map(|(sequence, _)| *sequence).collect();
            (!fits.is_empty()).then(|| *at.get(&fits))
        };
        match step {
            Step::Send(partition, subject, count) => {
                for _ in 0..count {
                    queue.send(partition_of(partition), subject);
                }
            }
            Step::Take(at) => {
                if let Some(sequence) = pick(&queue, at, State::Active) {
                    queue.messages.remove(&sequence);
                }
            }
            Step::Defer(at) => {
                if let Some(sequence) = pick(&queue, at, State::Active) {
                    queue.messages.get_mut(&sequence).expect("picked").state = State::Deferred;
                }
            }
            Step::Schedule(partition, subject) => {
                let sequence = queue.send(partition_of(partition), subject);
                queue.messages.get_mut(&sequence).expect("sent").state = State::Scheduled;
            }
            Step::Due(at) => {
                if let Some(sequence) = pick(&queue, at, State::Scheduled) {
                    let message = queue.messages.remove(&sequence).expect("picked");
                    queue.send(partition(sequence), message.subject);
                }
            }
            Step::Expire(at) => {
                if let Some(sequence) = pick(&queue, at, State::Active) {
                    // It has an expiry from the start, so it is sent anew.
                    let mut message = queue.messages.remove(&sequence).expect("picked");
                    let sequence = queue.send(partition(sequence), message.subject);
                    message.enqueued = queue.clock;
                    message.expires = Some(NOW);
                    queue.messages.insert(sequence, message);
                }
            }
            Step::MakeAgain => {
                queue.messages.clear();
                queue.last.clear();
            }
            Step::Measure(which, peeks) => {
                let wanted: Vec<usize> = (0..4).filter(|at| which[*at]).collect();
                let asked: Vec<&Arc<Want>> = wanted.iter().map(|at| &wants[*at]).collect();
                queue.asked = 0;
                let counts = queue.measure_in(peeks, &mut browse, &asked);
                for (at, counted) in wanted.iter().zip(counts) {
                    let Some(counted) = counted else {
                        assert_ne!(peeks, usize::MAX, "all was peeked");
                        continue;
                    };
                    let truth = queue.count(types[*at]);
                    let expected = match NonZeroU64::new(wants[*at].limit) {
                        Some(limit) if truth >= limit.get() => Backlog::AtLeast(limit),
                        _ => Backlog::Exact(truth),
                    };
                    assert_eq!(counted, expected, "{:?}", types[*at]);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_count_is_what_waits(
        reply in 1..30_usize,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        play(&[0], reply, Edge::Crosses, steps);
    }

    #[test]
    fn every_count_of_a_partitioned_queue_is_what_waits(
        reply in 1..30_usize,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        play(&[0, 1, 2, 3], reply, Edge::Crosses, steps);
    }

    #[test]
    fn a_reply_may_end_with_its_partition(
        reply in 1..30_usize,
        edge in prop::sample::select(vec![Edge::Ends, Edge::Stays]),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        // Were one of them 0, nothing would lead beyond it.
        play(&[1, 2, 3, 16], reply, edge, steps);
    }

    // Here a partition is only found behind another one's messages.
    #[test]
    fn partitions_of_any_number_are_found(
        reply in 1..30_usize,
        edge in prop::sample::select(vec![Edge::Crosses, Edge::Ends, Edge::Stays]),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        play(&[3, 38, 1_000, 40_000], reply, edge, steps);
    }
}
