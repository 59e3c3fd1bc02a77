//! Getting into a cluster: TLS, client certificates, SASL and rights; and what a user reads who is
//! not let in.

use std::time::Duration;

use sift_harness::{
    Broker, Listener, Message, Operation, Poll, Proxy, Resource, Sift, Trigger, User,
};
use tokio::time::{Instant, sleep};
use tonic::Code;

/// How long a measurement may take: what waits for this has not been told at once.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(30);

/// What an answer may take that waits for no timeout, on a machine with much else to do.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Kafka's number of what carries a login.
const SASL_AUTHENTICATE: i16 = 36;

/// How a trigger of a row gets in, or does not.
type Keys<'a> = &'a [(&'a str, &'a str)];

const TLS: (&str, &str) = ("tls", "enable");
const PLAIN: (&str, &str) = ("sasl", "plaintext");
const SCRAM_256: (&str, &str) = ("sasl", "scram_sha256");
const SCRAM_512: (&str, &str) = ("sasl", "scram_sha512");

/// A topic with three messages on the secured broker, and the triggers on it.
struct Guarded {
    broker: &'static Broker,
    sift: Sift,
    topic: &'static str,
}

impl Guarded {
    async fn topic(topic: &'static str) -> Self {
        let broker = Broker::secured();
        broker.topic(topic).create().await;
        broker.produce_all(topic, (0..3).map(|_| Message::new())).await;
        let sift = Sift::start_with(MEASURE_TIMEOUT, Duration::from_secs(900)).await;
        Self { broker, sift, topic }
    }

    fn on(&self, listener: Listener, keys: Keys<'_>) -> Trigger {
        self.at(&self.broker.bootstrap_on(listener), keys)
    }

    fn at(&self, bootstrap: &str, keys: Keys<'_>) -> Trigger {
        let trigger = self.sift.trigger(bootstrap, self.topic, self.topic);
        keys.iter().fold(trigger, |trigger, (key, value)| trigger.with(key, value))
    }
}

fn username(user: User) -> (&'static str, &'static str) {
    ("usernameFromEnv", user.name)
}

fn password(user: User) -> (&'static str, &'static str) {
    ("passwordFromEnv", user.password)
}

/// The error that a poll gives at once.
async fn refused_at_once(trigger: &Trigger, name: &str) -> (Code, String) {
    let asked = Instant::now();
    let error = trigger.error().await;
    let took = asked.elapsed();
    assert!(took < AT_ONCE, "{name}: after {took:?} {error:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_gives_the_count() {
    let guarded = Guarded::topic("ways").await;
    guarded.broker.commit("ways", "ways", [(0, 1)]).await;
    let security = guarded.broker.security();
    let (user, pass) = (username(security.user), password(security.user));
    let ca = ("caFromEnv", security.ca.as_str());
    let wrong_ca = ("caFromEnv", security.wrong_ca.as_str());
    let (client, locked) = (&security.client, &security.locked);
    let (cert, key) = (("certFromEnv", client.cert.as_str()), ("keyFromEnv", client.key.as_str()));
    let locked_cert = ("certFromEnv", locked.cert.as_str());
    let locked_key = ("keyFromEnv", locked.key);
    let unsafe_ssl = ("brokerUnsafeSsl", "true");

    let rows: &[(&str, Listener, Keys<'_>)] = &[
        ("TLS", Listener::Ssl, &[TLS, ca]),
        ("TLS unchecked", Listener::Ssl, &[TLS, unsafe_ssl]),
        ("TLS unchecked in spite of a CA", Listener::Ssl, &[TLS, wrong_ca, unsafe_ssl]),
        ("TLS with a certificate unasked", Listener::Ssl, &[TLS, ca, cert, key]),
        ("mTLS", Listener::Mtls, &[TLS, ca, cert, key]),
        (
            "mTLS with an encrypted key",
            Listener::Mtls,
            &[TLS, ca, locked_cert, locked_key, ("keyPasswordFromEnv", locked.password)],
        ),
        ("PLAIN", Listener::SaslPlaintext, &[PLAIN, user, pass]),
        ("SCRAM-SHA-256", Listener::SaslPlaintext, &[SCRAM_256, user, pass]),
        ("SCRAM-SHA-512", Listener::SaslPlaintext, &[SCRAM_512, user, pass]),
        ("PLAIN over TLS", Listener::SaslSsl, &[TLS, ca, PLAIN, user, pass]),
        ("SCRAM-SHA-256 over TLS", Listener::SaslSsl, &[TLS, ca, SCRAM_256, user, pass]),
        ("SCRAM-SHA-512 over TLS", Listener::SaslSsl, &[TLS, ca, SCRAM_512, user, pass]),
        (
            "a password out of a file with a line break",
            Listener::SaslPlaintext,
            &[SCRAM_512, user, ("passwordFromEnv", "alice-secret\n")],
        ),
    ];
    for (name, listener, keys) in rows {
        let poll = guarded.on(*listener, keys).poll().await;
        assert_eq!(poll.expect(name), Poll { value: 2, active: true }, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_reads_why_at_once_and_the_right_secret_is_let_in_right_after() {
    let guarded = Guarded::topic("refused").await;
    let security = guarded.broker.security();
    let (user, pass) = (username(security.user), password(security.user));
    let guessed = ("passwordFromEnv", "guessed");
    let nobody = ("usernameFromEnv", "nobody");
    let ca = ("caFromEnv", security.ca.as_str());
    let wrong_ca = ("caFromEnv", security.wrong_ca.as_str());
    let certificate = |of: &'static sift_harness::Identity| {
        [("certFromEnv", of.cert.as_str()), ("keyFromEnv", of.key.as_str())]
    };
    let [cert, key] = certificate(&security.client);
    let [stranger, strangers_key] = certificate(&security.stranger);
    let locked_cert = ("certFromEnv", security.locked.cert.as_str());
    let locked_key = ("keyFromEnv", security.locked.key);
    let unlock = ("keyPasswordFromEnv", security.locked.password);

    // What is refused, what is let in, and what the user reads.
    type Row<'a> = (&'a str, Listener, Keys<'a>, Keys<'a>, Code, &'a [&'a str]);
    let login = ["refused the connection", "check sasl, usernameFromEnv and passwordFromEnv"];
    let trust =
        ["certificate verify failed", "give the CA of the brokers' certificate as caFromEnv"];
    let client = ["alert", "give a certificate that the brokers trust as certFromEnv"];
    let other_key = ["keyFromEnv: its value does not belong to cert"];
    let other_password = ["keyPasswordFromEnv: its value does not open key"];
    let (unauthenticated, invalid) = (Code::Unauthenticated, Code::InvalidArgument);
    let rows: &[Row<'_>] = &[
        (
            "a CA of someone else",
            Listener::Ssl,
            &[TLS, wrong_ca],
            &[TLS, ca],
            unauthenticated,
            &trust,
        ),
        ("no CA", Listener::Ssl, &[TLS], &[TLS, ca], unauthenticated, &trust),
        (
            "a CA of someone else, before the login",
            Listener::SaslSsl,
            &[TLS, wrong_ca, PLAIN, user, pass],
            &[TLS, ca, PLAIN, user, pass],
            unauthenticated,
            &trust,
        ),
        (
            "no certificate",
            Listener::Mtls,
            &[TLS, ca],
            &[TLS, ca, cert, key],
            unauthenticated,
            &client,
        ),
        (
            "a certificate of someone else",
            Listener::Mtls,
            &[TLS, ca, stranger, strangers_key],
            &[TLS, ca, cert, key],
            unauthenticated,
            &client,
        ),
        (
            "the key of another certificate",
            Listener::Mtls,
            &[TLS, ca, cert, strangers_key],
            &[TLS, ca, cert, key],
            invalid,
            &other_key,
        ),
        (
            "a key that another password opens",
            Listener::Mtls,
            &[TLS, ca, locked_cert, locked_key, ("keyPasswordFromEnv", "guessed")],
            &[TLS, ca, locked_cert, locked_key, unlock],
            invalid,
            &other_password,
        ),
        (
            "a wrong password with PLAIN",
            Listener::SaslPlaintext,
            &[PLAIN, user, guessed],
            &[PLAIN, user, pass],
            unauthenticated,
            &login,
        ),
        (
            "a wrong password with SCRAM-SHA-256",
            Listener::SaslPlaintext,
            &[SCRAM_256, user, guessed],
            &[SCRAM_256, user, pass],
            unauthenticated,
            &login,
        ),
        (
            "a wrong password with SCRAM-SHA-512",
            Listener::SaslPlaintext,
            &[SCRAM_512, user, guessed],
            &[SCRAM_512, user, pass],
            unauthenticated,
            &login,
        ),
        (
            "a wrong password over TLS",
            Listener::SaslSsl,
            &[TLS, ca, SCRAM_512, user, guessed],
            &[TLS, ca, SCRAM_512, user, pass],
            unauthenticated,
            &login,
        ),
        (
            "a user nobody knows",
            Listener::SaslSsl,
            &[TLS, ca, SCRAM_512, nobody, pass],
            &[TLS, ca, SCRAM_512, user, pass],
            unauthenticated,
            &login,
        ),
        (
            "a login where none is taken",
            Listener::Ssl,
            &[TLS, ca, PLAIN, user, pass],
            &[TLS, ca],
            unauthenticated,
            &login,
        ),
    ];
    for (name, listener, wrong, right, code, words) in rows {
        let trigger = guarded.on(*listener, wrong);
        let (answered, told) = refused_at_once(&trigger, name).await;
        assert_eq!(answered, *code, "{name}: {told}");
        for word in *words {
            assert!(told.contains(word), "{name}: no {word:?} in {told:?}");
        }
        assert!(!told.contains("ssl."), "{name}: a setting of librdkafka's in {told:?}");
        // KEDA asks a second time at once, and shows what is said then.
        assert_eq!(refused_at_once(&trigger, name).await, (answered, told), "{name}");
        let active = trigger.active().await.expect_err(name);
        assert_eq!(active.code(), *code, "{name}");

        let asked = Instant::now();
        assert_eq!(guarded.on(*listener, right).count().await, 3, "{name}, with the right secret");
        assert!(asked.elapsed() < AT_ONCE, "{name}: {:?}", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_tried_anew_at_each_poll_and_given_up_between_them() {
    let guarded = Guarded::topic("tried").await;
    let listener = guarded.broker.bootstrap_on(Listener::SaslPlaintext);
    let port = listener.rsplit(':').next().and_then(|port| port.parse().ok());
    let proxy = Proxy::before(port.expect("a port")).await;
    let user = guarded.broker.security().user;
    let guarded = Guarded { sift: Sift::start().await, ..guarded };
    let keys = [SCRAM_256, username(user), ("passwordFromEnv", "guessed")];
    let trigger = guarded.at(&proxy.bootstrap(), &keys);

    refused_at_once(&trigger, "first").await;
    let first = until_no_more_logins(&proxy).await;
    refused_at_once(&trigger, "second").await;
    assert!(until_no_more_logins(&proxy).await > first, "the second answer is the first one's");
}

/// How many messages of logins there were, once no more come. A handle that is left alone tries
/// about once a second, for ever.
async fn until_no_more_logins(proxy: &Proxy) -> usize {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let before = proxy.asked(SASL_AUTHENTICATE);
        sleep(Duration::from_secs(3)).await;
        if proxy.asked(SASL_AUTHENTICATE) == before {
            return before;
        }
        assert!(Instant::now() < deadline, "logins go on that nobody asks for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_rights_reads_which_are_missing_until_it_has_them() {
    let guarded = Guarded::topic("rights").await;
    let broker = guarded.broker;
    broker.commit("rights", "rights", [(0, 1)]).await;
    let outcast = broker.security().outcast;
    let keys = [SCRAM_512, username(outcast), password(outcast)];
    let records = guarded.on(Listener::SaslPlaintext, &keys);
    let offsets = records.clone().with("countFrom", "offsets");
    let no_topic = records.clone().with("topic", "");
    let denied = async |trigger: &Trigger, what: &str| {
        let (code, told) = refused_at_once(trigger, what).await;
        assert_eq!(code, Code::PermissionDenied, "{told}");
        assert!(
            told.contains(what) && told.contains("grant the login Read on the topic"),
            "{told}"
        );
        let told = told.to_lowercase().replace('_', " ");
        assert!(told.contains("authorization failed"), "{told}");
    };
    denied(&records, "the offsets of topic rights").await;
    denied(&offsets, "the offsets of topic rights").await;
    denied(&no_topic, "the committed offsets of group rights").await;

    broker.allow(outcast, Resource::Topic, "rights", Operation::Describe).await;
    broker.allow(outcast, Resource::Group, "rights", Operation::Describe).await;
    offsets.until(2, |_| false).await;
    denied(&records, "the records of topic rights").await;
    denied(&records, "the records of topic rights").await;

    broker.allow(outcast, Resource::Topic, "rights", Operation::Read).await;
    records.until(2, |_| false).await;
    assert_eq!(no_topic.poll().await.unwrap(), Poll { value: 2, active: true });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_to_the_wrong_port_is_told_what_to_change() {
    let guarded = Guarded::topic("ports").await;
    let security = guarded.broker.security();
    let (user, pass) = (username(security.user), password(security.user));
    let ca = ("caFromEnv", security.ca.as_str());
    let sift = Sift::start_with(Duration::from_secs(2), Duration::from_secs(900)).await;
    let impatient = Guarded { sift, ..guarded };
    let rows: &[(&str, Listener, Keys<'_>, &str)] = &[
        ("no TLS where there is", Listener::Ssl, &[], "this port speaks TLS"),
        ("TLS where there is none", Listener::SaslPlaintext, &[TLS, ca], "leave out tls"),
        ("no login where one is asked for", Listener::SaslPlaintext, &[], "give tls and sasl"),
        ("a login without TLS", Listener::SaslSsl, &[PLAIN, user, pass], "this port speaks TLS"),
        ("TLS without a login", Listener::SaslSsl, &[TLS, ca], "give tls and sasl"),
    ];
    for (name, listener, keys, word) in rows {
        let (code, told) = impatient.on(*listener, keys).error().await;
        assert_eq!(code, Code::Unavailable, "{name}: {told}");
        assert!(told.contains(word), "{name}: no {word:?} in {told:?}");
    }
}
