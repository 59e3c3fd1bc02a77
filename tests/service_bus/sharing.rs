//! Many triggers, few connections, few peeks: what triggers of one namespace share, and that none
//! costs another.

#![expect(clippy::disallowed_methods, reason = "each task is waited for or aborted in its test")]

use std::time::Duration;

use azure_stand_ins::{Message, Rights, ServiceBus};
use sift_harness::{Settings, Sift, until};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

fn of_type(event_type: impl Into<String>) -> Message {
    Message::new("{}").subject(event_type)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_triggers_on_fifty_queues_share_a_connection() {
    let bus = ServiceBus::start().await;
    for queue in 0..50 {
        let name = format!("queue-{queue}");
        bus.queue(&name).create();
        bus.fill(&name, 40, |n| of_type(format!("type-{}", n % 20)));
    }
    let sift = Sift::start().await;
    let triggers: Vec<_> = (0..1_000)
        .map(|n| {
            let trigger = sift.queue(&bus, &format!("queue-{}", n % 50)).named(&format!("job-{n}"));
            trigger.with("eventType", &format!("type-{}", n / 50))
        })
        .collect();
    for round in 0..3 {
        let before = bus.peeks();
        let mut polls = JoinSet::new();
        for trigger in triggers.clone() {
            polls.spawn(async move { trigger.count().await });
        }
        assert!(polls.join_all().await.into_iter().all(|count| count == 2), "round {round}");
        let connections = bus.connections();
        assert!(connections.ever <= 2, "round {round}: {connections:?}");
        // For each queue two measurements or a few, as polls arrive, and not twenty.
        let peeks = bus.peeks() - before;
        assert!(peeks <= 50 * 20, "round {round}: {peeks} peeks");
    }
    assert_eq!(bus.management_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_to_a_namespace_are_bounded() {
    let bus = ServiceBus::start().await;
    let settings = Settings { measure_timeout: Duration::from_secs(20), ..Settings::default() };
    let sift = Sift::with(settings).await;
    let triggers: Vec<_> = (0..50)
        .map(|queue| {
            let name = format!("queue-{queue}");
            bus.queue(&name).create();
            // So far from each other that each match is looked at with a peek of its own.
            bus.fill(&name, 2_000, |n| of_type(if n % 100 == 0 { "a" } else { "b" }));
            sift.queue(&bus, &name).with("eventType", "a")
        })
        .collect();
    for trigger in &triggers {
        assert_eq!(trigger.count().await, 20);
    }
    bus.stall_peeks(true);
    let before = bus.peeks();
    let mut polls = JoinSet::new();
    for trigger in triggers {
        polls.spawn(async move { trigger.count().await });
    }
    until("all are on their way", async || bus.peeks() - before >= 64).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bus.peeks() - before, 64);
    bus.stall_peeks(false);
    bus.close_connections("amqp:connection:forced");
    assert!(polls.join_all().await.into_iter().all(|count| count == 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_arrive_together_share_a_measurement() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 200, |_| of_type("a"));
    let settings = Settings { measure_timeout: Duration::from_secs(20), ..Settings::default() };
    let sift = Sift::with(settings).await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    assert_eq!(trigger.count().await, 200);
    let before = bus.peeks();
    assert_eq!(trigger.count().await, 200);
    let one = bus.peeks() - before;

    // While a measurement is under way, all others wait for the next one.
    bus.stall_peeks(true);
    let mut polls = JoinSet::new();
    let before = bus.peeks();
    for n in 0..500 {
        let trigger = trigger.clone().named(&format!("job-{n}"));
        polls.spawn(async move { trigger.count().await });
    }
    until("a measurement is under way", async || bus.peeks() > before).await;
    // Each of them has left when a new call is answered that left after them.
    sift.queue(&bus, "orders").spec().await;
    bus.stall_peeks(false);
    bus.detach_links("orders", "amqp:link:detach-forced");
    assert!(polls.join_all().await.into_iter().all(|count| count == 200));
    let peeks = bus.peeks() - before;
    assert!(peeks <= 4 * one, "{peeks} peeks for 500 polls; one takes {one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_ends_nothing_for_others() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 20_000, |n| of_type(["a", "b"][n % 2]));
    bus.reply_limit(100);
    let sift = Sift::start().await;
    let on = |types: &str, name: &str| {
        let trigger = sift.queue(&bus, "orders").with("eventType", types).named(name);
        trigger.with("countLimit", "50000")
    };
    // The one whose call began the reading goes away, and so do others.
    let (first, second) = (on("a", "first"), on("b", "second"));
    let begun = tokio::spawn({
        let first = first.clone();
        async move { first.value().await }
    });
    until("it is being read", async || bus.peeks() > 10).await;
    let waits = tokio::spawn({
        let second = second.clone();
        async move { second.value().await }
    });
    let also = tokio::spawn({
        let (first, other) = (first.clone(), on("a", "other"));
        async move {
            timeout(Duration::from_millis(1), first.value()).await.ok();
            other.value().await
        }
    });
    begun.abort();
    assert_eq!(waits.await.expect("no panic").expect("a count"), 10_000);
    assert_eq!(also.await.expect("no panic").expect("a count"), 10_000);
    assert_eq!(first.count().await, 10_000);
    // Each is read once, and half of them match: each of the three measurements after that looks at
    // all again.
    assert!(bus.peeked() < 90_000, "{} messages", bus.peeked());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_login_has_a_connection_of_its_own() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 5, |_| of_type("a"));
    bus.key("listen-only", Rights::LISTEN);
    let sift = Sift::start().await;
    let root = sift.queue(&bus, "orders").with("eventType", "a");
    let listening =
        root.clone().with("connectionFromEnv", &bus.connection_string_for("listen-only"));
    let websocket = root.clone().with("transport", "websocket");
    for _ in 0..3 {
        for trigger in [&root, &listening, &websocket] {
            assert_eq!(trigger.count().await, 5);
        }
    }
    assert_eq!(bus.connections().ever, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_polled_any_more_is_let_go() {
    let bus = ServiceBus::start().await;
    for queue in ["orders", "invoices"] {
        bus.queue(queue).create();
        bus.fill(queue, 5, |_| of_type("a"));
    }
    let sift = Sift::start_with(Duration::from_secs(5), Duration::from_secs(1)).await;
    let orders = sift.queue(&bus, "orders").with("eventType", "a");
    let invoices = sift.queue(&bus, "invoices").with("eventType", "a");
    assert_eq!((orders.count().await, invoices.count().await), (5, 5));
    let both = bus.connections();
    assert_eq!((both.open, both.ever, bus.links()), (1, 1, 2 + 2 + 2), "$cbs and two nodes");
    // One goes, with its links; the other keeps the connection.
    until("its links are gone", async || {
        assert_eq!(orders.count().await, 5);
        bus.links() <= 4
    })
    .await;
    assert_eq!(bus.connections(), both);
    until("the connection ends", async || bus.connections().open == 0).await;
    assert_eq!(bus.links(), 0);
    // Who comes back is counted for as before.
    assert_eq!((orders.count().await, invoices.count().await), (5, 5));
    assert_eq!(bus.connections().ever, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_made_again_take_the_place_of_the_old_ones() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 5, |_| of_type("a"));
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    for round in 0..100 {
        assert_eq!(trigger.count().await, 5, "round {round}");
        bus.detach_links("orders", "amqp:link:detach-forced");
    }
    assert_eq!(trigger.count().await, 5);
    assert_eq!(bus.connections().ever, 1);
    // On the side of the connection, a session for $cbs and one for the queue.
    until("old sessions end", async || bus.sessions() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_types_on_one_queue_are_counted_in_one_reading() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 10_000, |n| of_type(format!("type-{}", n % 500)));
    let sift = Sift::start().await;
    let triggers: Vec<_> = (0..500)
        .map(|n| sift.queue(&bus, "orders").with("eventType", &format!("type-{n}")))
        .collect();
    let begun = Instant::now();
    for round in 0..2 {
        let mut polls = JoinSet::new();
        for trigger in triggers.clone() {
            polls.spawn(async move { trigger.count().await });
        }
        assert!(polls.join_all().await.into_iter().all(|count| count == 20), "round {round}");
        println!("round {round}: {:?}, {} messages", begun.elapsed(), bus.peeked());
    }
}
