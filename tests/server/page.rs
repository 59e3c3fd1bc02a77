//! The page of `keda-sift serve`, over HTTP: where it is and is not, who may see it, what it shows.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use sift_harness::program::{Program, keda_sift};
use sift_harness::{PATIENCE, metadata};
use tokio::time::Instant;
use tonic::transport::Channel;

/// What none may read.
const SECRET: &str = "hunter2";

/// Without a token.
const LOOPBACK: [&str; 2] = ["--page-listen", "127.0.0.1:0"];

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// The program with a page, and where that is.
fn program(options: &[&str]) -> (Program, SocketAddr) {
    let mut program = Program::serving(options);
    let page = program.logged("serving the page")["page"].as_str().map(str::to_owned);
    let page = page.and_then(|page| page.parse().ok()).expect("an address");
    (program, page)
}

fn connect(page: SocketAddr, path: &str, headers: &[(&str, &str)]) -> TcpStream {
    let mut connection = TcpStream::connect(page).expect("it listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut request = format!("GET {path} HTTP/1.0\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        request.push_str("host: localhost\r\n");
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(connection, "{request}\r\n").expect("it reads");
    connection
}

fn get_as(page: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut reply = String::new();
    connect(page, path, headers).read_to_string(&mut reply).expect("text");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Reply { status: status.expect("a status"), head: head.to_owned(), body: body.to_owned() }
}

fn get(page: SocketAddr, path: &str) -> Reply {
    get_as(page, path, &[])
}

async fn keda(program: &Program) -> ExternalScalerClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", program.grpc)).expect("a URL");
    ExternalScalerClient::new(endpoint.connect().await.expect("it listens"))
}

/// Asks for the value of a trigger that no broker is behind.
async fn poll(keda: &mut ExternalScalerClient<Channel>, namespace: &str, name: &str, topic: &str) {
    let rows = [
        ("source", "kafka"),
        ("bootstrapServers", "127.0.0.1:1"),
        ("consumerGroup", "g"),
        ("topic", topic),
        ("tls", "disable"),
        ("sasl", "plaintext"),
        ("username", "u"),
        ("passwordFromEnv", SECRET),
    ];
    let asked = ScaledObjectRef {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        scaler_metadata: metadata(&rows),
    };
    let asked = GetMetricsRequest { scaled_object_ref: Some(asked), metric_name: String::new() };
    keda.get_metrics(asked).await.expect_err("there is no broker");
}

/// The addresses of triggers on an overview.
fn links(overview: &str) -> Vec<String> {
    let links = overview.split("href=\"trigger?id=").skip(1);
    links.map(|link| format!("/trigger?id={}", &link[..16])).collect()
}

#[test]
fn there_is_no_page_by_default() {
    let mut program = Program::serving::<&str>(&[]);
    assert!(program.logs().iter().all(|line| line["message"] != "serving the page"));
    for path in ["/", "/trigger", "/events", "/page.js"] {
        let (head, _) = program.page(path);
        assert!(head.starts_with("HTTP/1.0 404"), "{path}: {head}");
    }
}

#[test]
fn it_is_open_to_this_machine_alone_unless_there_is_a_token() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let ended = keda_sift().args(["serve", "--page-listen", address]).output();
        let ended = ended.expect("it is built");
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && told.contains("--diagnostics-token-file"), "{told}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, "first\n").expect("it takes a file");
    let file = token.display().to_string();
    let (_program, page) =
        program(&["--page-listen", "0.0.0.0:0", "--diagnostics-token-file", &file]);
    let page = SocketAddr::from(([127, 0, 0, 1], page.port()));
    for path in ["/", "/trigger?id=0", "/events", "/page.js", "/none"] {
        let reply = get(page, path);
        assert_eq!(reply.status, 401, "{path}");
        assert!(reply.header("www-authenticate").is_some_and(|ask| ask.starts_with("Basic ")));
        assert!(!reply.body.contains("first"), "{}", reply.body);
    }
    let rows = [
        ("Basic eDpmaXJzdA==", 200), // x:first
        ("Basic OmZpcnN0", 200),     // :first
        ("Bearer first", 200),
        ("Basic eDpzZWNvbmQ=", 401), // x:second
        ("Bearer firs", 401),
        ("Basic first", 401),
    ];
    for (shown, expected) in rows {
        let headers = [("authorization", shown), ("host", "sift.example.com")];
        assert_eq!(get_as(page, "/", &headers).status, expected, "{shown}");
    }
    fs::write(&token, "second").expect("it is there");
    assert_eq!(get_as(page, "/", &[("authorization", "Bearer first")]).status, 401);
    assert_eq!(get_as(page, "/", &[("authorization", "Bearer second")]).status, 200);
}

#[test]
fn a_browser_may_load_nothing_from_elsewhere_and_no_other_site_may_load_it() {
    let (_program, page) =
        program(&[LOOPBACK[0], LOOPBACK[1], "--page-host", "sift.example.com,other.example.com"]);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/none", "text/html; charset=utf-8"),
    ] {
        let reply = get(page, path);
        assert_eq!(reply.header("content-type"), Some(kind), "{path}");
        let policy = reply.header("content-security-policy").expect("a policy");
        for part in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for (name, expected) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), Some(expected), "{path}");
        }
        for scheme in ["http://", "https://", "//"] {
            let loads = [format!("src=\"{scheme}"), format!("href=\"{scheme}")];
            assert!(loads.iter().all(|load| !reply.body.contains(load)), "{path}");
        }
    }
    for (host, expected) in [
        ("localhost", 200),
        ("127.0.0.1:9092", 200),
        ("sift.example.com", 200),
        ("other.example.com:80", 200),
        ("rebound.example.com", 421),
    ] {
        assert_eq!(get_as(page, "/", &[("host", host)]).status, expected, "{host}");
    }
    let foreign = [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")];
    assert_eq!(get_as(page, "/events", &foreign).status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_are_filtered_searched_sorted_and_shown() {
    let (program, page) =
        program(&[LOOPBACK[0], LOOPBACK[1], "--diagnostics-namespace", "shop,mail"]);
    assert!(get(page, "/").body.contains("This replica knows no trigger"));
    let mut keda = keda(&program).await;
    for (namespace, name, topic) in [
        ("shop", "b", "orders"),
        ("shop", "a", "<b>orders</b>"),
        ("mail", "c", "postbox"),
        ("vault", "d", "orders"),
    ] {
        poll(&mut keda, namespace, name, topic).await;
    }
    let overview = get(page, "/").body;
    assert_eq!(links(&overview).len(), 3);
    assert!(!overview.contains("vault") && overview.contains("3 triggers: 3 failing."));
    for (path, expected) in [
        ("/?q=postbox", 1),
        ("/?q=SHOP+orders", 2),
        ("/?q=nothing", 0),
        ("/?state=failing", 3),
        ("/?state=zero", 0),
        ("/?sort=-name&q=shop", 2),
        ("/?page=7", 3),
    ] {
        let reply = get(page, path);
        assert_eq!((reply.status, links(&reply.body).len()), (200, expected), "{path}");
    }
    let reversed = links(&get(page, "/?sort=-name").body);
    assert_eq!(reversed, links(&overview).into_iter().rev().collect::<Vec<_>>());
    for link in links(&overview) {
        let shown = get(page, &link);
        assert_eq!(shown.status, 200);
        assert!(!shown.body.contains(SECRET) && shown.body.contains("(hidden)"), "{}", shown.body);
        assert!(shown.body.contains("There is no number: "), "{}", shown.body);
    }
    for path in ["/trigger", "/trigger?id=0123456789abcdef", "/trigger?id=%3Cb%3E", "/none"] {
        let reply = get(page, path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.body.contains("<b>"), "{path}");
    }
    let mut posted = TcpStream::connect(page).expect("it listens");
    write!(posted, "POST / HTTP/1.0\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
        .expect("it reads");
    let mut reply = String::new();
    posted.read_to_string(&mut reply).expect("text");
    assert!(reply.starts_with("HTTP/1.0 405"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_an_event_and_there_are_only_so_many_streams() {
    let (program, page) = program(&LOOPBACK);
    let mut keda = keda(&program).await;
    poll(&mut keda, "shop", "a", "orders").await;
    let link = links(&get(page, "/").body).remove(0);
    let streams = ["/events".to_owned(), link.replace("/trigger", "/events")];
    for path in streams {
        let stream = connect(page, &path, &[]);
        let mut lines = BufReader::new(stream).lines();
        let head = lines.by_ref().find(|line| line.as_ref().is_ok_and(String::is_empty));
        assert!(head.is_some(), "{path}");
        // What keeps a silent stream open are lines as well.
        let mut next = || {
            lines
                .by_ref()
                .take(8)
                .find_map(|line| line.expect("in time").strip_prefix("data: ").map(str::to_owned))
        };
        let first = next().expect("what is true now");
        poll(&mut keda, "shop", "a", "orders").await;
        assert_ne!(next().expect("an event"), first, "{path}");
    }
    // Those above are gone once something is written to them.
    let busy = || get(page, "/events").status == 503;
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut line = String::new();
        let mut stream = BufReader::new(connect(page, "/events", &[]));
        stream.read_line(&mut line).expect("a status");
        if line.contains(" 200 ") {
            open.push(stream);
        }
    }
    assert!(busy(), "{} are open", open.len());
    assert_eq!(get(page, "/").status, 200);
    drop(open);
    assert!(program.end() == Some(0), "streams hold nothing up");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_triggers_a_page_is_there_within_a_second() {
    let (program, page) = program(&LOOPBACK);
    let keda = keda(&program).await;
    let calls = (0..10_000).map(|n| {
        let mut keda = keda.clone();
        let asked = ScaledObjectRef {
            name: format!("job-{n}"),
            namespace: format!("team-{}", n % 50),
            scaler_metadata: metadata(&[("source", "kafka"), ("topic", "t")]),
        };
        async move {
            let asked = GetMetricsRequest {
                scaled_object_ref: Some(asked),
                ..GetMetricsRequest::default()
            };
            keda.get_metrics(asked).await.expect_err("it says too little");
        }
    });
    futures_util::future::join_all(calls).await;
    for path in ["/", "/?sort=-polled&state=failing", "/?q=job-99", "/?page=50"] {
        let open = || {
            let began = Instant::now();
            let reply = get(page, path);
            assert_eq!(reply.status, 200, "{path}");
            assert!(reply.body.len() < 500_000, "{path}: {} bytes", reply.body.len());
            began.elapsed()
        };
        let fastest = (0..3).map(|_| open()).min().unwrap_or(Duration::MAX);
        println!("{path}: {fastest:?}");
        assert!(fastest < Duration::from_secs(1), "{path}: {fastest:?}");
    }
}
