//! Which records count: types of every kind and place, filters, and what cannot be judged.

use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use sift_harness::program::Program;
use sift_harness::{Broker, Message, Poll, Sift};
use tokio::task::block_in_place;

/// Three types, interleaved over two partitions.
async fn interleaved(broker: &Broker, topic: &str) {
    broker.topic(topic).partitions(2).create().await;
    let messages = (0..60).map(|n| {
        let event_type = ["order.created", "order.paid", "invoice.sent"][n % 3];
        Message::of_type(event_type).partition(i32::try_from(n % 2).unwrap())
    });
    broker.produce_all(topic, messages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_a_list_and_a_prefix_each_count_their_own() {
    let broker = Broker::shared();
    interleaved(broker, "selection-types").await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "selection-types", "selection-types");

    let rows = [
        ("order.created", 20),
        ("order.created,invoice.sent", 40),
        ("order.*", 40),
        ("order.*,order.paid", 40),
        ("*", 60),
        ("refund", 0),
    ];
    for (event_type, expected) in rows {
        assert_eq!(
            trigger.clone().with("eventType", event_type).count().await,
            expected,
            "{event_type}"
        );
    }
    assert_eq!(trigger.count().await, 60, "without a selection");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_of_a_type_counts_and_a_message_without_one_does_not() {
    const CLOUD_EVENT: &str = "Application/CloudEvents+JSON; charset=utf-8";
    type OfType = fn(&str) -> Message;
    let rows: [(&str, Option<&str>, OfType, Message); 7] = [
        ("cloudevents-binary", None, Message::of_type, Message::new().header("type", "wanted")),
        (
            "cloudevents-structured",
            None,
            |kind| {
                let body =
                    format!(r#"{{"specversion":"1.0","data":{{"type":"other"}},"type":"{kind}"}}"#);
                Message::new().header("content-type", CLOUD_EVENT).body(body)
            },
            Message::new().header("content-type", "application/json").body(r#"{"type":"wanted"}"#),
        ),
        (
            "header",
            Some("header:kind"),
            // The last of a name is the one that holds.
            |kind| Message::new().header("kind", "other").header("kind", kind),
            Message::of_type("wanted"),
        ),
        ("key", Some("key"), |kind| Message::new().key(kind), Message::new().body("wanted")),
        (
            "body",
            Some("body:kind"),
            |kind| Message::new().body(format!(r#"{{"kind":"{kind}"}}"#)),
            Message::new().body("wanted"),
        ),
        (
            "body-path",
            Some("body:data.items[1].kind"),
            |kind| {
                Message::new().body(format!(r#"{{"data":{{"items":[0,{{"kind":"{kind}"}}]}}}}"#))
            },
            Message::new().body(r#"{"data":{"items":[{"kind":"wanted"}]}}"#),
        ),
        (
            "body-of-no-text",
            Some("body:kind"),
            |kind| Message::new().body(format!(r#"{{"kind":"{kind}"}}"#)),
            Message::new().body(r#"{"kind":{"kind":"wanted"}}"#),
        ),
    ];
    let broker = Broker::shared();
    let sift = Sift::start().await;
    for (name, from, of_type, without) in rows {
        let topic = format!("selection-place-{name}");
        broker.topic(&topic).partitions(2).create().await;
        let rounds = (0..10).flat_map(|n| {
            let messages = [of_type("wanted"), of_type("other"), without.clone(), Message::new()];
            messages.map(|message| message.partition(n % 2))
        });
        broker.produce_all(&topic, rounds).await;
        let trigger = sift.trigger(broker.bootstrap(), &topic, &topic);
        let mut selecting = trigger.clone().with("eventType", "wanted");
        if let Some(from) = from {
            selecting = selecting.with("eventTypeFrom", from);
        }
        assert_eq!(selecting.count().await, 10, "{name}");
        let both = selecting.with("eventType", "wan*,other");
        assert_eq!(both.count().await, 20, "{name}, by prefix and name");
        assert_eq!(trigger.count().await, 40, "{name}, without a selection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_0_says_what_waits_instead() {
    const TOPIC: &str = "selection-others";
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(2).create().await;
    let of_types = |types: &[&str]| {
        let each = types.iter().zip(0..).map(|(of, n)| Message::of_type(of).partition(n % 2));
        each.collect::<Vec<_>>()
    };
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).with("eventType", "image.*");
    assert_eq!(trigger.note().await, None, "nothing waits");
    broker.produce_all(TOPIC, of_types(&["paid", "paid", "made", "paid"])).await;
    let untyped = Message::new().body(r#"{"type":"image.uploaded"}"#).partition(0);
    broker.produce_all(TOPIC, [untyped]).await;
    assert_eq!(
        trigger.note().await.as_deref(),
        Some(
            "nothing matches among the messages looked at last: 3 \"paid\", 1 \"made\", \
             1 that cannot be judged (it has no event type where CloudEvents keeps it)"
        )
    );
    let by_filter = trigger.clone().without("eventType").with("filter", "body.type == 'other'");
    assert_eq!(
        by_filter.note().await.as_deref(),
        Some(
            "nothing matches among the messages looked at last: 1 for which the filter is false, \
             4 that cannot be judged (the body has nothing at the path)"
        ),
        "a selection that comes later is told of what was there before"
    );
    broker.commit(TOPIC, TOPIC, [(0, 3), (1, 1)]).await;
    assert_eq!(
        trigger.note().await.as_deref(),
        Some("nothing matches among the messages looked at last: 1 \"paid\""),
        "what others have been done with does not wait"
    );
    broker.commit(TOPIC, TOPIC, [(0, 3), (1, 2)]).await;
    assert_eq!(trigger.note().await, None, "nothing waits");
    broker.produce_all(TOPIC, of_types(&["paid"])).await;
    assert!(trigger.note().await.is_some(), "another one does");
    broker.produce_all(TOPIC, of_types(&["image.uploaded"])).await;
    assert_eq!(trigger.count().await, 1);
    broker.commit(TOPIC, TOPIC, [(0, 5), (1, 2)]).await;
    broker.produce_all(TOPIC, of_types(&["paid"])).await;
    assert_eq!(trigger.note().await, None, "its type is right");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_instead_is_logged_once() {
    const TOPIC: &str = "selection-logged";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    broker.produce(TOPIC, Message::of_type("<b>\nERROR")).await;
    let mut program = block_in_place(|| Program::serving::<&str>(&[]));
    let trigger = Sift::at(program.grpc).await.trigger(broker.bootstrap(), TOPIC, TOPIC);
    for name in ["one", "two", "one", "three"] {
        let trigger = trigger.clone().named(name).with("eventType", "wanted");
        assert!(trigger.note().await.is_some());
    }
    let mut told = || {
        let line = program.logged("a trigger counts 0 while other messages wait");
        let [name, why] = ["name", "why"].map(|key| line[key].as_str().unwrap_or_default());
        assert!(why.ends_with(r#": 1 "<b>\nERROR""#), "{line}");
        name.to_owned()
    };
    // The third is told after a second of the first would be.
    assert_eq!(block_in_place(|| [told(), told(), told()]), ["one", "two", "three"]);
}

/// One message of each kind that someone reported, in one topic, and the keys that count it alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_producers_really_write_is_counted() {
    const TOPIC: &str = "selection-reported";
    let marked = |text: &str| Message::new().body(format!("\u{feff}{text}"));
    let behind = |frame: &[u8], kind: &str| {
        Message::new().body([frame, format!(r#"{{"type":"{kind}"}}"#).as_bytes()].concat())
    };
    let by_type = |kind| vec![("eventTypeFrom", "body:type"), ("eventType", kind)];
    let by_schema = |id| vec![("eventTypeFrom", "schema:id"), ("eventType", id)];
    let rows: Vec<(Keys, Message)> = vec![
        (vec![("eventTypeFrom", "body:type"), ("eventType", "bom")], marked(r#"{"type":"bom"}"#)),
        (vec![("filter", "body.amount == 120")], marked(r#"{"amount":120}"#)),
        (
            vec![("eventType", "bom-event")],
            marked(r#"{"type":"bom-event"}"#)
                .header("content-type", "application/cloudevents+json"),
        ),
        (vec![("filter", "body == 'bom string'")], marked(r#""bom string""#)),
        (
            vec![("eventTypeFrom", "body:type"), ("eventType", "nan")],
            Message::new().body(r#"{"score":NaN,"most":[Infinity,-Infinity],"type":"nan"}"#),
        ),
        // Behind the id of a schema: Confluent's, Apicurio's, AWS Glue's.
        (by_type("confluent"), behind(b"\0\0\0\0\x2a", "confluent")),
        (by_type("apicurio"), behind(b"\0\0\0\0\0\0\0\0\x2b", "apicurio")),
        (by_type("glue"), behind(b"\x03\0\x01\x23\x45\x67\x89\xab\xcd\xefabcdefgh", "glue")),
        (by_schema("42"), Message::new()),
        (by_schema("43"), Message::new()),
        (by_schema("01234567-89ab-cdef-6162-636465666768"), Message::new()),
        (by_schema("77"), Message::new().body(b"\0\0\0\0\x4d\x06abc")),
        // JSON in a string.
        (
            vec![("eventTypeFrom", "body:payload.type"), ("eventType", "outbox")],
            Message::new().body(r#"{"payload":"{\"type\":\"outbox\"}"}"#),
        ),
        (by_type("outbox-alone"), Message::new().body(r#""{\"type\":\"outbox-alone\"}""#)),
        (
            vec![("filter", "body.data.total > 7")],
            Message::new().body(r#"{"data":"{\"total\":8}"}"#),
        ),
        // Several types: MassTransit's and NServiceBus'.
        (
            vec![
                ("eventTypeFrom", "body:messageType[*]"),
                ("eventType", "urn:message:Shop:Placed,urn:message:Shop:Event"),
            ],
            Message::new()
                .body(r#"{"messageType":["urn:message:Shop:Placed","urn:message:Shop:Event"]}"#),
        ),
        (
            vec![
                ("eventTypeFrom", "header:NServiceBus.EnclosedMessageTypes[;]"),
                ("eventType", r"Shop.Event\, Shop\, Version=1.0.0.0"),
            ],
            Message::new().header(
                "NServiceBus.EnclosedMessageTypes",
                "Shop.Placed, Shop, Version=1.0.0.0;Shop.Event, Shop, Version=1.0.0.0",
            ),
        ),
    ];
    each_counts_alone(TOPIC, rows).await;
}

/// Event Hubs hands on what came by AMQP so; what others write must stay what it is.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_event_hubs_encoded_are_decoded_and_no_others() {
    const DATE_TIME_OFFSET: &[u8] = b"\0\xa3\x1dcom.microsoft:datetime-offset\x81";
    let ticks = 639_028_224_000_000_000_i64.to_be_bytes();
    let date_time_offset = [DATE_TIME_OFFSET, &ticks].concat();
    let encoded = || Message::new().header("beside", b"\xa1\x04text");
    let row = |from, event_type, message| {
        let keys: Keys = match from {
            "" => vec![("eventType", event_type)],
            from => vec![("eventTypeFrom", from), ("eventType", event_type)],
        };
        (keys, message)
    };
    let long = "x".repeat(300);
    let long = [&b"\xb1\0\0\x01\x2c"[..], long.as_bytes()].concat();
    let rows = vec![
        row("header:s", "order.placed", Message::new().header("s", b"\xa1\x0corder.placed")),
        row("header:y", "symbol", Message::new().header("y", b"\xa3\x06symbol")),
        row("header:l", "xxx*", Message::new().header("l", long)),
        row("header:n", "5", Message::new().header("n", b"\x54\x05")),
        row("header:i", "1000", Message::new().header("i", b"\x71\0\0\x03\xe8")),
        row("header:u", "300", Message::new().header("u", b"\x80\0\0\0\0\0\0\x01\x2c")),
        row("header:f", "0.1", Message::new().header("f", b"\x72\x3d\xcc\xcc\xcd")),
        row("header:t", "2023-11-14T22:13:20Z", {
            let at = [&b"\x83"[..], &1_700_000_000_000_i64.to_be_bytes()].concat();
            Message::new().header("t", at)
        }),
        row("header:o", "2026-01-01T00:00:00Z", Message::new().header("o", date_time_offset)),
        row("", "encoded.event", {
            Message::new().header("cloudEvents:type", b"\xa1\x0dencoded.event")
        }),
        row("", "encoded.other", {
            Message::new().header("cloudEvents_type", b"\xa1\x0dencoded.other")
        }),
        row("subject", "cart", Message::new().header("cloudEvents:subject", b"\xa1\x04cart")),
        // Both text and AMQP: what stands beside them tells.
        row("header:yes", "true", encoded().header("yes", b"\x41")),
        row("header:no", "false", encoded().header("no", b"\x42")),
        row("header:small", "65", encoded().header("small", b"TA")),
        row("header:grade", "A", Message::new().header("grade", "A")),
        row("header:grade2", "A", Message::new().header("grade2", "A").header("h", "text")),
        row("header:word", "price", Message::new().header("word", "price").header("b", b"\xff")),
        row("header:word2", "price", encoded().header("word2", "price").header("h", "text")),
        // Not all of it, or not AMQP.
        row("header:more", "*", Message::new().header("more", b"\x54\x05\x05")),
        (
            vec![("filter", "headers == {'yes': 'false', 'beside': 'text', 'n': '7'}")],
            encoded().header("yes", b"\x42").header("n", b"\x54\x07"),
        ),
    ];
    each_counts_alone("selection-event-hubs", rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_which_message_cannot_be_judged_and_why() {
    const TOPIC: &str = "selection-log";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let kind = |message: Message| message.header("kind", "order.placed");
    let messages = [
        kind(Message::new().body("{}")),
        Message::new().body(r#"{"amount":1}"#),
        kind(Message::new().body(b"\0\0\0\0\x2a\x06abc")),
    ];
    broker.produce_all(TOPIC, messages).await;
    let mut program = block_in_place(|| Program::serving::<&str>(&[]));
    let sift = Sift::at(program.grpc).await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let rows = [
        (
            trigger
                .clone()
                .with("eventTypeFrom", "header:kind")
                .with("eventType", "order.placed")
                .with("filter", "has(body.amount)"),
            r#"eventType "order.placed" with eventTypeFrom "header:kind" with filter "has(body.amount)""#,
            1,
            "it has no such header",
        ),
        (
            trigger.clone().with("eventTypeFrom", "body:kind").with("eventType", "order.*"),
            r#"eventType "order.*" with eventTypeFrom "body:kind""#,
            0,
            "the body has nothing at the path",
        ),
        (
            trigger.with("filter", "!has(body.nothing)"),
            r#"filter "!has(body.nothing)""#,
            2,
            "the body is Avro or Protobuf, not JSON",
        ),
    ];
    for (trigger, selection, offset, reason) in rows {
        trigger.value().await.expect("a count");
        let warning =
            block_in_place(|| program.logged("a record cannot be judged, and does not count"));
        let told = ["selection", "reason"].map(|key| warning[key].as_str().unwrap_or_default());
        assert_eq!((told, &warning["offset"]), ([selection, reason], &offset.into()), "{warning}");
    }
}

type Keys = Vec<(&'static str, &'static str)>;

/// Each row's keys count one of all the messages.
async fn each_counts_alone(topic: &str, rows: Vec<(Keys, Message)>) {
    let broker = Broker::shared();
    broker.topic(topic).create().await;
    let messages = rows.iter().map(|(_, message)| message.clone());
    broker.produce_all(topic, messages.chain([Message::of_type("other")])).await;
    let sift = Sift::start().await;
    let plain = sift.trigger(broker.bootstrap(), topic, topic);
    for (keys, _) in rows {
        let trigger = keys.iter().fold(plain.clone(), |all, (key, value)| all.with(key, value));
        assert_eq!(trigger.count().await, 1, "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_last_value_is_null_is_absent_from_all_of_them_too() {
    const TOPIC: &str = "selection-null-header";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let producer: FutureProducer = broker.config().create().expect("a producer");
    let header = |key, value: Option<&'static str>| Header { key, value };
    let values = [vec![Some("x"), None], vec![None, Some("x")], vec![None], vec![Some("")]];
    for values in values {
        let headers = values.into_iter().map(|value| header("h", value));
        let headers = headers.fold(OwnedHeaders::new(), OwnedHeaders::insert);
        let record = FutureRecord::<(), ()>::to(TOPIC).headers(headers);
        producer.send(record, Duration::from_secs(60)).await.expect("produced");
    }
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let filters = [
        ("headers.h == 'x'", 1),
        ("'h' in headers", 2),
        ("headers.exists(name, name == 'h')", 2),
        ("size(headers) == 1", 2),
    ];
    for (filter, expected) in filters {
        assert_eq!(trigger.clone().with("filter", filter).count().await, expected, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_counts_what_it_holds_for_and_not_what_it_fails_on() {
    const TOPIC: &str = "selection-filter";
    let broker = Broker::shared();
    // The messages' times lie years back.
    broker.topic(TOPIC).partitions(2).config("retention.ms", "-1").create().await;
    // Offsets 0 to 9 in partition 0, 0 to 9 in partition 1.
    let messages = (0..20).map(|n| {
        Message::of_type(if n < 8 { "order.paid" } else { "order.sent" })
            .header("region", if n % 4 == 0 { "eu" } else { "us" })
            .key(format!("customer-{}", n % 3))
            .body(format!(r#"{{"amount":{n},"tags":["a","b{n}"]}}"#))
            .at(1_700_000_000_000 + n * 1_000)
            .partition((n % 2) as i32)
    });
    broker.produce_all(TOPIC, messages).await;
    // A filter over the body fails on these, and one over a header that they do not have.
    let strange = [Message::new(), Message::new().body("no json").key([0xff])];
    broker.produce_all(TOPIC, strange.map(|message| message.partition(0))).await;

    let rows = [
        ("body.amount >= 15", None, 5),
        ("body.amount >= 15 || body.amount < 2", None, 7),
        ("body.missing == 1", None, 0),
        ("body.tags.exists(tag, tag == 'b7')", None, 1),
        ("eventType == 'order.paid'", None, 8),
        ("headers['region'] == 'eu'", None, 5),
        ("headers['region'] == 'eu' && body.amount > 4", None, 3),
        ("key == 'customer-1'", None, 7),
        ("partition == 1", None, 10),
        ("offset >= 8", None, 6),
        ("topic == 'selection-filter' && partition == 0", None, 12),
        (
            "time >= timestamp('2023-11-14T22:13:30Z') && time < timestamp('2023-11-14T22:13:35Z')",
            None,
            5,
        ),
        ("size == 0", None, 1),
        ("true", None, 22),
        ("body.amount >= 5", Some("order.paid"), 3),
        ("body.amount >= 5", Some("order.*"), 15),
        ("true", Some("*"), 20),
    ];
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    for (filter, event_type, expected) in rows {
        let trigger = trigger.clone().with("filter", filter);
        let trigger = match event_type {
            Some(event_type) => trigger.with("eventType", event_type),
            None => trigger,
        };
        assert_eq!(trigger.count().await, expected, "{filter} and {event_type:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_partitions_are_counted_once_each() {
    const TOPIC: &str = "selection-count-by";
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(4).create().await;
    // Keys a, b, c in partitions 0 and 1, of type x; key d in partition 2, of type y; partition 3
    // is empty.
    let x = (0..12)
        .map(|n| Message::of_type("x").key(["a", "b", "c"][n as usize % 3]).partition(n % 2));
    let written = broker.produce_all(TOPIC, x).await;
    broker.produce_all(TOPIC, (0..3).map(|_| Message::of_type("y").key("d").partition(2))).await;

    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let keys = trigger.clone().with("countBy", "keys");
    let partitions = trigger.clone().with("countBy", "partitions");
    assert_eq!(keys.count().await, 4);
    assert_eq!(partitions.count().await, 3);
    // A key of two selected types is one key.
    broker.produce(TOPIC, Message::of_type("y").key("a").partition(3)).await;
    let both = keys.clone().with("eventType", "x,y");
    let rows = [
        (&keys, "x", 3, "a, b, c"),
        (&keys, "y", 2, "d, a"),
        (&partitions, "x", 2, "0, 1"),
        (&partitions, "y", 2, "2, 3"),
        (&partitions, "*", 4, "all"),
    ];
    for (by, event_type, expected, which) in rows {
        assert_eq!(
            by.clone().with("eventType", event_type).count().await,
            expected,
            "{event_type}: {which}"
        );
    }
    assert_eq!(both.count().await, 4);

    // Partition 0 has a, c, b, a, c, b: after the fourth, c and b are left there; all three are in
    // 1.
    broker.commit(TOPIC, TOPIC, [(0, 4), (1, 6), (2, 3)]).await;
    let counted = keys.count().await;
    let committed = broker.committed(TOPIC, TOPIC).await;
    assert_eq!(counted, 3, "c and b of partition 0, a of partition 3: {committed:?}, {written:?}");
    assert_eq!(keys.clone().with("eventType", "x").count().await, 2);
    assert_eq!(partitions.count().await, 2);
    broker.commit(TOPIC, TOPIC, [(0, 6), (3, 1)]).await;
    assert_eq!(keys.count().await, 0);
    assert_eq!(partitions.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_a_key_are_one_key_together() {
    const TOPIC: &str = "selection-no-key";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let sift = Sift::start().await;
    let keys = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).with("countBy", "keys");
    assert_eq!(keys.count().await, 0);
    broker.produce_all(TOPIC, (0..5).map(|_| Message::of_type("x"))).await;
    assert_eq!(keys.count().await, 1);
    broker.produce(TOPIC, Message::of_type("x").key("")).await;
    assert_eq!(keys.count().await, 2, "an empty key is another");
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_stops_at_the_limit() {
    const TOPIC: &str = "selection-limit";
    let broker = Broker::shared();
    interleaved(broker, TOPIC).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).with("eventType", "order.*");
    for (limit, expected) in [("1", 1), ("39", 39), ("40", 40), ("41", 40), ("1000000", 40)] {
        let limited = trigger.clone().with("countLimit", limit);
        let poll = limited.poll().await.unwrap();
        assert_eq!(poll, Poll { value: expected, active: true }, "a limit of {limit}");
    }
    broker.catch_up(TOPIC, TOPIC).await;
    let poll = trigger.with("countLimit", "39").poll().await.unwrap();
    assert_eq!(poll, Poll { value: 0, active: false }, "nothing waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_the_middle_of_a_partition_leaves_what_lies_after_it() {
    const TOPIC: &str = "selection-commits";
    let broker = Broker::shared();
    interleaved(broker, TOPIC).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let created = trigger.clone().with("eventType", "order.created");
    let paid = trigger.clone().with("filter", "eventType == 'order.paid'");
    // Partition 0 holds messages 0, 2, 4 … at offsets 0, 1, 2 …: created, sent, paid, and again;
    // partition 1 holds 1, 3, 5 …: paid, created, sent, and again. Ten rounds each.
    assert_eq!((created.count().await, paid.count().await), (20, 20));
    let rows = [
        ([(0, 1), (1, 0)], 19, 20, 59),
        ([(0, 1), (1, 1)], 19, 19, 58),
        ([(0, 3), (1, 2)], 18, 18, 55),
        ([(0, 15), (1, 29)], 5, 5, 16),
        ([(0, 28), (1, 29)], 0, 1, 3),
        ([(0, 30), (1, 30)], 0, 0, 0),
        ([(0, 29), (1, 27)], 1, 2, 4),
    ];
    for (offsets, of_created, of_paid, of_all) in rows {
        broker.commit(TOPIC, TOPIC, offsets).await;
        assert_eq!(created.count().await, of_created, "created, at {offsets:?}");
        assert_eq!(paid.count().await, of_paid, "paid, at {offsets:?}");
        assert_eq!(trigger.count().await, of_all, "all, at {offsets:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_the_call_is_in_the_answer() {
    const TOPIC: &str = "selection-at-once";
    const ROUNDS: i64 = 400;
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).with("eventType", "wanted");
    assert_eq!(trigger.count().await, 0);
    let mut wanted = 0;
    for round in 0..ROUNDS {
        let event_type = if round % 3 == 0 { "other" } else { "wanted" };
        broker.produce(TOPIC, Message::of_type(event_type)).await;
        wanted += i64::from(event_type == "wanted");
        assert_eq!(trigger.count().await, wanted, "round {round}");
    }
    for left in (0..10).rev() {
        broker.commit(TOPIC, TOPIC, [(0, ROUNDS - left)]).await;
        assert!(trigger.count().await <= left, "after a commit {left} before the end");
    }
    assert_eq!(trigger.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_the_call_is_in_the_answer_over_partitions_and_triggers() {
    const TOPIC: &str = "selection-at-once-partitions";
    const ROUNDS: usize = 200;
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(5).create().await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC);
    let a = trigger.clone().with("eventType", "a");
    let b = trigger.clone().with("filter", "eventType == 'b'");
    let (mut of_a, mut of_b) = (0, 0);
    for round in 0..ROUNDS {
        // One to three messages, over partitions that change from round to round.
        let count = round % 3 + 1;
        let messages = (0..count).map(|n| {
            let event_type = ["a", "b", "c"][(round + 2 * n) % 3];
            (event_type, i32::try_from((round * 7 + n * 3) % 5).unwrap())
        });
        let messages: Vec<_> = messages.collect();
        of_a += messages.iter().filter(|(event_type, _)| *event_type == "a").count() as i64;
        of_b += messages.iter().filter(|(event_type, _)| *event_type == "b").count() as i64;
        let messages = messages.into_iter().map(|(kind, p)| Message::of_type(kind).partition(p));
        broker.produce_all(TOPIC, messages).await;
        let (got_a, got_b) = tokio::join!(a.count(), b.count());
        assert_eq!((got_a, got_b), (of_a, of_b), "round {round}");
    }
}
