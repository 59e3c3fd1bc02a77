//! A client's token from an OAuth endpoint of the user's choice, for its ID and secret.
//!
//! The secret is the trigger's own and goes where the trigger says, over https, or to this very
//! machine. An operator can say which hosts these may be. As KEDA does, it is sent first as a Basic
//! header, which every server must take, and where that is refused in the form, which some want
//! instead.
//!
//! # References
//! - RFC 6749, sections 2.3.1 and 4.4: client credentials
//! - golang.org/x/oauth2/clientcredentials, which KEDA's Kafka scaler uses

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use url::{Host, Url, form_urlencoded};

use super::error::Error;
use super::lifetime::Granted;
use super::words::{self, Complaint};
use crate::secret::Secret;

/// How long an exchange may take.
const AT_MOST: Duration = Duration::from_secs(30);

/// Far more than any token.
const ANSWER_LIMIT: usize = 256 * 1024;

/// How long a token is taken to serve where the endpoint does not say.
const ASSUMED_LIFE: Duration = Duration::from_secs(3_600);

/// How long an endpoint that throttles is left alone.
const WAIT: Duration = Duration::from_secs(1);

/// Where a token is had: an https URL, or an http one of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenEndpoint(Url);

/// Why a text is no token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenEndpointError {
    /// Not a URL, or one without a host.
    #[error("is not a URL; give the token endpoint, such as https://login.example/oauth2/token")]
    Url,
    /// The secret would be there for all on the way to read.
    #[error("is not an https URL, and the password would go there as it is; give an https one")]
    Scheme,
    /// A user and perhaps a password stand in it: not shown.
    #[error("has credentials in it; give them as usernameFromEnv and passwordFromEnv")]
    Credentials,
}

/// The hosts that token endpoints may be at; the default: any.
#[derive(Debug, Clone, Default)]
pub struct TokenEndpoints {
    allowed: Vec<String>,
    in_pod: bool,
}

/// A client as an endpoint knows it. Two are the same exactly if their secrets are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OAuthClient {
    /// Where its tokens come from.
    pub endpoint: TokenEndpoint,
    /// Its ID.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// What it asks for; may be empty.
    pub scopes: Vec<String>,
}

/// How a client shows its secret: `client_secret_basic` and `client_secret_post` of RFC 6749,
/// 2.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AuthMethod {
    Basic,
    Post,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// Some endpoints give a number, some the text of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl TokenEndpoint {
    /// # Errors
    /// It is not a URL that a secret may be sent to.
    pub fn parse(text: &str) -> Result<Self, TokenEndpointError> {
        let url = Url::parse(text).map_err(|_| TokenEndpointError::Url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TokenEndpointError::Credentials);
        }
        match (url.scheme(), url.host()) {
            ("https", Some(_)) => Ok(Self(url)),
            ("http", Some(host)) if is_here(&host) => Ok(Self(url)),
            ("http", _) => Err(TokenEndpointError::Scheme),
            _ => Err(TokenEndpointError::Url),
        }
    }

    /// Its host, as a URL has it.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl TokenEndpoints {
    /// Only these hosts, each in full; none means any.
    pub fn new(allowed: &[String]) -> Self {
        let allowed = allowed.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { allowed, in_pod: false }
    }

    /// The same in a Pod, where what listens without TLS are the scaler's own neighbours. They are
    /// not for tenants to call unless the operator names them.
    #[must_use]
    pub fn in_pod(self, in_pod: bool) -> Self {
        Self { in_pod, ..self }
    }

    /// Whether a client's secret may go there.
    pub fn allow(&self, endpoint: &TokenEndpoint) -> bool {
        let any = self.allowed.is_empty() && (endpoint.0.scheme() == "https" || !self.in_pod);
        any || self.allowed.iter().any(|host| host == endpoint.host())
    }
}

impl OAuthClient {
    pub(super) fn unreachable(&self, reason: impl Into<String>) -> Error {
        let by = format!("the token endpoint at {}", self.endpoint.host());
        Error::Unreachable { by, reason: reason.into() }
    }

    /// # Errors
    /// The endpoint gives no token to this client, or does not answer.
    pub(super) async fn exchange(self: Arc<Self>, http: reqwest::Client) -> Result<Granted, Error> {
        let asked = async {
            match self.ask(&http, AuthMethod::Basic).await {
                Err(Error::Refused { .. }) => self.ask(&http, AuthMethod::Post).await,
                answered => answered,
            }
        };
        let answer = tokio::time::timeout(AT_MOST, asked).await;
        answer.unwrap_or_else(|_| {
            Err(self.unreachable(format!("it gave no answer within {} s", AT_MOST.as_secs())))
        })
    }

    async fn ask(&self, http: &reqwest::Client, method: AuthMethod) -> Result<Granted, Error> {
        let mut request = http
            .post(self.endpoint.0.clone())
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(self.form(method));
        if method == AuthMethod::Basic {
            let secret = encoded(self.secret.expose());
            request = request.basic_auth(encoded(&self.id), Some(secret));
        }
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            return granted(&body).ok_or_else(|| self.unreachable("its answer has no token"));
        }
        let said = sonic_rs::from_slice::<Complaint>(&body).ok().and_then(|said| words::of(&said));
        Err(self.refusal(status, said))
    }

    fn form(&self, method: AuthMethod) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.join(" "));
        }
        if method == AuthMethod::Post {
            form.append_pair("client_id", &self.id);
            form.append_pair("client_secret", self.secret.expose());
        }
        form.finish()
    }

    fn refusal(&self, status: StatusCode, said: Option<String>) -> Error {
        let reason = said.unwrap_or_else(|| words::of_status(status.as_u16()));
        let by = format!("the token endpoint at {}", self.endpoint.host());
        let whom = format!("client {:?}", words::one_line(&self.id, 100));
        match status.as_u16() {
            429 => Error::Throttled { by, whom, reason, wait: WAIT },
            400 | 401 | 403 => Error::Refused { by, whom, reason },
            300..400 => self.unreachable("it redirects, which is not followed"),
            _ => Error::Unreachable { by, reason },
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.lost(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_LIMIT {
                return Err(self.unreachable("its answer is too long for one with a token"));
            }
        }
        Ok(body)
    }

    /// The innermost cause: the others say that something failed, and show the URL.
    fn lost(&self, error: &reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        self.unreachable(words::one_line(&cause.to_string(), words::LIMIT))
    }
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClient").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

fn is_here(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Both parts of a Basic header are encoded as a form's values are.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn granted(body: &[u8]) -> Option<Granted> {
    let answer: Answer = sonic_rs::from_slice(body).ok()?;
    let seconds = match answer.expires_in {
        None => None,
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => Some(text.trim().parse().ok()?),
    };
    let life = match seconds {
        None => ASSUMED_LIFE,
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
    };
    let given = !answer.access_token.is_empty() && !life.is_zero();
    given.then(|| Granted { secret: SecretString::from(answer.access_token), life })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sent_over_https_or_to_this_machine() {
        for good in [
            "https://login.example/oauth2/token",
            "https://login.example:8443/token?audience=kafka",
            "http://127.0.0.1:8080/token",
            "http://localhost/token",
            "http://[::1]/token",
        ] {
            assert!(TokenEndpoint::parse(good).is_ok(), "{good}");
        }
        use TokenEndpointError::{Credentials, Scheme, Url};
        let rows = [
            ("a word", "login", Url),
            ("no scheme", "login.example/token", Url),
            ("a file", "file:///etc/passwd", Url),
            ("another scheme", "ftp://login.example/", Url),
            ("no TLS", "http://login.example/token", Scheme),
            ("a name like this machine's", "http://localhost.example/token", Scheme),
            ("an address nearby", "http://10.0.0.1/token", Scheme),
            ("credentials", "https://me:secret@login.example/token", Credentials),
            ("a user", "https://localhost@login.example/token", Credentials),
        ];
        for (case, text, expected) in rows {
            assert_eq!(TokenEndpoint::parse(text), Err(expected), "{case}");
        }
    }

    #[test]
    fn an_operator_says_which_hosts_endpoints_are_at() {
        let endpoint = |text| TokenEndpoint::parse(text).expect("an endpoint");
        let ours = endpoint("https://Login.example:8443/token");
        let other = endpoint("https://other.login.example/token");
        assert!(TokenEndpoints::default().allow(&ours));
        let endpoints = TokenEndpoints::new(&["LOGIN.example".to_owned()]);
        assert!(endpoints.allow(&ours));
        assert!(!endpoints.allow(&other));
    }

    #[test]
    fn a_pod_s_neighbours_are_called_without_tls_only_where_the_operator_says_so() {
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            let here = TokenEndpoint::parse(&format!("http://{host}:8080/token")).expect("here");
            assert!(TokenEndpoints::default().allow(&here), "{host}");
            assert!(!TokenEndpoints::default().in_pod(true).allow(&here), "{host}");
            assert!(!TokenEndpoints::new(&["other".to_owned()]).allow(&here), "{host}");
            assert!(TokenEndpoints::new(&[host.to_owned()]).in_pod(true).allow(&here), "{host}");
        }
        let elsewhere = TokenEndpoint::parse("https://login.example.com/token").expect("a URL");
        assert!(TokenEndpoints::default().in_pod(true).allow(&elsewhere));
    }

    #[test]
    fn answers_are_read_as_servers_give_them() {
        let seconds = Duration::from_secs;
        let rows = [
            ("a number", r#"{"access_token": "t", "expires_in": 300}"#, Some(seconds(300))),
            ("its text", r#"{"access_token": "t", "expires_in": "300"}"#, Some(seconds(300))),
            ("no life", r#"{"access_token": "t", "token_type": "Bearer"}"#, Some(ASSUMED_LIFE)),
            ("null", r#"{"access_token": "t", "expires_in": null}"#, Some(ASSUMED_LIFE)),
            ("an ended one", r#"{"access_token": "t", "expires_in": 0}"#, None),
            ("a life before now", r#"{"access_token": "t", "expires_in": -1}"#, None),
            ("a life beyond all", r#"{"access_token": "t", "expires_in": 1e300}"#, None),
            ("no number", r#"{"access_token": "t", "expires_in": "soon"}"#, None),
            ("no token", r#"{"expires_in": 300}"#, None),
            ("an empty token", r#"{"access_token": "", "expires_in": 300}"#, None),
            ("no JSON", "access_token=t", None),
        ];
        for (case, body, expected) in rows {
            assert_eq!(granted(body.as_bytes()).map(|granted| granted.life), expected, "{case}");
        }
    }

    #[test]
    fn a_client_shows_no_secret() {
        let client = OAuthClient {
            endpoint: TokenEndpoint::parse("https://login.example/token").expect("an endpoint"),
            id: "me".to_owned(),
            secret: Secret::from("hunter2"),
            scopes: Vec::new(),
        };
        assert!(!format!("{client:?}").contains("hunter2"));
        let other = OAuthClient { secret: Secret::from("hunter3"), ..client.clone() };
        assert_ne!(client, other);
    }
}
