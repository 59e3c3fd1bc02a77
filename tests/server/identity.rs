//! Tokens: exchanged as Entra documents it, renewed ahead, shared, and given to nobody else.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use azure_stand_ins::entra::{EXCHANGE_AUDIENCE, Entra};
use keda_sift::identity::{
    AzurePrincipal, Cloud, Error, Hosts, Identities, OAuthClient, Options, Scope, Token,
    TokenEndpoint, TrustedHost,
};
use keda_sift::kubernetes::Kubernetes;
use keda_sift::secret::Secret;
use keda_sift::web::{self, Web};
use secrecy::ExposeSecret as _;
use sift_harness::{Authority, PATIENCE, until};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;
use tokio::time::Instant;

const SUBJECT: &str = "system:serviceaccount:keda:keda-sift";
const CLIENT: &str = "00000000-0000-4000-8000-00000000c11e";
const TENANT: &str = "00000000-0000-4000-8000-000000007e4a";

/// A pod whose service account is federated with `CLIENT`, and the Entra it asks.
struct Pod {
    /// Everyone here shows a certificate of its.
    authority: Authority,
    entra: Entra,
    web: Web,
    token_file: NamedTempFile,
    identities: Arc<Identities>,
}

impl Pod {
    async fn start() -> Pod {
        let authority = Authority::new("an authority");
        let entra = entra(&authority).await;
        entra.federate(SUBJECT, CLIENT, TENANT);
        let token_file = NamedTempFile::new().expect("a file");
        let web = web(&authority);
        let identities =
            Identities::new(options(&entra, token_file.path()), &web, Kubernetes::none());
        let pod = Pod { authority, entra, web, token_file, identities };
        pod.rotate();
        pod
    }

    /// Writes a new service account's token, as the kubelet does, and returns it.
    fn rotate(&self) -> String {
        let token = self.entra.service_account_token(SUBJECT);
        self.write(&token);
        token
    }

    fn write(&self, token: &str) {
        std::fs::write(self.token_file.path(), token).expect("a file that can be written");
    }

    async fn token(&self) -> Result<Token, Error> {
        self.token_as(&AzurePrincipal::default()).await
    }

    async fn token_as(&self, who: &AzurePrincipal) -> Result<Token, Error> {
        self.identities.token(who, &service_bus(), Instant::now() + PATIENCE).await
    }

    /// The token at hand, if a call with no time at all gets one.
    async fn token_at_once(&self) -> Result<Token, Error> {
        self.identities.token(&AzurePrincipal::default(), &service_bus(), Instant::now()).await
    }

    async fn client_token(&self, client: &Arc<OAuthClient>) -> Result<Token, Error> {
        self.identities.client_token(client, Instant::now() + PATIENCE).await
    }

    async fn fails(&self) -> Error {
        self.token().await.expect_err("no token")
    }

    async fn asked_times(&self, times: usize) {
        until("entra is asked", async || self.entra.exchanges() >= times).await;
        assert_eq!(self.entra.exchanges(), times);
    }
}

async fn entra(authority: &Authority) -> Entra {
    let identity = authority.issue("entra", &["localhost", "127.0.0.1"]);
    Entra::start(&identity.cert, &identity.key).await
}

fn web(authority: &Authority) -> Web {
    Web::new(&web::Options { ca: Some(authority.cert()), ..web::Options::default() })
        .expect("a client")
}

fn options(entra: &Entra, token_file: &Path) -> Options {
    Options {
        client_id: Some(CLIENT.to_owned()),
        tenant_id: Some(TENANT.to_owned()),
        token_file: Some(token_file.to_owned()),
        authority: Some(entra.authority()),
    }
}

fn host(namespace: &str) -> TrustedHost {
    Hosts::default().trust(namespace, &Cloud::Public).expect("a namespace of Azure's")
}

fn service_bus() -> Scope {
    Scope::service_bus(&host("orders"))
}

/// Lets time pass for the scaler, but for nothing that it waits for.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn same(one: &Token, other: &Token) -> bool {
    one.secret.expose_secret() == other.secret.expose_secret() && one.expires == other.expires
}

#[tokio::test]
async fn the_exchange_is_as_entra_documents_it() {
    let pod = Pod::start().await;
    let service_account_token = pod.rotate();
    let token = pod.token().await.expect("a token");

    let mut asked: Vec<_> = pod.entra.asked().remove(0).into_iter().collect();
    asked.sort();
    let expected = [
        ("client_assertion", service_account_token.as_str()),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_id", CLIENT),
        ("grant_type", "client_credentials"),
        ("scope", "https://servicebus.azure.net/.default"),
        ("tenant", TENANT),
    ];
    assert_eq!(asked, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let life = token.expires.duration_since(SystemTime::now()).expect("it has not ended");
    assert!(life > Duration::from_secs(3_500) && life <= Duration::from_secs(3_600), "{life:?}");
    assert!(!format!("{token:?}").contains(token.secret.expose_secret()));
}

#[tokio::test]
async fn a_token_is_fetched_once() {
    let pod = Pod::start().await;
    let first = pod.token().await.expect("a token");
    let second = pod.token_at_once().await.expect("the token at hand");
    assert!(same(&first, &second));
    assert_eq!(pod.entra.exchanges(), 1);
}

#[tokio::test]
async fn calls_that_come_together_share_one_exchange() {
    let pod = Pod::start().await;
    pod.entra.hold();
    let first = {
        // The one that began the exchange goes away.
        let first = pod.token();
        tokio::pin!(first);
        tokio::select! {
            answer = &mut first => Some(answer),
            () = pod.asked_times(1) => None,
        }
    };
    assert!(first.is_none(), "entra has not answered");
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let identities = Arc::clone(&pod.identities);
        calls.spawn(async move {
            identities
                .token(&AzurePrincipal::default(), &service_bus(), Instant::now() + PATIENCE)
                .await
        });
    }
    pod.entra.release();
    let tokens: Vec<Token> =
        calls.join_all().await.into_iter().map(|token| token.expect("a token")).collect();
    assert!(tokens.iter().all(|token| same(token, &tokens[0])));
    assert_eq!((pod.entra.exchanges(), pod.entra.given()), (1, 1));
}

#[tokio::test]
async fn a_rotated_service_account_token_is_read_anew() {
    let pod = Pod::start().await;
    let old = pod.rotate();
    pod.token().await.expect("a token");
    later(Duration::from_secs(3_600)).await;
    pod.entra.expire(&old);
    let refused = pod.fails().await.to_string();
    assert!(refused.contains("AADSTS700024"), "{refused}");
    let new = pod.rotate();
    pod.token().await.expect("a token for the new one");
    assert_eq!(pod.entra.asked().pop().expect("an exchange")["client_assertion"], new);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_without_a_slow_poll() {
    let pod = Pod::start().await;
    let old = pod.token().await.expect("a token");
    later(Duration::from_secs(44 * 60)).await;
    pod.token_at_once().await.expect("the token at hand");
    assert_eq!(pod.entra.exchanges(), 1, "not yet due");

    later(Duration::from_secs(2 * 60)).await;
    pod.entra.hold();
    pod.entra.lifetime(Duration::from_secs(7_200));
    for _ in 0..20 {
        let token = pod.token_at_once().await.expect("the token at hand");
        assert!(same(&old, &token));
    }
    pod.asked_times(2).await;

    pod.entra.release();
    until("the new token has come", async || {
        !same(&old, &pod.token_at_once().await.expect("a token at hand"))
    })
    .await;
    assert_eq!(pod.entra.exchanges(), 2);
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_token_and_is_tried_again_later() {
    let pod = Pod::start().await;
    let old = pod.token().await.expect("a token");
    later(Duration::from_secs(46 * 60)).await;
    pod.entra.refuse("AADSTS700016: not now");
    pod.token_at_once().await.expect("the token at hand");
    pod.asked_times(2).await;
    until("entra is asked again", async || pod.entra.exchanges() == 2).await;
    for _ in 0..20 {
        let token = pod.token_at_once().await.expect("the token at hand");
        assert!(same(&old, &token));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(pod.entra.exchanges(), 2, "tried again at once");
    later(Duration::from_secs(31)).await;
    pod.token_at_once().await.expect("the token at hand");
    pod.asked_times(3).await;

    later(Duration::from_secs(14 * 60)).await;
    assert!(
        matches!(pod.fails().await, Error::Refused { .. }),
        "a token that has ended is not handed out"
    );
}

#[tokio::test]
async fn a_slow_entra_is_told_in_time_and_its_answer_still_serves() {
    let pod = Pod::start().await;
    pod.entra.hold();
    let told = pod.token_at_once().await.expect_err("no answer");
    assert_eq!(
        told.to_string(),
        "entra at localhost cannot be reached: it has given no answer in time"
    );
    pod.asked_times(1).await;
    pod.entra.release();
    pod.token().await.expect("the token that was under way");
    assert_eq!(pod.entra.exchanges(), 1);
}

#[tokio::test]
async fn a_throttling_entra_is_left_alone() {
    let pod = Pod::start().await;
    pod.entra.throttle(60);
    for _ in 0..20 {
        let told = pod.fails().await;
        assert!(matches!(told, Error::Throttled { .. }), "{told}");
        assert!(told.to_string().contains("AADSTS90056"), "{told}");
    }
    assert_eq!(pod.entra.exchanges(), 1);
    pod.entra.recover();
    later(Duration::from_secs(59)).await;
    assert!(matches!(pod.fails().await, Error::Throttled { .. }));
    later(Duration::from_secs(2)).await;
    pod.token().await.expect("a token");
    assert_eq!(pod.entra.exchanges(), 2);
}

#[tokio::test]
async fn entras_refusal_reaches_the_user_and_is_not_remembered() {
    let pod = Pod::start().await;
    pod.entra.refuse(
        "AADSTS700016: Application with identifier 'x' was not found in the directory 'y'.",
    );
    let told = pod.fails().await;
    assert_eq!(
        told.to_string(),
        format!(
            "entra refuses identity {CLIENT} in tenant {TENANT}: AADSTS700016: Application with identifier 'x' was not found in the directory 'y'"
        )
    );
    assert_eq!(pod.fails().await, told, "the same cause reads the same");
    assert_eq!(pod.entra.exchanges(), 2);
    pod.entra.recover();
    pod.token().await.expect("what is mended works at once");
}

#[tokio::test]
async fn entras_own_checks_are_told_in_its_words() {
    let pod = Pod::start().await;
    let who = |client, tenant| AzurePrincipal::parse(client, tenant).expect("IDs");
    let rows = [
        ("a tenant", who(None, Some("elsewhere")), "AADSTS90002"),
        ("a client", who(Some("nobody"), None), "AADSTS700016"),
    ];
    for (case, who, code) in rows {
        let told = pod.token_as(&who).await.expect_err(case).to_string();
        assert!(
            told.contains(code) && !told.contains("Trace ID") && !told.contains('\n'),
            "{case}: {told}"
        );
    }
    pod.write(&pod.entra.service_account_token_for(SUBJECT, "https://kubernetes.default.svc"));
    let told = pod.fails().await.to_string();
    assert!(told.contains("AADSTS700212") && !told.contains(EXCHANGE_AUDIENCE), "{told}");
    pod.write(&pod.entra.service_account_token("system:serviceaccount:other:other"));
    let told = pod.fails().await.to_string();
    assert!(told.contains("AADSTS700213"), "{told}");
}

#[tokio::test]
async fn each_identity_and_scope_has_its_own_token() {
    let pod = Pod::start().await;
    let other = "00000000-0000-4000-8000-0000000000b0";
    pod.entra.federate(SUBJECT, other, TENANT);
    let own = pod.token().await.expect("a token");
    let who = AzurePrincipal::parse(Some(other), None).expect("an ID");
    let others = pod.token_as(&who).await.expect("a token");
    assert!(!same(&own, &others));
    let events = Scope::event_hubs(&host("events"));
    let events =
        pod.identities.token(&who, &events, Instant::now() + PATIENCE).await.expect("a token");
    assert!(!same(&others, &events));
    assert!(same(&others, &pod.token_as(&who).await.expect("the token at hand")));
    let asked = pod.entra.asked();
    let pairs: Vec<_> =
        asked.iter().map(|it| (it["client_id"].as_str(), it["scope"].as_str())).collect();
    let service_bus = "https://servicebus.azure.net/.default";
    let event_hubs = "https://events.servicebus.windows.net/.default";
    assert_eq!(pairs, [(CLIENT, service_bus), (other, service_bus), (other, event_hubs)]);
}

#[tokio::test]
async fn a_redirect_to_another_host_leaks_nothing() {
    let pod = Pod::start().await;
    // One that would take what it is sent.
    let other = entra(&pod.authority).await;
    for to in [
        format!("https://127.0.0.1:{}/{TENANT}/oauth2/v2.0/token", other.address().port()),
        "//evil.example/".to_owned(),
    ] {
        pod.entra.redirect(&to);
        let told = pod.fails().await.to_string();
        assert!(
            told.starts_with("entra at localhost cannot be reached: it redirects to "),
            "{told}"
        );
    }
    assert_eq!((pod.entra.exchanges(), other.exchanges()), (2, 0));
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    let pod = Pod::start().await;
    pod.entra.answer(503, "<html>busy</html>");
    let (token, ()) = tokio::join!(pod.token(), async {
        until("entra is asked", async || pod.entra.exchanges() == 1).await;
        pod.entra.recover();
    });
    token.expect("a token");
    assert_eq!(pod.entra.exchanges(), 2);
}

#[tokio::test]
async fn an_answer_that_is_none_of_entras_is_told_without_what_it_holds() {
    let pod = Pod::start().await;
    let rows = [
        ("html", 200, "<html>marker</html>"),
        ("no token", 200, "{}"),
        ("another token", 200, r#"{"access_token": ["marker"], "expires_in": 3599}"#),
        ("a number", 200, r#"{"access_token": "marker", "expires_in": "marker"}"#),
        (
            "an ended one",
            200,
            r#"{"access_token": "marker", "expires_in": 0, "token_type": "Bearer"}"#,
        ),
        ("not found", 404, "marker"),
        ("forbidden by a proxy", 403, "<html>marker</html>"),
    ];
    for (case, status, body) in rows {
        pod.entra.answer(status, body);
        let told = pod.fails().await.to_string();
        assert!(!told.contains("marker") && !told.contains('\n'), "{case}: {told}");
    }
}

#[tokio::test]
async fn an_entra_that_cannot_be_reached_is_told_with_the_reason() {
    let pod = Pod::start().await;
    let strange = web(&Authority::new("another authority"));
    let nobody = Options {
        authority: Some("https://127.0.0.1:1/".to_owned()),
        ..options(&pod.entra, pod.token_file.path())
    };
    let rows = [
        (
            "a certificate nobody knows",
            options(&pod.entra, pod.token_file.path()),
            &strange,
            "certificate",
        ),
        ("nobody there", nobody, &pod.web, "refused"),
    ];
    for (case, options, web, word) in rows {
        let identities = Identities::new(options, web, Kubernetes::none());
        let told = identities
            .token(&AzurePrincipal::default(), &service_bus(), Instant::now() + PATIENCE)
            .await;
        let told = told.expect_err(case).to_string();
        assert!(told.starts_with("entra at ") && told.contains(word), "{case}: {told}");
    }
}

#[tokio::test]
async fn a_service_account_token_that_is_not_there_is_told_by_its_path() {
    let pod = Pod::start().await;
    pod.write(" \n");
    let told = pod.fails().await;
    let path = pod.token_file.path().display().to_string();
    assert_eq!(told, Error::TokenFile { path, reason: "it is empty".to_owned() });
    std::fs::remove_file(pod.token_file.path()).expect("a file");
    let told = pod.fails().await;
    assert!(matches!(told, Error::TokenFile { .. }), "{told}");
    assert_eq!(pod.entra.exchanges(), 0);
}

#[tokio::test]
async fn the_end_leaves_nothing_under_way() {
    let pod = Pod::start().await;
    pod.entra.hold();
    let (token, ()) = tokio::join!(pod.token(), async {
        pod.asked_times(1).await;
        pod.identities.shutdown().await;
    });
    let told = token.expect_err("no token").to_string();
    assert!(told.ends_with("the scaler is ending"), "{told}");
    let told = pod.fails().await.to_string();
    assert!(told.ends_with("the scaler is ending"), "{told}");
}

/// A client that Entra knows by a secret.
async fn client(pod: &Pod) -> OAuthClient {
    pod.entra.register_secret("s3cret & more:", CLIENT, TENANT);
    let endpoint = format!("{}{TENANT}/oauth2/v2.0/token", pod.entra.authority());
    OAuthClient {
        endpoint: TokenEndpoint::parse(&endpoint).expect("an https URL"),
        id: CLIENT.to_owned(),
        secret: Secret::from("s3cret & more:"),
        scopes: vec!["https://kafka.example/.default".to_owned()],
    }
}

#[tokio::test]
async fn a_clients_secret_goes_where_its_endpoint_wants_it() {
    let pod = Pod::start().await;
    let client = Arc::new(client(&pod).await);
    let first = pod.client_token(&client).await.expect("a token");
    assert!(same(&first, &pod.client_token(&client).await.expect("the token at hand")));
    let asked = pod.entra.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["authorization"], "Basic");
    assert_eq!(asked[0]["scope"], "https://kafka.example/.default");

    later(Duration::from_secs(3_600)).await;
    pod.entra.secrets_in_the_form_only();
    pod.client_token(&client).await.expect("another token");
    let asked = pod.entra.asked();
    assert_eq!(asked.len(), 3);
    assert!(!asked[2].contains_key("authorization"));
}

#[tokio::test]
async fn a_client_that_is_refused_reads_why_and_shows_no_secret() {
    let pod = Pod::start().await;
    let client = client(&pod).await;
    let wrong = Arc::new(OAuthClient { secret: Secret::from("hunter2"), ..client.clone() });
    let told = pod.client_token(&wrong).await.expect_err("a wrong secret").to_string();
    assert_eq!(
        told,
        format!(
            "the token endpoint at localhost refuses client \"{CLIENT}\": AADSTS7000215: Invalid client secret provided"
        )
    );
    let client = Arc::new(client);
    pod.entra.redirect("https://evil.example/");
    let told = pod.client_token(&client).await.expect_err("a redirect").to_string();
    assert!(told.ends_with("it redirects, which is not followed"), "{told}");
    pod.entra.throttle(60);
    let told = pod.client_token(&client).await.expect_err("throttled");
    assert!(matches!(told, Error::Throttled { .. }), "{told}");
    pod.entra.recover();
    later(Duration::from_secs(2)).await;
    pod.client_token(&client).await.expect("a token");
}
