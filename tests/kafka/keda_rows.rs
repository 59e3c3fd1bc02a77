//! The rows of KEDA's own Kafka scaler, with records as with offsets: the numbers are worked out by
//! hand in each test, and once more by KEDA's arithmetic.
//!
//! # References
//! - KEDA 2.20.2, `pkg/scalers/kafka_scaler.go`: `getLagForPartition`, `getTotalLag`,
//!   `GetMetricsAndActivity`

use sift_harness::{Broker, Message, Poll, Sift, Trigger};
use tonic::Code;

/// What a row of a table adds to a trigger.
type Keys<'a> = &'a [(&'a str, &'a str)];

/// What waits for a group in each partition of a topic, and what KEDA makes of it.
#[derive(Clone, Copy)]
struct Keda<'a> {
    lags: &'a [i64],
    threshold: i64,
    allow_idle_consumers: bool,
    limit_to_partitions_with_lag: bool,
    ensure_even_distribution: bool,
}

impl<'a> Keda<'a> {
    fn of(lags: &'a [i64], threshold: i64) -> Self {
        Self {
            lags,
            threshold,
            allow_idle_consumers: false,
            limit_to_partitions_with_lag: false,
            ensure_even_distribution: false,
        }
    }

    /// The metric's value: the steps of `getTotalLag`, in its order.
    fn value(self) -> i64 {
        let Self { lags, threshold, .. } = self;
        let partitions = i64::try_from(lags.len()).expect("a number of partitions");
        let mut lag: i64 = lags.iter().sum();
        let mut bound = partitions;
        if self.ensure_even_distribution {
            let mut divisors = (1..=partitions).filter(|divisor| partitions % divisor == 0);
            let next = divisors.find(|divisor| divisor * threshold >= lag).unwrap_or(partitions);
            lag = next * threshold;
        }
        if self.limit_to_partitions_with_lag {
            let with_lag = lags.iter().filter(|lag| **lag > 0).count();
            bound = i64::try_from(with_lag).expect("a number of partitions");
        }
        let bounded = !self.allow_idle_consumers
            || self.limit_to_partitions_with_lag
            || self.ensure_even_distribution;
        if bounded && lag / threshold > bound { bound * threshold } else { lag }
    }
}

/// A topic with so many records in each partition, all of which wait for a group of the same name.
async fn waiting(topic: &str, lags: &[i64]) -> &'static Broker {
    let broker = Broker::shared();
    let partitions = (0..).take(lags.len());
    broker.topic(topic).partitions(i32::try_from(lags.len()).unwrap()).create().await;
    let messages = partitions.clone().zip(lags).flat_map(|(partition, lag)| {
        (0..*lag).map(move |_| Message::of_type("counted").partition(partition))
    });
    broker.produce_all(topic, messages).await;
    broker.commit(topic, topic, partitions.map(|partition| (partition, 0))).await;
    broker
}

/// A trigger with the least that KEDA asks for: all rows at their defaults.
async fn plain(broker: &Broker, topic: &str) -> Trigger {
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), topic, topic);
    trigger.without("lagThreshold").without("allowIdleConsumers").without("offsetResetPolicy")
}

/// The same trigger in every way of counting that must come to the same where there are only
/// records.
fn every_way(trigger: &Trigger) -> [(&'static str, Trigger); 3] {
    [
        ("records", trigger.clone()),
        ("offsets", trigger.clone().with("countFrom", "offsets")),
        ("records of a type", trigger.clone().with("eventType", "counted")),
    ]
}

async fn polls(trigger: &Trigger, value: i64, active: bool, name: &str) {
    assert_eq!(trigger.poll().await.expect(name), Poll { value, active }, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_idle_consumers_the_lag_is_bound_to_what_the_partitions_share() {
    // Three partitions, 1 + 20 + 3 = 24 waiting.
    let lags = [1, 20, 3];
    let trigger = plain(waiting("idle", &lags).await, "idle").await;
    let rows = [
        // 24 ÷ 5 = 4 replicas would be wanted, 3 can work: 3 × 5.
        ("bound", 5, "false", 15),
        // 24 ÷ 6 = 4 is above 3: 3 × 6.
        ("bound at a threshold without remainder", 6, "false", 18),
        // 24 ÷ 7 = 3 is not above 3, so the remainder stays.
        ("the quotient decides, not the lag", 7, "false", 24),
        ("unbound", 5, "true", 24),
        ("unbound with the smallest threshold", 1, "true", 24),
        // 24 ÷ 1 = 24 is above 3: 3 × 1.
        ("bound with the smallest threshold", 1, "false", 3),
        ("a threshold above the lag", 100, "false", 24),
    ];
    for (name, threshold, idle, expected) in rows {
        let keda = Keda { allow_idle_consumers: idle == "true", ..Keda::of(&lags, threshold) };
        assert_eq!(keda.value(), expected, "{name} by KEDA's arithmetic");
        let trigger = trigger.clone().with("lagThreshold", &threshold.to_string());
        for (way, trigger) in every_way(&trigger.with("allowIdleConsumers", idle)) {
            polls(&trigger, expected, true, &format!("{name}, {way}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_lag_alone_the_bound_is_the_partitions_that_have_some() {
    // Four partitions, two of them with lag: 12 + 8 = 20 waiting.
    let lags = [0, 12, 0, 8];
    let trigger = plain(waiting("with-lag", &lags).await, "with-lag").await;
    let trigger = trigger.with("limitToPartitionsWithLag", "true");
    let rows = [
        // 20 ÷ 4 = 5 is above 2: 2 × 4.
        ("bound", 4, 8),
        // 20 ÷ 6 = 3 is above 2: 2 × 6.
        ("bound again", 6, 12),
        // 20 ÷ 7 = 2 is not.
        ("the quotient decides", 7, 20),
    ];
    for (name, threshold, expected) in rows {
        let keda = Keda { limit_to_partitions_with_lag: true, ..Keda::of(&lags, threshold) };
        assert_eq!(keda.value(), expected, "{name} by KEDA's arithmetic");
        for (way, trigger) in
            every_way(&trigger.clone().with("lagThreshold", &threshold.to_string()))
        {
            polls(&trigger, expected, true, &format!("{name}, {way}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_selection_the_partitions_with_lag_are_those_with_a_match() {
    let broker = waiting("matches", &[5, 5, 0]).await;
    broker.produce_all("matches", (0..9).map(|_| Message::of_type("rare").partition(2))).await;
    let trigger = plain(broker, "matches").await.with("lagThreshold", "2");
    let trigger = trigger.with("limitToPartitionsWithLag", "true");
    // All 19: 19 ÷ 2 = 9 is above 3 partitions: 3 × 2. The 9 rare ones lie in one: 1 × 2.
    polls(&trigger, 6, true, "all").await;
    polls(&trigger.clone().with("eventType", "rare"), 2, true, "rare").await;
    polls(&trigger.with("eventType", "absent"), 0, false, "absent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_even_distribution_rounds_up_to_a_divisor_of_the_partitions() {
    // Six partitions: replicas may be 1, 2, 3 or 6. 2 + 3 + 0 + 1 + 4 + 3 = 13 waiting.
    let lags = [2, 3, 0, 1, 4, 3];
    let trigger = plain(waiting("even", &lags).await, "even").await;
    let trigger = trigger.with("ensureEvenDistributionOfPartitions", "true");
    let rows = [
        // 1 × 13 covers 13.
        ("one replica", 13, 13),
        // 1 × 7 does not, 2 × 7 does.
        ("two", 7, 14),
        // 2 × 5 does not, 3 × 5 does.
        ("three", 5, 15),
        // 4 would do, but does not divide 6: 6 × 4.
        ("six where four would do", 4, 24),
        // 6 × 3 covers it.
        ("six", 3, 18),
        // Not even 6 × 2 covers it, so it is the number of partitions.
        ("six and no more", 2, 12),
    ];
    for (name, threshold, expected) in rows {
        let keda = Keda { ensure_even_distribution: true, ..Keda::of(&lags, threshold) };
        assert_eq!(keda.value(), expected, "{name} by KEDA's arithmetic");
        for (way, trigger) in
            every_way(&trigger.clone().with("lagThreshold", &threshold.to_string()))
        {
            polls(&trigger, expected, true, &format!("{name}, {way}")).await;
            let idle = trigger.with("allowIdleConsumers", "true");
            polls(&idle, expected, true, &format!("{name}, {way}, idle consumers")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_even_distribution_of_nothing_is_not_active() {
    let lags = [0, 0];
    let trigger = plain(waiting("even-nothing", &lags).await, "even-nothing").await;
    // KEDA rounds 0 up to one replica's worth as well; what keeps it from starting one is that
    // nothing waits.
    assert_eq!(Keda { ensure_even_distribution: true, ..Keda::of(&lags, 4) }.value(), 4);
    let even = trigger.with("lagThreshold", "4").with("ensureEvenDistributionOfPartitions", "true");
    for (way, trigger) in every_way(&even) {
        polls(&trigger, 4, false, way).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_that_stands_still_leaves_the_metric_and_stays_active() {
    let broker = waiting("persistent", &[6, 4]).await;
    let trigger = plain(broker, "persistent").await.with("allowIdleConsumers", "true");
    for (way, trigger) in every_way(&trigger.with("excludePersistentLag", "true")) {
        let told =
            async |value, step: &str| polls(&trigger, value, true, &format!("{way}: {step}")).await;
        broker.commit("persistent", "persistent", [(0, 0), (1, 0)]).await;
        told(10, "nothing to compare with yet").await;
        told(0, "neither partition has moved").await;
        told(0, "nor since").await;
        broker.commit("persistent", "persistent", [(0, 2)]).await;
        told(4, "partition 0 has moved from 0 to 2 of 6").await;
        told(0, "and stands still again").await;
        broker.commit("persistent", "persistent", [(0, 5), (1, 3)]).await;
        told(2, "both have moved: 1 and 1 are left").await;
        broker.commit("persistent", "persistent", [(0, 4)]).await;
        told(2, "back is a move too: 2 in partition 0, none of the 1 in partition 1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_whether_it_is_active_is_no_poll_that_lag_could_stand_still_since() {
    let broker = waiting("asked", &[3]).await;
    let trigger = plain(broker, "asked").await.with("excludePersistentLag", "true");
    assert!(trigger.active().await.unwrap());
    assert!(trigger.active().await.unwrap());
    polls(&trigger, 3, true, "the first poll").await;
    polls(&trigger, 0, true, "the second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_committed_offset_counts_as_its_policy_says() {
    // Three partitions: the group has read 1 of 4 in the first, and nothing ever in the others.
    let broker = waiting("invalid", &[4, 5, 0]).await;
    broker.commit("invalid-group", "invalid", [(0, 1)]).await;
    let trigger = plain(broker, "invalid").await.with("consumerGroup", "invalid-group");
    let trigger = trigger.with("allowIdleConsumers", "true");
    let (latest, earliest) = (("offsetResetPolicy", "latest"), ("offsetResetPolicy", "earliest"));
    let zero = ("scaleToZeroOnInvalidOffset", "true");
    let rows: &[(&str, Keys<'_>, i64)] = &[
        // 3, and 1 each for partitions 1 and 2: a consumer that comes will commit.
        ("latest is the default", &[], 5),
        ("latest", &[latest], 5),
        ("latest to zero", &[latest, zero], 3),
        // 3, and all 5 and 0 that are there.
        ("earliest", &[earliest], 8),
        ("earliest to zero", &[earliest, zero], 3),
    ];
    for (name, keys, expected) in rows {
        let trigger =
            keys.iter().fold(trigger.clone(), |trigger, (key, value)| trigger.with(key, value));
        polls(&trigger, *expected, true, name).await;
        polls(&trigger.with("countFrom", "offsets"), *expected, true, name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_never_committed_wakes_nobody_with_scale_to_zero() {
    let broker = waiting("nobody", &[4, 5]).await;
    let trigger = plain(broker, "nobody").await.with("consumerGroup", "nobody-yet");
    polls(&trigger, 2, true, "a made-up 1 a partition").await;
    for policy in ["latest", "earliest"] {
        let trigger = trigger.clone().with("offsetResetPolicy", policy);
        let trigger = trigger.with("scaleToZeroOnInvalidOffset", "true");
        for (way, trigger) in every_way(&trigger) {
            polls(&trigger, 0, false, &format!("{policy}, {way}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_limitation_leaves_only_those_and_bounds_by_them() {
    // Partition n has n + 1 waiting.
    let broker = waiting("limited", &[1, 2, 3, 4, 5, 6]).await;
    let trigger = plain(broker, "limited").await.with("lagThreshold", "1");
    let unbound = trigger.clone().with("allowIdleConsumers", "true");
    let rows = [
        ("one", "3", 4, 1),
        ("a list", "0,5", 7, 2),
        ("a range", "1-3", 9, 3),
        ("lists and ranges", "0, 2-3 ,5", 14, 4),
        ("overlapping", "1-3,2-4,3", 14, 4),
        ("beyond the last", "4-2147483647", 11, 2),
        ("blank", " ", 21, 6),
    ];
    for (name, partitions, waiting, bound) in rows {
        for (way, trigger) in every_way(&unbound.clone().with("partitionLimitation", partitions)) {
            polls(&trigger, waiting, true, &format!("{name}, {way}")).await;
        }
        let trigger = trigger.clone().with("partitionLimitation", partitions);
        polls(&trigger, bound, true, &format!("{name}, bound to as many as there are")).await;
    }

    let nowhere = trigger.with("partitionLimitation", "6,8-9");
    let (code, told) = nowhere.error().await;
    assert_eq!(code, Code::FailedPrecondition, "{told}");
    assert!(told.contains("topic limited") && told.contains("partitionLimitation"), "{told}");
    assert!(told.contains("6,8-9"), "{told}");
    assert_eq!(nowhere.active().await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_topic_every_topic_counts_that_the_group_has_committed_for() {
    // 3 of 4 and 5 of 5 waiting; the third topic is not the group's.
    let broker = waiting("all-first", &[2, 2]).await;
    waiting("all-second", &[5]).await;
    waiting("all-other", &[50]).await;
    broker.commit("all", "all-first", [(0, 1), (1, 0)]).await;
    broker.commit("all", "all-second", [(0, 0)]).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "all", "").with("offsetResetPolicy", "latest");
    for (way, trigger) in every_way(&trigger) {
        polls(&trigger, 8, true, way).await;
        // KEDA takes no notice of the limitation without a topic.
        let limited = trigger.clone().with("partitionLimitation", "0");
        polls(&limited, 8, true, &format!("{way}, limited")).await;
        // Three partitions of two topics: 8 ÷ 2 = 4 is above 3, so 3 × 2.
        let bound = trigger.with("allowIdleConsumers", "false").with("lagThreshold", "2");
        polls(&bound, 6, true, &format!("{way}, bound")).await;
    }

    let stranger = trigger.with("consumerGroup", "all-nobody");
    let (code, told) = stranger.error().await;
    assert_eq!(code, Code::FailedPrecondition, "{told}");
    assert!(told.contains("group all-nobody") && told.contains("name one with topic"), "{told}");
    assert_eq!(stranger.active().await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_topics_counts_as_one() {
    let broker = waiting("list-a", &[3]).await;
    waiting("list-b", &[4, 1]).await;
    broker.commit("list", "list-a", [(0, 1)]).await;
    broker.commit("list", "list-b", [(0, 0), (1, 1)]).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "list", " list-a,list-b ");
    for (way, trigger) in every_way(&trigger) {
        polls(&trigger, 6, true, way).await;
    }
    let (code, told) = trigger.with("topic", "list-a,list-c").error().await;
    assert_eq!(code, Code::NotFound, "{told}");
    assert!(told.contains("topic list-c does not exist"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_active_above_its_activation_threshold_and_not_at_it() {
    let broker = waiting("activation", &[4, 3]).await;
    let trigger = plain(broker, "activation").await.with("lagThreshold", "1");
    for (activation, active) in [("0", true), ("6", true), ("7", false), ("8", false)] {
        // The metric is bound to 2, one for each partition; what decides is that 7 wait.
        let trigger = trigger.clone().with("activationLagThreshold", activation);
        for (way, trigger) in every_way(&trigger) {
            polls(&trigger, 2, active, &format!("above {activation}, {way}")).await;
            let unpolled = trigger.named("asked-alone").active().await.unwrap();
            assert_eq!(unpolled, active, "above {activation}, {way}, asked alone");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metric_has_the_name_and_target_that_keda_would_give_it() {
    let broker = waiting("Named_by.keda", &[1]).await;
    let sift = Sift::start().await;
    let trigger = sift.trigger(broker.bootstrap(), "my.group:1", "Named_by.keda");
    let default = trigger.clone().without("lagThreshold");
    let rows = [
        ("a topic", trigger.clone(), "kafka-Named_by-keda", 1),
        ("the default threshold", default.clone(), "kafka-Named_by-keda", 10),
        ("no topic", trigger.clone().with("topic", ""), "kafka-my-group-1-topics", 1),
        ("two topics", trigger.clone().with("topic", "a.b,c"), "kafka-a-b,c", 1),
        ("its own", trigger.clone().with("metricName", "up/loads (all)"), "up-loads -all-", 1),
        ("a target", trigger.clone().with("lagThreshold", "25"), "kafka-Named_by-keda", 25),
    ];
    for (name, trigger, expected, target) in rows {
        let spec = trigger.spec().await;
        assert_eq!(spec.metric_name, expected, "{name}");
        assert_eq!((spec.target_size, spec.target_size_float), (target, target as f64), "{name}");
    }
    assert_eq!(default.metric().await.unwrap().metric_name, "kafka-Named_by-keda");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_count_what_is_no_message_and_records_do_not() {
    let broker = waiting("markers", &[2]).await;
    let transaction = broker.transaction("markers").await;
    transaction.produce("markers", Message::of_type("counted")).await;
    transaction.commit().await;
    let trigger = plain(broker, "markers").await.with("allowIdleConsumers", "true");
    // Offsets 0 to 2 are records, 3 is the marker of the transaction.
    polls(&trigger, 3, true, "records").await;
    polls(&trigger.clone().with("countFrom", "offsets"), 4, true, "offsets").await;

    broker.commit("markers", "markers", [(0, 3)]).await;
    polls(&trigger, 0, false, "every record read").await;
    polls(&trigger.clone().with("countFrom", "offsets"), 1, true, "the marker not").await;
}
