//! What `sift.v1.Diagnostics` and metrics say of triggers on Service Bus.

use azure_stand_ins::{Message, ServiceBus};
use keda_sift::diagnostics::proto::explain_response::Measured;
use keda_sift::diagnostics::proto::{State, TriggerRef};
use keda_sift::telemetry::PageFormat;
use sift_harness::Sift;

fn figure(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_explained_by_its_types_and_by_who_counts() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    for event_type in ["order.paid", "order.made", "order.made"] {
        bus.send("orders", Message::new("{}").subject(event_type));
    }
    let sift = Sift::start().await;
    let trigger = sift.queue(&bus, "orders").with("eventType", "order.paid").named("orders");
    assert_eq!(trigger.count().await, 1);
    let asked = TriggerRef { name: "orders".to_owned(), ..TriggerRef::default() };
    let explained = sift.diagnostics().await.explain(asked).await;
    let explained = explained.expect("it is known").into_inner();

    let of = explained.trigger.as_ref().expect("it is known");
    assert_eq!((of.source.as_str(), of.state()), ("azure-servicebus", State::Waiting));
    let Some(Measured::Measurement(measured)) = &explained.measured else {
        panic!("{explained:?}")
    };
    assert_eq!(measured.value.as_ref().map(|value| value.count), Some(1));
    let facts: Vec<_> =
        measured.facts.iter().map(|of| (of.name.as_str(), of.text.as_str())).collect();
    assert_eq!(facts[0], ("counted by", "peeking"));
    let types: Vec<_> = explained.types.iter().map(|of| (of.r#type.as_str(), of.count)).collect();
    assert_eq!(types, [("order.made", 2), ("order.paid", 1)]);
    assert_eq!(explained.metadata["connectionFromEnv"], "(hidden)");

    let page = sift.metrics(PageFormat::OpenMetrics);
    let age = figure(&page, "keda_sift_trigger_oldest_message_age_seconds");
    assert!(age > 0.0 && age < 300.0, "{age}");
    assert_eq!(figure(&page, "keda_sift_connections{source=\"azure-servicebus\"}"), 1.0);
    bus.receive("orders", 1);
    assert_eq!(trigger.count().await, 0);
    assert_eq!(
        figure(
            &sift.metrics(PageFormat::OpenMetrics),
            "keda_sift_trigger_oldest_message_age_seconds"
        ),
        0.0
    );
}
