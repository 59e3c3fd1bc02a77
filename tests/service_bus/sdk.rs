//! What Microsoft's own SDKs send and settle is counted exactly.

use std::time::Duration;

use azure_stand_ins::judges::{self, python};
use azure_stand_ins::{Message, ServiceBus};
use serde_json::{Value, json};
use sift_harness::{Authority, Sift, Trigger};

async fn send(bus: &ServiceBus, entity: &str, messages: &[Value]) {
    let sent = Value::from(messages).to_string();
    python("send.py").arg(entity).input(sent).run(bus).await;
}

async fn settle(bus: &ServiceBus, entity: &str, settlements: &[&str]) {
    python("settle.py").arg(entity).args(settlements).run(bus).await;
}

/// Messages of every kind, and of each more than one.
fn messages() -> Vec<Value> {
    let event = |kind: &str| {
        json!({ "specversion": "1.0", "id": "1", "source": "/shop", "type": kind, "data": { "total": 7 } }).to_string()
    };
    let mut messages = Vec::new();
    for n in 0..30 {
        let region = ["eu", "us", "ap"][n % 3];
        messages.push(json!({
            "body": json!({ "order": { "kind": (["gift", "plain"][n % 2]), "lines": [n, 1] } }).to_string(),
            "content_type": "application/json",
            "subject": "order.placed",
            "message_id": format!("placed-{n}"),
            "correlation_id": format!("cart-{}", n % 5),
            "application_properties": { "region": region, "weight": n, "ratio": 0.5, "express": n % 10 == 0 },
        }));
    }
    for n in 0..12 {
        let name = ["cloudEvents:type", "cloudEvents_type"][n % 2];
        let kind = ["invoice.sent", "invoice.paid", "order.shipped"][n % 3];
        messages.push(json!({ "body": "{}", "subject": "order.placed", "application_properties": { name: kind } }));
    }
    for n in 0..8 {
        messages.push(json!({
            "body": event(["order.shipped", "order.lost"][n % 2]),
            "content_type": "application/cloudevents+json",
        }));
    }
    for _ in 0..5 {
        messages.push(json!({ "body": "not JSON at all", "subject": "note" }));
    }
    messages
}

fn rows() -> Vec<(&'static [(&'static str, &'static str)], i64)> {
    vec![
        (&[("countFrom", "peek")], 55),
        (&[("countFrom", "management")], 55),
        (&[("eventType", "order.placed")], 30),
        (&[("eventType", "invoice.sent")], 4),
        (&[("eventType", "invoice.sent,invoice.paid")], 8),
        (&[("eventType", "order.shipped")], 4 + 4),
        (&[("eventType", "order.*")], 30 + 4 + 8),
        (&[("eventType", "order.*,note")], 30 + 4 + 8 + 5),
        (&[("eventType", "order.placed"), ("eventTypeFrom", "subject")], 42),
        (&[("eventType", "eu"), ("eventTypeFrom", "header:region")], 10),
        (&[("eventType", "7"), ("eventTypeFrom", "header:weight")], 1),
        (&[("eventType", "gift"), ("eventTypeFrom", "body:order.kind")], 15),
        (&[("eventType", "4"), ("eventTypeFrom", "body:order.lines[0]")], 1),
        (&[("eventType", "7"), ("eventTypeFrom", "body:data.total")], 8),
        (&[("filter", "properties.weight >= 10 && properties.weight < 20")], 10),
        (&[("filter", r#"properties.express && properties.region == "eu""#)], 1),
        (&[("filter", "properties.ratio == 0.5")], 30),
        (&[("filter", r#"headers["weight"] == "7""#)], 1),
        (&[("filter", "body.order.lines[0] > 25")], 4),
        (&[("filter", r#"messageId == "placed-3""#)], 1),
        (&[("filter", r#"correlationId == "cart-1""#)], 6),
        (&[("filter", r#"eventType.startsWith("invoice.") && subject == "order.placed""#)], 8),
        (&[("eventType", "order.placed"), ("filter", r#"body.order.kind == "plain""#)], 15),
    ]
}

async fn assert_counts(plain: &Trigger, when: &str) {
    for (keys, expected) in rows() {
        let trigger =
            keys.iter().fold(plain.clone(), |trigger, (key, value)| trigger.with(key, value));
        assert_eq!(trigger.count().await, expected, "{when}: {keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_sends_is_counted_exactly() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.topic("events").subscription("billing").create();
    let sift = Sift::start().await;
    send(&bus, "orders", &messages()).await;
    let queue = sift.queue(&bus, "orders");
    assert_counts(&queue, "a queue").await;
    assert_counts(&queue, "a queue that is known").await;
    assert_counts(&queue.with("transport", "websocket"), "over a WebSocket").await;
    send(&bus, "events", &messages()).await;
    assert_counts(&sift.subscription(&bus, "events", "billing"), "a subscription").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_settles_is_counted_exactly() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    let websocket = trigger.clone().with("transport", "websocket");
    let sent: Vec<Value> = (0..20)
        .map(|n| json!({ "body": format!("{n}"), "subject": (["a", "b"][n % 2]) }))
        .collect();
    send(&bus, "orders", &sent).await;
    assert_eq!(trigger.count().await, 10);
    // In the order of the queue: of type a, b, a, b, …; each receiver begins with what the last
    // gave back.
    settle(&bus, "orders", &["complete", "complete", "complete"]).await;
    assert_eq!((trigger.count().await, websocket.count().await), (8, 8), "0, 1, 2 completed");
    settle(&bus, "orders", &["defer", "defer", "defer"]).await;
    assert_eq!((trigger.count().await, websocket.count().await), (7, 7), "3, 4, 5 set aside");
    settle(&bus, "orders", &["dead-letter", "dead-letter"]).await;
    assert_eq!((trigger.count().await, websocket.count().await), (6, 6), "6, 7 dead-lettered");
    settle(&bus, "orders", &["abandon", "abandon", "abandon"]).await;
    assert_eq!((trigger.count().await, websocket.count().await), (6, 6), "8, 9, 10 given back");
    let retried = trigger.clone().without("eventType").with("filter", "deliveryCount > 0");
    assert_eq!(retried.count().await, 3);
    settle(&bus, "orders", &["hold", "hold", "hold", "hold"]).await;
    assert_eq!((trigger.count().await, websocket.count().await), (6, 6), "8 to 11 locked");
    settle(&bus, "orders", &["complete"; 8]).await;
    assert_eq!((trigger.count().await, websocket.count().await), (2, 2), "12 to 19 completed");
    // What went to the dead letters can be counted there, and what was set aside in neither.
    assert_eq!(bus.depth("orders").dead, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_schedules_counts_once_it_is_due_and_not_when_it_has_expired() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "a");
    let filtered = sift.queue(&bus, "orders").with("filter", r#"subject == "a""#);
    send(
        &bus,
        "orders",
        &[
            json!({ "subject": "a" }),
            json!({ "subject": "a", "due_in": 3_600 }),
            json!({ "subject": "a", "due_in": 3 }),
            json!({ "subject": "a", "due_in": 3 }),
            json!({ "subject": "a", "time_to_live": 2 }),
            json!({ "subject": "a", "time_to_live": 3_600 }),
        ],
    )
    .await;
    // One lives on, one will for an hour; two come, and one goes, in whatever order.
    assert!((2..=4).contains(&trigger.count().await));
    trigger.until(4, |before| (2..=5).contains(&before)).await;
    while bus.depth("orders").scheduled > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::timeout(Duration::from_secs(20), async {
        while filtered.count().await != 4 || trigger.count().await != 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("four: two at once, and two that were due");
    assert_eq!(bus.depth("orders").scheduled, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_the_sdk_writes_are_counted_once_each() {
    let bus = ServiceBus::start().await;
    bus.queue("chats").sessions().create();
    let sift = Sift::start().await;
    let sent: Vec<Value> = (0..500)
        .map(|n| {
            let session = n * 7 / 500;
            let subject = if session < 3 && n % 10 == 0 { "a" } else { "b" };
            json!({ "subject": subject, "session_id": format!("chat-{session}") })
        })
        .collect();
    send(&bus, "chats", &sent).await;
    bus.send("chats", Message::new("{}").subject("b").session("chat-0"));
    let sessions = sift.queue(&bus, "chats").with("countBy", "sessions");
    assert_eq!(sessions.clone().with("eventType", "a").count().await, 3);
    assert_eq!(sessions.clone().with("eventType", "b").count().await, 7);
    assert_eq!(sessions.with("filter", r#"sessionId == "chat-6""#).count().await, 1);
}

/// What an SDK has sent by these names, and a filter that must hold of it.
type Typed = (&'static str, &'static str);

/// Of both SDKs, in which AMQP's own types are the same.
const TYPED: &[Typed] = &[
    ("string", "properties.v == 'ä' && headers.v == 'ä'"),
    ("bool", "properties.v == true && headers.v == 'true'"),
    ("float64 double", "properties.v == 0.1 && headers.v == '0.1'"),
    ("float32 float", "properties.v == 0.1 && headers.v == '0.1'"),
    ("int8 byte", "properties.v == -8 && headers.v == '-8'"),
    ("int16 short", "properties.v == -1600 && headers.v == '-1600'"),
    ("int32 int", "properties.v < 8 && headers.v == string(properties.v)"),
    ("int64 long", "properties.v == -64000000000 && headers.v == '-64000000000'"),
    ("uint8 unsigned-byte", "properties.v == 200 && headers.v == '200'"),
    ("uint16 unsigned-short", "properties.v == 60000 && headers.v == '60000'"),
    ("uint32 unsigned-int", "properties.v == 4000000000 && headers.v == '4000000000'"),
    ("uint64 unsigned-long", "properties.v == 18000000000000000000u"),
    ("uint64 unsigned-long", "headers.v == '18000000000000000000'"),
    ("time date offset-date-time", "properties.v == timestamp('2026-01-01T00:00:00Z')"),
    ("time date offset-date-time", "headers.v == '2026-01-01T00:00:00Z'"),
    ("other-zone", "properties.v == timestamp('2026-01-01T00:00:00.001Z')"),
    ("other-zone", "headers.v == '2026-01-01T00:00:00.001Z'"),
    ("uuid", "properties.v == '00010203-0405-0607-0809-0a0b0c0d0e0f'"),
    ("symbol", "properties.v == 'symbolic' && headers.v == 'symbolic'"),
    ("bytes", "headers.v == 'bytes' && properties.v == null"),
    // What Go alone sends.
    ("nil", "properties.v == null"),
    ("pieces", "body.kind == 'pieces'"),
    ("sequences", "body[0] == 'first' && body[1].kind == 'map'"),
    // What Java alone sends.
    ("char", "properties.v == 'ä' && headers.v == 'ä'"),
    ("decimal32 decimal64", "properties.v == 15.0 && headers.v == '15.0'"),
    ("decimal128", "properties.v == 1.5 && headers.v == '1.50'"),
    ("duration", "properties.v == duration('90s500ms') && headers.v == '90.5s'"),
    ("uri", "properties.v == 'https://example.com/a'"),
    // Bodies.
    ("map", "body.kind == 'map' && body.n == 7 && body.at == '2026-01-01T00:00:00Z'"),
    ("map", "body.deep.list == ['a', 1]"),
    ("list", "body[0] == 'first' && body[1].kind == 'map'"),
    ("array", "body == ['a', 'array']"),
    // Text is read as it is where it stands for bytes.
    ("text", "body.kind == 'text'"),
    ("number", "body == 1.5"),
    ("sequence", "body[0] == 'first' && size(body) == 2"),
    ("data", "body.kind == 'data'"),
];

/// Each row counts those of its names that were sent, and nothing that was sent is without a row.
async fn assert_typed(trigger: &Trigger, sent: &str, of: &str) {
    let sent: Vec<&str> = sent.lines().collect();
    assert!(!sent.is_empty(), "{of}: nothing was sent");
    let mut tried = Vec::new();
    for (names, filter) in TYPED {
        let of_row: Vec<&str> = names.split(' ').filter(|name| sent.contains(name)).collect();
        let filter = format!("subject in {of_row:?} && {filter}");
        let count = trigger.clone().with("filter", &filter).count().await;
        assert_eq!(count, i64::try_from(of_row.len()).unwrap(), "{of}: {filter}");
        tried.extend(of_row);
    }
    for name in sent {
        assert!(tried.contains(&name), "{of}: no row is of {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_that_the_sdk_for_go_sends_is_counted_by_its_value() {
    let Some(program) = judges::go("send") else { return };
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    let sent = program.arg("orders").run(&bus).await;
    assert_typed(&Sift::start().await.queue(&bus, "orders"), &sent, "go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_that_the_sdk_for_java_sends_is_counted_by_its_value() {
    let authority = Authority::new("trusted");
    let identity = authority.issue("bus", &["127.0.0.1"]);
    let certificate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(certificate.path(), authority.cert()).unwrap();
    let bus = ServiceBus::builder().tls(&identity.cert, &identity.key).start().await;
    bus.queue("orders").create();
    let program = judges::java("send").arg("orders").certificate(certificate.path());
    let sent = program.run(&bus).await;
    assert_typed(&Sift::start().await.queue(&bus, "orders"), &sent, "java").await;
}
