//! Messages as another implementation of AMQP writes them.

use fe2o3_amqp_types::messaging as amqp;
use serde_amqp::primitives::{Binary, Symbol, Timestamp, Uuid};
use serde_amqp::{Value as Amqp, to_vec};

use super::*;

impl Peeked<'static> {
    /// A message that a test spells out.
    pub(in crate::service_bus) fn sample(
        position: QueuePosition,
        subject: &'static str,
        session: Option<&'static str>,
        absolute_expiry: Option<i64>,
        delivery_count: i64,
    ) -> Self {
        let empty = to_vec(&annotations(1, 0, None)).expect("annotations").leak();
        let message = Peeked::read(empty).expect("a message");
        Peeked {
            position,
            subject: Some(subject),
            session,
            absolute_expiry,
            delivery_count,
            ..message
        }
    }
}

fn annotations(sequence: i64, enqueued: i64, state: Option<i32>) -> amqp::MessageAnnotations {
    let mut entries = amqp::annotations::Annotations::new();
    entries.insert(Symbol::from("x-opt-sequence-number").into(), Amqp::Long(sequence));
    let enqueued = Amqp::Timestamp(Timestamp::from_milliseconds(enqueued));
    entries.insert(Symbol::from("x-opt-enqueued-time").into(), enqueued);
    if let Some(state) = state {
        entries.insert(Symbol::from("x-opt-message-state").into(), Amqp::Int(state));
    }
    amqp::MessageAnnotations(entries)
}

fn encoded(message: amqp::Message<amqp::Body<Amqp>>) -> Vec<u8> {
    to_vec(&amqp::message::__private::Serializable(message)).expect("a message")
}

fn data(bytes: &[u8]) -> amqp::Body<Amqp> {
    amqp::Body::Data(vec![amqp::Data(Binary::from(bytes.to_vec()))].into())
}

#[test]
fn a_message_is_read_as_another_library_writes_it() {
    let properties = amqp::ApplicationProperties::builder()
        .insert("cloudEvents:type", "order.placed")
        .insert("count", 3_u32)
        .insert("ratio", 1.5_f64)
        .insert("urgent", true)
        .insert("id", Uuid::from(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes()))
        .insert("at", Timestamp::from_milliseconds(1_700_000_000_000))
        .build();
    let message = amqp::Message::builder()
        .header(amqp::Header { ttl: Some(5_000), delivery_count: 2, ..Default::default() })
        .message_annotations(annotations(42, 1_000, None))
        .properties(
            amqp::Properties::builder()
                .message_id("m-1".to_owned())
                .subject("a subject")
                .correlation_id(7_u64)
                .content_type("application/json")
                .group_id("s-1".to_owned())
                .build(),
        )
        .application_properties(properties)
        .body(data(b"{}"))
        .build();
    let bytes = encoded(message);
    let peeked = Peeked::read(&bytes).expect("a message");
    let position = QueuePosition { sequence: 42, enqueued: 1_000, state: State::Active };
    assert_eq!((peeked.position, peeked.expires()), (position, Some(6_000)));
    assert_eq!((peeked.subject().as_deref(), peeked.session()), (Some("a subject"), Some("s-1")));
    assert_eq!((peeked.body(), peeked.size(), peeked.time()), (Some(&b"{}"[..]), 2, Some(1_000)));
    assert_eq!(peeked.content_type().as_deref(), Some(&b"application/json"[..]));
    assert_eq!(peeked.cloud_event_type().as_deref(), Some(&b"order.placed"[..]));
    assert_eq!(peeked.plain_event_type(), Some("a subject"));
    let mut headers = Vec::new();
    peeked.each_header(&mut |name, value| {
        headers.push(format!("{name}={}", String::from_utf8_lossy(value)));
    });
    headers.sort();
    let expected = [
        "at=2023-11-14T22:13:20Z",
        "cloudEvents:type=order.placed",
        "count=3",
        "id=01234567-89ab-cdef-0123-456789abcdef",
        "ratio=1.5",
        "urgent=true",
    ];
    assert_eq!(headers, expected);
    let variable = |name| peeked.source_variable(name);
    assert_eq!(variable("messageId"), Some(Variable::Text("m-1".into())));
    assert_eq!(variable("correlationId"), Some(Variable::Text("7".into())));
    assert_eq!(variable("deliveryCount"), Some(Variable::Integer(2)));
    assert_eq!(variable("sequenceNumber"), Some(Variable::Integer(42)));
    let a_time = chrono::DateTime::from_timestamp_millis(1_700_000_000_000).expect("a time");
    let Some(Variable::Map(properties)) = variable("properties") else { panic!("no map") };
    assert!(properties.contains(&("count", Variable::Integer(3))), "{properties:?}");
    assert!(properties.contains(&("at", Variable::Time(a_time))), "{properties:?}");
}

#[test]
fn states_and_expiry_are_told() {
    let rows = [
        ("no state", None, State::Active),
        ("active", Some(0), State::Active),
        ("deferred", Some(1), State::Deferred),
        ("scheduled", Some(2), State::Scheduled),
    ];
    for (name, state, expected) in rows {
        let message = amqp::Message::builder()
            .message_annotations(annotations(1, 1_000, state))
            .properties(
                amqp::Properties::builder()
                    .absolute_expiry_time(Timestamp::from_milliseconds(9_000))
                    .build(),
            )
            .body(amqp::Body::Value(amqp::AmqpValue(Amqp::String("text".into()))))
            .build();
        let bytes = encoded(message);
        let peeked = Peeked::read(&bytes).expect(name);
        assert_eq!((peeked.position.state, peeked.expires()), (expected, Some(9_000)), "{name}");
        assert_eq!(peeked.body(), Some(&b"text"[..]), "{name}");
    }
}

#[test]
fn a_body_in_pieces_is_one() {
    let pieces =
        [b"{\"a\"".as_slice(), b":1}"].map(|piece| amqp::Data(Binary::from(piece.to_vec())));
    let message = amqp::Message::builder()
        .message_annotations(annotations(1, 1, None))
        .body(amqp::Body::<Amqp>::Data(pieces.to_vec().into()))
        .build();
    let bytes = encoded(message);
    let peeked = Peeked::read(&bytes).expect("a message");
    assert_eq!(peeked.body(), Some(&b"{\"a\":1}"[..]));
}

#[test]
fn what_is_no_message_is_refused() {
    let whole = encoded(
        amqp::Message::builder()
            .message_annotations(annotations(1, 1, None))
            .body(data(b"hello"))
            .build(),
    );
    assert!(Peeked::read(&whole).is_some());
    for length in 0..whole.len() {
        // The body takes ten bytes; a message without one, or with a broken one, still waits.
        let read = Peeked::read(&whole[..length]);
        assert_eq!(read.is_some(), length >= whole.len() - 10, "{length} bytes");
        assert!(read.is_none_or(|message| message.body().is_none()), "{length} bytes");
    }
    let no_number = encoded(amqp::Message::builder().body(data(b"hello")).build());
    assert_eq!(Peeked::read(&no_number), None);
}
