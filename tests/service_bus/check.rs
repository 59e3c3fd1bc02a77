//! `keda-sift check --live`: what a queue counts now, and how many Jobs KEDA would start.

use std::process::Stdio;

use azure_stand_ins::{Message, ServiceBus};
use sift_harness::program::keda_sift;
use tokio::task::spawn_blocking;

const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: { name: invoices, namespace: shop }
spec:
  maxReplicaCount: 4
  rollout: { strategy: gradual }
  jobTargetRef:
    template:
      spec:
        restartPolicy: Never
        containers:
          - name: worker
            env: [{ name: BUS_OF_CHECK, valueFrom: { secretKeyRef: { name: bus, key: it } } }]
  triggers:
    - type: external
      metadata:
        scalerAddress: keda-sift.keda-sift:9090
        connectionFromEnv: BUS_OF_CHECK
        queueName: orders
        messageCount: '1'
        eventType: paid
";

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_counted_and_its_secret_is_not_shown() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 9, |n| Message::new("{}").subject(if n < 3 { "paid" } else { "made" }));
    let connection = bus.connection_string();
    let run = async |manifest: String, is_set: bool| {
        let mut command = keda_sift();
        command.args(["check", "-", "--live"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        if is_set {
            command.env("BUS_OF_CHECK", &connection);
        }
        let run = move || {
            let mut child = command.spawn().expect("the program has been built");
            let mut stdin = child.stdin.take().expect("it is piped");
            std::io::Write::write_all(&mut stdin, manifest.as_bytes()).expect("it reads");
            drop(stdin);
            child.wait_with_output().expect("it ends")
        };
        let output = spawn_blocking(run).await.expect("it ends");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (code, told) = run(MANIFEST.to_owned(), true).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("√ count     3\n"), "{told}");
    assert!(told.contains("0 running, 0 pending, at most 4: 3 would start"), "{told}");
    assert!(!told.contains(&connection), "{told}");

    let (code, told) = run(MANIFEST.replace("eventType: paid", "eventType: gone"), true).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains(r#"! count     0; among the messages looked at last: 6 "made", 3 "paid""#),
        "{told}"
    );

    // A Secret that is in none of the files is not known, and nothing is asked without it.
    let (code, told) = run(MANIFEST.to_owned(), false).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("? connectionFromEnv  the variable BUS_OF_CHECK is not set"), "{told}");
    assert!(!told.contains("would start") && !told.contains(" count   "), "{told}");
}
