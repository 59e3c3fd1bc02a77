//! Memory that a namespace may not have any more: what it still gets, and that others do not
//! notice.

use std::time::Duration;

use sift_harness::{Broker, Message, Settings, Sift, Trigger};
use tonic::Code;

const LIMIT: usize = 64 << 20;

/// Has a namespace hold all that may be kept for it, but for less than a trigger with this much
/// metadata takes; gives the triggers that were kept.
async fn fill(sift: &Sift, namespace: &str, step: usize) -> Vec<Trigger> {
    let filler = "x".repeat(step);
    let mut kept = Vec::new();
    loop {
        let trigger = sift.asking(Default::default()).within(namespace);
        let trigger =
            trigger.named(&format!("filler-{step}-{}", kept.len())).with("filler", &filler);
        let (code, text) = trigger.error().await;
        if code == Code::ResourceExhausted {
            assert!(text.contains("--memory-limit") && text.contains(namespace), "{text}");
            return kept;
        }
        assert_eq!(code, Code::InvalidArgument, "{text}");
        kept.push(trigger);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_memory_gets_lower_bounds_or_errors_and_others_their_counts() {
    const TOPIC: &str = "memory-keys";
    const KEYS: i64 = 40_000;
    let broker = Broker::shared();
    broker.topic(TOPIC).create().await;
    let keyed = (0..KEYS).map(|key| Message::of_type("a").key(key.to_string()));
    broker.produce_all(TOPIC, keyed).await;
    let forget_after = Duration::from_secs(4);
    let sift =
        Sift::with(Settings { memory_limit: LIMIT, forget_after, ..Settings::default() }).await;
    let keys = |namespace: &str| {
        let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).with("eventType", "a");
        trigger.with("countBy", "keys").within(namespace)
    };
    let greedy = fill(&sift, "greedy", 1 << 20).await;
    assert!(greedy.len() >= 6, "a quarter of 64 MiB is kept: {}", greedy.len());
    // Some 80 kB are left, for keys that take 2 MB.
    let rest = fill(&sift, "greedy", 200_000).await;
    let bound = keys("greedy").count().await;
    assert!(0 < bound && bound < KEYS, "{bound} of {KEYS}");
    // Nothing is left for one more trigger.
    drop(fill(&sift, "greedy", 1).await);
    let (code, text) = keys("greedy").with("eventType", "b").error().await;
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    assert!(text.contains("--memory-limit"), "{text}");
    // Whoever shares a selection pays for it where the first has no room.
    assert_eq!(keys("modest").with("eventType", "a, c").count().await, KEYS);
    drop((greedy, rest));
    // What nobody polls is forgotten, and then there is room again.
    broker.produce_all(TOPIC, [Message::of_type("a").key("new")]).await;
    keys("greedy").until(KEYS + 1, |_| true).await;
}
