//! `sift.v1.Diagnostics` of `keda-sift serve`: who may ask, and that no secret is told.

use std::fs;

use keda_sift::diagnostics::proto::diagnostics_client::DiagnosticsClient;
use keda_sift::diagnostics::proto::{ListTriggersRequest, State, Trigger, TriggerRef};
use keda_sift::scaler::proto::external_scaler_client::ExternalScalerClient;
use keda_sift::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use sift_harness::program::{Program, keda_sift};
use sift_harness::{Authority, metadata};
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

/// What none may read.
const SECRET: &str = "hunter2";

/// Shows a token, if there is one.
#[derive(Clone)]
struct Showing(Option<&'static str>);

impl Interceptor for Showing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.0 {
            let value = MetadataValue::try_from(format!("Bearer {token}")).expect("ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

type Client = DiagnosticsClient<InterceptedService<Channel, Showing>>;

async fn channel(program: &Program) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", program.grpc)).expect("a URL");
    endpoint.connect().await.expect("it listens")
}

async fn client(program: &Program, token: Option<&'static str>) -> Client {
    DiagnosticsClient::with_interceptor(channel(program).await, Showing(token))
}

/// The program, which asks for the token in a file.
fn program(options: &[&str]) -> (Program, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, "first\n").expect("it takes a file");
    let file = token.display().to_string();
    let mut all = vec!["--diagnostics", "token", "--diagnostics-token-file", &file];
    all.extend(options);
    (Program::serving(&all), folder)
}

/// Asks for the value of a trigger that no broker is behind.
async fn poll(program: &Program, namespace: &str, name: &str, more: &[(&str, &str)]) {
    let mut rows = vec![
        ("source", "kafka"),
        ("bootstrapServers", "127.0.0.1:1"),
        ("consumerGroup", "g"),
        ("topic", "t"),
    ];
    rows.extend(more);
    let asked = ScaledObjectRef {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        scaler_metadata: metadata(&rows),
    };
    let asked = GetMetricsRequest { scaled_object_ref: Some(asked), metric_name: String::new() };
    let mut keda = ExternalScalerClient::new(channel(program).await);
    keda.get_metrics(asked).await.expect_err("there is no broker");
}

async fn list(client: &mut Client, asked: ListTriggersRequest) -> (Vec<Trigger>, String, u32) {
    let listed = client.list_triggers(asked).await.expect("it may ask").into_inner();
    (listed.triggers, listed.next_page_token, listed.total)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_anything_by_default() {
    let program = Program::serving::<&str>(&[]);
    let mut client = client(&program, Some("first")).await;
    let told = client.list_triggers(ListTriggersRequest::default()).await;
    assert_eq!(told.expect_err("there is no such service").code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_the_token_of_now_is_told() {
    let (program, folder) = program(&[]);
    let asked = ListTriggersRequest::default;
    for (token, expected) in [
        (None, Code::Unauthenticated),
        (Some(""), Code::Unauthenticated),
        (Some("firs"), Code::Unauthenticated),
        (Some("first2"), Code::Unauthenticated),
        (Some("first"), Code::Ok),
    ] {
        let mut client = client(&program, token).await;
        let told = client.list_triggers(asked()).await;
        assert_eq!(told.map_or_else(|status| status.code(), |_| Code::Ok), expected, "{token:?}");
        let watched = client.watch_backlog(TriggerRef::default()).await;
        let explained = client.explain(TriggerRef::default()).await;
        let expected = if expected == Code::Ok { Code::InvalidArgument } else { expected };
        assert_eq!(watched.map(|_| ()).expect_err("names none").code(), expected, "{token:?}");
        assert_eq!(explained.expect_err("names none").code(), expected, "{token:?}");
    }
    fs::write(folder.path().join("token"), "second").expect("it is there");
    let told = client(&program, Some("first")).await.list_triggers(asked()).await;
    assert_eq!(told.expect_err("it is the one from before").code(), Code::Unauthenticated);
    client(&program, Some("second")).await.list_triggers(asked()).await.expect("it is that of now");
    fs::remove_file(folder.path().join("token")).expect("it is there");
    let told = client(&program, Some("second")).await.list_triggers(asked()).await;
    assert_eq!(told.expect_err("there is none").code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_may_do_instead() {
    let authority = Authority::new("of keda-sift");
    let (server, keda) =
        (authority.issue("server", &["keda-sift.keda-sift"]), authority.issue("keda", &["keda"]));
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("it takes a file");
        folder.path().join(name).display().to_string()
    };
    let (cert, key, ca) =
        (put("crt", &server.cert), put("key", &server.key), put("ca", &authority.cert()));
    let program = Program::serving(&[
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-client-ca-file",
        &ca,
        "--diagnostics",
        "client-certificate",
    ]);
    let tls = ClientTlsConfig::new()
        .domain_name("keda-sift.keda-sift")
        .ca_certificate(Certificate::from_pem(authority.cert()));
    let connect = async |tls: ClientTlsConfig| {
        let endpoint = Endpoint::from_shared(format!("https://{}", program.grpc)).expect("a URL");
        let channel = endpoint.tls_config(tls).expect("TLS").connect().await.ok()?;
        let asked = ListTriggersRequest::default();
        DiagnosticsClient::new(channel).list_triggers(asked).await.ok()
    };
    assert!(connect(tls.clone()).await.is_none(), "it shows no certificate");
    let tls = tls.identity(Identity::from_pem(keda.cert, keda.key));
    assert!(connect(tls).await.is_some(), "it shows one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_guard_it_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty");
    fs::write(&empty, " \n").expect("it takes a file");
    let empty = empty.display().to_string();
    let rows: [(&[&str], &str); 4] = [
        (&["--diagnostics", "client-certificate"], "--tls-client-ca-file"),
        (&["--diagnostics", "token"], "--diagnostics-token-file"),
        (&["--diagnostics", "token", "--diagnostics-token-file", "/none"], "cannot be read"),
        (&["--diagnostics", "token", "--diagnostics-token-file", &empty], "holds no token"),
    ];
    for (options, expected) in rows {
        let ended = keda_sift().arg("serve").args(options).output().expect("it is built");
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && told.contains(expected), "{options:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_are_told_a_page_at_a_time_without_a_secret() {
    let (program, _folder) = program(&[]);
    let secrets = [
        ("sasl", "plaintext"),
        ("tls", "disable"),
        ("username", "u"),
        ("passwordFromEnv", SECRET),
        ("eventType", "paid"),
    ];
    for name in ["c", "a", "b"] {
        poll(&program, "shop", name, &secrets).await;
    }
    poll(&program, "mail", "z", &[("pasword", SECRET)]).await;
    let mut client = client(&program, Some("first")).await;
    let asking = |page_size, page_token: &str| ListTriggersRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..ListTriggersRequest::default()
    };
    let (first, next, total) = list(&mut client, asking(3, "")).await;
    let (second, end, _) = list(&mut client, asking(3, &next)).await;
    assert_eq!((total, end.as_str()), (4, ""));
    let listed = first.iter().chain(&second);
    let names: Vec<_> = listed.map(|of| (of.namespace.as_str(), of.name.as_str())).collect();
    assert_eq!(names, [("mail", "z"), ("shop", "a"), ("shop", "b"), ("shop", "c")]);
    assert!(first.iter().chain(&second).all(|of| of.state() == State::Failing && of.polls == 1));
    let stray = client.list_triggers(asking(3, "a page token")).await;
    assert_eq!(stray.expect_err("it is none").code(), Code::InvalidArgument);

    let of_shop = ListTriggersRequest { namespace: "shop".to_owned(), ..asking(0, "") };
    assert_eq!(list(&mut client, of_shop).await.2, 3);
    for (state, expected) in [(State::Failing, 4), (State::Waiting, 0)] {
        let in_state = ListTriggersRequest { states: vec![state.into()], ..asking(0, "") };
        assert_eq!(list(&mut client, in_state).await.2, expected, "{state:?}");
    }

    let named = |name: &str, id: &str| TriggerRef {
        namespace: String::new(),
        name: name.to_owned(),
        id: id.to_owned(),
    };
    for of in first.iter().chain(&second) {
        let told = client.explain(named("", &of.id)).await.expect("it is known").into_inner();
        assert_eq!(told.trigger.as_ref().map(|told| &told.name), Some(&of.name));
        let text = format!("{told:?}");
        assert!(!text.contains(SECRET) && text.contains("(hidden)"), "{text}");
    }
    let unknown = client.explain(named("d", "")).await.expect_err("nobody has asked about it");
    assert_eq!(unknown.code(), Code::NotFound);

    // Two triggers of one object.
    poll(&program, "shop", "a", &[("eventType", "made")]).await;
    let several = client.explain(named("a", "")).await.expect_err("which?");
    assert_eq!(several.code(), Code::InvalidArgument);
    assert!(several.message().starts_with("2 triggers are meant"), "{}", several.message());
    // A secret that has changed makes no other trigger.
    let changed =
        [&secrets[..3], &[("passwordFromEnv", "hunter3"), ("eventType", "paid")]].concat();
    let before = list(&mut client, asking(0, "")).await.2;
    poll(&program, "shop", "b", &changed).await;
    assert_eq!(list(&mut client, asking(0, "")).await.2, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_namespaces_are_told_that_may_be() {
    let (program, _folder) = program(&["--diagnostics-namespace", "shop,mail"]);
    for namespace in ["shop", "mail", "vault", ""] {
        poll(&program, namespace, "job", &[]).await;
    }
    let mut client = client(&program, Some("first")).await;
    let (told, ..) = list(&mut client, ListTriggersRequest::default()).await;
    let namespaces: Vec<_> = told.iter().map(|of| of.namespace.as_str()).collect();
    assert_eq!(namespaces, ["mail", "shop"]);
    let vault = |namespace: &str| TriggerRef {
        namespace: namespace.to_owned(),
        name: "job".to_owned(),
        id: String::new(),
    };
    let hidden = client.explain(vault("vault")).await.expect_err("it may not be told");
    let absent = client.explain(vault("none")).await.expect_err("it is not there");
    assert_eq!((hidden.code(), hidden.message()), (absent.code(), absent.message()));
}
