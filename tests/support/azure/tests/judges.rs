//! Microsoft's own SDKs, unmodified, judge the Service Bus stand-in.

use azure_stand_ins::{Message, ServiceBus, judges};
use rcgen::{CertificateParams, KeyPair};
use tempfile::NamedTempFile;

/// A namespace that speaks TLS too, and the file with its certificate.
async fn bus() -> (ServiceBus, NamedTempFile) {
    let key = KeyPair::generate().expect("a key can be made");
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate =
        CertificateParams::new(names).and_then(|parameters| parameters.self_signed(&key));
    let certificate = certificate.expect("a certificate can be made").pem();
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, &certificate).expect("a temporary file can be written");
    let bus = ServiceBus::builder().tls(&certificate, &key.serialize_pem()).start().await;
    judges::prepare(&bus);
    (bus, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_for_python_finds_nothing_wrong() {
    let (bus, certificate) = bus().await;
    print!("{}", judges::python("service_bus.py").certificate(certificate.path()).run(&bus).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_for_javascript_finds_nothing_wrong() {
    let (bus, certificate) = bus().await;
    print!(
        "{}",
        judges::javascript("service_bus.js").certificate(certificate.path()).run(&bus).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_for_go_finds_nothing_wrong() {
    let Some(judge) = judges::go("judge") else { return };
    let (bus, certificate) = bus().await;
    print!("{}", judge.certificate(certificate.path()).run(&bus).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_for_java_finds_nothing_wrong() {
    let (bus, certificate) = bus().await;
    print!("{}", judges::java("judge").certificate(certificate.path()).run(&bus).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_send_settle_and_peek() {
    let (bus, _) = bus().await;
    let messages = r#"[{"body": "a", "subject": "s", "application_properties": {"type": "x"}}, {"body": "b"}, {"body": "c"},
        {"body": "d", "due_in": 3600}]"#;
    judges::python("send.py").arg("orders").input(messages).run(&bus).await;
    let settled =
        judges::python("settle.py").args(["orders", "complete", "dead-letter"]).run(&bus).await;
    assert_eq!(settled.trim(), r#"["a", "b"]"#);
    let depth = bus.depth("orders");
    assert_eq!((depth.active, depth.dead, depth.scheduled), (1, 1, 1));

    bus.fill("queue-000", 1_000, |number| Message::new(number.to_string()));
    let said = judges::python("peek.py").arg("queue-000").run(&bus).await;
    assert!(said.contains(r#""messages": 1000"#), "{said}");
    assert!(bus.counters_of("queue-000").peeked >= 1_000);
}
