//! How a trigger logs in: by a password, or by a token that is fetched for it.
//!
//! As with KEDA, `oauthbearer` takes `username` and `password` for a client's ID and secret, and
//! exchanges them at `oauthTokenEndpointUri`. `azure_workload` logs in with a token of the scaler's
//! own, so it is not left to the trigger whether the brokers are who they say: TLS is on and
//! checked.
//!
//! Extensions may have any name that KEDA takes, though RFC 7628 and Kafka's own brokers know names
//! of letters alone.
//!
//! # References
//! - KEDA's `kafka_scaler.go` (`validateOAuthBearer`)
//! - sarama's `buildClientFirstMessage`: any name but `auth`
//! - RFC 7628, section 3.1: what an extension may hold
//! - Microsoft Learn, "Event Hubs for Apache Kafka: security and authentication"

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::wire::sasl::{Login, PasswordMechanism};
use crate::identity::{AzurePrincipal, OAuthClient, TokenEndpoint};
use crate::metadata::{self, Reader, quoted};
use crate::secret::Secret;

const ENDPOINT: &str = "give the https URL that tokens come from";
const EXTENSIONS: &str = "give name=value, several of them by comma";

/// What a broker is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Sasl {
    Password { mechanism: PasswordMechanism, username: Secret, password: Secret },
    Token(TokenLogin),
}

/// Whose token it is (OAUTHBEARER).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum TokenLogin {
    /// A client's of the user's own, with what is said besides.
    Client { client: Arc<OAuthClient>, extensions: Vec<(String, String)> },
    /// An identity's, for Event Hubs.
    Workload(AzurePrincipal),
}

/// Why a text is no list of extensions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum ExtensionsError {
    #[error("{} is not name=value; {EXTENSIONS}", quoted(.0))]
    Form(String),
    #[error("{} is not a name of letters, digits and signs other than auth; {EXTENSIONS}", quoted(.0))]
    Name(String),
    #[error("the value of {} has a character that is not printable; {EXTENSIONS}", quoted(.0))]
    Value(String),
}

/// Where a client's token may come from.
const PROVIDERS: &[(&str, Option<()>)] = &[("bearer", Some(())), ("aws_msk_iam", None)];

#[derive(Clone, Copy)]
enum Kind {
    Password(PasswordMechanism),
    Client,
    Workload,
}

impl Sasl {
    /// `None` where the trigger wants none, and after a complaint. `checked`: whether brokers must
    /// show a certificate that is looked at.
    pub(super) fn decode(reader: &mut Reader<'_>, checked: bool) -> Option<Self> {
        let kind = reader.choice(
            "sasl",
            &[
                ("none", Some(None)),
                ("plaintext", Some(Some(Kind::Password(PasswordMechanism::Plain)))),
                ("scram_sha256", Some(Some(Kind::Password(PasswordMechanism::ScramSha256)))),
                ("scram_sha512", Some(Some(Kind::Password(PasswordMechanism::ScramSha512)))),
                ("oauthbearer", Some(Some(Kind::Client))),
                ("azure_workload", Some(Some(Kind::Workload))),
                ("gssapi", None),
                ("aws_msk_iam", None),
            ],
        );
        let username = reader.secret("username");
        let password = reader.secret("password");
        let sasl = match kind.flatten() {
            None => None,
            Some(Kind::Password(mechanism)) => {
                require_login(reader);
                username.zip(password).map(|(username, password)| Self::Password {
                    mechanism,
                    username: Secret::trimmed(&username),
                    password: Secret::trimmed(&password),
                })
            }
            Some(Kind::Client) => client(reader, username, password).map(Self::Token),
            Some(Kind::Workload) => workload(reader, checked).map(Self::Token),
        };
        if !matches!(kind.flatten(), Some(Kind::Client)) {
            // KEDA checks the word whatever sasl is, and then makes no use of it.
            let word = reader.text("saslTokenProvider").map(str::trim);
            if word != Some("aws_msk_iam") {
                reader.choice("saslTokenProvider", PROVIDERS);
            }
        }
        sasl
    }

    /// What to log in with. `None` where it takes a token and there is none.
    pub(super) fn login(&self, token: Option<&SecretString>) -> Option<Login> {
        match self {
            Self::Password { mechanism, username, password } => Some(Login::Password {
                mechanism: *mechanism,
                username: username.clone(),
                password: password.clone(),
            }),
            Self::Token(login) => Some(login.with(token?)),
        }
    }
}

impl TokenLogin {
    /// What to log in with, once there is a token.
    pub(super) fn with(&self, token: &SecretString) -> Login {
        let extensions = match self {
            Self::Client { extensions, .. } => extensions.clone(),
            Self::Workload(_) => Vec::new(),
        };
        Login::Token { token: Secret(token.clone()), extensions }
    }
}

fn require_login(reader: &mut Reader<'_>) {
    reader.require("username", "sasl needs it, as usernameFromEnv");
    reader.require("password", "sasl needs it, as passwordFromEnv");
}

fn client(
    reader: &mut Reader<'_>,
    username: Option<SecretString>,
    password: Option<SecretString>,
) -> Option<TokenLogin> {
    let provider_known =
        !reader.has("saslTokenProvider") || reader.choice("saslTokenProvider", PROVIDERS).is_some();
    require_login(reader);
    reader.require("oauthTokenEndpointUri", ENDPOINT);
    let endpoint = reader.parsed("oauthTokenEndpointUri", ENDPOINT, TokenEndpoint::parse);
    let scopes = reader.text("scopes").map(metadata::list);
    let scopes = scopes.map(|scopes| scopes.map(str::to_owned).collect());
    let extensions = reader.parsed("oauthExtensions", EXTENSIONS, extensions);
    let (username, password) = (username?, password?);
    let client = OAuthClient {
        endpoint: endpoint?,
        id: username.expose_secret().trim().to_owned(),
        secret: Secret::trimmed(&password),
        scopes: scopes.unwrap_or_default(),
    };
    let extensions = extensions.unwrap_or_default();
    provider_known.then(|| TokenLogin::Client { client: Arc::new(client), extensions })
}

fn workload(reader: &mut Reader<'_>, checked: bool) -> Option<TokenLogin> {
    if !checked {
        reader.complain(
            "sasl",
            "sends a token of the scaler's, so it needs tls: enable, and no brokerUnsafeSsl",
        );
    }
    AzurePrincipal::decode(reader).map(TokenLogin::Workload)
}

fn extensions(text: &str) -> Result<Vec<(String, String)>, ExtensionsError> {
    metadata::list(text).map(extension).collect()
}

fn extension(text: &str) -> Result<(String, String), ExtensionsError> {
    let pair = text.split_once('=').ok_or_else(|| ExtensionsError::Form(text.to_owned()))?;
    let (name, value) = (pair.0.trim(), pair.1.trim());
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_name || name == "auth" {
        return Err(ExtensionsError::Name(name.to_owned()));
    }
    let is_value =
        value.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t'));
    if !is_value || value.is_empty() {
        return Err(ExtensionsError::Value(name.to_owned()));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests;
