//! What goes wrong between us and a namespace: it is mended within the poll, or the poll says what
//! is wrong, in time. It is never 0, never a wait without end, and nothing is left behind.

#![expect(clippy::disallowed_methods, reason = "each task is waited for or aborted in its test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use azure_stand_ins::{Busy, Empty, Message, ServiceBus};
use keda_sift::web;
use sift_harness::{Authority, Settings, Sift, Trigger, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

/// How long a poll of these tests may take.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(3);
/// What gRPC and a busy machine may take on top of it.
const IN_TIME: Duration = Duration::from_secs(4);

/// What it is called, and how it is done.
type Interruption = (&'static str, fn(&ServiceBus));

/// What a namespace or a network does to links and connections every day.
const INTERRUPTIONS: [Interruption; 6] = [
    ("an idle link is detached", |bus| bus.detach_links("orders", "amqp:link:detach-forced")),
    ("the entity moves", |bus| bus.detach_links("orders", "com.microsoft:entity-updated")),
    ("an idle connection is closed", |bus| bus.close_connections("amqp:connection:forced")),
    ("the claim lapses", ServiceBus::lapse_claims),
    ("the socket breaks", ServiceBus::cut_sockets),
    ("the server ends", |bus| bus.close_connections("amqp:internal-error")),
];

fn of_type(event_type: &str) -> Message {
    Message::new("{}").subject(event_type)
}

fn briefly() -> Settings {
    Settings { measure_timeout: MEASURE_TIMEOUT, ..Settings::default() }
}

async fn sift() -> Sift {
    Sift::with(briefly()).await
}

/// A namespace with 20,000 messages in a queue, a hundred of which a trigger counts.
async fn orders() -> (ServiceBus, Trigger) {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 20_000, |n| of_type(if n % 200 == 99 { "a" } else { "b" }));
    let trigger = sift().await.queue(&bus, "orders").with("eventType", "a");
    (bus, trigger)
}

/// The error of a trigger that must have one in time.
async fn error_in_time(trigger: &Trigger) -> (Code, String) {
    timeout(IN_TIME, trigger.error()).await.expect("an answer in time")
}

async fn unavailable(trigger: &Trigger, expected: &str) {
    let (code, text) = error_in_time(trigger).await;
    assert!(code == Code::Unavailable && text.contains(expected), "{code}: {text}");
    let (again, same) = error_in_time(trigger).await;
    assert_eq!((again, same), (code, text), "the same words for the same cause");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_between_polls_is_not_noticed() {
    let (bus, trigger) = orders().await;
    let mut expected = 100;
    assert_eq!(trigger.count().await, expected);
    for round in 0..3 {
        for (what, interrupt) in INTERRUPTIONS {
            interrupt(&bus);
            bus.send("orders", of_type("a"));
            expected += 1;
            assert_eq!(trigger.count().await, expected, "{what}, round {round}");
        }
    }
    until("old connections end", async || bus.connections().open == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_during_a_poll_is_mended_within_it() {
    let cut =
        ("a reply is cut short", ServiceBus::cut_in_the_middle_of_next_reply as fn(&ServiceBus));
    for (what, interrupt) in INTERRUPTIONS.into_iter().chain([cut]) {
        let (bus, trigger) = orders().await;
        bus.reply_limit(100);
        let polled = tokio::spawn(async move { trigger.value().await });
        for peeks in [20, 60, 100] {
            until("peeks", async || bus.peeks() > peeks || polled.is_finished()).await;
            interrupt(&bus);
        }
        let value = polled.await.expect("no panic");
        assert_eq!(value.expect(what), 100, "{what}");
        assert!(
            bus.peeked() < 22_000,
            "{what}: {} messages; what was read stays read",
            bus.peeked()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_at_every_moment_leaves_the_count_exact() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 3_000, |n| of_type(["a", "b"][n % 2]));
    let trigger = sift().await.queue(&bus, "orders").with("eventType", "a");
    let mut interruptions = INTERRUPTIONS.into_iter().cycle();
    let mut waiting = 1_500;
    for round in 0..40 {
        let (what, interrupt) = interruptions.next().expect("a cycle");
        let poll = tokio::spawn({
            let trigger = trigger.clone();
            async move { trigger.value().await }
        });
        // Somewhere on the way: before it, within it, after it.
        let peeks = bus.peeks() + round % 5;
        until("a moment", async || bus.peeks() >= peeks || poll.is_finished()).await;
        interrupt(&bus);
        let value = poll.await.expect("no panic");
        assert_eq!(value.expect(what), waiting, "{what}, round {round}");
        let gone = bus.receive_where("orders", |m| m.subject_text() == Some("nothing"));
        assert_eq!(gone, 0);
        bus.receive("orders", 20);
        bus.fill("orders", 4, |_| of_type("a"));
        waiting -= 6;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_namespace_is_left_alone_and_then_asked_again() {
    tokio::join!(left_alone(Busy::Reply), left_alone(Busy::Detach));
}

async fn left_alone(busy: Busy) {
    let bus = ServiceBus::start().await;
    for queue in ["orders", "invoices"] {
        bus.queue(queue).create();
        bus.fill(queue, 5, |_| of_type("a"));
    }
    let sift = sift().await;
    let on = |queue: &str| sift.queue(&bus, queue).with("eventType", "a");
    let (orders, invoices) = (on("orders"), on("invoices"));
    assert_eq!((orders.count().await, invoices.count().await), (5, 5));
    bus.busy(busy);
    let before = bus.peeks();
    unavailable(&orders, "service bus throttles queue orders: ").await;
    let begun = Instant::now();
    // As KEDA polls: many triggers, and each that fails at once again.
    let mut polls = JoinSet::new();
    for n in 0..100 {
        let trigger = [&orders, &invoices][n % 2].clone().named(&format!("job-{n}"));
        polls.spawn(async move {
            for _ in 0..5 {
                let (code, text) = trigger.error().await;
                assert_eq!(code, Code::Unavailable, "{text}");
                assert!(text.starts_with("service bus throttles queue "), "{text}");
                assert!(text.contains("is being throttled"), "the service's own words: {text}");
            }
        });
    }
    timeout(IN_TIME, polls.join_all()).await.expect("answers in time");
    assert!(begun.elapsed() < MEASURE_TIMEOUT, "{:?}: nobody waits in vain", begun.elapsed());
    assert!(bus.peeks() - before <= 4, "{busy:?}: {} requests", bus.peeks() - before);
    bus.busy(None);
    for trigger in [&orders, &invoices] {
        trigger.until(5, |_| false).await;
    }
    assert!(bus.peeks() - before <= 20, "{busy:?}: {} requests", bus.peeks() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_waits_for_a_quiet_that_it_has_time_for() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 5, |_| of_type("a"));
    let settings = Settings { measure_timeout: Duration::from_secs(12), ..Settings::default() };
    let trigger = Sift::with(settings).await.queue(&bus, "orders").with("eventType", "a");
    bus.busy(Busy::Reply);
    let poll = tokio::spawn(async move { trigger.value().await });
    until("a peek", async || bus.peeks() > 0).await;
    bus.busy(None);
    assert_eq!(poll.await.expect("no panic").expect("a count after the quiet"), 5);
    assert_eq!(bus.peeks(), 1 + 2, "nothing was asked meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_reached_is_said_to_be() {
    let bus = ServiceBus::start().await;
    let sift = sift().await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("an address")
    };
    let key = "SharedAccessKeyName=all;SharedAccessKey=a2V5";
    let rows = [
        (
            "a name that nobody has",
            format!("Endpoint=sb://orders.keda-sift.invalid/;{key}"),
            "service bus namespace orders.keda-sift.invalid cannot be reached: failed to lookup address",
        ),
        (
            "a port that nobody listens on",
            format!("Endpoint=sb://{closed};{key};UseDevelopmentEmulator=true"),
            "service bus namespace 127.0.0.1 cannot be reached: Connection refused",
        ),
    ];
    let mut polls = JoinSet::new();
    for transport in ["amqp", "websocket"] {
        for (what, connection, expected) in &rows {
            let trigger = sift.queue(&bus, "orders").with("connectionFromEnv", connection);
            let trigger = trigger.with("transport", transport).with("eventType", "a");
            let (what, expected) = (*what, *expected);
            polls.spawn(async move {
                println!("{what} over {transport}");
                unavailable(&trigger, expected).await;
            });
        }
    }
    polls.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_who_it_says_is_told_nothing() {
    let trusted = Authority::new("trusted");
    let rows = [
        ("another name", trusted.issue("bus", &["elsewhere.example"]), "not valid for name"),
        (
            "an unknown authority",
            Authority::new("unknown").issue("bus", &["localhost"]),
            "UnknownIssuer",
        ),
    ];
    let settings = || Settings {
        web: web::Options { ca: Some(trusted.cert()), ..web::Options::default() },
        ..briefly()
    };
    let (mut polls, mut buses) = (JoinSet::new(), Vec::new());
    for (what, identity, expected) in rows {
        let bus = ServiceBus::builder().tls(&identity.cert, &identity.key).start().await;
        bus.queue("orders").create();
        bus.fill("orders", 5, |_| of_type("a"));
        let sift = Sift::with(settings()).await;
        for transport in ["amqp", "websocket"] {
            let trigger = secured(&sift, &bus).with("transport", transport);
            polls.spawn(async move {
                let (code, text) = error_in_time(&trigger).await;
                let begin = "service bus namespace localhost cannot be reached: ";
                assert!(code == Code::Unavailable && text.starts_with(begin), "{code}: {text}");
                assert!(text.contains(expected), "{what} over {transport}: {text}");
            });
        }
        buses.push(bus);
    }
    polls.join_all().await;
    assert!(buses.iter().all(|bus| bus.links_ever() == 0), "nothing was asked");
    // The same, with the right name.
    let identity = trusted.issue("bus", &["localhost"]);
    let bus = ServiceBus::builder().tls(&identity.cert, &identity.key).start().await;
    bus.queue("orders").create();
    bus.fill("orders", 5, |_| of_type("a"));
    let sift = Sift::with(settings()).await;
    for transport in ["amqp", "websocket"] {
        assert_eq!(
            secured(&sift, &bus).with("transport", transport).count().await,
            5,
            "{transport}"
        );
    }
}

/// A trigger that asks over TLS, by the name `localhost`.
fn secured(sift: &Sift, bus: &ServiceBus) -> Trigger {
    let connection = bus.connection_string().replace("127.0.0.1", "localhost");
    let connection = connection.replace("UseDevelopmentEmulator=true;", "");
    sift.queue(bus, "orders").with("connectionFromEnv", &connection).with("eventType", "a")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_namespace_is_not_waited_for_without_end() {
    let silent = "service bus namespace 127.0.0.1 cannot be reached: it has not answered in time";
    // From the beginning.
    let (bus, trigger) = orders().await;
    bus.silence(true);
    let websocket = trigger.clone().with("transport", "websocket");
    tokio::join!(unavailable(&trigger, silent), unavailable(&websocket, silent));
    bus.silence(false);
    trigger.until(100, |_| false).await;
    // Between polls.
    bus.silence(true);
    unavailable(&trigger, silent).await;
    bus.silence(false);
    trigger.until(100, |_| false).await;
    // Within one, and not for longer than that.
    bus.silence(true);
    let poll = tokio::spawn({
        let trigger = trigger.clone();
        async move { trigger.value().await }
    });
    sleep(MEASURE_TIMEOUT / 4).await;
    bus.silence(false);
    assert_eq!(poll.await.expect("no panic").expect("a count"), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peek_without_a_reply_is_asked_again() {
    let (bus, trigger) = orders().await;
    bus.stall_peeks(true);
    unavailable(&trigger, "it has not answered in time").await;
    let poll = tokio::spawn({
        let trigger = trigger.clone();
        async move { trigger.value().await }
    });
    let before = bus.peeks();
    until("a peek", async || bus.peeks() > before).await;
    bus.stall_peeks(false);
    // Its own may be lost as well; the next one's is not.
    if let Ok(value) = poll.await.expect("no panic") {
        assert_eq!(value, 100);
    }
    assert_eq!(trigger.count().await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_that_stalls_leaves_the_others_alone() {
    let (bus, healthy) = orders().await;
    bus.queue("slow").create();
    let slow = healthy.clone().with("queueName", "slow");
    assert_eq!((slow.count().await, healthy.count().await), (0, 100));
    bus.stall_peeks_of("slow");
    let stalls = tokio::spawn({
        let slow = slow.clone();
        async move { slow.value().await }
    });
    while !stalls.is_finished() {
        assert_eq!(healthy.count().await, 100);
        sleep(Duration::from_millis(20)).await;
    }
    let stalled = stalls.await.expect("no panic").expect_err("no reply");
    assert!(stalled.message().contains("it has not answered in time"), "{stalled}");
    assert_eq!(bus.connections().ever, 1);
    bus.stall_peeks_of(None);
    assert_eq!(slow.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_stalls_half_way_gives_what_is_known() {
    let (bus, trigger) = orders().await;
    bus.reply_limit(100);
    let poll = tokio::spawn({
        let trigger = trigger.clone();
        async move { trigger.poll().await }
    });
    until("half of it", async || bus.peeked() > 10_000).await;
    bus.stall_peeks(true);
    let poll = timeout(IN_TIME, poll).await.expect("in time").expect("no panic");
    let poll = poll.expect("a lower bound");
    assert!(poll.value > 40 && poll.value < 100 && poll.active, "{poll:?}");
    bus.stall_peeks(false);
    trigger.until(100, |before| before > 40).await;
    assert!(bus.peeked() < 22_000, "{} messages; what was read stays read", bus.peeked());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_service_bus_is_told() {
    /// A server that answers whatever it is sent with these bytes, and ends or stays.
    async fn server(says: &'static [u8], stays: bool) -> (JoinSet<()>, String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut held = Vec::new();
            loop {
                let Ok((mut socket, _)) = listener.accept().await else { return };
                count.fetch_add(1, Ordering::Relaxed);
                let mut heard = [0; 1_024];
                assert!(socket.read(&mut heard).await.is_ok_and(|bytes| bytes <= heard.len()));
                socket.write_all(says).await.ok();
                if stays {
                    held.push(socket);
                }
            }
        });
        let key = "SharedAccessKeyName=all;SharedAccessKey=a2V5;UseDevelopmentEmulator=true";
        (tasks, format!("Endpoint=sb://{address};{key}"), came)
    }
    let bus = ServiceBus::start().await;
    let sift = sift().await;
    let http: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    // An AMQP header, and then a frame that claims to be four gigabytes long.
    let frame: &[u8] = b"AMQP\x03\x01\x00\x00\xff\xff\xff\xff\x02\x01\x00\x00";
    let short: &[u8] = b"AMQP\x03\x01\x00\x00\x00\x00\x00\x03\x02\x01\x00\x00";
    let rows: [(&str, &'static [u8]); 5] = [
        ("nothing", b""),
        ("HTTP", http),
        ("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 what is this"),
        ("a frame too long", frame),
        ("a frame too short", short),
    ];
    let mut polls = JoinSet::new();
    for (what, says) in rows {
        for stays in [true, false] {
            for transport in ["amqp", "websocket"] {
                let (server, connection, came) = server(says, stays).await;
                let trigger = sift.queue(&bus, "orders").with("connectionFromEnv", &connection);
                let trigger = trigger.with("transport", transport).with("eventType", "a");
                polls.spawn(async move {
                    let _server = server;
                    let (code, text) = error_in_time(&trigger).await;
                    println!("{what}, stays {stays}, {transport}: {text}");
                    assert_eq!(code, Code::Unavailable, "{what}: {text}");
                    let begin = "service bus namespace 127.0.0.1 cannot be reached: ";
                    assert!(text.starts_with(begin), "{what}: {text}");
                    let came = came.load(Ordering::Relaxed);
                    assert!((1..=20).contains(&came), "{what}: {came} connections");
                });
            }
        }
    }
    polls.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_that_is_not_there_is_said_not_to_be() {
    let (bus, trigger) = orders().await;
    bus.topic("events").subscription("billing").create();
    let rows = [
        (
            trigger.clone().with("queueName", "ordres"),
            "queue ordres does not exist in service bus namespace 127.0.0.1",
        ),
        (
            trigger
                .clone()
                .without("queueName")
                .with("topicName", "events")
                .with("subscriptionName", "biling"),
            "subscription events/biling does not exist in service bus namespace 127.0.0.1",
        ),
    ];
    for (trigger, expected) in rows {
        let (code, text) = error_in_time(&trigger).await;
        assert!(code == Code::NotFound && text.starts_with(expected), "{code}: {text}");
    }
    // It is found as soon as it is there.
    let late = trigger.with("queueName", "late");
    assert_eq!(late.error().await.0, Code::NotFound);
    bus.queue("late").create();
    bus.send("late", of_type("a"));
    assert_eq!(late.count().await, 1);
}

// In a runtime of its own, whose tasks are all its.
#[test]
fn nothing_is_left_behind() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let bus = ServiceBus::start().await;
        bus.queue("orders").create();
        bus.fill("orders", 2_000, |n| of_type(["a", "b"][n % 2]));
        let sift = Sift::start_with(MEASURE_TIMEOUT, Duration::from_millis(500)).await;
        sift.queue(&bus, "orders").spec().await;
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let before = alive();
        for (what, fault) in [
            ("nothing", (|_| {}) as fn(&ServiceBus)),
            ("cut", ServiceBus::cut_sockets),
            ("stalled", |bus| bus.stall_peeks(true)),
            ("silent", |bus| bus.silence(true)),
            ("busy", |bus| bus.busy(Busy::Reply)),
        ] {
            for transport in ["amqp", "websocket"] {
                let trigger = sift.queue(&bus, "orders").with("transport", transport);
                let trigger = trigger.with("eventType", "a");
                assert_eq!(trigger.count().await, 1_000, "{what}");
                fault(&bus);
                // Someone asks, and goes away.
                let late = trigger.with("eventType", "b");
                timeout(Duration::from_millis(50), late.value()).await.ok();
                bus.stall_peeks(false);
                bus.silence(false);
                bus.busy(None);
            }
            until(what, async || bus.connections().open == 0 && alive() <= before).await;
        }
        // The scaler ends in the middle of it.
        let trigger = sift.queue(&bus, "orders").with("eventType", "a");
        assert_eq!(trigger.count().await, 1_000);
        bus.stall_peeks(true);
        timeout(Duration::from_millis(50), trigger.value()).await.ok();
        drop((trigger, sift));
        until("the connection ends", async || bus.connections().open == 0).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_an_empty_reply_is_one() {
    for form in [Empty::NoContent, Empty::Accepted, Empty::MessageNotFound] {
        let bus = ServiceBus::start().await;
        bus.queue("orders").create();
        bus.answer_empty(form);
        let trigger = sift().await.queue(&bus, "orders").with("eventType", "a");
        assert_eq!(trigger.count().await, 0, "{form:?}");
        bus.fill("orders", 1_000, |n| of_type(["a", "b"][n % 2]));
        assert_eq!(trigger.count().await, 500, "{form:?}");
        let before = bus.peeked();
        assert_eq!(trigger.count().await, 500, "{form:?}");
        assert!(bus.peeked() - before < 1_100, "{form:?}: nothing is read anew");
        bus.receive("orders", 1_000);
        assert_eq!(trigger.count().await, 0, "{form:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_that_goes_while_it_is_read_is_read_anew_once() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 1_000, |_| of_type("a"));
    bus.reply_limit(100);
    bus.missing_from(500);
    let trigger = sift().await.queue(&bus, "orders").with("eventType", "a");
    let (code, text) = error_in_time(&trigger).await;
    assert!(code == Code::NotFound && text.starts_with("queue orders does not exist"), "{text}");
    assert!(bus.peeked() <= 2_000, "{} messages", bus.peeked());
    bus.missing_from(None);
    assert_eq!(trigger.count().await, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_of_an_entity_that_is_gone_is_no_bound() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 1_000, |_| of_type("a"));
    bus.reply_limit(100);
    bus.missing_and_silent_from(500);
    let trigger = sift().await.queue(&bus, "orders").with("eventType", "a");
    let (code, text) = error_in_time(&trigger).await;
    assert_eq!(code, Code::Unavailable, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_namespace_hears_nothing_more_of_those_who_were_on_their_way() {
    let bus = ServiceBus::start().await;
    bus.busy(Busy::Reply);
    let sift = sift().await;
    let mut polls = JoinSet::new();
    for queue in 0..200 {
        let name = format!("queue-{queue}");
        bus.queue(&name).create();
        let trigger = sift.queue(&bus, &name).with("eventType", "a");
        polls.spawn(async move { error_in_time(&trigger).await });
    }
    for (code, text) in polls.join_all().await {
        assert!(code == Code::Unavailable && text.contains("throttles"), "{code}: {text}");
    }
    assert!(bus.peeks() <= 64, "{} peeks", bus.peeks());
}
