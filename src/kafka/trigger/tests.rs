use std::num::NonZeroU64;

use test_basics::Rows;

use super::*;
use crate::kafka::Kafka;
use crate::metadata::Invalid;
use crate::source;

/// What `rows` decode to beside a complete trigger; a row of the same key replaces.
fn decode(rows: Rows<'_>) -> Result<KafkaTrigger, Invalid> {
    let complete =
        [("bootstrapServers", "kafka:9092"), ("consumerGroup", "jobs"), ("topic", "uploads")];
    let complete = [&complete[..], &[("countLimit", "100")]].concat();
    source::decode::<Kafka>(complete.iter().chain(rows), Selection::default())
}

fn decoded(rows: Rows<'_>) -> KafkaTrigger {
    decode(rows).unwrap_or_else(|invalid| panic!("{rows:?}: {invalid}"))
}

#[test]
fn defaults_are_those_of_keda() {
    let expected = KafkaTrigger {
        cluster: ClusterConfig::plain("kafka:9092").expect("a server"),
        group: Group::from("jobs"),
        topics: vec![Topic::from("uploads")],
        partitions: None,
        offset_reset: OffsetReset::Latest,
        scale_to_zero_on_invalid_offset: false,
        scaling: Scaling {
            metric_name: "kafka-uploads".to_owned(),
            target: 10,
            activation: 0,
            count_limit: NonZeroU64::new(100),
        },
        spread: Spread::Partitions,
        exclude_persistent_lag: false,
        count_from: CountFrom::Records,
        count_by: CountBy::Messages,
        selection: Selection::default(),
    };
    assert_eq!(decoded(&[]), expected);
}

#[test]
fn each_row_sets_what_it_says() {
    type Check = fn(&KafkaTrigger) -> bool;
    let rows: &[(&str, Rows<'_>, Check)] = &[
        ("a group keeps its blanks", &[("consumerGroup", " my jobs ")], |t| {
            t.group.as_str() == " my jobs "
        }),
        ("topics by comma", &[("topic", " a, b,,a ")], |t| {
            t.topics == [Topic::from("a"), Topic::from("b")]
        }),
        ("a blank topic is none", &[("topic", " ")], |t| t.topics.is_empty()),
        ("partitions", &[("partitionLimitation", "8, 1-4,10-12")], |t| {
            t.partitions.as_ref().is_some_and(|list| list.to_string() == "1-4,8,10-12")
        }),
        (
            "partitions without a topic mean nothing",
            &[("topic", ""), ("partitionLimitation", "x")],
            |t| t.partitions.is_none(),
        ),
        ("threshold", &[("lagThreshold", " 3 ")], |t| t.scaling.target == 3),
        ("the highest threshold", &[("lagThreshold", "9223372036854775807")], |t| {
            t.scaling.target == i64::MAX as u64
        }),
        ("a number with a sign", &[("lagThreshold", "+3")], |t| t.scaling.target == 3),
        ("latest", &[("offsetResetPolicy", "latest")], |t| t.offset_reset == OffsetReset::Latest),
        ("earliest", &[("offsetResetPolicy", "earliest")], |t| {
            t.offset_reset == OffsetReset::Earliest
        }),
        ("zero on an invalid offset", &[("scaleToZeroOnInvalidOffset", "T")], |t| {
            t.scale_to_zero_on_invalid_offset
        }),
        ("persistent lag", &[("excludePersistentLag", "1")], |t| t.exclude_persistent_lag),
        ("idle consumers", &[("allowIdleConsumers", "true")], |t| t.spread == Spread::Unbounded),
        ("no idle consumers", &[("allowIdleConsumers", "F")], |t| t.spread == Spread::Partitions),
        ("partitions with lag", &[("limitToPartitionsWithLag", "TRUE")], |t| {
            t.spread == Spread::PartitionsWithLag
        }),
        (
            "partitions with lag, the others refused",
            &[
                ("limitToPartitionsWithLag", "true"),
                ("allowIdleConsumers", "false"),
                ("ensureEvenDistributionOfPartitions", "false"),
            ],
            |t| t.spread == Spread::PartitionsWithLag,
        ),
        ("even", &[("ensureEvenDistributionOfPartitions", "true")], |t| t.spread == Spread::Even),
        (
            "even with idle consumers is even",
            &[("ensureEvenDistributionOfPartitions", "true"), ("allowIdleConsumers", "true")],
            |t| t.spread == Spread::Even,
        ),
        ("offsets", &[("countFrom", "offsets"), ("countBy", "messages")], |t| {
            t.count_from == CountFrom::Offsets
        }),
        ("records", &[("countFrom", "records")], |t| t.count_from == CountFrom::Records),
        ("keys", &[("countBy", "keys")], |t| t.count_by == CountBy::Keys),
        ("partitions that have one", &[("countBy", "partitions")], |t| {
            t.count_by == CountBy::Partitions
        }),
        ("version", &[("version", "2.8.0")], |_| true),
        ("version of old", &[("version", "0.11.0.2")], |_| true),
        ("a twin", &[("topic", ""), ("topicFromEnv", "mails")], |t| {
            t.topics == [Topic::from("mails")]
        }),
        (
            "what is for other mechanisms",
            &[("awsRegion", "x"), ("scopes", "y"), ("realm", "z")],
            |_| true,
        ),
    ];
    for (name, row, check) in rows {
        let trigger = decoded(row);
        assert!(check(&trigger), "{name}: {trigger:?}");
    }
}

#[test]
fn each_error_names_its_key_what_it_held_and_what_fits() {
    let long = "g".repeat(GROUP_BYTES + 1);
    let many: Vec<_> = (0..=MAX_TOPICS).map(|n| n.to_string()).collect();
    let rows: &[(&str, Rows<'_>, &str)] = &[
        ("no servers", &[("bootstrapServers", "")], "bootstrapServers: is missing; give host:port"),
        (
            "no group",
            &[("consumerGroup", " ")],
            "consumerGroup: is missing; give the consumer group",
        ),
        ("a group too long", &[("consumerGroup", &long)], "is too long; give at most 32767 bytes"),
        (
            "a topic Kafka has not",
            &[("topic", "up loads")],
            "topic: \"up loads\" is no name for a topic; give letters",
        ),
        ("no topic among commas", &[("topic", ",,")], "topic: \",,\" names no topic; give topics"),
        ("too many topics", &[("topic", &many.join(","))], "names 1001 topics; give at most 1000"),
        (
            "a threshold in words",
            &[("lagThreshold", "ten")],
            "lagThreshold: \"ten\" is not a whole number; give 1 or more",
        ),
        (
            "a threshold of 0",
            &[("lagThreshold", "0")],
            "lagThreshold: \"0\" is too small; give 1 or more",
        ),
        (
            "a threshold below 0",
            &[("lagThreshold", "-4")],
            "lagThreshold: \"-4\" is too small; give 1 or more",
        ),
        (
            "a threshold with a fraction",
            &[("lagThreshold", "1.5")],
            "lagThreshold: \"1.5\" is not a whole number",
        ),
        (
            "a threshold beyond KEDA's",
            &[("lagThreshold", "9223372036854775808")],
            "is too large; give at most 9223372036854775807",
        ),
        (
            "an activation below 0",
            &[("activationLagThreshold", "-1")],
            "activationLagThreshold: \"-1\" is too small; give 0 or more",
        ),
        (
            "a limit that never tells whether to be active",
            &[("activationLagThreshold", "100")],
            "countLimit: \"100\" is not above activationLagThreshold; give more than 100",
        ),
        (
            "an unknown reset",
            &[("offsetResetPolicy", "Latest")],
            "offsetResetPolicy: \"Latest\" is not known; give latest or earliest",
        ),
        (
            "a boolean of YAML",
            &[("allowIdleConsumers", "yes")],
            "allowIdleConsumers: \"yes\" is not a boolean; give true or",
        ),
        (
            "a boolean in mixed case",
            &[("excludePersistentLag", "tRue")],
            "excludePersistentLag: \"tRue\" is not a",
        ),
        (
            "with lag and idle",
            &[("limitToPartitionsWithLag", "true"), ("allowIdleConsumers", "true")],
            "limitToPartitionsWithLag: \"true\" does not go with allowIdleConsumers",
        ),
        (
            "with lag and even",
            &[("limitToPartitionsWithLag", "true"), ("ensureEvenDistributionOfPartitions", "true")],
            "limitToPartitionsWithLag: \"true\" does not go with ensureEvenDistributionOfPartitions",
        ),
        (
            "with lag but without a topic",
            &[("limitToPartitionsWithLag", "true"), ("topic", "")],
            "limitToPartitionsWithLag: \"true\" needs topic; give one",
        ),
        (
            "even but without a topic",
            &[("ensureEvenDistributionOfPartitions", "1"), ("topic", "")],
            "ensureEvenDistributionOfPartitions: \"1\" needs topic; give one",
        ),
        (
            "a version in words",
            &[("version", "latest")],
            "version: \"latest\" is not a version of Kafka; give one such as 2.8.0",
        ),
        ("a version too short", &[("version", "2.8")], "version: \"2.8\" is not a version"),
        (
            "a version of old too short",
            &[("version", "0.11.0")],
            "version: \"0.11.0\" is not a version",
        ),
        ("a version with a sign", &[("version", "+2.8.0")], "version: \"+2.8.0\" is not a version"),
        (
            "partitions in words",
            &[("partitionLimitation", "a-b")],
            "partitionLimitation: \"a-b\" is no partition and no range; give",
        ),
        (
            "a reversed range",
            &[("partitionLimitation", "4-1")],
            "partitionLimitation: 4-1 is a reversed range; give 1-4",
        ),
        (
            "sessions",
            &[("countBy", "sessions")],
            "countBy: \"sessions\" is not known; give messages or keys or partitions",
        ),
        (
            "a source of counts",
            &[("countFrom", "peek")],
            "countFrom: \"peek\" is not known; give records or offsets",
        ),
        (
            "offsets by key",
            &[("countFrom", "offsets"), ("countBy", "keys")],
            "countFrom: \"offsets\" goes with countBy messages alone",
        ),
        (
            "offsets of a type",
            &[("countFrom", "offsets"), ("eventType", "a")],
            "countFrom: \"offsets\" does not go with eventType, which needs messages read; give",
        ),
        (
            "offsets with a filter",
            &[("countFrom", "offsets"), ("filterFromEnv", "true")],
            "countFrom: \"offsets\" does not go with filter, which needs messages read; give",
        ),
        (
            "twins",
            &[("topicFromEnv", "mails")],
            "topic: \"uploads\" is given a second time as topicFromEnv; give one",
        ),
        (
            "an unknown key",
            &[("lagThreshhold", "5")],
            "lagThreshhold: is not a parameter; the nearest is lagThreshold",
        ),
        (
            "a secret that does not fit",
            &[("lagThresholdFromEnv", "hunter2")],
            "lagThresholdFromEnv: its value is not a whole",
        ),
    ];
    for (name, row, expected) in rows {
        let message = decode(row).expect_err(name).to_string();
        assert!(message.contains(expected), "{name}: {message}");
        assert!(!message.contains("hunter2"), "{name}: {message}");
    }
}

#[test]
fn without_a_topic_the_metric_is_named_by_the_group() {
    let name = |rows: Rows<'_>| decoded(rows).scaling.metric_name;
    assert_eq!(name(&[("topic", "")]), "kafka-jobs-topics");
    assert_eq!(name(&[("topic", "a, b")]), "kafka-a,b");
}

#[test]
fn a_list_of_partitions_knows_its_own() {
    let rows = [
        ("one", "3", "3"),
        ("sorted", "8,1-4,10-12", "1-4,8,10-12"),
        ("joined", "1-4,5,3-6", "1-6"),
        ("within another", "1-9,2-3", "1-9"),
        ("all there are, in no space", "0-2147483647", "0-2147483647"),
        ("the last", "2147483647,2147483646", "2147483646-2147483647"),
    ];
    for (name, text, expected) in rows {
        assert_eq!(PartitionList::parse(text).expect(name).to_string(), expected, "{name}");
    }
    let list = PartitionList::parse("1-4,8,10-12").expect("a list");
    let contained: Vec<_> = (0..14).filter(|partition| list.contains(*partition)).collect();
    assert_eq!(contained, [1, 2, 3, 4, 8, 10, 11, 12]);

    for text in ["", ",", "1,,2", "-", "1-", "-1", "1-2-3", "1..2", "2147483648", "1 2"] {
        assert!(
            matches!(PartitionList::parse(text), Err(PartitionListError::Malformed(_))),
            "{text}"
        );
    }
}
