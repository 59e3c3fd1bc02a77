//! A stand-in for Entra's token endpoint: `POST /<tenant>/oauth2/v2.0/token` over TLS.
//!
//! It gives tokens for a service account's token (workload identity) and for a client secret,
//! checks what Entra checks, in that order, and refuses in Entra's words. It counts what it is
//! asked, and can hold its answers back, throttle, refuse, redirect, or answer whatever a test
//! likes.
//!
//! # References
//! - Microsoft identity platform, "OAuth 2.0 client credentials flow"
//! - Microsoft Entra, "Authentication and authorization error codes" (AADSTS)

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::jwt::{self, Claims};

/// The audience that a service account's token must have.
pub const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A running stand-in. It ends with the value.
pub struct Entra {
    address: SocketAddr,
    state: Arc<State>,
    _server: JoinSet<()>,
}

/// What the endpoint was asked: the form's fields, and the tenant of the path as `tenant`. A Basic
/// header counts as `client_id` and `client_secret`, and is told by `authorization`.
pub type Asked = HashMap<String, String>;

/// An answer other than Entra's usual one.
#[derive(Debug, Clone)]
struct Other {
    status: StatusCode,
    header: Option<(HeaderName, String)>,
    body: String,
}

#[derive(Default)]
struct Known {
    /// Service accounts that may be a client of a tenant: subject, client, tenant.
    federated: HashSet<(String, String, String)>,
    /// Service accounts' tokens that are valid, with subject and audience.
    assertions: HashMap<String, (String, String)>,
    /// What tells a valid token of another issuer: its subject and its audience.
    issuer: Option<Issuer>,
    /// Secrets of clients: client, tenant.
    secrets: HashMap<(String, String), String>,
    /// Whether a secret in a header is refused.
    form_only: bool,
    /// Whether tokens are unsigned.
    unsigned: bool,
    lifetime: Duration,
    other: Option<Other>,
    asked: Vec<Asked>,
    given: usize,
}

struct State {
    known: Mutex<Known>,
    /// Whether answers are held back.
    held: watch::Sender<bool>,
}

type Issuer = Box<dyn Fn(&str) -> Option<(String, String)> + Send + Sync>;

type Refusal = (StatusCode, &'static str, u32, String);

impl Entra {
    /// Starts on a free loopback port, with this certificate and key, both as PEM. Tokens live for
    /// an hour.
    pub async fn start(cert: &str, key: &str) -> Entra {
        let tls = TlsAcceptor::from(Arc::new(server_config(cert, key)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let known = Mutex::new(Known { lifetime: Duration::from_secs(3_600), ..Known::default() });
        let state = Arc::new(State { known, held: watch::Sender::new(false) });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, tls, Arc::clone(&state)));
        Entra { address, state, _server: server }
    }

    /// What `AZURE_AUTHORITY_HOST` holds: its URL, by the name `localhost`.
    pub fn authority(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets a service account (`system:serviceaccount:<namespace>:<name>`) be a client of a tenant.
    pub fn federate(&self, subject: &str, client: &str, tenant: &str) {
        self.known().federated.insert((subject.to_owned(), client.to_owned(), tenant.to_owned()));
    }

    /// Lets whoever knows the secret be a client of a tenant.
    pub fn register_secret(&self, secret: &str, client: &str, tenant: &str) {
        self.known().secrets.insert((client.to_owned(), tenant.to_owned()), secret.to_owned());
    }

    /// Refuses secrets that come in a header instead of the form, as some servers do.
    pub fn secrets_in_the_form_only(&self) {
        self.known().form_only = true;
    }

    /// Gives tokens without a signature from now on, as Kafka takes them where it is told to take
    /// any: `sub` is the client.
    pub fn unsigned(&self) {
        self.known().unsigned = true;
    }

    /// A service account's token, as the kubelet writes it to the pod's file; another one each
    /// time.
    pub fn service_account_token(&self, subject: &str) -> String {
        self.service_account_token_for(subject, EXCHANGE_AUDIENCE)
    }

    /// A service account's token for another audience.
    pub fn service_account_token_for(&self, subject: &str, audience: &str) -> String {
        let aud = audience.to_owned();
        let of_its_own = Uuid::new_v4().to_string();
        let token = jwt::sign(&Claims { aud, appid: of_its_own, exp: unix_time() + 3_600 });
        let of = (subject.to_owned(), audience.to_owned());
        self.known().assertions.insert(token.clone(), of);
        token
    }

    /// Takes the tokens of a cluster too: `tell` says the subject and the audience of one that is
    /// valid.
    pub fn trust_issuer(
        &self,
        tell: impl Fn(&str) -> Option<(String, String)> + Send + Sync + 'static,
    ) {
        self.known().issuer = Some(Box::new(tell));
    }

    /// Lets a service account's token end.
    pub fn expire(&self, service_account_token: &str) {
        self.known().assertions.remove(service_account_token);
    }

    /// How long tokens live that are given from now on; whole seconds.
    pub fn lifetime(&self, lifetime: Duration) {
        self.known().lifetime = lifetime;
    }

    /// Holds answers back until [`Entra::release`]. Questions are counted as they come.
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    /// Gives the answers held back.
    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// Refuses everyone, in Entra's form, with these words (`AADSTS700016: …`).
    pub fn refuse(&self, words: &str) {
        let code =
            words.trim_start_matches("AADSTS").split(':').next().and_then(|code| code.parse().ok());
        let body = complaint("invalid_client", code.unwrap_or(0), words).to_string();
        self.answer_with(StatusCode::UNAUTHORIZED, None, body);
    }

    /// Throttles everyone: HTTP 429, with these seconds as Retry-After.
    pub fn throttle(&self, seconds: u64) {
        let words = "AADSTS90056: The server is too busy.";
        let body = complaint("temporarily_unavailable", 90_056, words).to_string();
        self.answer_with(
            StatusCode::TOO_MANY_REQUESTS,
            Some((RETRY_AFTER, seconds.to_string())),
            body,
        );
    }

    /// Redirects everyone, with the same method and body, to another URL.
    pub fn redirect(&self, to: &str) {
        let header = Some((LOCATION, to.to_owned()));
        self.answer_with(StatusCode::TEMPORARY_REDIRECT, header, String::new());
    }

    /// Answers everyone with this status and body.
    pub fn answer(&self, status: u16, body: &str) {
        let status = StatusCode::from_u16(status).expect("a status");
        self.answer_with(status, None, body.to_owned());
    }

    /// Answers as Entra does again.
    pub fn recover(&self) {
        self.known().other = None;
    }

    /// How many questions came, whatever became of them.
    pub fn exchanges(&self) -> usize {
        self.known().asked.len()
    }

    /// How many tokens were given.
    pub fn given(&self) -> usize {
        self.known().given
    }

    /// All questions, in the order they came.
    pub fn asked(&self) -> Vec<Asked> {
        self.known().asked.clone()
    }

    fn answer_with(&self, status: StatusCode, header: Option<(HeaderName, String)>, body: String) {
        self.known().other = Some(Other { status, header, body });
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.state.known()
    }
}

impl State {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let tenant =
            path.strip_prefix('/').and_then(|path| path.strip_suffix("/oauth2/v2.0/token"));
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/x-www-form-urlencoded");
        let is_post = request.method() == Method::POST;
        let Some(tenant) = tenant.filter(|tenant| is_post && is_form && !tenant.contains('/'))
        else {
            return response(StatusCode::NOT_FOUND, None, String::new());
        };
        let basic = basic(request.headers());
        let Ok(body) = request.into_body().collect().await else {
            return response(StatusCode::BAD_REQUEST, None, String::new());
        };
        let mut asked = form(&String::from_utf8_lossy(&body.to_bytes()));
        asked.insert("tenant".to_owned(), tenant.to_owned());
        if let Some((client, secret)) = basic {
            asked.insert("authorization".to_owned(), "Basic".to_owned());
            asked.insert("client_id".to_owned(), client);
            asked.insert("client_secret".to_owned(), secret);
        }
        self.known().asked.push(asked.clone());
        let mut held = self.held.subscribe();
        if held.wait_for(|held| !held).await.is_err() {
            return response(StatusCode::SERVICE_UNAVAILABLE, None, String::new());
        }
        let mut known = self.known();
        if let Some(other) = known.other.clone() {
            return response(other.status, other.header, other.body);
        }
        match known.check(&asked) {
            Ok(()) => {
                known.given += 1;
                response(StatusCode::OK, None, known.token(&asked).to_string())
            }
            Err((status, error, code, words)) => {
                response(status, None, complaint(error, code, &words).to_string())
            }
        }
    }
}

impl Known {
    fn check(&self, asked: &Asked) -> Result<(), Refusal> {
        let field = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
        let bad = |error, code, words: &str| {
            Err((StatusCode::BAD_REQUEST, error, code, words.to_owned()))
        };
        let (client, tenant) = (field("client_id"), field("tenant"));
        let clients = self.federated.iter().map(|(_, client, tenant)| (client, tenant));
        let clients: Vec<_> =
            clients.chain(self.secrets.keys().map(|(client, tenant)| (client, tenant))).collect();
        if !clients.iter().any(|(_, known)| *known == tenant) {
            return bad(
                "invalid_request",
                90_002,
                &format!("Tenant '{tenant}' not found. Check your tenant ID."),
            );
        }
        if field("grant_type") != "client_credentials" {
            return bad(
                "unsupported_grant_type",
                70_003,
                "The app requested an unsupported grant type.",
            );
        }
        if !clients.iter().any(|known| *known == (&client.to_owned(), &tenant.to_owned())) {
            let words = format!(
                "Application with identifier '{client}' was not found in the directory '{tenant}'."
            );
            return bad("unauthorized_client", 700_016, &words);
        }
        if !field("scope").ends_with("/.default") {
            let words = format!("The provided value for scope {} is not valid.", field("scope"));
            return bad("invalid_scope", 1_002_012, &words);
        }
        self.check_credential(asked, client, tenant)
    }

    fn check_credential(&self, asked: &Asked, client: &str, tenant: &str) -> Result<(), Refusal> {
        let refused =
            |code, words: String| Err((StatusCode::UNAUTHORIZED, "invalid_client", code, words));
        let secret = asked.get("client_secret");
        if let Some(secret) =
            secret.filter(|_| !self.form_only || !asked.contains_key("authorization"))
        {
            let right = self.secrets.get(&(client.to_owned(), tenant.to_owned()));
            let wrong = || refused(7_000_215, "Invalid client secret provided.".to_owned());
            return if right == Some(secret) { Ok(()) } else { wrong() };
        }
        if asked.get("client_assertion_type").map(String::as_str) != Some(ASSERTION_TYPE) {
            return refused(
                7_000_216,
                "'client_assertion' or 'client_secret' is required.".to_owned(),
            );
        }
        let assertion = asked.get("client_assertion");
        let own = assertion.and_then(|it| self.assertions.get(it)).cloned();
        let known = own.or_else(|| self.issuer.as_ref()?(assertion?));
        let Some((subject, audience)) = known else {
            return refused(
                700_024,
                "Client assertion is not within its valid time range.".to_owned(),
            );
        };
        let federated = (subject.clone(), client.to_owned(), tenant.to_owned());
        if audience != EXCHANGE_AUDIENCE {
            let words = format!(
                "No matching federated identity record found for presented assertion audience '{audience}'."
            );
            return refused(700_212, words);
        }
        if !self.federated.contains(&federated) {
            let words = format!(
                "No matching federated identity record found for presented assertion subject '{subject}'."
            );
            return refused(700_213, words);
        }
        Ok(())
    }
}

impl Known {
    fn token(&self, asked: &Asked) -> Value {
        let field = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
        let (now, lifetime) = (unix_time(), self.lifetime.as_secs());
        let aud = field("scope").trim_end_matches("/.default").to_owned();
        let appid = field("client_id").to_owned();
        let exp = now + lifetime;
        let token = if self.unsigned {
            let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let claims = json!({ "sub": appid, "aud": aud, "iat": now, "exp": exp });
            format!("{}.{}.", part(json!({ "alg": "none" })), part(claims))
        } else {
            jwt::sign(&Claims { aud, appid, exp })
        };
        json!({ "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token })
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        connections.spawn(serve(stream, tls.clone(), Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
    // Who does not trust the certificate goes away here.
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.answer(request).await) }
    });
    // A client that breaks off is no concern of Entra's.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

fn server_config(cert: &str, key: &str) -> ServerConfig {
    let certs = CertificateDer::pem_slice_iter(cert.as_bytes())
        .collect::<Result<_, _>>()
        .expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a private key");
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .expect("a key that fits its certificate")
}

/// An error as Entra words it, with IDs and a time that differ in each.
fn complaint(error: &str, code: u32, words: &str) -> Value {
    let (trace, correlation) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let words = if words.starts_with("AADSTS") {
        words.to_owned()
    } else {
        format!("AADSTS{code}: {words}")
    };
    let time = unix_time();
    json!({
        "error": error,
        "error_description": format!("{words}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {time}"),
        "error_codes": [code],
        "timestamp": time.to_string(),
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    })
}

fn response(
    status: StatusCode,
    header: Option<(HeaderName, String)>,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response =
        Response::builder().status(status).header(CONTENT_TYPE, "application/json; charset=utf-8");
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    response.body(Full::new(body.into())).expect("a response")
}

/// Client and secret of a Basic header.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(value).ok()?).ok()?;
    pair.split_once(':').map(|(client, secret)| (decoded(client), decoded(secret)))
}

fn form(body: &str) -> Asked {
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
