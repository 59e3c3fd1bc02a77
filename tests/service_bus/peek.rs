//! Counting by peeking: which messages count, and in which states.

use std::time::{Duration, SystemTime};

use azure_stand_ins::{Handling, Message, Property, ServiceBus};
use keda_sift::diagnostics::proto::TriggerRef;
use keda_sift::diagnostics::proto::explain_response::Measured;
use sift_harness::program::Program;
use sift_harness::{Sift, Trigger, until};
use tokio::task::block_in_place;
use tonic::Code;

/// 2024-01-01T00:00:00Z
const NEW_YEAR: i64 = 1_704_067_200_000;

fn of_type(event_type: &str) -> Message {
    Message::new("{}").subject(event_type)
}

fn soon(milliseconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_millis(milliseconds)
}

/// Messages as a shop sends them: a few of every way to say a type.
fn shop(bus: &ServiceBus) {
    bus.queue("orders").create();
    let structured = |event_type: &str| {
        let event =
            format!(r#"{{"specversion":"1.0","id":"1","source":"/shop","type":"{event_type}"}}"#);
        Message::new(event).content_type("application/cloudevents+json; charset=utf-8")
    };
    let messages = [
        Message::new("{}").property("cloudEvents:type", "order.created").subject("order.paid"),
        Message::new("{}").property("cloudEvents_type", "order.created").id("m-1"),
        structured("order.created").subject("order.paid"),
        structured("order.paid"),
        of_type("order.created").correlation_id("c-1"),
        of_type("order.paid").session("s-1"),
        of_type("order.created,urgent"),
        Message::new(r#"{"kind":"gold","total":12,"items":[{"sku":"x1"},{"sku":"x2"}]}"#)
            .subject("cart"),
        Message::new(r#"{"kind":"lead","total":3,"items":[]}"#).subject("cart"),
        Message::new("no JSON").subject("cart"),
        of_type("typed")
            .property("count", 3)
            .property("ratio", Property::Fraction(1.5))
            .property("urgent", Property::Truth(true))
            .property("at", Property::Time(NEW_YEAR))
            .property("kind", "gold"),
        of_type("typed").property("count", 30).property("urgent", Property::Truth(false)),
        Message::new(""),
    ];
    for message in messages {
        bus.send("orders", message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_told_by_type() {
    let bus = ServiceBus::start().await;
    shop(&bus);
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").named("by-type");
    let trigger = trigger.with("eventType", "order.paid,order.gone,typ*");
    assert_eq!(trigger.count().await, 4);
    let asked = TriggerRef { name: "by-type".to_owned(), ..TriggerRef::default() };
    let explained = sift.diagnostics().await.explain(asked).await.expect("it is known");
    match explained.into_inner().measured {
        Some(Measured::Measurement(measurement)) => {
            let types = measurement.by_type.iter();
            let types: Vec<_> = types.map(|of| (of.r#type.as_str(), of.count)).collect();
            assert_eq!(types, [("order.gone", 0), ("order.paid", 2), ("typ*", 2)]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_counts_its_own() {
    let bus = ServiceBus::start().await;
    shop(&bus);
    let sift = Sift::start().await;
    let plain = sift.queue(&bus, "orders");
    let rows: &[(&[(&str, &str)], i64)] = &[
        (&[("countFrom", "peek")], 13),
        (&[("eventType", "order.created")], 4),
        (&[("eventType", "order.paid")], 2),
        (&[("eventType", "order.created,order.paid")], 6),
        (&[("eventType", "order.*")], 7),
        (&[("eventType", r"order.created\,urgent")], 1),
        (&[("eventType", "order.*,order.created,typed")], 9),
        (&[("eventType", "order")], 0),
        // Of the thirteen one has no type at all.
        (&[("eventType", "*")], 12),
        (&[("eventType", "order.paid"), ("eventTypeFrom", "subject")], 3),
        (&[("eventType", "gold"), ("eventTypeFrom", "header:kind")], 1),
        (&[("eventType", "order.created"), ("eventTypeFrom", "header:cloudEvents:type")], 1),
        (&[("eventType", "3"), ("eventTypeFrom", "header:count")], 1),
        (&[("eventType", "3*"), ("eventTypeFrom", "header:count")], 2),
        (&[("eventType", "true"), ("eventTypeFrom", "header:urgent")], 1),
        (&[("eventType", "gold,lead"), ("eventTypeFrom", "body:kind")], 2),
        (&[("eventType", "x2"), ("eventTypeFrom", "body:items[1].sku")], 1),
        (&[("eventType", "12"), ("eventTypeFrom", "body:total")], 1),
        (&[("eventType", "order.*"), ("eventTypeFrom", "body:type")], 2),
        (&[("filter", r#"eventType == "order.created""#)], 4),
        (&[("filter", r#"subject.startsWith("order.")"#)], 5),
        (&[("filter", "body.total > 10")], 1),
        (&[("filter", r#"body.items.exists(i, i.sku == "x1")"#)], 1),
        (&[("filter", "properties.count == 3")], 1),
        (&[("filter", "properties.count >= 3")], 2),
        (&[("filter", "properties.ratio < 1.75 && properties.urgent")], 1),
        (&[("filter", "has(properties.urgent) && !properties.urgent")], 1),
        (&[("filter", r#"properties.at == timestamp("2024-01-01T00:00:00Z")"#)], 1),
        (&[("filter", r#""kind" in properties"#)], 1),
        (&[("filter", r#"headers["count"] == "30""#)], 1),
        (&[("filter", r#"sessionId == "s-1""#)], 1),
        (&[("filter", r#"messageId == "m-1""#)], 1),
        (&[("filter", r#"correlationId == "c-1""#)], 1),
        (&[("filter", "deliveryCount == 0")], 13),
        (&[("filter", "sequenceNumber > 3 && sequenceNumber <= 5")], 2),
        (&[("filter", "size == 0")], 1),
        (&[("filter", r#"time > timestamp("2024-01-01T00:00:00Z")"#)], 13),
        (&[("filter", r#"key == """#)], 13),
        (&[("eventType", "cart"), ("filter", "body.total > 0")], 2),
        (&[("eventType", "typed"), ("filter", "body.total > 0")], 0),
    ];
    for round in ["first", "known"] {
        for (keys, expected) in rows {
            let trigger =
                keys.iter().fold(plain.clone(), |trigger, (key, value)| trigger.with(key, value));
            assert_eq!(trigger.count().await, *expected, "{round}: {keys:?}");
        }
    }
    let trigger =
        plain.with("eventType", "order.paid").with("filter", r#"eventType == "order.created""#);
    assert_eq!(trigger.count().await, 0, "both must hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_0_says_what_waits_instead() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", r"order\..*");
    assert_eq!(trigger.note().await, None, "nothing waits");
    for event_type in ["order.paid", "order.paid", "order.made"] {
        bus.send("orders", of_type(event_type));
    }
    bus.send("orders", Message::new(""));
    let note = trigger.note().await.expect("others wait");
    assert!(
        note.starts_with(
            "nothing matches among the messages looked at last: 2 \"order.paid\", 1 \"order.made\", \
             1 that cannot be judged (it has no event type where CloudEvents keeps it); eventType"
        ) && note.ends_with("all types that begin with order. are order.*"),
        "{note}"
    );
    assert_eq!(bus.receive("orders", 4), 4);
    assert_eq!(trigger.note().await, None, "they are gone");
}

/// One message of each kind that someone reported, in one queue, and the keys that count it alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_senders_really_write_is_counted() {
    type Keys = &'static [(&'static str, &'static str)];
    let described = |name: &str, value: &[u8]| {
        let length = u8::try_from(name.len()).unwrap();
        let name = [&[0x00, 0xa3, length][..], name.as_bytes()].concat();
        Property::Encoded([&name, &[0x81][..], value].concat())
    };
    let new_year = 639_028_224_000_000_000_i64.to_be_bytes();
    let price = [&[0x94][..], &((6_174_u128 << 113) | 150).to_be_bytes()].concat();
    // {"kind": "map", "n": 7}
    let map = b"\xc1\x11\x04\xa1\x04kind\xa1\x03map\xa1\x01n\x54\x07";
    // ["sequence"]
    let list = b"\xc0\x0b\x01\xa1\x08sequence";
    let with = |name: &str, value: Property| Message::new("{}").property(name, value);
    let marked = |text: &str| Message::new(format!("\u{feff}{text}"));
    let rows: Vec<(Keys, Message)> = vec![
        (&[("eventTypeFrom", "body:type"), ("eventType", "bom")], marked(r#"{"type":"bom"}"#)),
        (&[("filter", "body.amount == 120")], marked(r#"{"amount":120}"#)),
        (
            &[("eventType", "bom-event")],
            marked(r#"{"type":"bom-event"}"#).content_type("application/cloudevents+json"),
        ),
        (
            &[("eventTypeFrom", "body:type"), ("eventType", "nan")],
            Message::new(r#"{"score":NaN,"type":"nan"}"#),
        ),
        // Bodies that are values, as the SDKs of Go and Java send them.
        (&[("filter", "body.kind == 'map' && body.n == 7")], Message::new("").section(0x77, map)),
        (
            &[("eventTypeFrom", "body:[1].kind"), ("eventType", "map")],
            Message::new("")
                .section(0x76, list)
                .section(0x76, b"\xc0\x14\x01\xc1\x11\x04\xa1\x04kind\xa1\x03map\xa1\x01n\x54\x07"),
        ),
        // Types of .NET and Java that AMQP does not have.
        (
            &[("filter", "properties.at == timestamp('2026-01-01T00:00:00Z')")],
            with("at", described("com.microsoft:datetime-offset", &new_year)),
        ),
        (
            &[("eventTypeFrom", "header:at2"), ("eventType", "2026-01-01T00:00:00Z")],
            with("at2", described("com.microsoft:datetime-offset", &new_year)),
        ),
        (
            &[("filter", "properties.takes == duration('1m30s') && headers.takes == '90s'")],
            with("takes", described("com.microsoft:timespan", &900_000_000_i64.to_be_bytes())),
        ),
        (
            &[("filter", "properties.price == 1.5 && headers.price == '1.50'")],
            with("price", Property::Encoded(price)),
        ),
        (
            &[("eventTypeFrom", "header:float"), ("eventType", "0.1")],
            with("float", Property::Encoded(b"\x72\x3d\xcc\xcc\xcd".to_vec())),
        ),
        (
            &[("filter", "properties.float2 == 0.1")],
            with("float2", Property::Encoded(b"\x72\x3d\xcc\xcc\xcd".to_vec())),
        ),
        (
            &[("eventTypeFrom", "header:time"), ("eventType", "2024-01-01T00:00:00Z")],
            with("time", Property::Time(NEW_YEAR)),
        ),
        // What a message says of itself.
        (&[("filter", "contentType == 'text/csv'")], Message::new("").content_type("text/csv")),
        (&[("filter", "to == 'there'")], Message::new("").to("there")),
        (&[("filter", "replyTo == 'here'")], Message::new("").reply_to("here")),
        (&[("filter", "partitionKey == 'p'")], Message::new("").partition_key("p")),
        (
            &[("filter", "timeToLive < duration('1h')")],
            Message::new("").time_to_live(Duration::from_secs(1800)),
        ),
    ];
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    for (_, message) in &rows {
        bus.send("orders", message.clone());
    }
    bus.send("orders", Message::new("{}"));
    let sift = Sift::start().await;
    for (keys, _) in rows {
        let plain = sift.queue(&bus, "orders");
        let trigger = keys.iter().fold(plain, |all, (key, value)| all.with(key, value));
        assert_eq!(trigger.count().await, 1, "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_which_message_cannot_be_judged_and_why() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.send("orders", Message::new(r#"{"kind":"a"}"#));
    let odd = bus.send("orders", Message::new(b"\x1f\x8b\x08".to_vec()));
    let mut program = block_in_place(|| Program::serving::<&str>(&[]));
    let sift = Sift::at(program.grpc).await;
    let trigger = sift.queue(&bus, "orders").with("eventTypeFrom", "body:kind");
    assert_eq!(trigger.with("eventType", "a").count().await, 1);
    let warning =
        block_in_place(|| program.logged("a message cannot be judged, and does not count"));
    assert_eq!(warning["selection"], r#"eventType "a" with eventTypeFrom "body:kind""#);
    assert_eq!(warning["sequence_number"], odd, "{warning}");
    assert_eq!(warning["reason"], "the body is compressed, as by gzip", "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_queue_is_counted_by_its_path() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.topic("events").create().subscription("eu").create();
    for path in ["orders", "events/Subscriptions/eu"] {
        bus.fill(path, 6, |n| of_type(["a", "b"][n % 2]));
        assert_eq!(bus.handle(path, 4, Handling::DeadLetter), 4);
    }
    let sift = Sift::start().await;
    let queue = sift.queue(&bus, "orders");
    let dead = sift.queue(&bus, "orders/$DeadLetterQueue");
    let of_subscription = sift.subscription(&bus, "events", "eu/$deadletterqueue");
    for count_from in ["management", "peek", "auto"] {
        let count = |trigger: &Trigger| trigger.clone().with("countFrom", count_from);
        assert_eq!(count(&queue).count().await, 2, "{count_from}");
        assert_eq!(count(&dead).count().await, 4, "{count_from}");
        assert_eq!(count(&of_subscription).count().await, 4, "{count_from}");
    }
    assert_eq!(dead.clone().with("eventType", "a").count().await, 2);
    assert_eq!(of_subscription.with("filter", "deliveryCount >= 0").count().await, 4);
    let (code, text) = sift.queue(&bus, "nothing/$DeadLetterQueue").error().await;
    assert_eq!(code, Code::NotFound, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_counts_while_a_receiver_could_get_it_or_holds_it() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").max_delivery_count(3).create();
    bus.fill("orders", 100, |n| of_type(["a", "b"][n % 2]));
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    assert_eq!(trigger.count().await, 50);

    assert_eq!(bus.handle("orders", 10, Handling::Abandon), 10);
    assert_eq!(trigger.count().await, 50, "given back");
    assert_eq!(bus.handle("orders", 10, Handling::Hold), 10);
    assert_eq!(trigger.count().await, 50, "locked");
    assert_eq!(bus.handle("orders", 10, Handling::Defer), 10);
    assert_eq!(trigger.count().await, 45, "set aside");
    assert_eq!(bus.handle("orders", 10, Handling::DeadLetter), 10);
    assert_eq!(trigger.count().await, 40, "dead-lettered");
    assert_eq!(bus.receive("orders", 10), 10);
    assert_eq!(trigger.count().await, 35, "completed");
    let depth = bus.depth("orders");
    assert_eq!((depth.active, depth.dead), (80, 10));

    // Each by one who has not seen it before.
    assert_eq!(trigger.clone().with("eventType", "*").count().await, 70);
    assert_eq!(trigger.with("eventType", "a").with("countLimit", "5").count().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_as_another_type_counts_as_that() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    let typed = |event_type: &str| Message::new("{}").property("kind", event_type);
    bus.fill("orders", 10, |n| typed(["a", "b"][n % 2]));
    let sift = Sift::start().await;
    let queue = sift.queue(&bus, "orders");
    let kind = queue.clone().with("eventTypeFrom", "header:kind");
    let a = kind.clone().with("eventType", "a");
    let filtered = queue.with("filter", r#"properties.kind == "a""#);
    assert_eq!((a.count().await, filtered.count().await), (5, 5));
    let done = [("kind", Property::from("c"))];
    assert_eq!(bus.handle_with("orders", 4, Handling::Abandon, &done), 4);
    assert_eq!((a.count().await, filtered.count().await), (3, 3), "given back as another");
    assert_eq!(kind.with("eventType", "c").count().await, 4, "by one who had not looked before");
    // The four are the first again.
    assert_eq!(bus.handle_with("orders", 6, Handling::Defer, &done), 6);
    assert_eq!((a.count().await, filtered.count().await), (2, 2), "set aside");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_message_counts_once_it_is_due() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    let far = soon(3_600_000);
    bus.fill("orders", 5, |_| of_type("a").due(far));
    bus.send("orders", of_type("a"));
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    assert_eq!(trigger.count().await, 1);
    bus.fill("orders", 3, |_| of_type("a").due(soon(300)));
    // While they may be due or not, no count is of anything else.
    trigger.until(4, |before| before == 1).await;
    assert_eq!(bus.depth("orders").scheduled, 5);
    for _ in 0..3 {
        assert_eq!(trigger.count().await, 4, "once each");
    }
    bus.receive("orders", 4);
    assert_eq!(trigger.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_message_does_not_count_whether_it_is_swept_or_not() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 4, |_| of_type("a").time_to_live(Duration::from_millis(1)));
    bus.fill("orders", 4, |_| of_type("a").time_to_live(Duration::from_secs(1)));
    bus.fill("orders", 2, |_| of_type("a").time_to_live(Duration::from_secs(3_600)));
    bus.queue("brief").default_ttl(Duration::from_secs(1)).create();
    bus.fill("brief", 4, |_| of_type("a").time_to_live(Duration::from_secs(3_600)));
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    let brief = sift.queue(&bus, "brief").with("eventType", "a");
    brief.until(0, |before| before == 4).await;
    trigger.until(2, |before| before == 6 || before == 10).await;
    assert_eq!(bus.depth("orders").active, 10, "not swept");
    let late = sift.queue(&bus, "orders").with("filter", r#"subject == "a""#);
    assert_eq!(late.count().await, 2, "by one who never saw them live");
    bus.sweep_expired("orders");
    assert_eq!(bus.depth("orders").active, 2);
    assert_eq!((trigger.count().await, late.count().await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_poll_counts_what_is_there_by_then() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    assert_eq!(trigger.poll().await.expect("an answer").value, 0);
    let mut waiting = 0;
    for round in 0..60_usize {
        let sent = (round * 7) % 5;
        bus.fill("orders", sent, |_| of_type("a"));
        bus.fill("orders", round % 3, |_| of_type("b"));
        waiting += sent;
        if round % 4 == 3 {
            bus.receive("orders", 6);
            bus.receive_where("orders", |message| message.subject_text() == Some("b"));
            waiting = bus.depth("orders").active as usize;
        }
        let poll = trigger.poll().await.expect("an answer");
        assert_eq!(poll.value, waiting as i64, "round {round}");
        assert_eq!(poll.active, waiting > 0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_counted_once_each() {
    let bus = ServiceBus::start().await;
    bus.queue("chats").sessions().create();
    bus.fill("chats", 500, |n| {
        let session = n % 7;
        of_type(if session < 3 && n % 2 == 0 { "a" } else { "b" }).session(format!("s-{session}"))
    });
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "chats").with("countBy", "sessions");
    let a = trigger.clone().with("eventType", "a");
    assert_eq!(a.count().await, 3);
    assert_eq!(trigger.clone().with("eventType", "b").count().await, 7);
    assert_eq!(trigger.clone().with("eventType", "a,b").count().await, 7, "of two types, once");
    assert_eq!(trigger.clone().with("countFrom", "peek").count().await, 7, "of all");
    assert_eq!(trigger.clone().count().await, 7);
    assert_eq!(a.clone().with("countLimit", "2").count().await, 2);
    bus.receive_where("chats", |m| m.session_id() == Some("s-1") && m.subject_text() == Some("a"));
    assert_eq!(a.count().await, 2, "one of them has none of this type any more");
    bus.send("chats", of_type("a").session("s-6"));
    assert_eq!(a.count().await, 3);
    assert_eq!(a.without("countBy").count().await, 73);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_queue_is_counted_whole() {
    let bus = ServiceBus::start().await;
    bus.queue("wide").partitions(4).create();
    bus.reply_limit(7);
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "wide").with("eventType", "a");
    assert_eq!(trigger.count().await, 0);
    let key = |n: usize| format!("key-{n}");
    bus.fill("wide", 400, |n| of_type(["a", "b", "c"][n % 3]).partition_key(key(n % 9)));
    assert_eq!(trigger.count().await, 134);
    bus.fill("wide", 300, |n| of_type(["a", "b", "c"][n % 3]));
    assert_eq!(trigger.count().await, 234);
    bus.receive("wide", 250);
    let gone = bus.receive_where("wide", |message| message.subject_text() == Some("a"));
    assert!(gone > 0);
    assert_eq!(trigger.count().await, 0);
    bus.fill("wide", 30, |n| of_type("a").partition_key(key(n)));
    assert_eq!(trigger.count().await, 30);
    assert_eq!(trigger.clone().with("eventType", "a,b").count().await, {
        let left = bus.depth("wide").active - 30;
        let others = trigger.clone().with("eventType", "c").count().await;
        30 + left as i64 - others
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_may_have_any_numbers_and_replies_one_message() {
    let bus = ServiceBus::start().await;
    let numbers = [3, 38, 1_524, 30_000];
    bus.queue("crossing").partitions_numbered(&numbers).create();
    bus.queue("ending").partitions_numbered(&numbers).one_partition_a_reply().create();
    bus.reply_limit(1);
    let sift = Sift::start().await;
    for queue in ["crossing", "ending"] {
        bus.fill(queue, 40, |n| of_type(["a", "b"][n / 4 % 2]));
        let trigger = sift.queue(&bus, queue).with("eventType", "a");
        assert_eq!(trigger.count().await, 20, "{queue}");
        bus.receive(queue, 15);
        let left = bus.depth(queue).active as i64;
        let others = trigger.clone().with("eventType", "b").count().await;
        assert_eq!(trigger.count().await, left - others, "{queue}");
        bus.fill(queue, 4, |_| of_type("a"));
        assert_eq!(trigger.count().await, left - others + 4, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_partitioned_queue_costs_its_matches_and_its_partitions() {
    let bus = ServiceBus::start().await;
    bus.queue("wide").partitions(4).create();
    bus.fill("wide", 20_000, |n| of_type(if n % 2_000 == 7 { "a" } else { "b" }));
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "wide").with("eventType", "a");
    assert_eq!(trigger.count().await, 10);
    let before = bus.counters();
    assert_eq!(trigger.count().await, 10);
    let (peeked, peeks) = (bus.peeked() - before.peeked, bus.peeks() - before.peeks);
    assert!(peeked <= 40 && peeks <= 40, "{peeked} messages in {peeks} peeks");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subscription_has_a_count_of_its_own() {
    let bus = ServiceBus::start().await;
    for name in ["billing", "audit"] {
        bus.topic("events").subscription(name).create();
    }
    bus.fill("events", 30, |n| of_type(["a", "b", "c"][n % 3]));
    let sift = Sift::start().await;
    let billing = sift.subscription(&bus, "events", "billing").with("eventType", "a,b");
    let audit = sift.subscription(&bus, "events", "audit").with("eventType", "a");
    assert_eq!((billing.count().await, audit.count().await), (20, 10));
    bus.receive("events/Subscriptions/audit", 15);
    assert_eq!((billing.count().await, audit.count().await), (20, 5));
    bus.send("events", of_type("a"));
    assert_eq!((billing.count().await, audit.count().await), (21, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_made_again_is_counted_anew() {
    for detached in [true, false] {
        let bus = ServiceBus::start().await;
        bus.queue("orders").create();
        bus.fill("orders", 300, |n| of_type(["a", "b"][n % 2]));
        let sift = Sift::start().await;
        let trigger = sift.queue(&bus, "orders").with("eventType", "a");
        assert_eq!(trigger.count().await, 150);
        if detached {
            bus.delete("orders");
            let (_, text) = trigger.error().await;
            assert!(text.starts_with("queue orders does not exist"), "{text}");
        }
        bus.queue("orders").create();
        assert_eq!(trigger.count().await, 0, "empty, detached: {detached}");
        // Under numbers that others had.
        bus.fill("orders", 200, |n| of_type(["b", "b", "a", "b"][n % 4]));
        assert_eq!(trigger.count().await, 50, "detached: {detached}");
        bus.queue("orders").create();
        bus.fill("orders", 900, |n| of_type(["a", "c", "b"][n % 3]));
        assert_eq!(trigger.count().await, 300, "deeper, detached: {detached}");
        bus.receive("orders", 450);
        assert_eq!(trigger.count().await, 150, "detached: {detached}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_on_one_queue_share_what_is_read() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 4_000, |n| of_type(["a", "b", "c", "d"][n % 4]));
    let sift = Sift::start().await;
    let on = |types: &str| sift.queue(&bus, "orders").with("eventType", types);
    let (first, second) = (on("a,b"), on("b,c"));
    assert_eq!(first.count().await, 2_000);
    assert_eq!(bus.peeked(), 4_000);
    // It brings a type that nobody has looked for yet.
    assert_eq!(second.count().await, 2_000);
    assert_eq!(first.count().await, 2_000, "nothing is counted twice");
    let before = bus.peeked();
    // Its parts are all known.
    let third = on("a,c").named("late");
    assert_eq!(third.count().await, 2_000);
    assert!(bus.peeked() - before <= 4_100, "{} messages", bus.peeked() - before);
    bus.receive_where("orders", |message| message.subject_text() == Some("b"));
    for (trigger, expected) in [(&first, 1_000), (&second, 1_000), (&third, 2_000)] {
        assert_eq!(trigger.count().await, expected);
    }
    let everything = on("a,b,c,d");
    assert_eq!(everything.count().await, 3_000);
    bus.fill("orders", 8, |n| of_type(["a", "b", "c", "d"][n % 4]));
    for (trigger, expected) in [(&everything, 3_008), (&first, 1_004), (&third, 2_004)] {
        assert_eq!(trigger.count().await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_on_the_delivery_count_sees_it_change() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 20, |_| of_type("a"));
    let sift = Sift::start().await;
    let retried = sift.queue(&bus, "orders").with("filter", "deliveryCount > 0");
    let fresh = sift.queue(&bus, "orders").with("filter", "deliveryCount == 0");
    assert_eq!((retried.count().await, fresh.count().await), (0, 20));
    assert_eq!(bus.handle("orders", 8, Handling::Abandon), 8);
    assert_eq!((retried.count().await, fresh.count().await), (8, 12));
    bus.receive("orders", 2);
    assert_eq!((retried.count().await, fresh.count().await), (6, 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_of_any_size_give_the_same_count() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 500, |n| of_type(["a", "b", "b"][n % 3]));
    for limit in [1, 2, 3, 250, 100_000] {
        bus.reply_limit(limit);
        let sift = Sift::start().await;
        let trigger = sift.queue(&bus, "orders").with("eventType", "a");
        for round in 0..2 {
            assert_eq!(trigger.count().await, 167, "replies of {limit}, round {round}");
        }
    }
    // A body longer than a reply is to be.
    bus.reply_limit(250);
    bus.send("orders", Message::new(vec![b' '; 900_000]).subject("a"));
    let sift = Sift::start().await;
    assert_eq!(sift.queue(&bus, "orders").with("eventType", "a").count().await, 168);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_takes_short_replies_only_is_asked_for_fewer_messages() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 100, |_| Message::new(vec![b' '; 1_000]).subject("a"));
    bus.node_limit(20_000);
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    assert_eq!(trigger.count().await, 100);
    // And one that no reply can hold is told, not passed over.
    bus.send("orders", Message::new(vec![b' '; 30_000]).subject("a"));
    let (code, text) = trigger.error().await;
    assert!(code == Code::Unavailable && text.contains("queue orders"), "{code}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_ends_changes_nothing() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").lock_duration(Duration::from_millis(200)).max_delivery_count(1).create();
    bus.fill("orders", 6, |_| of_type("a"));
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    assert_eq!(trigger.count().await, 6);
    bus.handle("orders", 2, Handling::Hold);
    assert_eq!(trigger.count().await, 6, "held");
    // It was delivered as often as it may be.
    until("dead letters", async || bus.depth("orders").dead == 2).await;
    assert_eq!(trigger.count().await, 4);
}
