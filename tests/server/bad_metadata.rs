//! Metadata that cannot be used: what KEDA is told, whatever a user has written. No broker is
//! needed.

use std::collections::HashMap;
use std::sync::OnceLock;

use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, MetricSpec, ScaledObjectRef};
use keda_sift::source::PARAMETERS;
use keda_sift::sources::Sources;
use keda_sift::trigger::Trigger;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use sift_harness::{Sift, metadata};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// What KEDA can show of a text: its event takes 1,024 bytes, its own words included.
const EVENT_BYTES: usize = 900;

/// What no answer may hold.
const SECRET: &str = "hunter2-correct-horse";

/// Everything that KEDA is told about a trigger in one poll.
struct Told {
    spec: MetricSpec,
    metric: Status,
    active: Status,
}

fn reference(metadata: &HashMap<String, String>) -> ScaledObjectRef {
    ScaledObjectRef {
        name: "job".to_owned(),
        namespace: "default".to_owned(),
        scaler_metadata: metadata.clone(),
    }
}

async fn spec(
    client: &mut ExternalScalerClient<Channel>,
    metadata: &HashMap<String, String>,
) -> MetricSpec {
    let specs =
        client.get_metric_spec(reference(metadata)).await.expect("GetMetricSpec never fails");
    let [spec] = specs.into_inner().metric_specs.try_into().expect("one spec");
    spec
}

/// What KEDA is told of metadata that cannot be used.
async fn told(
    client: &mut ExternalScalerClient<Channel>,
    metadata: &HashMap<String, String>,
) -> Told {
    let asked = GetMetricsRequest {
        scaled_object_ref: Some(reference(metadata)),
        metric_name: String::new(),
    };
    let spec = spec(client, metadata).await;
    let metric = client.get_metrics(asked).await.expect_err("no value without a measurement");
    let active = client.is_active(reference(metadata)).await.expect_err("no answer without one");
    Told { spec, metric, active }
}

/// What is wrong with these rows, which is the same text from both calls.
async fn complaints(sift: &Sift, rows: &[(&str, &str)]) -> String {
    let told = told(&mut sift.client.clone(), &metadata(rows)).await;
    assert_eq!(told.metric.code(), Code::InvalidArgument, "{}", told.metric);
    assert_eq!(told.active.code(), Code::InvalidArgument, "{}", told.active);
    assert_eq!(told.metric.message(), told.active.message());
    assert_eq!(told.spec.metric_name, "keda-sift-invalid-trigger");
    assert_eq!((told.spec.target_size, told.spec.target_size_float), (1, 1.0));
    told.metric.message().to_owned()
}

#[tokio::test]
async fn every_complaint_comes_at_once_with_its_key_what_it_held_and_what_fits() {
    let sift = Sift::start().await;
    let message = complaints(
        &sift,
        &[
            ("source", "kafka"),
            ("bootstrapServers", "kafka"),
            ("topic", "uploads"),
            ("lagThreshold", "ten"),
            ("activationLagThreshold", "-1"),
            ("offsetResetPolicy", "newest"),
            ("partitionLimitation", "4-1"),
            ("allowIdleConsumers", "yes"),
            ("filter", "bdy.amount > 100"),
            ("version", "latest"),
        ],
    )
    .await;
    let expected = [
        r#"activationLagThreshold: "-1" is too small; give 0 or more"#,
        r#"allowIdleConsumers: "yes" is not a boolean; give true or false"#,
        r#"bootstrapServers: "kafka" has no port; give host:port"#,
        "consumerGroup: is missing; give the consumer group of the workload",
        r#"filter: "bdy.amount > 100": "bdy" at line 1, column 1 is not a variable; give "#,
        r#"lagThreshold: "ten" is not a whole number; give 1 or more"#,
        r#"offsetResetPolicy: "newest" is not known; give latest or earliest"#,
        "partitionLimitation: 4-1 is a reversed range; give 1-4",
        r#"version: "latest" is not a version of Kafka; give one such as 2.8.0"#,
    ];
    let told: Vec<&str> = message.split(" | ").collect();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "no {expected:?} in {told:?}");
    }
}

#[tokio::test]
async fn an_unknown_key_is_answered_with_the_nearest_known_one_and_without_its_value() {
    let sift = Sift::start().await;
    let complete = [("source", "kafka"), ("bootstrapServers", "a:1"), ("consumerGroup", "jobs")];
    let rows = [
        ("lagTreshold", "lagThreshold"),
        ("LagThreshold", "lagThreshold"),
        ("topics", "topic"),
        ("group", "consumerGroup"),
        ("eventTypes", "eventType"),
        ("bootstrapServer", "bootstrapServers"),
        ("pasword", "password"),
        ("saslPasswordFromEnv", "passwordFromEnv"),
        ("keyPasswort", "keyPassword"),
        ("brokerUnsafeTls", "brokerUnsafeSsl"),
    ];
    for (key, nearest) in rows {
        let message = complaints(&sift, &[&complete[..], &[(key, SECRET)]].concat()).await;
        assert_eq!(message, format!("{key}: is not a parameter; the nearest is {nearest}"));
    }
}

#[tokio::test]
async fn what_could_never_match_is_refused_with_what_to_write() {
    let sift = Sift::start().await;
    let complete = [("source", "kafka"), ("bootstrapServers", "a:1"), ("consumerGroup", "jobs")];
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[("eventType", "- a\n- b")], "give types by comma: a,b"),
        (&[("eventType", "[\"a\"]")], "give types by comma: a"),
        (&[("eventType", "'a'")], "give types by comma: a"),
        (&[("eventType", "a;b")], "give types by comma: a,b"),
        (&[("eventType", "a"), ("eventTypeFrom", "body:$.type")], "give body:type"),
        (&[("eventType", "a"), ("eventTypeFrom", "body:items.*.kind")], "give body:items["),
        (&[("eventType", "a"), ("eventTypeFrom", "body:items.0.kind")], "give body:items[0].kind"),
        (&[("eventType", "a"), ("eventTypeFrom", "body:\"type\"")], "give body:type"),
        (&[("eventType", "a"), ("eventTypeFrom", "header:a,body:b")], "names two places"),
        (&[("eventTypeFrom", "header:kind")], "give eventType, or a filter"),
        (&[("filter", "type == 'order.placed'")], "not a variable; give eventType, "),
        (&[("filter", "map.a == 1")], "not a variable; give eventType, "),
        (&[("filter", "string == 'x'")], "not a variable; give eventType, "),
        (&[("filter", "'a'")], "gives a text at line 1, column 1"),
        (&[("filter", "1")], "gives a number at line 1, column 1"),
        (&[("filter", "body.a = 1")], "= at line 1, column 8 is not CEL; give =="),
        (&[("filter", "body.a AND body.b")], "and at line 1, column 8 is not CEL; give &&"),
        (&[("filter", "body.a?.b == 1")], "?. at line 1, column 7 is not CEL; give has(body.a)"),
        (&[("filter", "body.items[*] == 1")], "[*] at line 1, column 11 is not CEL; give exists"),
        (&[("filter", "headers.x-region == 'eu'")], "give headers['x-region']"),
    ];
    for (row, expected) in rows {
        let message = complaints(&sift, &[&complete[..], row].concat()).await;
        assert!(message.contains(expected), "no {expected:?} in {message:?}");
        assert!(!message.contains(" | "), "{message}");
    }
}

#[tokio::test]
async fn a_complaint_about_a_secret_never_shows_it() {
    let sift = Sift::start().await;
    let complete = [("source", "kafka"), ("bootstrapServers", "a:1"), ("consumerGroup", "jobs")];
    let rows: &[(&[(&str, &str)], &str)] = &[
        (
            &[("tls", "enable"), ("caFromEnv", SECRET)],
            "caFromEnv: its value has no -----BEGIN CERTIFICATE----- line; give PEM text",
        ),
        (
            &[("tls", "enable"), ("cert", SECRET), ("key", SECRET)],
            "cert: its value has no -----BEGIN CERTIFICATE----- line; give PEM text",
        ),
        (
            &[("tls", "enable"), ("keyFromEnv", SECRET)],
            "cert: is missing; give the certificate that belongs to key, as certFromEnv",
        ),
        (
            &[("sasl", "plaintext"), ("passwordFromEnv", SECRET)],
            "username: is missing; sasl needs it, as usernameFromEnv",
        ),
        (
            &[("sasl", "plaintext"), ("username", SECRET)],
            "password: is missing; sasl needs it, as passwordFromEnv",
        ),
        (
            &[("sasl", "none"), ("password", SECRET), ("passwordFromEnv", SECRET)],
            "password: its value is given a second time as passwordFromEnv; give one of the two",
        ),
        (
            &[("lagThresholdFromEnv", SECRET)],
            "lagThresholdFromEnv: its value is not a whole number",
        ),
        (&[("filterFromEnv", SECRET)], "filterFromEnv: its value does not fit; give a CEL"),
        (&[("bootstrapServers", "me:hunter2-correct-horse@kafka:1")], "bootstrapServers: "),
    ];
    for (row, expected) in rows {
        let message = complaints(&sift, &[&complete[..], row].concat()).await;
        assert!(message.starts_with(expected), "no {expected:?} in {message:?}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[tokio::test]
async fn what_this_version_does_not_have_is_said_so_with_what_it_has() {
    let sift = Sift::start().await;
    let complete = [("bootstrapServers", "a:1"), ("consumerGroup", "jobs")];
    let rows = [
        (("sasl", "gssapi"), "sasl: \"gssapi\" is not supported by this version; give none or"),
        (("sasl", "aws_msk_iam"), "sasl: \"aws_msk_iam\" is not supported by this version; give"),
    ];
    for (row, expected) in rows {
        let message = complaints(&sift, &[&complete[..], &[row]].concat()).await;
        assert!(message.starts_with(expected), "no {expected:?} in {message:?}");
    }
}

#[tokio::test]
async fn what_needs_a_cluster_says_so_with_the_component_that_grants_it() {
    let sift = Sift::start().await;
    let complete = [("queueName", "orders"), ("namespace", "shop")];
    for (key, component) in [
        ("serviceAccountName", "service-account-tokens"),
        ("triggerAuthentication", "trigger-authentications"),
    ] {
        let rows = [&complete[..], &[(key, "job")]].concat();
        let scaler_metadata = metadata(&rows);
        let asked = ScaledObjectRef {
            name: "job".to_owned(),
            namespace: "media".to_owned(),
            scaler_metadata,
        };
        let (code, words) = sift.asking(asked).error().await;
        assert_eq!(code, Code::FailedPrecondition, "{words}");
        assert!(words.contains("no access to the Kubernetes API"), "{words}");
        assert!(words.contains(&format!("the component {component}")), "{words}");
    }
}

#[tokio::test]
async fn every_complaint_of_service_bus_comes_at_once_too() {
    let sift = Sift::start().await;
    let message = complaints(
        &sift,
        &[
            ("source", "azure-servicebus"),
            ("queueName", "../orders"),
            ("namespace", "shop.evil.example"),
            ("messageCount", "0"),
            ("operation", "min"),
            ("countFrom", "management"),
            ("eventType", "order.paid"),
            ("transport", "tcp"),
            ("cloud", "AzureGermanCloud"),
        ],
    )
    .await;
    let expected = [
        r#"cloud: "AzureGermanCloud" is not known; give AzurePublicCloud or "#,
        r#"countFrom: "management" does not go with eventType, which needs messages read; give"#,
        r#"messageCount: "0" is too small; give 1 or more"#,
        r#"operation: "min" is not known; give sum or max or avg"#,
        r#"queueName: "../orders" is not a name; give letters, digits, "#,
        r#"transport: "tcp" is not known; give amqp or websocket"#,
    ];
    let told: Vec<&str> = message.split(" | ").collect();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "no {expected:?} in {told:?}");
    }
}

#[tokio::test]
async fn a_broken_connection_string_names_its_part_and_shows_no_key() {
    let sift = Sift::start().await;
    let key = "SharedAccessKeyName=jobs;SharedAccessKey=hunter2-correct-horse";
    let rows = [
        (key.to_owned(), "has no Endpoint; give"),
        (format!("Endpoint=shop;{key}"), "has an Endpoint that is not sb://<host>/; give"),
        (
            format!("Endpoint=sb://shop/;{key};hunter2"),
            "has a part that is no <name>=<value>; give",
        ),
        (format!("Endpoint=sb://shop/;{key};{key}"), "has SharedAccessKeyName twice; give"),
        (
            "Endpoint=sb://shop/;SharedAccessKey=hunter2".to_owned(),
            "has no SharedAccessKeyName; give",
        ),
        (
            "Endpoint=sb://shop/;SharedAccessSignature=hunter2".to_owned(),
            "has a SharedAccessSignature that is",
        ),
        (
            format!("Endpoint=sb://shop/;{key};EntityPath=other"),
            "has an EntityPath that queueName is not",
        ),
    ];
    for (connection, expected) in rows {
        for name in ["connection", "connectionFromEnv"] {
            let rows = [("queueName", "orders"), (name, connection.as_str())];
            let message = complaints(&sift, &rows).await;
            let expected = format!("{name}: its value {expected}");
            assert!(message.starts_with(&expected), "no {expected:?} in {message:?}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

#[tokio::test]
async fn nothing_at_all_is_answered_with_what_to_begin_with() {
    let sift = Sift::start().await;
    let expected = "source: is missing; give kafka or azure-servicebus, or a key that tells: bootstrapServers, queueName, topicName";
    assert_eq!(complaints(&sift, &[]).await, expected);
    let mut client = sift.client.clone();
    let nobody = client.get_metrics(GetMetricsRequest::default()).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::InvalidArgument, expected));
    let nobody = client.is_active(ScaledObjectRef::default()).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::InvalidArgument, expected));
}

#[tokio::test]
async fn a_mended_trigger_is_no_longer_complained_of() {
    let sift = Sift::start().await;
    let bad = [
        ("source", "kafka"),
        ("bootstrapServers", "a:1"),
        ("consumerGroup", "jobs"),
        ("lagThreshold", "0"),
    ];
    complaints(&sift, &bad).await;
    let mended = metadata(&[&bad[..3], &[("lagThreshold", "7")]].concat());
    let spec = spec(&mut sift.client.clone(), &mended).await;
    assert_eq!((spec.metric_name.as_str(), spec.target_size), ("kafka-jobs-topics", 7));
}

#[tokio::test]
async fn a_value_of_megabytes_is_complained_of_in_one_short_line() {
    let sift = Sift::start().await;
    // A request may have 2 MiB.
    let huge = "x".repeat(2_000_000);
    let complete = [("source", "kafka"), ("bootstrapServers", "a:1"), ("consumerGroup", "jobs")];
    for key in [
        "lagThreshold",
        "filter",
        "eventType",
        "eventTypeFrom",
        "topic",
        "bootstrapServers",
        "consumerGroup",
        "partitionLimitation",
        "metricName",
        "sasl",
        "nonsense",
        "source",
    ] {
        let rows: HashMap<String, String> = metadata(
            &[&complete[..], &[("lagThreshold", "no"), ("topic", "a"), (key, huge.as_str())]]
                .concat(),
        );
        let told = told(&mut sift.client.clone(), &rows).await;
        assert_eq!(told.metric.code(), Code::InvalidArgument, "{key}");
        let message = told.metric.message();
        assert!(
            message.len() <= EVENT_BYTES && message.contains("lagThreshold: "),
            "{key}: {message}"
        );
    }
    // The key itself may be as long.
    let rows = metadata(&[&complete[..], &[(huge.as_str(), "x")]].concat());
    let told = told(&mut sift.client.clone(), &rows).await;
    assert!(
        told.metric.message().contains("… is not a parameter")
            || told.metric.message().contains("…: is not a parameter"),
        "{}",
        told.metric.message()
    );
    assert!(told.metric.message().len() <= EVENT_BYTES);
}

/// A scaler for thousands of cases, kept alive, and what to wait on it with.
fn scaler() -> &'static (Runtime, ExternalScalerClient<Channel>, Sift) {
    static SCALER: OnceLock<(Runtime, ExternalScalerClient<Channel>, Sift)> = OnceLock::new();
    SCALER.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let sift = runtime.block_on(Sift::start());
        let endpoint = Endpoint::from_shared(format!("http://{}", sift.address)).expect("a URL");
        let _inside = runtime.enter();
        let client = ExternalScalerClient::new(endpoint.connect_lazy());
        (runtime, client, sift)
    })
}

/// Keys that are read, most of them in both forms, and keys that are not.
fn key() -> impl Strategy<Value = String> {
    let tables = Sources::tables().map(|(_, table)| table).chain([&PARAMETERS]);
    let keys: Vec<_> =
        tables.flat_map(|table| table.parameters).map(|parameter| parameter.key).collect();
    let known = prop::sample::select(keys);
    let known = (known, any::<bool>())
        .prop_map(|(key, env)| if env { format!("{key}FromEnv") } else { key.to_owned() });
    prop_oneof![6 => known, 1 => any::<String>(), 1 => "\\PC{0,300}"]
}

/// What a careless or an evil user writes: near misses, controls, and a great deal of it.
fn value() -> impl Strategy<Value = String> {
    let plausible = prop::sample::select(vec![
        "",
        " ",
        "true",
        "kafka",
        "azure-servicebus",
        "latest",
        "enable",
        "plaintext",
        "scram_sha512",
        "1-4,8",
        "0-2147483647",
        "-1",
        "7",
        "9223372036854775808",
        "1.0.0",
        "offsets",
        "keys",
        "sessions",
        "peek",
        "../$Resources/queues",
        "Private",
        "header:kind",
        "body:a[0].b",
        "a,b.*",
        "size > 1",
        "body.all(x, x > 0)",
        "((((",
        "\"",
        "\\",
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
        "a\0b",
        "\u{202e}\u{2028}",
    ]);
    let long =
        (any::<char>(), 1..20_000_usize).prop_map(|(c, times)| String::from(c).repeat(times));
    let nested = (
        prop::sample::select(vec!["(", "[", "{", "!", "-", "a.", "1+", "body.map(x,"]),
        1..3_000_usize,
    )
        .prop_map(|(open, times)| open.repeat(times));
    prop_oneof![
        4 => plausible.prop_map(str::to_owned),
        2 => any::<String>(),
        1 => long,
        1 => nested,
    ]
}

fn answered(metadata: &HashMap<String, String>) -> TestCaseResult {
    let (runtime, client, _) = scaler();
    let told = runtime.block_on(told(&mut client.clone(), metadata));
    prop_assert!(!told.spec.metric_name.is_empty() && told.spec.target_size > 0);
    // What a TriggerAuthentication would add is not known where there is no cluster.
    let named = Trigger::authentication(metadata).is_some();
    let code = if named { Code::FailedPrecondition } else { Code::InvalidArgument };
    for status in [&told.metric, &told.active] {
        prop_assert!(status.code() == code || status.code() == Code::InvalidArgument, "{status}");
        let message = status.message();
        prop_assert!(
            !message.is_empty() && message.len() <= EVENT_BYTES,
            "{} bytes",
            message.len()
        );
        prop_assert!(!message.chars().any(char::is_control), "{message:?}");
        prop_assert!(!message.contains(SECRET), "{message:?}");
    }
    prop_assert_eq!(told.metric.message(), told.active.message());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_metadata_is_answered_and_the_scaler_lives_on(
        metadata in prop::collection::hash_map(key(), value(), 0..20),
        secrets in prop::collection::vec(prop::sample::select(vec!["passwordFromEnv", "usernameFromEnv", "caFromEnv", "keyFromEnv", "topicFromEnv", "filterFromEnv", "pasword"]), 0..3),
        // Neither leads to a broker: without servers there is nothing to ask.
        servers in prop::sample::select(vec![None, Some(""), Some("kafka"), Some("kafka:0"), Some("ssl://kafka:9092")]),
        // Nor does any of these to a namespace.
        namespace in prop::sample::select(vec![None, Some(""), Some("a@b"), Some("a/b"), Some("a.example"), Some("a:1"), Some("\u{202e}")]),
    ) {
        let mut metadata = metadata;
        metadata.extend(secrets.into_iter().map(|key| (key.to_owned(), SECRET.to_owned())));
        metadata.remove("bootstrapServersFromEnv");
        metadata.extend(servers.map(|servers| ("bootstrapServers".to_owned(), servers.to_owned())));
        metadata.extend(namespace.map(|namespace| ("namespace".to_owned(), namespace.to_owned())));
        answered(&metadata)?;
    }
}
