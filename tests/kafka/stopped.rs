//! What stands still and goes on: the scaler itself, a broker, the network. What was true before is
//! asked again, and soon.
//!
//! Where it is about how soon, triggers count by offsets: what is read from topics is read by
//! another client. Those that wait for longer than connections and requests live are ignored by
//! default; `make test KAFKA=all` runs them too.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use sift_harness::hostile::{Hostile, Scenario, TOPIC, TRUTH};
use sift_harness::program::Program;
use sift_harness::{Broker, Message, Mute, Proxy, Sift, Trigger, free_port};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

const MEASURE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than a request may take, and than a broker's session.
const STILL: Duration = Duration::from_secs(70);

/// How soon an answer is exact again, once there is one to be had.
const SOON: Duration = Duration::from_secs(2);

/// What that may take more on a machine with much else to do.
const SLACK: Duration = Duration::from_secs(2);

async fn scaler() -> (Program, Sift) {
    let timeout = format!("{}s", MEASURE_TIMEOUT.as_secs());
    let program = block_in_place(|| Program::serving(&["--measure-timeout", &timeout]));
    let sift = Sift::at(program.grpc).await;
    (program, sift)
}

/// A topic with five messages, and a trigger by offsets and one by type on it.
async fn fill(broker: &Broker, sift: &Sift, bootstrap: &str, topic: &str) -> [Trigger; 2] {
    broker.topic(topic).create().await;
    broker.produce_all(topic, (0..5).map(|_| Message::of_type("a"))).await;
    let trigger = sift.trigger(bootstrap, topic, topic);
    [trigger.clone().with("countFrom", "offsets"), trigger.with("eventType", "a")]
}

async fn count_all(triggers: &[Trigger], expected: i64) {
    for trigger in triggers {
        assert_eq!(trigger.count().await, expected);
    }
}

/// Polls until all of these count this much, soon. Errors may come before, and no other number.
async fn soon(triggers: &[Trigger], expected: i64) {
    let began = Instant::now();
    for trigger in triggers {
        trigger.until(expected, |_| false).await;
    }
    assert!(began.elapsed() < SOON + SLACK, "exact again after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "stands still for minutes: make test KAFKA=all"]
async fn a_scaler_that_stood_still_counts_what_came_meanwhile() {
    const TOPIC: &str = "stopped-scaler";
    let (stays, goes, changes) =
        block_in_place(|| (Broker::shared(), Broker::start(), Broker::start()));
    let (program, sift) = scaler().await;
    let of_stays = fill(stays, &sift, stays.bootstrap(), TOPIC).await;
    let of_goes = fill(&goes, &sift, goes.bootstrap(), TOPIC).await;
    let of_changes = fill(&changes, &sift, changes.bootstrap(), TOPIC).await;
    for triggers in [&of_stays, &of_goes, &of_changes] {
        count_all(triggers, 5).await;
    }

    program.signal("STOP");
    stays.produce(TOPIC, Message::of_type("a")).await;
    block_in_place(|| goes.kill(0));
    changes.delete_topic(TOPIC).await;
    changes.topic(TOPIC).create().await;
    changes.produce(TOPIC, Message::of_type("a")).await;
    block_in_place(|| {
        changes.kill(0);
        changes.restart(0);
    });
    sleep(STILL).await;
    program.signal("CONT");

    soon(&of_stays, 6).await;
    soon(&of_changes, 1).await;
    for trigger in &of_goes {
        let asked = Instant::now();
        trigger.error().await;
        assert!(asked.elapsed() < MEASURE_TIMEOUT + SLACK, "{:?}", asked.elapsed());
    }
    block_in_place(|| goes.restart(0));
    soon(&of_goes, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "stands still for minutes: make test KAFKA=all"]
async fn a_broker_that_stood_still_is_counted_on_again_when_it_goes_on() {
    const TOPIC: &str = "stopped-broker";
    let broker = block_in_place(Broker::start);
    let (_program, sift) = scaler().await;
    let [by_offsets, _] = fill(&broker, &sift, broker.bootstrap(), TOPIC).await;
    let triggers = [by_offsets];
    count_all(&triggers, 5).await;
    broker.pause(0);
    let stopped = Instant::now();
    while stopped.elapsed() < STILL {
        for trigger in &triggers {
            let asked = Instant::now();
            trigger.error().await;
            assert!(asked.elapsed() < MEASURE_TIMEOUT + SLACK, "{:?}", asked.elapsed());
        }
    }
    broker.go_on(0);
    soon(&triggers, 5).await;
    broker.produce(TOPIC, Message::of_type("a")).await;
    soon(&triggers, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_network_forgot_are_replaced_soon() {
    const TOPIC: &str = "stopped-network";
    let broker = block_in_place(Broker::shared);
    let proxy = Proxy::before(broker.port(0)).await;
    let (_program, sift) = scaler().await;
    let [by_offsets, _] = fill(broker, &sift, &proxy.bootstrap(), TOPIC).await;
    let triggers = [by_offsets];
    count_all(&triggers, 5).await;
    for round in 1..=3 {
        proxy.forget();
        broker.produce(TOPIC, Message::of_type("a")).await;
        soon(&triggers, 5 + round).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "polls for a minute: make test KAFKA=all"]
async fn thousands_of_triggers_on_dead_clusters_do_not_hold_up_the_others() {
    const LIVE: usize = 30;
    const DEAD: usize = 270;
    const TRIGGERS: usize = 10_000;
    const EACH: usize = TRIGGERS / (LIVE + DEAD);
    /// How many polls of each kind are under way at once.
    const AT_ONCE: usize = 32;
    /// How much slower than alone 99 of 100 may be.
    const SLOWER: Duration = Duration::from_millis(500);
    let (_program, sift) = scaler().await;
    let live: Vec<Hostile> =
        stream::iter(0..LIVE).then(|_| Hostile::start(Scenario::Honest)).collect().await;
    let mute = stream::iter(0..DEAD / 3).then(|_| Mute::start()).collect::<Vec<_>>().await;
    let refusing = (0..DEAD / 3).map(|_| format!("127.0.0.1:{}", free_port()));
    let unknown = (0..DEAD / 3).map(|n| format!("nowhere-{n}.invalid:9092"));
    let dead: Vec<String> =
        mute.iter().map(Mute::bootstrap).chain(refusing).chain(unknown).collect();
    let live: Vec<String> = live.iter().map(Hostile::bootstrap).collect();
    let of = |clusters: &[String], sift: &Sift| -> Vec<Trigger> {
        let triggers = (0..EACH).flat_map(|n| {
            clusters.iter().map(move |cluster| {
                let name = format!("group-{n}");
                sift.trigger(cluster, &name, TOPIC).with("countFrom", "offsets").named(&name)
            })
        });
        triggers.collect()
    };
    let others = Sift::at(sift.address).await;
    let (live, dead) = (&of(&live, &sift), of(&dead, &others));
    // How long 99 of 100 take at most.
    let took = |rounds: usize| async move {
        let polls = stream::iter((0..rounds).flat_map(|_| live)).map(|trigger| async move {
            let asked = Instant::now();
            assert_eq!(trigger.count().await, TRUTH);
            asked.elapsed()
        });
        let mut took = polls.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        took.sort_unstable();
        took[took.len() * 99 / 100]
    };
    took(1).await;
    let alone = took(5).await;
    let failing = stream::iter(dead).map(|trigger| async move {
        let asked = Instant::now();
        trigger.error().await;
        // Some 1,600 of them at once, beside the brokers that they are about.
        assert!(asked.elapsed() < MEASURE_TIMEOUT + 3 * SLACK, "{:?}", asked.elapsed());
    });
    let failing = failing.buffer_unordered(50 * AT_ONCE).collect::<Vec<()>>();
    let (_, beside) = tokio::join!(failing, took(20));
    assert!(beside < alone + SLOWER, "{beside:?}, and {alone:?} alone");
}
