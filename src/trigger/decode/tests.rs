use std::collections::BTreeSet;
use std::num::NonZeroU64;

use proptest::prelude::*;
use test_basics::{Rows, metadata};

use super::*;
use crate::kafka::names::{Group, Topic};
use crate::kafka::security::ClusterConfig;
use crate::kafka::trigger::{CountBy, CountFrom, OffsetReset, PartitionList, Spread};
use crate::kafka::{Kafka, KafkaTrigger};
use crate::metadata::Use;
use crate::selection::{EventTypeFrom, EventTypes, Filter, Selection};
use crate::service_bus::ServiceBus;
use crate::source::{Scaling, Source as _};
use crate::sources::Sources;

const SECRET: &str = "hunter2-correct-horse";

fn kafka(trigger: &Trigger) -> &KafkaTrigger {
    match trigger {
        Trigger::Kafka(kafka) => kafka,
        other => panic!("of another source: {other:?}"),
    }
}

#[test]
fn a_trigger_of_keda_s_kafka_scaler_keeps_its_meaning() {
    // As in KEDA's documentation, with the resolved values of `authenticationRef` by their
    // names.
    let of_keda = [
        ("bootstrapServers", "kafka.svc:9092"),
        ("consumerGroup", "my-group"),
        ("topic", "test-topic"),
        ("lagThreshold", "5"),
        ("activationLagThreshold", "3"),
        ("offsetResetPolicy", "latest"),
        ("allowIdleConsumers", "false"),
        ("scaleToZeroOnInvalidOffset", "false"),
        ("excludePersistentLag", "false"),
        ("limitToPartitionsWithLag", "false"),
        ("version", "1.0.0"),
        ("partitionLimitation", "1,2,10-20,31"),
        ("sasl", "plaintext"),
        ("tls", "enable"),
        ("unsafeSsl", "false"),
    ];
    let ours = [
        ("source", "kafka"),
        ("scalerAddress", "keda-sift.keda-sift:9090"),
        ("enableTLS", "true"),
        ("usernameFromEnv", "me"),
        ("passwordFromEnv", SECRET),
    ];
    let trigger = Trigger::decode(&metadata(&[&of_keda[..], &ours[..]].concat()))
        .expect("a complete trigger");
    let secured = [of_keda[0], of_keda[12], of_keda[13], ours[3], ours[4]];
    let cluster = crate::metadata::tests::decode(&[Kafka::TABLE], &secured, ClusterConfig::decode)
        .expect("a complete cluster");
    let expected = KafkaTrigger {
        cluster,
        group: Group::from("my-group"),
        topics: vec![Topic::from("test-topic")],
        partitions: Some(PartitionList::parse("1-2,10-20,31").expect("partitions")),
        offset_reset: OffsetReset::Latest,
        scale_to_zero_on_invalid_offset: false,
        scaling: Scaling {
            metric_name: "kafka-test-topic".to_owned(),
            target: 5,
            activation: 3,
            count_limit: None,
        },
        spread: Spread::Partitions,
        exclude_persistent_lag: false,
        count_from: CountFrom::Records,
        count_by: CountBy::Messages,
        selection: Selection::default(),
    };
    assert_eq!(kafka(&trigger), &expected);
    assert!(!format!("{trigger:?}").contains(SECRET));
}

#[test]
fn a_trigger_is_told_of_before_its_authentication_is_read() {
    let rows: &[(&str, Rows<'_>, &str, u64)] = &[
        (
            "kafka",
            &[
                ("bootstrapServers", "a:1"),
                ("consumerGroup", "g"),
                ("topic", "uploads"),
                ("lagThreshold", "7"),
            ],
            "kafka-uploads",
            7,
        ),
        (
            "its defaults",
            &[("bootstrapServers", "a:1"), ("consumerGroup", "g")],
            "kafka-g-topics",
            10,
        ),
        (
            "a queue",
            &[("queueName", "orders"), ("messageCount", "3")],
            "azure-servicebus-orders",
            3,
        ),
        ("a name of its own", &[("queueName", "orders"), ("metricName", "mine")], "mine", 5),
        ("a queue that is none", &[("queueName", "a:b")], FALLBACK_METRIC_NAME, 5),
        ("nothing", &[], FALLBACK_METRIC_NAME, FALLBACK_TARGET),
    ];
    for (case, rows, name, target) in rows {
        let named = [rows, &[("triggerAuthentication", "auth")][..]].concat();
        let spec = Spec::decode(&metadata(&named));
        assert_eq!((spec.metric_name.as_str(), spec.target), (*name, *target), "{case}");
    }
}

#[test]
fn an_authentication_gives_what_the_metadata_lacks() {
    let values = metadata(&[
        ("queueName", "orders"),
        ("triggerAuthentication", "auth"),
        ("serviceAccountName", "job"),
    ]);
    assert_eq!(Trigger::authentication(&values).as_ref().map(Name::as_str), Some("auth"));
    assert_eq!(Trigger::authentication(&metadata(&[("triggerAuthentication", "../a")])), None);
    let given = std::collections::BTreeMap::from([(
        "namespace".to_owned(),
        crate::secret::Secret::from("orders"),
    )]);
    let reader = || Reader::new(&values).within("media");
    assert!(Trigger::read(reader()).is_err());
    let trigger = Trigger::read(reader().with(Some(&given))).expect("a complete trigger");
    assert_eq!(trigger.scaling().metric_name, "azure-servicebus-orders");
}

#[test]
fn as_many_as_the_jobs_take_are_enough_but_never_too_few_to_be_active() {
    let base =
        [("bootstrapServers", "a:1"), ("consumerGroup", "g"), ("activationLagThreshold", "50")];
    let enough = |more: Rows<'_>, max_jobs: u64| {
        let trigger = Trigger::decode(&metadata(&[&base[..], more].concat())).expect("a trigger");
        let max_jobs = NonZeroU64::new(max_jobs).expect("above zero");
        trigger.enough(max_jobs).map(NonZeroU64::get)
    };
    assert_eq!(enough(&[], 10), Some(100), "ten for each Job");
    assert_eq!(enough(&[("lagThreshold", "3")], 20), Some(60));
    assert_eq!(enough(&[], 2), Some(51), "above the activation threshold");
    assert_eq!(enough(&[], u64::MAX), Some(u64::MAX));
    assert_eq!(enough(&[("countLimit", "60")], 100), None, "it has a limit of its own");
    assert_eq!(enough(&[("countFrom", "offsets")], 100), None, "KEDA's number");
}

#[test]
fn rows_of_every_source_are_read() {
    let trigger = Trigger::decode(&metadata(&[
        ("bootstrapServers", "kafka:9092"),
        ("consumerGroup", "thumbnails"),
        ("topic", "uploads"),
        ("eventType", "image.uploaded,image.replaced"),
        ("eventTypeFrom", "header:kind"),
        ("filter", "size > 100"),
        ("countLimit", "500"),
        ("metricName", "up/loads.of:images%(all)"),
    ]))
    .expect("a complete trigger");
    assert_eq!(trigger.scaling().metric_name, "up-loads-of-images--all-");
    let expected = Selection {
        types: EventTypes::parse("image.uploaded,image.replaced").ok(),
        from: EventTypeFrom::parse("header:kind").expect("a header"),
        filter: Filter::compile("size > 100", Kafka::FILTER_VARIABLES).ok(),
    };
    assert_eq!(kafka(&trigger).selection, expected);
    assert_eq!(trigger.scaling().count_limit.map(u64::from), Some(500));
}

#[test]
fn the_source_is_named_or_told_by_its_keys() {
    let missing = ["bootstrapServers: is missing", "consumerGroup: is missing"];
    let rows: &[(&str, Rows<'_>, &[&str])] = &[
        ("nothing at all", &[], &["source: is missing; give kafka or azure-servicebus"]),
        (
            "no key that tells",
            &[("topic", "a"), ("nonsense", "b")],
            &["source: is missing; give kafka or azure-servicebus"],
        ),
        (
            "keys of both",
            &[("bootstrapServers", "a:1"), ("queueName", "b")],
            &["source: is missing, and there are keys of kafka and of azure-servicebus"],
        ),
        ("kafka by name", &[("source", "kafka")], &missing),
        ("kafka by its servers", &[("bootstrapServersFromEnv", "a:1")], &missing[1..]),
        (
            "service bus by name",
            &[("source", "azure-servicebus"), ("queueName", "a")],
            &["namespace: is missing"],
        ),
        (
            "service bus by its keys",
            &[("topicName", "a"), ("subscriptionName", "b")],
            &["namespace: is missing"],
        ),
        (
            "one nobody knows",
            &[("source", "kafak")],
            &["source: \"kafak\" is not known; give kafka"],
        ),
        (
            "one nobody knows, and keys that tell",
            &[("source", "Kafka"), ("bootstrapServers", "a:1"), ("lagTreshold", "5")],
            &[
                "consumerGroup: is missing",
                "source: \"Kafka\" is not known; give kafka",
                "lagTreshold: is not a parameter; the nearest is lagThreshold",
            ],
        ),
    ];
    for (name, row, expected) in rows {
        let invalid = Trigger::decode(&metadata(*row)).expect_err(name);
        let told = invalid.complaints();
        let each = told.iter().zip(*expected).all(|(told, expected)| told.starts_with(expected));
        assert!(told.len() == expected.len() && each, "{name}: {told:#?}");
    }
}

#[test]
fn a_selection_that_does_not_compile_is_told_unless_it_is_secret() {
    let complete = [("bootstrapServers", "kafka:9092"), ("consumerGroup", "jobs")];
    let rows = [
        ("types", ("eventType", "a,,b"), "eventType: \"a,,b\" has an empty entry; give"),
        ("a place", ("eventTypeFrom", "heder:a"), "eventTypeFrom: \"heder:a\" is not a place"),
        ("a filter", ("filter", "size >"), "filter: \"size >\": not a CEL expression at"),
        ("a variable", ("filter", "siz > 1"), "filter: \"siz > 1\": \"siz\" at"),
        ("a list of YAML", ("eventType", "- a"), "eventType: \"- a\" is a list as other tools"),
        ("a path of JSONPath", ("eventTypeFrom", "body:$.a"), "eventTypeFrom: \"body:$.a\" is not"),
        ("a place alone", ("eventTypeFrom", "key"), "eventTypeFrom: \"key\" says where a type is,"),
        ("secret types", ("eventTypeFromEnv", "a,,b"), "eventTypeFromEnv: its value does not"),
        ("a secret filter", ("filterFromEnv", "siz > 1"), "filterFromEnv: its value does not"),
    ];
    for (name, row, expected) in rows {
        let told = Trigger::decode(&metadata(&[&complete[..], &[row]].concat())).expect_err(name);
        assert!(told.to_string().starts_with(expected), "{name}: {told}");
    }
}

#[test]
fn a_place_for_types_is_for_a_selection_of_types() {
    let complete = [("bootstrapServers", "kafka:9092"), ("consumerGroup", "jobs")];
    let decode = |rows: Rows<'_>| {
        let place = [("eventTypeFrom", "header:kind")];
        Trigger::decode(&metadata(&[&complete[..], &place, rows].concat()))
    };
    for rows in [&[("eventType", "a")][..], &[("filter", "eventType != ''")]] {
        assert!(decode(rows).is_ok(), "{rows:?}");
    }
    let useless = decode(&[("filter", "size > 1")]).expect_err("it selects no type");
    assert!(useless.to_string().starts_with("eventTypeFrom: "), "{useless}");
    let broken = decode(&[("filter", "eventTyp != ''")]).expect_err("no variable");
    assert_eq!(broken.complaints().len(), 1, "{broken}");
}

#[test]
fn keys_of_other_scalers_and_places_are_known_by_heart() {
    let kafka = [("bootstrapServers", "kafka:9092"), ("consumerGroup", "jobs")];
    let bus = [("queueName", "orders"), ("namespace", "shop")];
    let rows: &[(&str, Rows<'_>, &str)] = &[
        ("brokerList", &kafka, "is not a parameter; give bootstrapServers"),
        ("kafkaBrokers", &kafka, "is not a parameter; give bootstrapServers"),
        ("groupId", &kafka, "is not a parameter; give consumerGroup"),
        ("group.id", &kafka, "is not a parameter; give consumerGroup"),
        ("messageCount", &kafka, "is a parameter of azure-servicebus; give lagThreshold"),
        ("connectionFromEnv", &kafka, "is a parameter of azure-servicebus; give bootstrap"),
        ("pollingInterval", &kafka, "is not a parameter; it stands in the spec"),
        ("metricType", &kafka, "is not a parameter; it stands beside metadata"),
        ("authenticationRef", &bus, "is not a parameter; it stands beside metadata, where"),
        ("queueLength", &bus, "is not a parameter; give messageCount"),
        ("lagThreshold", &bus, "is a parameter of kafka; give messageCount"),
        ("queueNames", &bus, "is not a parameter; the nearest is queueName"),
        ("nonsense", &kafka, "is not a parameter; there are bootstrapServers, consumerGroup"),
        ("nonsense", &bus, "is not a parameter; there are namespace or connectionFromEnv"),
    ];
    for (key, complete, expected) in rows {
        let told = Trigger::decode(&metadata(&[*complete, &[(key, SECRET)]].concat()));
        let told = told.expect_err(key).to_string();
        assert!(told.starts_with(&format!("{key}: {expected}")), "{key}: {told}");
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[test]
fn no_key_that_is_known_by_heart_is_a_parameter() {
    let kafka =
        [("source", "kafka"), ("bootstrapServers", "kafka:9092"), ("consumerGroup", "jobs")];
    let bus = [("source", "azure-servicebus"), ("queueName", "a"), ("namespace", "shop")];
    for (complete, table) in [(kafka, Kafka::TABLE), (bus, ServiceBus::TABLE)] {
        for (key, expected) in table.by_heart.iter().chain(PARAMETERS.by_heart) {
            let rows = [&complete[..], &[(*key, "x")]].concat();
            let told = Trigger::decode(&metadata(&rows)).expect_err(key).to_string();
            assert!(told.contains(&format!("{key}: {expected}")), "{key}: {told}");
        }
    }
}

#[test]
fn each_parameter_is_read_and_no_other_key() {
    let password =
        [("username", "me"), ("password", SECRET), ("tls", "enable"), ("key", "x"), ("cert", "x")];
    let rows: &[(&str, Rows<'_>)] = &[
        ("kafka", &[]),
        ("kafka", &[("topic", "a")]),
        ("kafka", &[("sasl", "oauthbearer")]),
        ("kafka", &[("sasl", "azure_workload"), ("tls", "enable")]),
        ("kafka", &password),
        ("azure-servicebus", &[("namespace", "shop"), ("queueName", "a")]),
        ("azure-servicebus", &[("connection", SECRET), ("topicName", "a")]),
        ("memory", &[]),
    ];
    let mut asked = BTreeSet::new();
    for (source, rows) in rows {
        let rows = [rows, &[("source", *source)][..]].concat();
        let values = metadata(&rows);
        let mut reader = Reader::new(&values);
        read(&mut reader);
        asked.extend(reader.asked().iter().copied());
    }
    let tables = Sources::tables().map(|(_, table)| table).chain([&PARAMETERS]);
    let parameters = tables.flat_map(|table| table.parameters);
    let read: BTreeSet<_> = parameters
        .filter(|parameter| parameter.use_ == Use::Read)
        .map(|parameter| parameter.key)
        .collect();
    assert_eq!(asked, read);
}

#[test]
fn what_a_key_means_depends_on_no_other() {
    let complete = [("bootstrapServers", "kafka:9092"), ("consumerGroup", "jobs")];
    for key in ["identityId", "serviceAccountName", "scopes", "awsRegion", "keytab"] {
        let rows = [&complete[..], &[("sasl", "none"), (key, "x")]].concat();
        assert!(Trigger::decode(&metadata(&rows)).is_ok(), "{key}");
    }
    let rows = [&complete[..], &[("caCert", "x")]].concat();
    let told = Trigger::decode(&metadata(&rows)).expect_err("it is KEDA's").to_string();
    assert_eq!(told, "caCert: is for KEDA alone, in a TriggerAuthentication");
}

#[test]
fn a_metric_name_is_bounded() {
    let long = "a".repeat(300);
    let base = [("bootstrapServers", "kafka:9092"), ("consumerGroup", long.as_str())];
    let trigger = Trigger::decode(&metadata(&base)).expect("a complete trigger");
    assert_eq!(trigger.scaling().metric_name, format!("kafka-{}", &long[..247]));

    for name in [long.as_str(), "a\nb"] {
        let rows = [&base[..], &[("metricName", name)]].concat();
        let told = Trigger::decode(&metadata(&rows)).expect_err("no name").to_string();
        assert!(
            told.starts_with("metricName: ")
                && told.contains("is too long or has control characters"),
            "{told}"
        );
    }
}

#[test]
fn all_complaints_come_at_once_without_a_secret() {
    let invalid = Trigger::decode(&metadata(&[
        ("source", "kafka"),
        ("bootstrapServers", "kafka"),
        ("lagThreshold", "ten"),
        ("tls", "enable"),
        ("caFromEnv", SECRET),
        ("sasl", "plaintext"),
        ("pasword", SECRET),
        ("usernameFromEnv", SECRET),
        ("allowIdleConsumersFromEnv", SECRET),
    ]))
    .expect_err("nothing fits");
    let keys: Vec<_> =
        invalid.complaints().iter().filter_map(|told| told.split(':').next()).collect();
    assert_eq!(
        keys,
        [
            "allowIdleConsumersFromEnv",
            "bootstrapServers",
            "caFromEnv",
            "consumerGroup",
            "lagThreshold",
            "password",
            "pasword",
        ]
    );
    assert!(!format!("{invalid} {invalid:?}").contains(SECRET), "{invalid}");
    assert!(
        invalid.to_string().contains("pasword: is not a parameter; the nearest is password"),
        "{invalid}"
    );
}

/// Keys whose values are names or rules, and are shown once they have been understood.
const SHOWN: &[&str] = &[
    "bootstrapServers",
    "cloud",
    "consumerGroup",
    "endpointSuffix",
    "eventType",
    "eventTypeFrom",
    "filter",
    "identityId",
    "identityTenantId",
    "metricName",
    "namespace",
    "oauthExtensions",
    "oauthTokenEndpointUri",
    "queueName",
    "scopes",
    "serviceAccountName",
    "subscriptionName",
    "topic",
    "topicName",
];

/// The keys of parameters that are never shown, out of the environment.
fn hidden() -> Vec<&'static str> {
    keys(false).into_iter().filter(|key| !SHOWN.contains(key)).collect()
}

/// The keys of all parameters, secret or not.
fn keys(is_secret: bool) -> Vec<&'static str> {
    let tables = Sources::tables().map(|(_, table)| table).chain([&PARAMETERS]);
    let parameters = tables.flat_map(|table| table.parameters);
    let of_kind = parameters.filter(|parameter| parameter.is_secret == is_secret);
    of_kind.map(|parameter| parameter.key).collect()
}

fn value() -> impl Strategy<Value = String> {
    let plausible = [
        "",
        " ",
        "true",
        "false",
        "kafka",
        "azure-servicebus",
        "a:1,b:2",
        "[::1]:9092",
        "uploads",
        "1-4,8",
        "9-1",
        "0-2147483647",
        "-1",
        "0",
        "7",
        "9223372036854775808",
        "latest",
        "earliest",
        "enable",
        "plaintext",
        "scram_sha512",
        "gssapi",
        "1.0.0",
        "records",
        "offsets",
        "keys",
        "header:kind",
        "body:a[0].b",
        "a,b.*",
        "*",
        "size > 1",
        "body.a == ",
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
    ];
    let plausible = prop::sample::select(plausible.to_vec()).prop_map(str::to_owned);
    prop_oneof![3 => plausible, 1 => any::<String>()]
}

fn key(is_secret: bool) -> impl Strategy<Value = String> {
    (prop::sample::select(keys(is_secret)), any::<bool>())
        .prop_map(|(key, env)| if env { format!("{key}FromEnv") } else { key.to_owned() })
}

fn any_metadata() -> impl Strategy<Value = HashMap<String, String>> {
    let any_key = prop_oneof![6 => key(false), 1 => key(true), 1 => any::<String>()];
    let complete = prop::sample::select(vec![
        metadata(&[]),
        metadata(&[
            ("source", "kafka"),
            ("bootstrapServers", "kafka:9092"),
            ("consumerGroup", "jobs"),
            ("topic", "uploads"),
        ]),
    ]);
    (complete, prop::collection::hash_map(any_key, value(), 0..12)).prop_map(
        |(mut complete, more)| {
            complete.extend(more);
            complete
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_metadata_is_decoded_or_complained_of(metadata in any_metadata()) {
        match Trigger::decode(&metadata) {
            Ok(trigger) => {
                let scaling = trigger.scaling();
                prop_assert!(scaling.target > 0 && !scaling.metric_name.is_empty());
            },
            Err(invalid) => {
                let told = invalid.to_string();
                prop_assert!(!told.is_empty() && told.len() <= 900, "{} bytes", told.len());
                prop_assert!(!told.chars().any(char::is_control), "{told:?}");
                let again = Trigger::decode(&metadata).expect_err("as before").to_string();
                prop_assert_eq!(told, again);
            }
        }
    }

    #[test]
    fn no_secret_is_ever_shown(
        metadata in any_metadata(),
        secrets in prop::collection::vec((key(true), "[ \\PC]{0,3}"), 0..4),
        from_env in prop::collection::vec((prop::sample::select(hidden()), "[ \\PC]{0,3}"), 0..4),
        unknown in prop::collection::vec("[a-z]{1,12}(FromEnv)?", 0..3),
    ) {
        let mut metadata = metadata;
        for key in unknown {
            if ![keys(true), keys(false)].concat().iter().any(|known| key.starts_with(known)) {
                metadata.insert(key, SECRET.to_owned());
            }
        }
        let from_env = from_env.into_iter().map(|(key, more)| (format!("{key}FromEnv"), more));
        for (key, more) in secrets.into_iter().chain(from_env) {
            metadata.insert(key, format!("{SECRET}{more}"));
        }
        let shown = match Trigger::decode(&metadata) {
            Ok(trigger) => format!("{trigger:?}"),
            Err(invalid) => format!("{invalid} {invalid:?}"),
        };
        prop_assert!(!shown.contains(SECRET), "{shown}");
    }
}
