//! The management endpoint as a few lines of HTTP that can be scripted. What the whole scaler makes
//! of it stands in `tests/service_bus/management.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::access::{Credential, Endpoint as Host};
use super::super::entity::{Name, Operation, Pattern};
use super::*;
use crate::identity;
use crate::kubernetes::Kubernetes;
use crate::secret::Secret;
use crate::web;

/// Longer than any test takes that waits for nothing.
const AMPLE: Duration = Duration::from_secs(20);

const QUEUE: &str = "<entry><title>orders</title><content><QueueDescription><CountDetails><ActiveMessageCount>7</ActiveMessageCount></CountDetails></QueueDescription></content></entry>";

/// What a server does with its nth request, whose path and query are given.
enum Reply {
    /// Answers with this status, these header lines and this body.
    With(u16, &'static str, String),
    /// Says that there is more, and ends.
    Cut,
    /// Never answers.
    Silence,
    /// Answers without an end.
    Endless,
}

struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _connections: JoinSet<()>,
}

impl Server {
    async fn start(reply: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (reply, noted) = (Arc::new(reply), Arc::clone(&asked));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, Arc::clone(&reply), Arc::clone(&noted)));
            }
        });
        Self { port, asked, _connections: server }
    }

    /// The heads of the requests until now.
    fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }

    fn counts(&self) -> Counts {
        let credential = Credential::Key { name: "all".to_owned(), key: Secret::from("k") };
        let endpoint = Host { host: "127.0.0.1".to_owned(), port: Some(self.port), emulator: true };
        let web = Web::new(&web::Options::default()).expect("a client");
        let identities = Identities::new(identity::Options::default(), &web, Kubernetes::none());
        let access = TrustedAccess::SharedAccess { endpoint, credential };
        Counts::new(access, &web, identities, Arc::default(), Tasks::default())
    }
}

async fn serve(
    mut connection: TcpStream,
    reply: Arc<impl Fn(usize, &str) -> Reply>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("a head is text");
    let path = head.split(' ').nth(1).expect("a request line").to_owned();
    let nth = {
        let mut asked = lock(&asked);
        asked.push(head);
        asked.len() - 1
    };
    let text = match reply(nth, &path) {
        Reply::With(status, headers, body) => {
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            )
        }
        Reply::Cut => format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{QUEUE}"),
        Reply::Silence => return std::future::pending().await,
        Reply::Endless => {
            let piece = [b' '; 1 << 16];
            let _sent = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while connection.write_all(&piece).await.is_ok() {}
            return;
        }
    };
    let _sent = connection.write_all(text.as_bytes()).await;
}

fn orders() -> Entities {
    Entities::One(Entity::Queue(Name::parse("orders").expect("a name")))
}

fn soon() -> Instant {
    Instant::now() + AMPLE
}

fn ok(body: &str) -> Reply {
    Reply::With(200, "", body.to_owned())
}

#[tokio::test]
async fn one_request_tells_the_count_of_an_entity() {
    let server = Server::start(|_, _| ok(QUEUE)).await;
    assert_eq!(server.counts().active(&orders(), soon()).await, Ok(7));
    let asked = server.asked();
    let [asked] = &asked[..] else { panic!("{asked:#?}") };
    assert!(asked.starts_with("GET /orders?api-version=2021-05 HTTP/1.1\r\n"), "{asked}");
    let resource = format!("sr=http%3A%2F%2F127.0.0.1%3A{}%2Forders&", server.port);
    assert!(asked.contains(&format!("authorization: SharedAccessSignature {resource}")), "{asked}");
}

#[tokio::test]
async fn an_answer_that_is_no_count_is_an_error_that_names_the_entity() {
    let detail = "<Error><Code>1</Code><Detail>Claims required. TrackingId:4</Detail></Error>";
    let topic = QUEUE.replace("QueueDescription", "TopicDescription");
    let subscription = QUEUE.replace("QueueDescription", "SubscriptionDescription");
    let rows: Vec<(&str, Reply, &str)> = vec![
        (
            "401",
            Reply::With(401, "", detail.to_owned()),
            "service bus does not accept the login for queue orders: HTTP status 401: Claims required; counts take the Manage claim",
        ),
        (
            "403",
            Reply::With(403, "", String::new()),
            "service bus denies queue orders: HTTP status 403; counts take the Manage claim",
        ),
        (
            "404",
            Reply::With(404, "", detail.to_owned()),
            "queue orders does not exist in service bus namespace 127.0.0.1",
        ),
        (
            "an empty feed",
            ok("<feed><title>Publicly Listed Services</title></feed>"),
            "queue orders does not exist in",
        ),
        (
            "400",
            Reply::With(400, "", detail.to_owned()),
            "service bus cannot give queue orders: HTTP status 400: Claims required",
        ),
        (
            "no counts",
            ok(&QUEUE.replace("ActiveMessageCount", "Other")),
            "service bus describes queue orders without its message counts",
        ),
        (
            "a topic",
            ok(&topic),
            "\"orders\" is a topic; give it as topicName, with subscriptionName",
        ),
        (
            "a subscription",
            ok(&subscription),
            "service bus cannot give queue orders: its answer describes something else",
        ),
        (
            "a page for people",
            ok("<html>Sign in</html>"),
            "service bus cannot give queue orders: its answer is no Atom document",
        ),
        (
            "half a document",
            ok(&QUEUE[..QUEUE.len() - 5]),
            "service bus cannot give queue orders: its answer is no Atom document",
        ),
        (
            "half a body",
            Reply::Cut,
            "service bus cannot give queue orders: its answer was cut short",
        ),
        (
            "too much",
            Reply::Endless,
            "service bus cannot give queue orders: its answer is over 16777216 bytes",
        ),
    ];
    for (name, reply, expected) in rows {
        let reply = Mutex::new(Some(reply));
        let server = Server::start(move |_, _| lock(&reply).take().expect("asked once")).await;
        let error = server.counts().active(&orders(), soon()).await.expect_err(name);
        assert!(error.to_string().starts_with(expected), "{name}: {error}");
    }
}

#[tokio::test]
async fn what_is_described_without_counts_is_left_alone_for_a_while() {
    let server = Server::start(|_, path| match path.starts_with("/orders") {
        true => ok(&QUEUE.replace("ActiveMessageCount", "Other")),
        false => ok(QUEUE),
    })
    .await;
    let counts = server.counts();
    for _ in 0..100 {
        let error = counts.active(&orders(), soon()).await.expect_err("no counts");
        let expected = "service bus describes queue orders without its message counts";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    assert_eq!(server.asked().len(), 1);
    // Others are not.
    let other = Entities::One(Entity::Queue(Name::parse("other").expect("a name")));
    assert_eq!(counts.active(&other, soon()).await, Ok(7));
    // And it is asked again when it has had its quiet.
    lock(&counts.endpoint.quiet).get_mut(&orders()).expect("quiet").0 = Instant::now();
    assert!(counts.active(&orders(), soon()).await.is_err());
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_, _| ok(QUEUE)).await;
    let target = format!("Location: http://127.0.0.1:{}/orders\r\n", elsewhere.port);
    let target: &'static str = target.leak();
    for status in [301, 302, 307, 308] {
        let server = Server::start(move |_, _| Reply::With(status, target, String::new())).await;
        let error = server.counts().active(&orders(), soon()).await.expect_err("refused");
        let expected = "service bus cannot give queue orders: it redirects to \"127.0.0.1\", where nothing is sent";
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_broken_gateway_is_asked_again_and_a_throttled_namespace_left_alone() {
    let server = Server::start(|nth, _| match nth {
        0 => Reply::With(502, "", String::new()),
        1 => Reply::Cut,
        _ => ok(QUEUE),
    })
    .await;
    let counts = server.counts();
    assert!(matches!(counts.active(&orders(), soon()).await, Err(Error::Service { .. })));
    assert_eq!(counts.active(&orders(), soon()).await, Ok(7));

    let server = Server::start(|nth, _| match nth {
        0 => Reply::With(429, "Retry-After: 1\r\n", String::new()),
        1 => Reply::With(
            503,
            "Retry-After: 30\r\n",
            "<Error><Detail>Busy. TrackingId:1</Detail></Error>".to_owned(),
        ),
        _ => ok(QUEUE),
    })
    .await;
    let counts = server.counts();
    let begin = Instant::now();
    let throttled = "service bus throttles queue orders: HTTP status 503: Busy; it is asked again once it allows that";
    let error = counts.active(&orders(), soon()).await.expect_err("30 s are too long");
    assert_eq!(error.to_string(), throttled);
    assert!((1..10).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    // The storm that KEDA makes of an error.
    for _ in 0..100 {
        let error = counts.active(&orders(), soon()).await.expect_err("still closed");
        assert_eq!(error.to_string(), throttled);
    }
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_burst_shares_requests_and_who_goes_away_ends_nothing() {
    let server = Server::start(|_, _| ok(QUEUE)).await;
    let counts = Arc::new(server.counts());
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let counts = Arc::clone(&counts);
        calls.spawn(async move { counts.active(&orders(), soon()).await });
    }
    let gone = Instant::now();
    drop(counts.active(&orders(), gone).await);
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.expect("no panic"), Ok(7));
    }
    assert!(server.asked().len() <= 3, "{} requests", server.asked().len());
    drop(counts.asked(&Entities::One(Entity::Queue(Name::parse("other").expect("a name")))));
    assert!(lock(&counts.asking).len() <= 2, "what nobody asks is kept");
}

#[tokio::test]
async fn who_does_not_answer_is_given_up_at_the_deadline() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let begin = Instant::now();
    let error = server.counts().active(&orders(), begin + Duration::from_millis(300)).await;
    let expected = "service bus namespace 127.0.0.1 cannot be reached: its management endpoint has not answered in time";
    assert_eq!(error.expect_err("silence").to_string(), expected);
    assert!(begin.elapsed() < AMPLE / 2);
    // Nobody is there at all.
    let port = server.port;
    let counts = server.counts();
    drop(server);
    while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
    let error = counts.active(&orders(), soon()).await.expect_err("nobody");
    let expected =
        "service bus namespace 127.0.0.1 cannot be reached: Connection refused (os error 111)";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn no_more_than_a_few_requests_are_under_way_to_a_namespace() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let server = Server::start(move |_, _| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Reply::Silence
    })
    .await;
    let counts = Arc::new(server.counts());
    let deadline = Instant::now() + Duration::from_millis(500);
    let mut calls = JoinSet::new();
    for nth in 0..50 {
        let name = Name::parse(&format!("q{nth}")).expect("a name");
        let counts = Arc::clone(&counts);
        calls.spawn(
            async move { counts.active(&Entities::One(Entity::Queue(name)), deadline).await },
        );
    }
    while let Some(answer) = calls.join_next().await {
        assert!(matches!(answer.expect("no panic"), Err(Error::Unreachable { .. })));
    }
    assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
}

/// A page of queues `q0`, `q1`, …, each with as many messages as its number; `q9999` is the last.
fn page(path: &str) -> Reply {
    let number = |key: &str| -> usize {
        let (_, rest) = path.split_once(key).expect("a range");
        rest.split('&').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    let (skip, top) = (number("$skip="), number("$top="));
    let entries = (skip..10_000)
        .take(top)
        .map(|nth| QUEUE.replace("orders", &format!("q{nth}")).replace(">7<", &format!(">{nth}<")));
    ok(&format!("<feed><title>Queues</title>{}</feed>", entries.collect::<String>()))
}

#[tokio::test]
async fn a_pattern_s_counts_are_gathered_from_all_pages() {
    let server = Server::start(|_, path| page(path)).await;
    let counts = server.counts();
    let rows = [
        (
            "q99[0-9]*",
            Operation::Sum,
            (99 + (990..1000).sum::<u64>()) + (9_900..10_000).sum::<u64>(),
        ),
        ("q.*", Operation::Max, 9_999),
        ("q[0-9]", Operation::Avg, 4),
        ("q0", Operation::Sum, 0),
    ];
    for (pattern, operation, expected) in rows {
        let pattern = Pattern::parse(pattern).expect("a pattern");
        let matching = Entities::Matching(Matching { topic: None, pattern, operation });
        let before = server.asked().len();
        assert_eq!(counts.active(&matching, soon()).await, Ok(expected), "{matching}");
        // The hundredth page is full, so that another one is asked for.
        assert_eq!(server.asked().len() - before, 101, "{matching}");
    }
    let first = &server.asked()[0];
    assert!(
        first.starts_with("GET /$Resources/queues?api-version=2021-05&$skip=0&$top=100 "),
        "{first}"
    );
    let pattern = Pattern::parse("none-.*").expect("a pattern");
    let operation = Operation::Sum;
    let none = Entities::Matching(Matching { topic: None, pattern, operation });
    assert_eq!(counts.active(&none, soon()).await, Ok(0), "looked, and there was nothing");
}

#[tokio::test]
async fn a_pattern_leaves_out_nothing_that_it_matches() {
    let odd = QUEUE.replace("orders", "orders-odd").replace("QueueDescription", "Other");
    let nameless = QUEUE.replace("<title>orders</title>", "");
    let rows = [
        (
            "no description",
            odd,
            "orders.*",
            "service bus describes \"orders-odd\" without its message counts",
        ),
        (
            "no name",
            nameless,
            "orders.*",
            "service bus cannot give queues \"orders.*\": its list has",
        ),
    ];
    for (case, entry, pattern, expected) in rows {
        let list = format!("<feed><title>Queues</title>{QUEUE}{entry}</feed>");
        let server = Server::start(move |_, _| ok(&list)).await;
        let matching = |pattern| {
            let pattern = Pattern::parse(pattern).expect("a pattern");
            Entities::Matching(Matching { topic: None, pattern, operation: Operation::Sum })
        };
        let counts = server.counts();
        let error = counts.active(&matching(pattern), soon()).await.expect_err(case);
        assert!(error.to_string().starts_with(expected), "{case}: {error}");
        if case == "no description" {
            assert_eq!(counts.active(&matching("orders"), soon()).await, Ok(7), "of others");
        }
    }
}
