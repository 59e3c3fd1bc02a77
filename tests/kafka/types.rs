//! `keda-sift types`: which types a topic has, and the trigger that counts the commonest.

use std::process::{Output, Stdio};

use serde_json::Value;
use sift_harness::program::keda_sift;
use sift_harness::{Broker, Message, Sift, Trigger};
use tokio::task::spawn_blocking;

async fn types(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = keda_sift();
    command.arg("types").args(arguments).envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    spawn_blocking(move || command.output().expect("the program has been built"))
        .await
        .expect("it ends")
}

fn text(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}{}", errors(output));
    text
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// What it says of a topic, as JSON.
async fn report(broker: &Broker, topic: &str, arguments: &[&str]) -> Value {
    let servers = format!("bootstrapServers={}", broker.bootstrap());
    let topic = format!("topic={topic}");
    let mut all = vec!["source=kafka", &servers, &topic, "-o", "json"];
    all.extend(arguments);
    serde_json::from_str(&text(&types(&all, &[]).await)).expect("JSON")
}

/// The types of a report, as `type: messages, waiting`.
fn told(report: &Value) -> Vec<String> {
    let types = report["types"].as_array().expect("a list");
    let one = |of: &Value| format!("{}: {}, {}", of["type"], of["messages"], of["waiting"]);
    types.iter().map(one).collect()
}

/// The trigger of a report, as KEDA would send it.
fn pasted(sift: &Sift, report: &Value) -> Trigger {
    let metadata = report["trigger"]["metadata"].as_object().expect("a map");
    let each = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str().expect("text")));
    let mut reference = sift.trigger("", "", "").reference();
    reference.scaler_metadata = each.map(|(key, value)| (key.into(), value.into())).collect();
    sift.asking(reference)
}

/// So many messages of two types, of which every third is of the second, each to partition 0 or 1.
fn two_types(count: usize, of: impl Fn(&str, usize) -> Message) -> Vec<Message> {
    let one = |number: usize| {
        let event_type = if number % 3 == 2 { "order.paid" } else { "order.made" };
        of(event_type, number).partition((number % 2) as i32)
    };
    (0..count).map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trigger_that_is_printed_counts_what_the_table_says() {
    type Form = fn(&str, usize) -> Message;
    let rows: &[(&str, Form, Value)] = &[
        ("cloud", |name, _| Message::of_type(name), Value::Null),
        (
            "structured",
            |name, _| {
                Message::new()
                    .header("content-type", "application/cloudevents+json")
                    .body(format!(r#"{{"specversion":"1.0","type":"{name}"}}"#))
            },
            Value::Null,
        ),
        (
            "header",
            |name, number| {
                Message::new().header("X-Event-Type", name).key(number.to_string()).body("…")
            },
            "header:X-Event-Type".into(),
        ),
        (
            "body",
            |name, number| {
                Message::new().body(format!(
                    r#"{{"id":"{number}","event":{{"type":"{name}","n":{number}}}}}"#
                ))
            },
            "body:event.type".into(),
        ),
        (
            "nservicebus",
            |name, _| {
                let types = format!("Shop.{name}, Shop, Version=1.0;Shop.IEvent, Shop");
                Message::new().header("NServiceBus.EnclosedMessageTypes", types)
            },
            "header:NServiceBus.EnclosedMessageTypes[;]".into(),
        ),
    ];
    let broker = Broker::shared();
    let sift = Sift::start().await;
    for (name, form, place) in rows {
        let (topic, group) = (format!("types-{name}"), format!("types-{name}"));
        broker.topic(&topic).partitions(2).create().await;
        broker.produce_all(&topic, two_types(30, form)).await;
        broker.commit(&group, &topic, [(0, 3), (1, 0)]).await;
        let group = format!("consumerGroup={group}");
        let report = report(broker, &topic, &[&group, "allowIdleConsumers=true"]).await;
        assert_eq!(report["event_type_from"], *place, "{name}: {report:#}");
        assert_eq!((&report["messages"], &report["waiting"]), (&30.into(), &27.into()), "{name}");
        assert_eq!(report["is_whole"], true, "{name}");
        let commonest = &report["types"][0];
        let counted = pasted(&sift, &report).count().await;
        assert_eq!(commonest["waiting"], counted, "{name}: {report:#}");
        assert!((1..30).contains(&counted), "{name}: {counted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_tells_how_many_wait_and_a_trigger_ends_it() {
    const TOPIC: &str = "types-table";
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(2).create().await;
    let mut messages = two_types(12, |name, _| Message::new().header("kind", name).body("12345"));
    messages.push(Message::new().body("no header").partition(0));
    messages.push(Message::new().header("kind", [0xff]).partition(0));
    messages.push(Message::new().header("kind", "\u{1b}[31mred\nline").partition(0));
    broker.produce_all(TOPIC, messages).await;
    broker.commit("types-table", TOPIC, [(0, 2), (1, 6)]).await;
    let keys =
        ["consumerGroup=types-table", "bootstrapServersFromEnv=BROKERS", "topic=types-table"];
    let output = types(&keys, &[("BROKERS", broker.bootstrap())]).await;
    let told = text(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], r#"kafka topic types-table for group "types-table""#);
    assert_eq!(lines[1], "messages read: 15, of which wait: 7");
    assert!(told.contains("Types as eventTypeFrom header:kind has them:\n"), "{told}");
    let row = |begins: &str| {
        let row = lines.iter().find(|line| line.trim_start().starts_with(begins));
        row.unwrap_or_else(|| panic!("no {begins} in {told}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(row("TYPE")[..4], ["TYPE", "MESSAGES", "WAITING", "SINCE"]);
    assert_eq!(row("order.made")[..3], ["order.made", "8", "3"]);
    assert_eq!(row("order.paid")[..3], ["order.paid", "4", "1"]);
    assert!(told.contains(r"\u{1b}[31mred line"), "{told}");
    assert!(!told.contains('\u{1b}'), "{told:?}");
    assert!(told.contains("Indeterminate messages: 2\n"), "{told}");
    assert!(told.contains("1  it has no such header\n"), "{told}");
    let ends = "\
- type: external
  metadata:
    scalerAddress: keda-sift.keda-sift:9090
    source: kafka
    bootstrapServersFromEnv: BROKERS
    consumerGroup: types-table
    topic: types-table
    eventTypeFrom: header:kind
    eventType: order.made
";
    assert!(told.ends_with(ends), "{told}");
    assert_eq!(errors(&output), "", "nothing is told of so short a reading");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_begins_where_it_is_told() {
    const TOPIC: &str = "types-from";
    let broker = Broker::shared();
    broker.topic(TOPIC).partitions(2).create().await;
    broker.produce_all(TOPIC, two_types(3_000, |name, _| Message::of_type(name))).await;
    broker.commit("types-from", TOPIC, [(0, 1_400), (1, 1_500)]).await;
    let rows: &[(&[&str], [u64; 2])] = &[
        // What waits, and at least 1,000 before the end.
        (&[], [1_000, 100]),
        (&["--from", "earliest"], [3_000, 100]),
        (&["--from", "committed"], [100, 100]),
        (&["--from", "50"], [50, 25]),
        (&["--from", "3001"], [3_000, 100]),
        (&["--from", "earliest", "partitionLimitation=1"], [1_500, 0]),
    ];
    for (arguments, [messages, waiting]) in rows {
        let all = [&["consumerGroup=types-from"], *arguments].concat();
        let report = report(broker, TOPIC, &all).await;
        let figures = (&report["messages"], &report["waiting"], &report["is_whole"]);
        assert_eq!(
            figures,
            (&(*messages).into(), &(*waiting).into(), &true.into()),
            "{arguments:?}"
        );
    }
    let limited = report(broker, TOPIC, &["--from", "earliest", "--limit", "100"]).await;
    assert_eq!((&limited["messages"], &limited["is_whole"]), (&100.into(), &false.into()));
    assert_eq!(limited["waiting"], Value::Null, "nobody is there to wait for");
    let notes = limited["notes"].to_string();
    assert!(notes.contains("reading stopped after 100 messages"), "{notes}");
    assert!(notes.contains("no consumerGroup is given"), "{notes}");
    assert_eq!(limited["trigger"]["metadata"]["consumerGroup"], "CHANGE-ME");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_group_that_never_committed_is_as_the_policy_says() {
    const TOPIC: &str = "types-new-group";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    broker.produce_all(TOPIC, (0..5).map(|_| Message::of_type("made"))).await;
    for (policy, waiting, words) in [
        ("latest", 0, "with offsetResetPolicy earliest it would"),
        ("earliest", 5, "all that lies"),
    ] {
        let policy = format!("offsetResetPolicy={policy}");
        let report = report(broker, TOPIC, &["consumerGroup=types-nobody", &policy]).await;
        assert_eq!((&report["messages"], &report["waiting"]), (&5.into(), &waiting.into()));
        assert!(report["notes"].to_string().contains(words), "{report:#}");
    }
}

/// The first messages have no type where the others do, so that its place is found late.
#[tokio::test(flavor = "multi_thread")]
async fn messages_before_the_place_was_found_count_as_well() {
    const TOPIC: &str = "types-late";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let elsewhere = (0..3).map(|_| Message::new().body(r#"[{"id":1},{"eventType":"made"}]"#));
    broker.produce_all(TOPIC, (0..4).map(|_| Message::new().body("<a/>"))).await;
    broker.produce_all(TOPIC, elsewhere).await;
    let first = (0..8).map(|_| Message::new().body(r#"[{"eventType":"made"}]"#));
    broker.produce_all(TOPIC, first).await;
    let report = report(broker, TOPIC, &["consumerGroup=g", "offsetResetPolicy=earliest"]).await;
    assert_eq!(report["event_type_from"], "body:[*].eventType");
    assert_eq!(told(&report), [r#""made": 11, 11"#], "{report:#}");
    assert_eq!(report["indeterminate"][0]["messages"], 4, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_given_is_taken_whatever_else_there_is() {
    const TOPIC: &str = "types-given";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let messages = (0..6).map(|n| Message::of_type("made").key(format!("k{}", n % 2)));
    broker.produce_all(TOPIC, messages).await;
    let of_key = report(broker, TOPIC, &["eventTypeFrom=key", "filter=size > 0"]).await;
    assert_eq!(told(&of_key), [r#""k0": 3, null"#, r#""k1": 3, null"#], "{of_key:#}");
    assert!(of_key["notes"].to_string().contains("filter is left out"), "{of_key:#}");
    let metadata = &of_key["trigger"]["metadata"];
    assert_eq!((&metadata["eventTypeFrom"], &metadata["eventType"]), (&"key".into(), &"k0".into()));
    assert_eq!(metadata["filter"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_consumer_is_given_counts() {
    const TOPIC: &str = "types-transactions";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    for commits in [true, false, true] {
        let transaction = broker.transaction("types").await;
        let name = if commits { "kept" } else { "dropped" };
        transaction.produce_all(TOPIC, (0..3).map(|_| Message::of_type(name))).await;
        match commits {
            true => transaction.commit().await,
            false => transaction.abort().await,
        }
    }
    let report = report(broker, TOPIC, &[]).await;
    assert_eq!(told(&report), [r#""kept": 6, null"#], "{report:#}");
    assert_eq!(report["is_whole"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_topic_has_a_trigger_for_all_of_it() {
    const TOPIC: &str = "types-empty";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let report = report(broker, TOPIC, &["consumerGroup=g"]).await;
    assert_eq!((&report["messages"], told(&report).len()), (&0.into(), 0), "{report:#}");
    assert_eq!(report["trigger"]["metadata"]["eventType"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_ends_with_2_and_what_is_wrong_with_1() {
    let broker = Broker::shared();
    let servers = format!("bootstrapServers={}", broker.bootstrap());
    let rows: &[(&[&str], i32, &str)] = &[
        (&[&servers, "topic=types-nowhere"], 2, "topic types-nowhere does not exist"),
        (
            &["bootstrapServers=127.0.0.1:9", "topic=a", "--timeout", "5s"],
            2,
            "cannot be reached: connect to 127.0.0.1:9 failed",
        ),
        (&[&servers, "consumerGroup=g"], 2, "topic is missing; give the topic to look at"),
        (&[&servers, "tpic=a"], 1, "tpic: is not a parameter; the nearest is topic"),
        (&[&servers, "topicFromEnv=NOT_SET"], 1, "the variable NOT_SET of topicFromEnv is not set"),
        (&[&servers, "topic"], 2, "no =; give key=value"),
        (&[], 1, "nothing says what to read"),
        (&["-f", "nowhere.yaml"], 1, "nowhere.yaml: No such file"),
    ];
    for (arguments, code, expected) in rows {
        let output = types(arguments, &[]).await;
        let told = errors(&output);
        assert!(told.contains(expected), "{arguments:?}: {told}");
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

/// A file gives the trigger, and keys beside it come first.
#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_of_a_manifest_is_looked_at() {
    const TOPIC: &str = "types-file";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    broker.produce_all(TOPIC, (0..3).map(|_| Message::of_type("made"))).await;
    let trigger = |topic: &str| {
        format!(
            "    - type: external
      metadata:
        scalerAddress: sift.media:9090
        source: kafka
        bootstrapServers: '{}'
        consumerGroup: g
        topic: {topic}
        passwordFromEnv: HIDDEN
        usernameFromEnv: HIDDEN
        sasl: plaintext
        lagThreshold: '7'
        eventType: other
",
            broker.bootstrap()
        )
    };
    let manifest = format!(
        "kind: ScaledJob\nmetadata: {{name: made, namespace: media}}\nspec:\n  triggers:\n{}{}",
        trigger("types-nowhere"),
        trigger(TOPIC)
    );
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, manifest).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let hidden = [("HIDDEN", "hunter2")];

    let output = types(&["-f", file], &hidden).await;
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let which = "has triggers 0 (scaledjob media/made), 1 (scaledjob media/made); give --trigger";
    assert!(told.contains(which), "{told}");

    let keys = ["-f", file, "--trigger", "1", "sasl=none", "lagThreshold=8"];
    let told = text(&types(&keys, &hidden).await);
    assert!(told.contains("made") && told.contains("    lagThreshold: \"8\"\n"), "{told}");
    assert!(told.contains("    scalerAddress: sift.media:9090\n"), "{told}");
    assert!(told.contains("    passwordFromEnv: HIDDEN\n"), "{told}");
    assert!(told.ends_with("    eventType: made\n") && !told.contains("hunter2"), "{told}");
}
