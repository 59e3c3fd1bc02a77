//! A queue counted with workload identity or a key, end to end: which way of counting its rights
//! allow, tokens that end, and none that goes astray.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use azure_stand_ins::entra::Entra;
use azure_stand_ins::{Message, Rights, ServiceBus};
use keda_sift::identity;
use sift_harness::cloud::{CLIENT, Cloud, HOST, OTHER, SUBJECT, TENANT};
use sift_harness::{Settings, Sift};
use tokio::time::{Instant, sleep};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_s_token_lets_in_to_peek_and_to_manage() {
    let cloud = Cloud::start(Rights::MANAGE).await;
    let trigger = cloud.trigger(&cloud.sift(&[]).await);
    for transport in ["amqp", "websocket"] {
        let trigger = trigger.clone().with("transport", transport);
        assert_eq!(trigger.clone().with("eventType", "b").count().await, 6, "{transport}");
        assert_eq!(trigger.clone().with("countFrom", "peek").count().await, 9, "{transport}");
    }
    assert_eq!(cloud.bus.management_requests(), 0);
    let before = cloud.bus.peeks();
    assert_eq!(trigger.count().await, 9);
    assert_eq!(trigger.with("namespace", HOST).count().await, 9);
    assert_eq!((cloud.bus.management_requests(), cloud.bus.peeks()), (2, before));
    assert_eq!(cloud.entra.exchanges(), 1, "one token for all");
    assert!(cloud.bus.connections().ever <= 4, "{:?}", cloud.bus.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_manage_it_is_peeked_and_that_is_remembered() {
    let cloud = Cloud::start(Rights::LISTEN).await;
    let sift = cloud.sift(&[]).await;
    let trigger = cloud.trigger(&sift);
    for _ in 0..5 {
        assert_eq!(trigger.count().await, 9);
    }
    // Another trigger on the same queue need not find out by itself.
    let same = trigger.clone().named("another").with("activationMessageCount", "3");
    assert_eq!(same.count().await, 9);
    assert_eq!(cloud.bus.management_requests(), 1);
    let (code, text) = trigger.clone().with("countFrom", "management").error().await;
    assert_eq!(code, Code::PermissionDenied, "{text}");
    assert!(
        text.contains("counts take the Manage claim (role Azure Service Bus Data Owner)"),
        "{text}"
    );
    assert_eq!(trigger.with("eventType", "a").count().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_right_the_error_names_what_to_grant() {
    let cloud = Cloud::start(Rights::SEND).await;
    let trigger = cloud.trigger(&cloud.sift(&[]).await);
    for trigger in [trigger.clone(), trigger.clone().with("eventType", "a")] {
        let (code, text) = trigger.error().await;
        assert!(matches!(code, Code::Unauthenticated | Code::PermissionDenied), "{code}: {text}");
        assert!(text.contains("queue orders"), "{text}");
        assert!(text.contains("the Listen claim (role Azure Service Bus Data Receiver)"), "{text}");
    }
    // What is granted meanwhile is found.
    cloud.bus.grant(CLIENT, Rights::LISTEN);
    trigger.until(9, |_| false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_the_way_that_its_rights_allow() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 9, |n| Message::new("{}").subject(["a", "b", "b"][n % 3]));
    bus.key("listen-only", Rights::LISTEN);
    bus.key("send-only", Rights::SEND);
    let sift = Sift::start_with(Duration::from_secs(5), Duration::from_secs(900)).await;
    let with = |key: &str| {
        sift.queue(&bus, "orders").with("connectionFromEnv", &bus.connection_string_for(key))
    };
    for _ in 0..3 {
        assert_eq!(with("listen-only").count().await, 9);
    }
    assert_eq!(bus.management_requests(), 1, "what was refused is remembered");
    let rows = [
        (
            "listen-only",
            "management",
            "counts take the Manage claim (role Azure Service Bus Data Owner)",
        ),
        (
            "send-only",
            "management",
            "counts take the Manage claim (role Azure Service Bus Data Owner)",
        ),
        (
            "send-only",
            "peek",
            "peeking takes the Listen claim (role Azure Service Bus Data Receiver)",
        ),
        (
            "send-only",
            "auto",
            "peeking takes the Listen claim (role Azure Service Bus Data Receiver)",
        ),
        ("unknown", "peek", "service bus does not accept the login for queue orders"),
    ];
    for (key, count_from, expected) in rows {
        let (code, text) = with(key).with("countFrom", count_from).error().await;
        assert!(matches!(code, Code::Unauthenticated | Code::PermissionDenied), "{key}: {code}");
        assert!(text.contains(expected) && text.contains("queue orders"), "{key}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_lets_in_where_the_key_does_and_as_long_as_it_says() {
    let bus = ServiceBus::start().await;
    bus.queue("orders").create();
    bus.fill("orders", 9, |n| Message::new("{}").subject(["a", "b", "b"][n % 3]));
    bus.key("listen-only", Rights::LISTEN);
    let (root, _) = bus.root_key();
    let sift = Sift::start_with(Duration::from_secs(5), Duration::from_secs(900)).await;
    let signed = |key: &str, ends: SystemTime| {
        let text = bus.signed_connection_string(key, ends);
        sift.queue(&bus, "orders").with("connectionFromEnv", &text)
    };
    let (soon, never) = (
        SystemTime::now() + Duration::from_secs(600),
        UNIX_EPOCH + Duration::from_secs(9_000_000_000_000),
    );
    for ends in [soon, never] {
        for transport in ["amqp", "websocket"] {
            let trigger = signed("listen-only", ends).with("transport", transport);
            assert_eq!(trigger.clone().with("eventType", "b").count().await, 6, "{transport}");
            assert_eq!(trigger.count().await, 9, "{transport}");
        }
        let managed = signed(root, ends).with("countFrom", "management");
        assert_eq!(managed.count().await, 9);
    }
    let ended = signed(root, SystemTime::now() - Duration::from_secs(60));
    for count_from in ["management", "peek"] {
        let (code, text) = ended.clone().with("countFrom", count_from).error().await;
        assert_eq!(code, Code::Unauthenticated, "{count_from}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cloud_has_its_suffix_and_its_authority() {
    let rows = [
        ("AzureUSGovernmentCloud", "shop.servicebus.usgovcloudapi.net", "login.microsoftonline.us"),
        ("AzureChinaCloud", "shop.servicebus.chinacloudapi.cn", "login.chinacloudapi.cn"),
    ];
    for (name, host, login) in rows {
        let cloud = Cloud::at(host, Rights::MANAGE).await;
        let tls = cloud.authority.issue("login", &[login]);
        let entra = Entra::start(&tls.cert, &tls.key).await;
        entra.federate(SUBJECT, CLIENT, TENANT);
        std::fs::write(cloud.token_file.path(), entra.service_account_token(SUBJECT))
            .expect("written");
        let mut settings = cloud.settings(&[]);
        // Where the pod's environment names none.
        settings.identity.authority = None;
        settings.web.connect_to.insert(host.to_owned(), cloud.bus.address());
        settings.web.connect_to.insert(login.to_owned(), entra.address());
        let trigger = cloud.trigger(&Sift::with(settings).await).with("cloud", name);
        assert_eq!(trigger.clone().with("eventType", "a").count().await, 3, "{name}");
        assert_eq!(trigger.with("countFrom", "management").count().await, 9, "{name}");
        assert_eq!((entra.exchanges(), cloud.entra.exchanges()), (1, 0), "{name}");
        assert_eq!(entra.asked()[0]["scope"], "https://servicebus.azure.net/.default", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_asks_with_its_own_token() {
    let cloud = Cloud::start(Rights::NONE).await;
    cloud.bus.grant(OTHER, Rights::LISTEN);
    let trigger = cloud.trigger(&cloud.sift(&[]).await).with("eventType", "a");
    let other = trigger.clone().with("identityId", OTHER).with("identityTenantId", TENANT);
    for _ in 0..2 {
        assert_eq!(other.count().await, 3);
        assert_eq!(trigger.error().await.0, Code::Unauthenticated);
    }
    let mut clients: Vec<_> =
        cloud.entra.asked().into_iter().map(|mut asked| asked.remove("client_id")).collect();
    clients.sort();
    assert_eq!(clients, [Some(OTHER.to_owned()), Some(CLIENT.to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_are_replaced_without_a_poll_noticing() {
    let cloud = Cloud::start(Rights::LISTEN).await;
    cloud.entra.lifetime(Duration::from_secs(12));
    let sift = cloud.sift(&[]).await;
    let trigger = cloud.trigger(&sift).with("eventType", "a");
    assert_eq!(trigger.count().await, 3);
    let (links, begun) = (cloud.bus.links_ever(), Instant::now());
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(20) {
        let asked = Instant::now();
        assert_eq!(trigger.count().await, 3, "after {:?}", begun.elapsed());
        slowest = slowest.max(asked.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    let exchanges = cloud.entra.exchanges();
    assert!((2..=4).contains(&exchanges), "{exchanges} exchanges");
    assert_eq!(cloud.bus.links_ever(), links, "the claim was renewed, so no link was lost");
    assert_eq!(cloud.bus.connections().ever, 1);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_entra_reaches_the_user() {
    let cloud = Cloud::start(Rights::LISTEN).await;
    cloud
        .entra
        .refuse("AADSTS700016: Application with identifier 'x' was not found in the directory.");
    let trigger = cloud.trigger(&cloud.sift(&[]).await);
    for (way, trigger) in
        [("management", trigger.clone()), ("peek", trigger.clone().with("eventType", "a"))]
    {
        let (code, text) = trigger.error().await;
        assert_eq!(code, Code::Unauthenticated, "{way}: {text}");
        assert!(text.contains("AADSTS700016: Application with identifier"), "{way}: {text}");
        assert_eq!(trigger.error().await, (code, text), "the same words for the same cause");
    }
    cloud.entra.throttle(1);
    let (code, text) = trigger.clone().with("eventType", "b").error().await;
    assert!(code == Code::Unavailable || code == Code::Unauthenticated, "{code}: {text}");
    cloud.entra.recover();
    trigger.with("eventType", "a").until(3, |_| false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_entra_holds_up_nobody_for_longer_than_a_poll_may_take() {
    let cloud = Cloud::start(Rights::LISTEN).await;
    cloud.entra.hold();
    let trigger = cloud.trigger(&cloud.sift(&[]).await).with("eventType", "a");
    let begun = Instant::now();
    let (code, text) = trigger.error().await;
    assert_eq!(code, Code::Unavailable, "{text}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(text.contains("localhost"), "who is slow: {text}");
    cloud.entra.release();
    trigger.until(3, |_| false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_leaves_for_a_host_that_is_not_allowed() {
    let cloud = Cloud::start(Rights::MANAGE).await;
    let trigger = cloud.trigger(&cloud.sift(&["private.example"]).await);
    let private = |suffix| trigger.clone().with("cloud", "Private").with("endpointSuffix", suffix);
    let rows = [
        ("a suffix that is not allowed", private("evil.example")),
        ("one that ends like an allowed one", private("evilprivate.example")),
        ("a suffix of a suffix", private("windows.net")),
        ("a suffix and more", private("servicebus.windows.net.evil.example")),
        ("a path in a suffix", private("evil.example/.servicebus.windows.net")),
        ("a port in a suffix", private("private.example:443")),
        ("a user", trigger.clone().with("namespace", "shop@evil.example")),
        ("another host", trigger.clone().with("namespace", "shop.evil.example")),
        ("a whole other host", trigger.clone().with("namespace", "evil.example")),
        ("a slash", trigger.clone().with("namespace", "evil.example/shop")),
        ("a backslash", trigger.clone().with("namespace", r"evil.example\shop")),
        ("a question", trigger.clone().with("namespace", "evil.example?shop")),
        ("a fragment", trigger.clone().with("namespace", "evil.example#shop")),
        ("a port", trigger.clone().with("namespace", "shop:443")),
        ("a dot at the end", trigger.clone().with("namespace", "shop.servicebus.windows.net.")),
        ("an address", trigger.clone().with("namespace", "127.0.0.1")),
        ("a level more", trigger.clone().with("namespace", "a.shop.servicebus.windows.net")),
        (
            "another cloud's",
            trigger.clone().with("cloud", "AzureChinaCloud").with("namespace", HOST),
        ),
    ];
    for (what, trigger) in rows {
        for count_from in ["management", "peek", "auto"] {
            let (code, text) = trigger.clone().with("countFrom", count_from).error().await;
            assert_eq!(code, Code::InvalidArgument, "{what}: {text}");
        }
        let (code, _) = trigger.with("eventType", "a").error().await;
        assert_eq!(code, Code::InvalidArgument, "{what}");
    }
    let (_, text) = private("evil.example").error().await;
    assert!(text.contains("--azure-allow-suffix") && text.contains("endpointSuffix"), "{text}");
    assert_eq!((cloud.entra.exchanges(), cloud.bus.connections().ever), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suffix_that_the_operator_allows_is_asked() {
    let cloud = Cloud::at("shop.bus.private.example", Rights::LISTEN).await;
    let trigger = cloud.trigger(&cloud.sift(&["private.example"]).await);
    let trigger = trigger.with("cloud", "Private").with("endpointSuffix", "bus.private.example");
    assert_eq!(trigger.clone().with("eventType", "a").count().await, 3);
    assert_eq!(trigger.count().await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_an_identity_is_told_what_it_lacks() {
    let cloud = Cloud::start(Rights::MANAGE).await;
    let settings = Settings { identity: identity::Options::default(), ..cloud.settings(&[]) };
    let trigger = cloud.trigger(&Sift::with(settings).await);
    for trigger in [trigger.clone(), trigger.with("eventType", "a")] {
        let (code, text) = trigger.error().await;
        assert_eq!(code, Code::FailedPrecondition, "{text}");
        assert!(text.contains("AZURE_") && text.contains("azure.workload.identity/use"), "{text}");
    }
}

/// Everything that is logged in this process, kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Begins to keep what this thread logs.
    fn begin() -> (Log, tracing::subscriber::DefaultGuard, tracing::Dispatch) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        // While there is one subscriber alone, a thread without it switches off for all what it
        // logs first.
        (log, guard, tracing::Dispatch::new(tracing_subscriber::registry()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

// On one thread, so that the log is of this test alone.
#[tokio::test(flavor = "current_thread")]
async fn that_a_queue_is_peeked_instead_is_said_once() {
    let (log, _logging, _other) = Log::begin();
    let cloud = Cloud::start(Rights::LISTEN).await;
    let trigger = cloud.trigger(&cloud.sift(&[]).await);
    for n in 0..3 {
        assert_eq!(trigger.clone().named(&format!("job-{n}")).count().await, 9);
    }
    let logged = log.text();
    let said: Vec<_> =
        logged.lines().filter(|line| line.contains("counting by peeking instead")).collect();
    let [said] = said[..] else { panic!("{said:#?}") };
    for part in ["WARN", HOST, "orders", "HTTP status 403", "the Manage claim"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

// On one thread, so that the log is of this test alone.
#[tokio::test(flavor = "current_thread")]
async fn no_secret_is_told_or_logged() {
    let (log, _logging, _other) = Log::begin();

    let cloud = Cloud::start(Rights::LISTEN).await;
    let plain = ServiceBus::start().await;
    plain.queue("orders").create();
    plain.key("send-only", Rights::SEND);
    let measure_timeout = Duration::from_secs(1);
    let sift = Sift::with(Settings { measure_timeout, ..cloud.settings(&[]) }).await;
    let mut told = String::new();
    let trigger = cloud.trigger(&sift);
    let keyed = sift.queue(&plain, "orders");
    let wrong_key = keyed.clone().with(
        "connectionFromEnv",
        &plain.connection_string().replace("SharedAccessKey=", "SharedAccessKey=bWFya2Vy"),
    );
    let signature = {
        let endpoint = format!("Endpoint=sb://{};UseDevelopmentEmulator=true;", plain.address());
        format!(
            "{endpoint}SharedAccessSignature=SharedAccessSignature sr=sb%3A%2F%2Fx&sig=bWFya2VyLXNpZw%3D%3D&se=4000000000&skn=all"
        )
    };
    let signed = keyed.clone().with("connectionFromEnv", &signature);
    let send_only =
        keyed.clone().with("connectionFromEnv", &plain.connection_string_for("send-only"));
    let broken =
        keyed.clone().with("connectionFromEnv", "Endpoint=sb://x;SharedAccessKey=marker-key;Key");
    let elsewhere = cloud.bus.connection_string().replace("UseDevelopmentEmulator=true;", "");
    let elsewhere = keyed.clone().with("connectionFromEnv", &elsewhere);
    for trigger in [&trigger, &keyed, &wrong_key, &signed, &send_only, &broken, &elsewhere] {
        for transport in ["amqp", "websocket"] {
            for count_from in ["auto", "peek", "management"] {
                let trigger =
                    trigger.clone().with("transport", transport).with("countFrom", count_from);
                told.push_str(&format!(
                    "{:?} {:?}\n",
                    trigger.metric().await,
                    trigger.active().await
                ));
            }
        }
    }
    cloud.entra.refuse("AADSTS50013: Assertion failed signature validation.");
    let refused = trigger.clone().with("identityId", OTHER);
    told.push_str(&format!("{:?}\n", refused.metric().await));

    let mut secrets = vec![
        plain.root_key().1.to_owned(),
        format!("bWFya2Vy{}", plain.root_key().1),
        "bWFya2VyLXNpZw".to_owned(),
        "marker-key".to_owned(),
        std::fs::read_to_string(cloud.token_file.path()).expect("a file"),
    ];
    // Any JWT, and any signature of ours.
    secrets.extend(["eyJ", "sig=", "SharedAccessSignature sr="].map(str::to_owned));
    let logged = log.text();
    assert!(logged.contains("keda_sift"), "there was a log to be searched");
    assert!(told.contains("metric_value: 9"), "{told}");
    for secret in &secrets {
        for (place, shown) in [("an answer", &told), ("the log", &logged)] {
            if let Some(at) = shown.find(secret) {
                let line = shown[..at].rfind('\n').map_or(0, |end| end + 1);
                let line = shown[line..].lines().next().unwrap_or_default();
                panic!("{place} shows {secret:?}: {}", &line[..line.len().min(2_000)]);
            }
        }
    }
}
