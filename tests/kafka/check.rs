//! `keda-sift check --live`: what triggers count now, and how many Jobs KEDA would start.

use std::process::{Output, Stdio};

use sift_harness::program::keda_sift;
use sift_harness::{Broker, Message};
use tokio::task::spawn_blocking;

async fn check(arguments: &[&str], environment: &[(&str, &str)], manifest: String) -> Output {
    let mut command = keda_sift();
    command.args(["check", "-", "--live"]).args(arguments);
    command.envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().expect("the program has been built");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut stdin, manifest.as_bytes()).expect("it reads");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    };
    spawn_blocking(run).await.expect("it ends")
}

fn manifest(broker: &Broker, topic: &str, event_type: &str) -> String {
    let bootstrap = broker.bootstrap();
    format!(
        "apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: {{ name: thumbnails }}
spec:
  rollout: {{ strategy: gradual }}
  jobTargetRef:
    template:
      spec:
        restartPolicy: Never
        containers: [{{ name: worker, env: [{{ name: TOPIC_OF_CHECK, value: {topic} }}] }}]
  maxReplicaCount: 20
  triggers:
    - type: external
      metadata:
        scalerAddress: keda-sift.keda-sift:9090
        bootstrapServersFromEnv: BROKERS_OF_CHECK
        consumerGroup: check
        topicFromEnv: TOPIC_OF_CHECK
        offsetResetPolicy: earliest
        allowIdleConsumers: 'true'
        lagThreshold: '2'
        eventType: {event_type}
# {bootstrap}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_and_the_jobs_that_follow_from_it_are_told() {
    const TOPIC: &str = "check-live";
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let messages = (0..9).map(|n| Message::of_type(if n < 7 { "paid" } else { "made" }));
    broker.produce_all(TOPIC, messages).await;
    let environment = [("BROKERS_OF_CHECK", broker.bootstrap())];
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).expect("UTF-8");

    let paid = check(&["--running", "1"], &environment, manifest(broker, TOPIC, "paid")).await;
    let told = text(&paid);
    assert_eq!(paid.status.code(), Some(0), "{told}");
    assert!(told.contains("√ count     7\n"), "{told}");
    assert!(
        told.contains("√ jobs      1 running, 0 pending, at most 20: 3 would start\n"),
        "{told}"
    );

    let none = check(&[], &environment, manifest(broker, TOPIC, "gone")).await;
    let told = text(&none);
    assert_eq!(none.status.code(), Some(0), "{told}");
    assert!(
        told.contains(r#"! count     0; among the messages looked at last: 7 "paid", 2 "made""#),
        "{told}"
    );

    let unset = check(&[], &[], manifest(broker, TOPIC, "paid")).await;
    let told = text(&unset);
    assert_eq!(unset.status.code(), Some(1), "{told}");
    assert!(
        told.contains(
            "× bootstrapServersFromEnv  the first container has no variable BROKERS_OF_CHECK"
        ),
        "{told}"
    );
    assert!(!told.contains("  count  "), "{told}");

    let nowhere = manifest(broker, TOPIC, "paid").replace("kind: ScaledJob", "kind: ScaledObject");
    let unknown = check(&["-o", "json"], &[], nowhere).await;
    assert!(text(&unknown).contains("the variable BROKERS_OF_CHECK is not set here"));
}
