//! Getting into a cluster with a token: a client's own, or the scaler's for Event Hubs; and where
//! no token goes.

use std::collections::BTreeSet;
use std::time::Duration;

use azure_stand_ins::entra::Entra;
use keda_sift::{identity, web};
use sift_harness::{Authority, Broker, Listener, Message, Poll, Settings, Sift, Trigger, until};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Code;

/// May do everything on the secured broker.
const CLIENT: &str = "alice";
const TENANT: &str = "tenant";
const SECRET: &str = "s3cret & more:";
const SCOPE: &str = "https://kafka.example/.default";

const SUBJECT: &str = "system:serviceaccount:keda:keda-sift";

/// What an answer may take that waits for no timeout, on a machine with much else to do.
const AT_ONCE: Duration = Duration::from_secs(5);

type Keys<'a> = &'a [(&'a str, &'a str)];

/// A token endpoint that a secured broker believes, and a scaler that trusts its certificate.
struct Guarded {
    broker: &'static Broker,
    entra: Entra,
    sift: Sift,
    endpoint: String,
    _token_file: NamedTempFile,
}

impl Guarded {
    async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    async fn start_with(oauth_hosts: Vec<String>) -> Self {
        let authority = Authority::new("an authority");
        let identity = authority.issue("entra", &["localhost"]);
        let entra = Entra::start(&identity.cert, &identity.key).await;
        entra.unsigned();
        entra.register_secret(SECRET, CLIENT, TENANT);
        entra.federate(SUBJECT, CLIENT, TENANT);
        let token_file = NamedTempFile::new().expect("a file");
        std::fs::write(token_file.path(), entra.service_account_token(SUBJECT)).expect("a file");
        let settings = Settings {
            measure_timeout: Duration::from_secs(30),
            identity: identity::Options {
                client_id: Some(CLIENT.to_owned()),
                tenant_id: Some(TENANT.to_owned()),
                token_file: Some(token_file.path().to_owned()),
                authority: Some(entra.authority()),
            },
            web: web::Options { ca: Some(authority.cert()), ..web::Options::default() },
            oauth_hosts,
            ..Settings::default()
        };
        let sift = Sift::with(settings).await;
        let endpoint = format!("{}{TENANT}/oauth2/v2.0/token", entra.authority());
        Self { broker: Broker::secured(), entra, sift, endpoint, _token_file: token_file }
    }

    /// A topic with three messages, of which two wait.
    async fn topic(&self, topic: &str) {
        self.broker.topic(topic).create().await;
        self.broker.produce_all(topic, (0..3).map(|_| Message::new())).await;
        self.broker.commit(topic, topic, [(0, 1)]).await;
    }

    fn on(&self, listener: Listener, topic: &str, keys: Keys<'_>) -> Trigger {
        let trigger = self
            .sift
            .trigger(&self.broker.bootstrap_on(listener), topic, topic)
            .with("sasl", "oauthbearer")
            .with("usernameFromEnv", CLIENT)
            .with("passwordFromEnv", SECRET)
            .with("oauthTokenEndpointUriFromEnv", &self.endpoint)
            .with("scopes", SCOPE);
        keys.iter().fold(trigger, |trigger, (key, value)| trigger.with(key, value))
    }

    fn event_hubs(&self, servers: &str) -> Trigger {
        let trigger = self.sift.trigger(servers, "group", "topic");
        trigger.with("sasl", "azure_workload").with("tls", "enable")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_token_lets_in_and_serves_every_trigger_of_its() {
    let guarded = Guarded::start().await;
    guarded.topic("tokens").await;
    let ca = guarded.broker.security().ca.as_str();
    let tls: Keys<'_> = &[("tls", "enable"), ("caFromEnv", ca)];
    let extensions = [("oauthExtensions", "logicalCluster=lkc-1,identityPoolId=pool=1")];
    let rows: [(&str, Listener, Keys<'_>); 3] = [
        ("plain", Listener::SaslPlaintext, &[]),
        ("TLS", Listener::SaslSsl, tls),
        ("extensions", Listener::SaslPlaintext, &extensions),
    ];
    for (name, listener, keys) in rows {
        let poll = guarded.on(listener, "tokens", keys).named(name).poll().await;
        assert_eq!(poll.expect(name), Poll { value: 2, active: true }, "{name}");
    }
    let asked = guarded.entra.asked();
    assert_eq!(asked.len(), 1, "one client, one token");
    assert_eq!((asked[0]["client_id"].as_str(), asked[0]["scope"].as_str()), (CLIENT, SCOPE));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_no_token_reads_why_at_once_and_the_right_secret_is_let_in_right_after() {
    let guarded = Guarded::start().await;
    guarded.topic("no-token").await;
    let trigger = guarded.on(Listener::SaslPlaintext, "no-token", &[]);
    let asked = Instant::now();
    let (code, told) = trigger.clone().with("passwordFromEnv", "guessed").error().await;
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert_eq!(code, Code::Unauthenticated);
    let expected = "the token endpoint at localhost refuses client \"alice\": AADSTS7000215: Invalid client secret";
    assert!(told.starts_with(expected) && !told.contains("guessed"), "{told}");
    assert_eq!(trigger.poll().await.expect("let in").value, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_brokers_refuse_is_told_at_once() {
    let guarded = Guarded::start().await;
    guarded.topic("refused-token").await;
    guarded.entra.answer(200, r#"{"access_token": "marker.marker.", "expires_in": 3600}"#);
    let asked = Instant::now();
    let (code, told) = guarded.on(Listener::SaslPlaintext, "refused-token", &[]).error().await;
    assert!(asked.elapsed() < AT_ONCE, "{:?} {told}", asked.elapsed());
    assert_eq!(code, Code::Unauthenticated, "{told}");
    assert!(told.contains("refused the connection") && !told.contains("marker"), "{told}");
    assert!(told.contains("check the client's rights and scopes"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_on_the_connections_there_are() {
    let guarded = Guarded::start().await;
    guarded.topic("renewed").await;
    guarded.entra.lifetime(Duration::from_secs(20));
    let trigger = guarded.on(Listener::SaslPlaintext, "renewed", &[("eventType", "a")]);
    assert_eq!(trigger.poll().await.expect("let in").value, 0);
    let requests = guarded.broker.requests().await;
    let begun = Instant::now();
    let mut produced = 0;
    // The broker wants a good token every few seconds; the first one ends before this does.
    while begun.elapsed() < Duration::from_secs(26) {
        guarded.broker.produce("renewed", Message::of_type("a")).await;
        produced += 1;
        assert_eq!(trigger.poll().await.expect("still let in").value, produced);
        sleep(Duration::from_millis(500)).await;
    }
    assert!(guarded.entra.exchanges() >= 2, "{}", guarded.entra.exchanges());
    let requests = requests.all().await;
    let asked = requests.iter().filter(|request| request.names("renewed"));
    let connections: Vec<_> = asked.map(|request| &request.connection).collect();
    let (early, late) = connections.split_at(connections.len() / 2);
    let each = |connections: &[&String]| -> BTreeSet<String> {
        connections.iter().map(ToString::to_string).collect()
    };
    assert!(produced > 10 && !early.is_empty());
    assert_eq!(each(early), each(late), "a connection was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_says_where_tokens_may_be_fetched() {
    let guarded = Guarded::start_with(vec!["login.example".to_owned()]).await;
    let (code, told) = guarded.on(Listener::SaslPlaintext, "anywhere", &[]).error().await;
    assert_eq!(code, Code::InvalidArgument, "{told}");
    let expected = "oauthTokenEndpointUri: the operator does not allow \"localhost\"";
    assert!(told.starts_with(expected) && told.contains("--oauth-allow-host"), "{told}");
    assert_eq!(guarded.entra.exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scalers_token_goes_to_event_hubs_alone() {
    let guarded = Guarded::start().await;
    let rows = [
        ("another host", "kafka.example:9093"),
        ("one of them another", "orders.servicebus.windows.net:9093,kafka.example:9093"),
        ("an address", "127.0.0.1:9093"),
        ("a level between", "a.orders.servicebus.windows.net:9093"),
        ("a name like it", "servicebus.windows.net:9093"),
    ];
    for (case, servers) in rows {
        let (code, told) = guarded.event_hubs(servers).error().await;
        assert_eq!(code, Code::InvalidArgument, "{case}: {told}");
        assert!(
            told.starts_with("no token is sent to ") && told.contains("bootstrapServers"),
            "{case}: {told}"
        );
    }
    assert_eq!(guarded.entra.exchanges(), 0, "refused before any exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scalers_token_for_event_hubs_names_the_namespace() {
    let guarded = Guarded::start().await;
    // Nothing answers by this name here, whatever the network: only what was asked before it is
    // looked up counts.
    let trigger = guarded.event_hubs("No-Such-Namespace-Here.servicebus.windows.net:9093");
    let mut poll = JoinSet::new();
    poll.spawn(async move { trigger.poll().await });
    until("a token is asked for", async || guarded.entra.exchanges() > 0).await;
    drop(poll);
    let asked = guarded.entra.asked().remove(0);
    assert_eq!(asked["scope"], "https://no-such-namespace-here.servicebus.windows.net/.default");
    assert_eq!((asked["client_id"].as_str(), asked["tenant"].as_str()), (CLIENT, TENANT));

    guarded.entra.refuse("AADSTS700016: nobody by that name");
    let other =
        guarded.event_hubs("other.servicebus.windows.net:9093").with("identityId", "nobody");
    let (code, told) = other.error().await;
    assert_eq!(code, Code::Unauthenticated, "{told}");
    assert_eq!(
        told,
        "entra refuses identity nobody in tenant tenant: AADSTS700016: nobody by that name"
    );
}
