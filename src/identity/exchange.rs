//! The one call to Entra: a service account's token for an access token.
//!
//! Each exchange has a credential of its own. azure_identity's keep a token until five minutes
//! before its end and fetch the next one while the caller waits; here tokens are kept by
//! `identities`, which fetches them ahead. For the same reason the service account's token is read
//! anew each time: the kubelet rotates it, and `WorkloadIdentityCredential` would keep it for ten
//! minutes. A Job's service account has its token asked of Kubernetes, and its identity in
//! annotations, which are read each time too.
//!
//! Retries are azure_core's, for what passes by itself: no connection, a cut one, HTTP 408 and 5xx.
//! An answer that means something ends them at once: a refusal, throttling (whose wait may be
//! longer than any call lasts), a redirect (which would take the assertion to another host).
//!
//! # References
//! - Microsoft identity platform, "OAuth 2.0 client credentials flow", third case: a federated
//!   credential
//! - Microsoft Entra, "Authentication and authorization error codes" (AADSTS)

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers, RETRY_AFTER};
use azure_core::http::policies::{Policy, PolicyResult, get_retry_after};
use azure_core::http::{
    AsyncRawResponse, ClientMethodOptions, ClientOptions, Context, ExponentialRetryOptions,
    Request, RetryOptions, Transport,
};
use azure_core::time::{Duration as Span, OffsetDateTime};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::error::Error;
use super::lifetime::Granted;
use super::options::{AUTHORITY_HOST, CLIENT_ID, Options, TENANT_ID, TOKEN_FILE};
use super::principal::{self, AzurePrincipal};
use super::words::{self, Complaint};
use crate::kubernetes::{AzureIdentity, Kubernetes, ServiceAccount};
use crate::metadata;

/// How long an exchange may take with all its retries. Callers wait as long as they like.
const AT_MOST: Duration = Duration::from_secs(30);

const RETRIES: u32 = 3;

/// Who it is that refuses or throttles.
const ENTRA: &str = "entra";

/// How long Entra is left alone where it throttles without saying for how long, and how long it can
/// ask for.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Far more than any service account's token.
const TOKEN_FILE_LIMIT: u64 = 64 * 1024;

/// As what, and where, an exchange is made.
#[derive(Debug, Clone)]
pub(super) struct Login {
    client_id: String,
    tenant_id: String,
    proof: Proof,
    authority: Authority,
}

/// Where the token is that is exchanged.
#[derive(Clone)]
enum Proof {
    /// The scaler's own, read from its file for each exchange.
    File(PathBuf),
    /// A Job's, asked of Kubernetes for each exchange.
    Account(Kubernetes, ServiceAccount),
}

/// Who exchanges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority(Url);

/// Takes an answer for what it means, before retries and azure_identity see it.
#[derive(Debug)]
struct Answers(Login);

impl Authority {
    /// The pod's, or else `default`, which is that of a cloud.
    ///
    /// # Errors
    /// It is no https URL.
    pub(super) fn new(options: &Options, default: &str) -> Result<Authority, Error> {
        authority_url(options.authority.as_deref().unwrap_or(default)).map(Authority)
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> Error {
        Error::Unreachable { by: format!("entra at {}", self.host()), reason: reason.into() }
    }

    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl Login {
    /// What a trigger says, and else its service account's annotations, and else the pod's
    /// environment.
    ///
    /// # Errors
    /// None of them says it, or the service account cannot be read.
    pub(super) async fn find(
        options: &Options,
        kubernetes: &Kubernetes,
        who: &AzurePrincipal,
        authority: Authority,
    ) -> Result<Login, Error> {
        let Some(account) = &who.account else {
            return Login::of_pod(options, who, authority);
        };
        let annotated = kubernetes.azure_identity(account).await?;
        let proof = Proof::Account(kubernetes.clone(), account.clone());
        Login::of_account(options, who, account, annotated, proof, authority)
    }

    fn of_pod(
        options: &Options,
        who: &AzurePrincipal,
        authority: Authority,
    ) -> Result<Login, Error> {
        let chosen = |own: &Option<String>, given: &Option<String>, variable| {
            own.as_ref().or(given.as_ref()).cloned().ok_or(Error::NotConfigured { variable })
        };
        let file = options.token_file.clone().ok_or(Error::NotConfigured { variable: TOKEN_FILE });
        Ok(Login {
            client_id: chosen(&who.client_id, &options.client_id, CLIENT_ID)?,
            tenant_id: chosen(&who.tenant_id, &options.tenant_id, TENANT_ID)?,
            proof: Proof::File(file?),
            authority,
        })
    }

    fn of_account(
        options: &Options,
        who: &AzurePrincipal,
        account: &ServiceAccount,
        annotated: AzureIdentity,
        proof: Proof,
        authority: Authority,
    ) -> Result<Login, Error> {
        let problem = |problem: String| Error::Account { account: account.to_string(), problem };
        let AzureIdentity { client_id, tenant_id } = annotated;
        let client_id = match who.client_id.clone() {
            Some(client_id) => client_id,
            None => {
                let missing = "has no annotation azure.workload.identity/client-id; give it, or identityId in the trigger";
                let said = client_id.ok_or_else(|| problem(missing.to_owned()))?;
                annotation("client-id", &said, "-", "the identity's client ID, a GUID")
                    .map_err(problem)?
            }
        };
        let tenant_id = match (who.tenant_id.clone(), tenant_id) {
            (Some(tenant_id), _) => tenant_id,
            (None, Some(said)) => {
                annotation("tenant-id", &said, "-.", "the tenant's GUID or its domain name").map_err(problem)?
            }
            (None, None) => options.tenant_id.clone().ok_or_else(|| {
                problem(format!(
                    "has no annotation azure.workload.identity/tenant-id, and {TENANT_ID} is not set; give it, or identityTenantId in the trigger"
                ))
            })?,
        };
        Ok(Login { client_id, tenant_id, proof, authority })
    }

    fn unreachable(&self, reason: impl Into<String>) -> Error {
        self.authority.unreachable(reason)
    }

    fn identity(&self) -> String {
        format!("identity {} in tenant {}", self.client_id, self.tenant_id)
    }

    /// Exchanges the service account's token for one with this scope.
    ///
    /// # Errors
    /// There is no such token, or Entra does not take it, or does not answer.
    pub(super) async fn exchange(
        &self,
        scope: &str,
        transport: &Transport,
    ) -> Result<Granted, Error> {
        let credential = ClientAssertionCredential::new(
            self.tenant_id.clone(),
            self.client_id.clone(),
            self.proof.clone(),
            Some(ClientAssertionCredentialOptions {
                client_options: self.client_options(transport),
            }),
        )
        .map_err(|error| Error::Misconfigured { variable: TENANT_ID, reason: error.to_string() })?;
        let scopes = [scope];
        let answer = tokio::time::timeout(AT_MOST, credential.get_token(&scopes, None)).await;
        let token = match answer {
            Err(_) => {
                Err(self.unreachable(format!("it gave no answer within {} s", AT_MOST.as_secs())))
            }
            Ok(answer) => answer.map_err(|error| self.cause(&error)),
        }?;
        let life = Duration::try_from(token.expires_on - OffsetDateTime::now_utc());
        let life = life.unwrap_or_default();
        if token.token.secret().is_empty() || life.is_zero() {
            return Err(self.unreachable("it answers without a token, or with one that has ended"));
        }
        Ok(Granted { secret: SecretString::from(token.token.secret()), life })
    }

    fn client_options(&self, transport: &Transport) -> ClientOptions {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = self.authority.0.as_str().to_owned();
        let retry = ExponentialRetryOptions {
            max_retries: RETRIES,
            max_total_elapsed: Span::seconds(20),
            ..ExponentialRetryOptions::default()
        };
        ClientOptions {
            per_try_policies: vec![Arc::new(Answers(self.clone()))],
            retry: RetryOptions::exponential(retry),
            transport: Some(transport.clone()),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        }
    }

    /// The error of ours that azure_core has wrapped, or what its own means. Of an answer that
    /// could not be read nothing is told: it may hold a token.
    fn cause(&self, error: &azure_core::Error) -> Error {
        let mut last: &(dyn std::error::Error + 'static) = error;
        let mut kind = error.kind();
        loop {
            if let Some(error) = last.downcast_ref::<Error>() {
                return error.clone();
            }
            kind = last.downcast_ref::<azure_core::Error>().map_or(kind, azure_core::Error::kind);
            match last.source() {
                Some(source) => last = source,
                None => break,
            }
        }
        match kind {
            ErrorKind::HttpResponse { status, .. } => {
                self.unreachable(words::of_status(u16::from(*status)))
            }
            ErrorKind::DataConversion => self.unreachable("its answer is none of Entra's"),
            _ => self.unreachable(words::one_line(&last.to_string(), words::LIMIT)),
        }
    }
}

#[async_trait]
impl ClientAssertion for Proof {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let token = match self {
            Proof::File(path) => from_file(path).await,
            Proof::Account(kubernetes, account) => {
                let token = kubernetes.token(account).await.map_err(Error::from);
                token.map(|token| token.expose_secret().to_owned())
            }
        };
        token.map_err(|error| azure_core::Error::new(ErrorKind::Other, error))
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::File(path) => write!(f, "the token in {}", path.display()),
            Proof::Account(_, account) => write!(f, "a token of service account {account}"),
        }
    }
}

#[async_trait]
#[expect(elided_lifetimes_in_paths, reason = "the trait elides it, and async_trait wants the same")]
impl Policy for Answers {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let (first, rest) = next.split_first().ok_or(ErrorKind::Other)?;
        let response = first.send(context, request, rest).await?;
        self.judge(response).await
    }
}

impl Answers {
    async fn judge(&self, response: AsyncRawResponse) -> PolicyResult {
        let login = &self.0;
        let status = u16::from(response.status());
        let wait = asked_to_wait(response.headers());
        if response.status().is_success() || (retried(status) && wait.is_none()) {
            return Ok(response);
        }
        let error = if (300..400).contains(&status) {
            login.unreachable(redirected(&login.authority.0, response.headers()))
        } else {
            let status = response.status();
            let body = response.into_body().collect().await?;
            let said =
                sonic_rs::from_slice::<Complaint>(&body).ok().and_then(|said| words::of(&said));
            let reason = said.unwrap_or_else(|| words::of_status(u16::from(status)));
            match (u16::from(status), wait) {
                (429, _) | (503, Some(_)) => {
                    let wait = wait.unwrap_or(WAIT.0).clamp(WAIT.0, WAIT.1);
                    Error::Throttled { by: ENTRA.to_owned(), whom: login.identity(), reason, wait }
                }
                (400 | 401 | 403, _) => {
                    Error::Refused { by: ENTRA.to_owned(), whom: login.identity(), reason }
                }
                _ => login.unreachable(reason),
            }
        };
        Err(azure_core::Error::new(ErrorKind::Other, error))
    }
}

fn authority_url(text: &str) -> Result<Url, Error> {
    let wrong = |reason: &str| Error::Misconfigured {
        variable: AUTHORITY_HOST,
        reason: format!(
            "{text:?} is {reason}; give one such as https://login.microsoftonline.com/"
        ),
    };
    let url = Url::parse(text).map_err(|_| wrong("not a URL"))?;
    if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("not an https URL"));
    }
    Ok(url)
}

/// What an annotation says, which becomes part of a request to Entra, the tenant of its path.
fn annotation(key: &str, said: &str, marks: &str, fits: &'static str) -> Result<String, String> {
    let checked = principal::id("annotation", Some(said), marks, "an ID", fits);
    checked.ok().flatten().ok_or_else(|| {
        let said = metadata::quoted(said);
        format!("has {said} in its annotation azure.workload.identity/{key}; give {fits}")
    })
}

async fn from_file(path: &Path) -> Result<String, Error> {
    let read = {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || read_token(&path)).await
    };
    let read = read.unwrap_or_else(|_| Err("reading it was given up".to_owned()));
    read.map_err(|reason| Error::TokenFile { path: path.display().to_string(), reason })
}

fn read_token(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(TOKEN_FILE_LIMIT).read_to_string(&mut text).map_err(|error| error.to_string())?;
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        token => Ok(token.to_owned()),
    }
}

/// The statuses of azure_core's that pass by themselves, where no wait is asked for.
fn retried(status: u16) -> bool {
    matches!(status, 408 | 500 | 502 | 503 | 504)
}

fn asked_to_wait(headers: &Headers) -> Option<Duration> {
    let wait = get_retry_after(headers, OffsetDateTime::now_utc, &[RETRY_AFTER])?;
    Duration::try_from(wait).ok()
}

fn redirected(from: &Url, headers: &Headers) -> String {
    let to = headers
        .get_optional_str(&HeaderName::from_static("location"))
        .and_then(|to| from.join(to).ok());
    let to = to.as_ref().and_then(Url::host_str).unwrap_or("nowhere");
    format!("it redirects to {to}, which is not followed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Authority {
        Authority::new(&Options::default(), "https://login.example").expect("an authority")
    }

    fn pod() -> Options {
        Options {
            client_id: Some("own-client".to_owned()),
            tenant_id: Some("own-tenant".to_owned()),
            token_file: Some("/var/run/secrets/azure/tokens/azure-identity-token".into()),
            authority: None,
        }
    }

    #[test]
    fn a_pod_without_workload_identity_is_told_what_is_missing() {
        let rows = [
            ("a client", Options { client_id: None, ..pod() }, "AZURE_CLIENT_ID"),
            ("a tenant", Options { tenant_id: None, ..pod() }, "AZURE_TENANT_ID"),
            ("a token", Options { token_file: None, ..pod() }, "AZURE_FEDERATED_TOKEN_FILE"),
        ];
        for (case, options, variable) in rows {
            let told =
                Login::of_pod(&options, &AzurePrincipal::default(), authority()).expect_err(case);
            assert_eq!(told, Error::NotConfigured { variable }, "{case}");
        }
        let who = AzurePrincipal::parse(Some("other"), Some("there")).expect("two IDs");
        let options = Options { client_id: None, tenant_id: None, ..pod() };
        let login = Login::of_pod(&options, &who, authority()).expect("all is said");
        assert_eq!(login.identity(), "identity other in tenant there");
    }

    #[test]
    fn a_service_account_says_its_identity_in_annotations() {
        let name = |text| crate::kubernetes::Name::parse(text).expect("a name");
        let account = ServiceAccount { namespace: name("media"), name: name("thumbnails") };
        let login =
            |client: Option<&str>, tenant: Option<&str>, who: AzurePrincipal, options: Options| {
                let proof = Proof::Account(Kubernetes::none(), account.clone());
                let said = |text: Option<&str>| text.map(str::to_owned);
                let annotated = AzureIdentity { client_id: said(client), tenant_id: said(tenant) };
                Login::of_account(&options, &who, &account, annotated, proof, authority())
                    .map(|login| login.identity())
                    .map_err(|error| error.to_string())
            };
        let own = AzurePrincipal::default;
        let none = Options::default;
        assert_eq!(
            login(Some("Client"), Some("there"), own(), pod()).as_deref(),
            Ok("identity client in tenant there")
        );
        assert_eq!(
            login(Some("client"), None, own(), pod()).as_deref(),
            Ok("identity client in tenant own-tenant")
        );
        let named = AzurePrincipal::parse(Some("other"), Some("elsewhere")).expect("two IDs");
        assert_eq!(
            login(Some("client"), Some("there"), named, none()).as_deref(),
            Ok("identity other in tenant elsewhere")
        );
        for (case, told, words) in [
            (
                "no client",
                login(None, Some("there"), own(), pod()),
                "has no annotation azure.workload.identity/client-id; give it",
            ),
            (
                "no tenant",
                login(Some("client"), None, own(), none()),
                "has no annotation azure.workload.identity/tenant-id, and AZURE_TENANT_ID",
            ),
            (
                "a client that is none",
                login(Some("a b"), None, own(), pod()),
                "has \"a b\" in its annotation azure.workload.identity/client-id",
            ),
            (
                "a path",
                login(Some("client"), Some("../common"), own(), pod()),
                "has \"../common\" in its annotation azure.workload.identity/tenant-id",
            ),
            (
                "nothing",
                login(Some(""), None, own(), pod()),
                "has \"\" in its annotation azure.workload.identity/client-id",
            ),
        ] {
            let told = told.expect_err(case);
            assert!(
                told.starts_with(&format!("service account media/thumbnails {words}")),
                "{case}: {told}"
            );
        }
    }

    #[test]
    fn only_https_authorities_are_asked() {
        for bad in [
            "login.microsoftonline.com",
            "http://login.microsoftonline.com",
            "https://a@b",
            "https://",
        ] {
            let options = Options { authority: Some(bad.to_owned()), ..pod() };
            let told = Authority::new(&options, "https://login.example").expect_err(bad);
            assert!(told.to_string().starts_with("AZURE_AUTHORITY_HOST cannot be used"), "{told}");
        }
    }
}
