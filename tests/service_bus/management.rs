//! Counting by the management endpoint: the right number, or an error that says what is wrong and
//! never 0.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use azure_stand_ins::entra::Entra;
use azure_stand_ins::{Management, Message, Rights, ServiceBus, judges};
use keda_sift::{identity, web};
use sift_harness::{Authority, Identity, Settings, Sift, Trigger};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Code;

const HOST: &str = "shop.servicebus.windows.net";
const SUBJECT: &str = "system:serviceaccount:keda:keda-sift";
const CLIENT: &str = "00000000-0000-4000-8000-00000000c11e";
const TENANT: &str = "00000000-0000-4000-8000-000000007e4a";

/// How long a poll of these tests may take.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(3);

/// Later than any test.
const NEXT_YEAR: Duration = Duration::from_secs(365 * 86_400);

fn message(_: usize) -> Message {
    Message::new("{}")
}

/// A namespace with seven messages in a queue, counted by the management endpoint alone.
async fn seven() -> (ServiceBus, Trigger) {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 7, message);
    let settings = Settings { measure_timeout: MEASURE_TIMEOUT, ..Settings::default() };
    let trigger = Sift::with(settings).await.queue(&bus, "orders");
    (bus, trigger.with("countFrom", "management"))
}

fn subscription(trigger: Trigger, topic: &str, name: &str) -> Trigger {
    trigger.without("queueName").with("topicName", topic).with("subscriptionName", name)
}

#[tokio::test(flavor = "multi_thread")]
async fn active_messages_are_counted_and_nothing_is_read() {
    let (bus, trigger) = seven().await;
    bus.send("orders", Message::new("later").due(SystemTime::now() + NEXT_YEAR));
    bus.topic("events").subscription("billing").create();
    bus.topic("events").subscription("audit").create();
    bus.fill("events", 3, message);
    bus.receive("events/Subscriptions/audit", 1);
    assert_eq!(trigger.count().await, 7);
    assert!(trigger.active().await.expect("an answer"));
    assert_eq!(subscription(trigger.clone(), "events", "billing").count().await, 3);
    assert_eq!(subscription(trigger.clone(), "events", "audit").count().await, 2);
    bus.receive("orders", 7);
    assert_eq!(trigger.count().await, 0, "looked, and there was nothing");
    assert_eq!(trigger.clone().with("countLimit", "5").count().await, 0);
    bus.fill("orders", 9, message);
    assert_eq!(trigger.with("countLimit", "5").count().await, 5);
    assert_eq!((bus.peeks(), bus.peeked()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_count_is_an_error_that_names_the_entity() {
    let (bus, trigger) = seven().await;
    bus.topic("events").subscription("billing").create();
    let refuse = |status| Management::Refuse(status, Vec::new());
    let rows = [
        (
            "401",
            refuse(401),
            Code::Unauthenticated,
            "service bus does not accept the login for queue orders: HTTP status 401: The request was refused; counts take the Manage claim",
        ),
        (
            "403",
            refuse(403),
            Code::PermissionDenied,
            "service bus denies queue orders: HTTP status 403: The request was refused; counts take the Manage claim",
        ),
        (
            "404",
            refuse(404),
            Code::NotFound,
            "queue orders does not exist in service bus namespace 127.0.0.1",
        ),
        (
            "an empty feed",
            Management::EmptyFeed,
            Code::NotFound,
            "queue orders does not exist in service bus namespace 127.0.0.1",
        ),
        (
            "cut short",
            Management::CutShort,
            Code::Unavailable,
            "service bus cannot give queue orders: its answer was cut short",
        ),
        (
            "400",
            refuse(400),
            Code::Unavailable,
            "service bus cannot give queue orders: HTTP status 400",
        ),
        (
            "500",
            refuse(500),
            Code::Unavailable,
            "service bus cannot give queue orders: HTTP status 500",
        ),
        (
            "silence",
            Management::Slow(NEXT_YEAR),
            Code::Unavailable,
            "service bus namespace 127.0.0.1 cannot be reached: its management endpoint has not answered",
        ),
    ];
    for (case, fault, code, expected) in rows {
        bus.management(fault);
        for trigger in [&trigger, &trigger.clone().with("countLimit", "5")] {
            let (told, text) = trigger.error().await;
            assert_eq!(told, code, "{case}: {text}");
            assert!(text.starts_with(expected), "{case}: {text}");
        }
        bus.management(None);
        assert_eq!(trigger.count().await, 7, "after {case}");
    }
    // What is throttled so is left alone for a while.
    bus.management(Management::WithoutCounts);
    let before = bus.management_requests();
    for _ in 0..50 {
        let (code, text) = trigger.error().await;
        let expected = "service bus describes queue orders without its message counts";
        assert!(code == Code::Unavailable && text.starts_with(expected), "{code}: {text}");
    }
    assert_eq!(bus.management_requests() - before, 1);
    bus.management(None);
    let rows = [
        (
            trigger.clone().with("queueName", "ordres"),
            Code::NotFound,
            "queue ordres does not exist",
        ),
        (
            subscription(trigger.clone(), "events", "biling"),
            Code::NotFound,
            "subscription events/biling does not exist",
        ),
        (
            subscription(trigger.clone(), "evnts", "billing"),
            Code::NotFound,
            "subscription evnts/billing does not exist",
        ),
        (
            trigger.clone().with("queueName", "events"),
            Code::InvalidArgument,
            "\"events\" is a topic; give it as topicName",
        ),
    ];
    for (trigger, code, expected) in rows {
        let (told, text) = trigger.error().await;
        assert_eq!(told, code, "{text}");
        assert!(text.starts_with(expected), "no {expected:?} in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_namespace_is_left_alone_by_all_triggers() {
    for status in [429, 503] {
        let (bus, trigger) = seven().await;
        bus.queue("invoices").create();
        bus.management(Management::Refuse(status, vec![("retry-after", "60".to_owned())]));
        let expected = |entity: &str| {
            format!(
                "service bus throttles {entity}: HTTP status {status}: The request was refused; it is asked again once it allows that"
            )
        };
        assert_eq!(trigger.error().await, (Code::Unavailable, expected("queue orders")));
        let begin = Instant::now();
        let invoices = trigger.clone().with("queueName", "invoices");
        for _ in 0..100 {
            // As often as KEDA asks a failing trigger.
            assert_eq!(trigger.error().await, (Code::Unavailable, expected("queue orders")));
            assert_eq!(invoices.error().await, (Code::Unavailable, expected("queue invoices")));
        }
        assert!(begin.elapsed() < MEASURE_TIMEOUT, "{:?}", begin.elapsed());
        assert_eq!(bus.management_requests(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_waits_for_the_quiet_that_it_has_time_for() {
    let (bus, trigger) = seven().await;
    bus.management(Management::Refuse(429, vec![("retry-after", "1".to_owned())]));
    let begin = Instant::now();
    let mut polls = JoinSet::new();
    for _ in 0..20 {
        let trigger = trigger.clone();
        polls.spawn(async move { trigger.count().await });
    }
    while bus.management_requests() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    bus.management(None);
    while let Some(count) = polls.join_next().await {
        assert_eq!(count.expect("no panic"), 7);
    }
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(bus.management_requests() <= 3, "{}", bus.management_requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_counts_in_all_that_it_matches_on_a_hundred_pages() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 7, message);
    let trigger = Sift::start().await.queue(&bus, "orders");
    for nth in 0..9_950 {
        bus.queue(&format!("shard-{nth:04}")).create();
    }
    for (nth, messages) in [(0, 1), (4_000, 5), (9_949, 2)] {
        bus.fill(&format!("shard-{nth:04}"), messages, message);
    }
    bus.send("shard-0000", Message::new("later").due(SystemTime::now() + NEXT_YEAR));
    let trigger = trigger.with("useRegex", "true");
    let rows = [
        ("shard-[0-9]{4}|orders", "sum", 15),
        ("shard-.*", "max", 5),
        ("shard-(0000|4000|9949)", "avg", 2),
    ];
    for (pattern, operation, expected) in rows {
        let before = bus.management_requests();
        let count = trigger.clone().with("queueName", pattern).with("operation", operation);
        assert_eq!(count.count().await, expected, "{operation} of {pattern}");
        assert_eq!(bus.management_requests() - before, 100, "{operation} of {pattern}");
    }
    let none = trigger.clone().with("queueName", "shards-.*");
    assert_eq!(none.count().await, 0, "looked, and there was nothing");
    for (fault, code) in [
        (Management::EmptyFeed, Code::NotFound),
        (Management::CutShort, Code::Unavailable),
        (Management::WithoutCounts, Code::Unavailable),
    ] {
        bus.management(fault);
        assert_eq!(trigger.clone().with("queueName", "shard-.*").error().await.0, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_counts_in_the_subscriptions_of_its_topic() {
    let (bus, trigger) = seven().await;
    for name in ["eu-1", "eu-2", "us-1"] {
        bus.topic("events").subscription(name).create();
    }
    bus.topic("other").subscription("eu-3").create();
    bus.fill("events", 3, message);
    bus.fill("other", 5, message);
    bus.receive("events/Subscriptions/eu-2", 2);
    let of = |topic: &str, pattern: &str| {
        subscription(trigger.clone(), topic, pattern).with("useRegex", "true")
    };
    assert_eq!(of("events", "eu-.*").count().await, 4);
    assert_eq!(of("events", "eu-.*").with("operation", "max").count().await, 3);
    let (code, text) = of("evnts", "eu-.*").error().await;
    assert_eq!(code, Code::NotFound, "{text}");
    assert!(text.contains("topic evnts"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_arrive_together_share_requests() {
    let (bus, trigger) = seven().await;
    let mut polls = JoinSet::new();
    for nth in 0..500 {
        let trigger = trigger.clone().named(&format!("job-{nth}"));
        polls.spawn(async move { trigger.count().await });
    }
    while let Some(count) = polls.join_next().await {
        assert_eq!(count.expect("no panic"), 7);
    }
    assert!(bus.management_requests() <= 60, "{} requests", bus.management_requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_may_only_listen_is_counted_for_by_peeking() {
    let (bus, trigger) = seven().await;
    bus.key("listen-only", Rights::LISTEN);
    let connection = bus.connection_string_for("listen-only");
    let trigger = trigger.with("connectionFromEnv", &connection);
    let (code, text) = trigger.error().await;
    assert!(matches!(code, Code::PermissionDenied | Code::Unauthenticated), "{code}");
    assert!(text.contains("give countFrom: peek, which takes Listen"), "{text}");
    let before = bus.management_requests();
    for _ in 0..3 {
        assert_eq!(trigger.clone().without("countFrom").count().await, 7);
    }
    assert_eq!(bus.management_requests() - before, 1, "what was refused is remembered");
}

/// A namespace of Azure's, by name, and an Entra that lets the scaler in.
struct Cloud {
    bus: ServiceBus,
    entra: Entra,
    authority: Authority,
    token_file: NamedTempFile,
}

impl Cloud {
    async fn start() -> Cloud {
        let authority = Authority::new("an authority");
        let tls = authority.issue("shop", &[HOST]);
        Cloud::showing(authority, &tls).await
    }

    /// A namespace that shows this certificate. Entra's is of the authority, which the scaler
    /// trusts.
    async fn showing(authority: Authority, tls: &Identity) -> Cloud {
        let bus = ServiceBus::builder().tls(&tls.cert, &tls.key).host(HOST).start().await;
        bus.grant(CLIENT, Rights::MANAGE);
        bus.queue("orders").create();
        bus.fill("orders", 7, message);
        let tls = authority.issue("entra", &["localhost"]);
        let entra = Entra::start(&tls.cert, &tls.key).await;
        entra.federate(SUBJECT, CLIENT, TENANT);
        let token_file = NamedTempFile::new().expect("a file");
        std::fs::write(token_file.path(), entra.service_account_token(SUBJECT)).expect("written");
        Cloud { bus, entra, authority, token_file }
    }

    async fn trigger(&self, namespace: &str) -> Trigger {
        let identity = identity::Options {
            client_id: Some(CLIENT.to_owned()),
            tenant_id: Some(TENANT.to_owned()),
            token_file: Some(self.token_file.path().to_owned()),
            authority: Some(self.entra.authority()),
        };
        let web = web::Options {
            ca: Some(self.authority.cert()),
            connect_to: HashMap::from([(HOST.to_owned(), self.bus.address())]),
        };
        let measure_timeout = MEASURE_TIMEOUT;
        let sift =
            Sift::with(Settings { measure_timeout, identity, web, ..Settings::default() }).await;
        let trigger = sift.queue(&self.bus, "orders").without("connectionFromEnv");
        trigger.with("namespace", namespace).with("countFrom", "management")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_s_token_lets_in() {
    let cloud = Cloud::start().await;
    for namespace in ["shop", "Shop", HOST] {
        let before = cloud.entra.exchanges();
        let trigger = cloud.trigger(namespace).await;
        for _ in 0..20 {
            assert_eq!(trigger.count().await, 7, "{namespace}");
        }
        assert_eq!(cloud.entra.exchanges() - before, 1, "{namespace}");
    }
    cloud.bus.grant(CLIENT, Rights::LISTEN);
    let (code, text) = cloud.trigger("shop").await.error().await;
    assert_eq!(code, Code::PermissionDenied, "{text}");
    cloud.entra.refuse("AADSTS700016: Application was not found in the directory.");
    let (code, text) = cloud.trigger("shop").await.error().await;
    assert!(code == Code::Unauthenticated && text.contains("AADSTS700016"), "{code}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_leaves_for_a_host_that_is_not_azure_s() {
    let cloud = Cloud::start().await;
    let trigger = cloud.trigger("shop").await;
    let private = |suffix| trigger.clone().with("cloud", "Private").with("endpointSuffix", suffix);
    let rows = [
        ("a suffix that is not allowed", private("evil.example")),
        ("a suffix of a suffix", private("windows.net")),
        ("more than a suffix", private("servicebus.windows.net.evil.example")),
        ("a path", private("evil.example/servicebus.windows.net")),
        ("a user", trigger.clone().with("namespace", "shop@evil.example")),
        ("another host", trigger.clone().with("namespace", "shop.evil.example")),
        ("a slash", trigger.clone().with("namespace", "evil.example/shop")),
        ("a port", trigger.clone().with("namespace", "shop:443")),
        ("an address", trigger.clone().with("namespace", "127.0.0.1")),
    ];
    for (case, trigger) in rows {
        let (code, text) = trigger.error().await;
        assert_eq!(code, Code::InvalidArgument, "{case}: {text}");
    }
    assert_eq!((cloud.entra.exchanges(), cloud.bus.connections().ever), (0, 0));
    assert_eq!(trigger.count().await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_nothing_elsewhere() {
    let cloud = Cloud::start().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = elsewhere.local_addr().expect("an address").port();
    let visits = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&visits);
    let mut listener = JoinSet::new();
    listener.spawn(async move {
        while elsewhere.accept().await.is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    cloud.bus.management(Management::Redirect(format!("https://127.0.0.1:{port}")));
    let (code, text) = cloud.trigger("shop").await.error().await;
    let expected = "service bus cannot give queue orders: it redirects to \"127.0.0.1\", where nothing is sent";
    assert_eq!((code, text.as_str()), (Code::Unavailable, expected));
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_the_one_named_is_told_in_time() {
    for (case, host, expected) in [
        ("another authority", HOST, "invalid peer certificate: UnknownIssuer"),
        ("another name", "other.example", "certificate not valid for name"),
    ] {
        let trusted = Authority::new("an authority");
        let stranger = Authority::new("a stranger");
        let tls = if host == HOST { &stranger } else { &trusted }.issue("shop", &[host]);
        let cloud = Cloud::showing(trusted, &tls).await;
        let (code, text) = cloud.trigger("shop").await.error().await;
        assert_eq!(code, Code::Unavailable, "{case}: {text}");
        let begins = "service bus namespace shop.servicebus.windows.net cannot be reached: ";
        assert!(text.starts_with(begins) && text.contains(expected), "{case}: {text}");
    }
    let cloud = Cloud::start().await;
    let begin = Instant::now();
    let (code, text) = cloud.trigger("no-such-namespace").await.error().await;
    assert_eq!(code, Code::Unavailable, "{text}");
    let begins =
        "service bus namespace no-such-namespace.servicebus.windows.net cannot be reached: ";
    assert!(text.starts_with(begins), "{text}");
    assert!(begin.elapsed() < MEASURE_TIMEOUT * 2, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_count_is_what_microsoft_s_client_counts() {
    let authority = Authority::new("an authority");
    let tls = authority.issue("shop", &["127.0.0.1"]);
    let bus = ServiceBus::builder().tls(&tls.cert, &tls.key).start().await;
    bus.queue("orders").create();
    bus.topic("events").subscription("billing").create();
    bus.fill("orders", 40, message);
    bus.fill("events", 9, message);
    bus.send("orders", Message::new("later").due(SystemTime::now() + NEXT_YEAR));
    let settle =
        judges::python("settle.py").args(["orders", "complete", "abandon", "defer", "dead-letter"]);
    settle.run(&bus).await;
    let certificate = NamedTempFile::new().expect("a file");
    std::fs::write(certificate.path(), authority.cert()).expect("written");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service_bus/counts.py");
    let told = judges::python(program.to_str().expect("a path is text"))
        .args(["orders", "events/billing"])
        .certificate(certificate.path())
        .run(&bus)
        .await;
    let theirs: Vec<i64> =
        told.split_whitespace().map(|count| count.parse().expect("a count")).collect();
    let trigger = Sift::start().await.queue(&bus, "orders").with("countFrom", "management");
    let ours = [trigger.count().await, subscription(trigger, "events", "billing").count().await];
    assert_eq!(ours.to_vec(), theirs);
    // Of four that were settled two are gone; to the service, a deferred one is active.
    assert_eq!(ours, [38, 9]);
}
