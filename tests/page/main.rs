//! The page of `keda-sift serve` in a real browser: it is live, harmless whatever tenants call
//! things, loads nothing from elsewhere, and can be used by everybody.
//!
//! `browser.mjs` is the person, with Debian's Chromium and axe-core. What it needs from npm is
//! installed once per checkout, into `target/page/npm`. Its screenshots are in `target/page`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use sift_harness::program::Program;
use sift_harness::{Broker, Message, Sift, Trigger};
use tokio::task::JoinSet;

/// How long all of it may take.
const AT_MOST: Duration = Duration::from_secs(180);

/// How often KEDA polls.
const POLL_EVERY: Duration = Duration::from_millis(700);

/// Where all messages are.
const TOPIC: &str = "uploads";

const LOCK: &str = include_str!("package-lock.json");

/// What it is called on Debian, and elsewhere.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page")
}

/// Where the packages of npm are, installed if they are not there yet.
fn installed() -> PathBuf {
    let folder = target().join("npm");
    fs::create_dir_all(&folder).expect("target/page can be made");
    let stamp = folder.join("stamp");
    if !fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == LOCK) {
        fs::write(folder.join("package.json"), include_str!("package.json")).expect("a folder");
        fs::write(folder.join("package-lock.json"), LOCK).expect("a folder");
        let mut install = Command::new("npm");
        install.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
        let status =
            install.current_dir(&folder).status().expect("npm, which make prepare installs");
        assert!(status.success(), "npm ci: {status}");
        fs::write(stamp, LOCK).expect("a folder");
    }
    folder.join("node_modules")
}

fn browser() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let programs =
        BROWSERS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let mut programs = programs.filter(|program| program.is_file());
    programs.next().expect("Chromium, which make test-page installs or names")
}

/// Triggers with all that a page can show: names that would do harm, were they anything but text.
async fn triggers(broker: &Broker, sift: &Sift) -> Vec<Trigger> {
    let script = "<script>window.hostile=1</script>";
    let image = "<img src=x onerror=window.hostile=1>";
    broker.topic(TOPIC).partitions(3).create().await;
    let types =
        ["order.paid", "order.made", image, "\"><svg onload=window.hostile=1>", "طلب\u{202e}gnp"];
    let messages = (0..30).map(|n| Message::of_type(types[n % types.len()]));
    broker.produce_all(TOPIC, messages).await;
    broker.commit(TOPIC, TOPIC, [(0, 0), (1, 0), (2, 0)]).await;
    let on = |name: &str| {
        let trigger = sift.trigger(broker.bootstrap(), TOPIC, TOPIC).named(name).within("shop");
        trigger.with("sasl", "none").with("passwordFromEnv", "hunter2")
    };
    let paid = |name: &str| on(name).with("eventType", "order.paid,order.gone.*");
    let mut all = vec![
        paid("live").with("lagThreshold", "2"),
        paid("nothing").with("eventType", "order.never"),
        paid(script).within(script).with("eventType", &format!("{image},{script}")),
        paid(&"x".repeat(10_000)).within(&"y".repeat(10_000)),
        paid(&"ش".repeat(300)).within("\u{202e}evil\u{2066}"),
        paid("\"' onfocus=window.hostile=1 autofocus x=\"").with("metricName", script),
        paid("failing").with("bootstrapServers", "127.0.0.1:1"),
    ];
    all.extend((0..6).map(|n| on(&format!("all-{n}")).with("countFrom", "offsets")));
    all
}

/// Runs the person beside KEDA, which polls, and gives it a message whenever it asks for one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: make test-page"]
async fn a_person_can_use_it() {
    let (packages, browser) = (installed(), browser());
    let mut program = Program::serving(&["--page-listen", "127.0.0.1:0"]);
    let page = program.logged("serving the page")["page"].as_str().map(str::to_owned);
    let page = format!("http://{}/", page.expect("an address"));
    let broker = Broker::shared();
    let sift = Sift::at(program.grpc).await;
    let triggers = triggers(broker, &sift).await;
    let mut keda = JoinSet::new();
    for trigger in triggers {
        // One round before anybody looks.
        trigger.value().await.ok();
        keda.spawn(async move {
            loop {
                tokio::time::sleep(POLL_EVERY).await;
                trigger.value().await.ok();
            }
        });
    }

    let mut person = Command::new("node");
    person.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/browser.mjs"));
    person.env("NODE_PATH", packages).env("PAGE", page).env("CHROMIUM", browser);
    person.env("SCREENSHOTS", target()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut person = person.spawn().expect("Node.js, which make prepare installs");
    let lines = BufReader::new(person.stdout.take().expect("it is piped")).lines();
    let (sender, said) = sync_channel(1_000);
    std::thread::spawn(move || {
        lines.map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
    });
    let ended = tokio::time::timeout(AT_MOST, async {
        while let Ok(line) = tokio::task::block_in_place(|| said.recv_timeout(AT_MOST)) {
            if line == "produce" {
                broker.produce(TOPIC, Message::of_type("order.paid").partition(0)).await;
            } else {
                println!("{line}");
            }
        }
    });
    let ended = ended.await;
    if ended.is_err() {
        person.kill().expect("it is a child");
    }
    let status = person.wait().expect("a child can be waited for");
    assert!(ended.is_ok() && status.success(), "the browser: {status}");
}
