//! `keda-sift types`: which types a queue or subscription has, and the trigger that counts the
//! commonest.

use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use azure_stand_ins::{Handling, Message, ServiceBus};
use serde_json::Value;
use sift_harness::Sift;
use sift_harness::program::keda_sift;
use tokio::task::spawn_blocking;

async fn types(bus: &ServiceBus, arguments: &[&str]) -> Output {
    let mut command = keda_sift();
    command.args(["types", "source=azure-servicebus", "connectionFromEnv=BUS", "-o", "json"]);
    command.args(arguments).env("BUS", bus.connection_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    spawn_blocking(move || command.output().expect("the program has been built"))
        .await
        .expect("it ends")
}

async fn report(bus: &ServiceBus, arguments: &[&str]) -> Value {
    let output = types(bus, arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The types of a report, as `type: messages`.
fn told(report: &Value) -> Vec<String> {
    let types = report["types"].as_array().expect("a list");
    types.iter().map(|of| format!("{}: {}", of["type"], of["messages"])).collect()
}

fn of_type(number: usize) -> &'static str {
    if number.is_multiple_of(3) { "order.paid" } else { "order.made" }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trigger_that_is_printed_counts_what_the_table_says() {
    type Form = fn(&str) -> Message;
    let rows: &[(&str, Form, Value, &str)] = &[
        ("subjects", |name| Message::new("{}").subject(name), Value::Null, "subject"),
        (
            "cloud",
            |name| Message::new("{}").property("cloudEvents:type", name).subject("s"),
            Value::Null,
            "CloudEvents attribute",
        ),
        (
            "properties",
            |name| Message::new("text").property("messageType", name),
            "header:messageType".into(),
            "header:messageType",
        ),
        (
            "masstransit",
            |name| Message::new(format!(r#"{{"messageType":["urn:message:{name}"]}}"#)),
            "body:messageType[*]".into(),
            "body:messageType[*]",
        ),
    ];
    let bus = ServiceBus::start().await;
    let sift = Sift::start().await;
    for (queue, form, place, found) in rows {
        bus.queue(queue).create();
        for number in 0..30 {
            bus.send(queue, form(of_type(number)));
        }
        let queue_name = format!("queueName={queue}");
        let report = report(&bus, &[&queue_name]).await;
        assert_eq!(report["event_type_from"], *place, "{queue}: {report:#}");
        assert_eq!(report["types"][0]["messages"], 20, "{queue}: {report:#}");
        assert_eq!(report["types"][0]["waiting"], 20, "{queue}: {report:#}");
        assert_eq!(report["types"][0]["found_in"], serde_json::json!([found]), "{queue}");
        assert_eq!(report["is_whole"], true, "{queue}");
        let metadata = report["trigger"]["metadata"].as_object().expect("a map");
        assert_eq!(metadata["connectionFromEnv"], "BUS", "{queue}");
        let trigger = metadata.iter().fold(sift.queue(&bus, queue), |trigger, (key, value)| {
            match key.as_str() {
                // KEDA looks it up.
                "connectionFromEnv" => trigger,
                key => trigger.with(key, value.as_str().expect("text")),
            }
        });
        assert_eq!(trigger.count().await, 20, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_receiver_gets_is_not_told_and_nothing_is_taken() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    let later = SystemTime::now() + Duration::from_secs(3_600);
    bus.send("orders", Message::new("{}").subject("deferred"));
    bus.handle("orders", 1, Handling::Defer);
    bus.send("orders", Message::new("{}").subject("scheduled").due(later));
    bus.fill("orders", 2_500, |number| Message::new("{}").subject(of_type(number)));
    let depth = bus.depth("orders");
    let report = report(&bus, &["queueName=orders"]).await;
    assert_eq!(told(&report), [r#""order.made": 1666"#, r#""order.paid": 834"#], "{report:#}");
    assert_eq!((&report["waiting"], &report["is_whole"]), (&2_500.into(), &true.into()));
    assert_eq!(bus.depth("orders"), depth);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_partition_is_read() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").partitions(4).one_partition_a_reply().create();
    bus.fill("orders", 400, |number| {
        Message::new("{}").subject(of_type(number)).partition_key(number.to_string())
    });
    let report = report(&bus, &["queueName=orders"]).await;
    assert_eq!(told(&report), [r#""order.made": 266"#, r#""order.paid": 134"#], "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_lost_on_the_way_counts_nothing_twice() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 5_000, |number| Message::new("{}").subject(of_type(number)));
    bus.cut_in_the_middle_of_next_reply();
    let report = report(&bus, &["queueName=orders"]).await;
    assert_eq!(report["messages"], 5_000, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_and_a_subscription_and_what_cannot_be_read() {
    let bus = ServiceBus::start().await;
    bus.topic("events").create().subscription("audit").create();
    for number in 0..50 {
        bus.send("events", Message::new("{}").subject(of_type(number)));
    }
    let of_audit = ["topicName=events", "subscriptionName=audit"];
    let limited = report(&bus, &[&of_audit[..], &["--limit", "20"]].concat()).await;
    assert_eq!((&limited["messages"], &limited["is_whole"]), (&20.into(), &false.into()));

    let notes = limited["notes"].to_string();
    assert!(notes.contains("reading stopped after 20 messages"), "{notes}");

    let rows: &[(&[&str], i32, &str)] = &[
        (&["queueName=nowhere"], 2, "nowhere"),
        (&["queueName=.*", "useRegex=true"], 2, "useRegex names several; give one queue"),
        (&["queueName=a", "topicName=b"], 1, "queueName"),
    ];
    for (arguments, code, expected) in rows {
        let output = types(&bus, arguments).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(expected), "{arguments:?}: {told}");
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {told}");
    }
}
