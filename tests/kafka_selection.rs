//! Which records count: types of every kind and place, filters, and what cannot be judged.

mod support;

use support::{Broker, Message, Sift};

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
        assert_eq!(trigger.clone().with("eventType", event_type).count().await, expected, "{event_type}");
    }
    assert_eq!(trigger.count().await, 60, "without a selection");
}
