//! What a connection string says: where a namespace is, what lets in, and perhaps one entity.
//!
//! Parts are `<name>=<value>` with `;` between, in any order; names in any case; blanks around
//! names, values and parts, and empty parts, make no difference. A part that nobody knows is left
//! alone, as Microsoft's clients do, and quotes around the whole are taken off. The text is a
//! secret as a whole: an error names the part that is wrong and shows nothing of it.
//!
//! # References
//! - Microsoft Learn, "Service Bus connection strings"
//! - `_parse_conn_str` of the Python package azure-servicebus 7.15, and `ParseConnectionString` of
//!   azure-sdk-for-go

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::access::{Credential, Endpoint};
use super::sas;
use crate::secret::Secret;

const ENDPOINT: &str = "Endpoint";
const KEY_NAME: &str = "SharedAccessKeyName";
const KEY: &str = "SharedAccessKey";
const SIGNATURE: &str = "SharedAccessSignature";
const ENTITY_PATH: &str = "EntityPath";
const EMULATOR: &str = "UseDevelopmentEmulator";

/// A connection string, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConnectionString {
    /// Where the namespace is.
    pub endpoint: Endpoint,
    /// What lets in.
    pub credential: Credential,
    /// The entity that it is for; absent: the whole namespace.
    pub entity_path: Option<String>,
}

/// Why a text is no connection string. Each is a predicate over that text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectionStringError {
    /// A part without `=`.
    #[error("has a part that is no <name>=<value>; give the connection string as Azure shows it")]
    Malformed,
    /// The same name again.
    #[error("has {0} twice; give it once")]
    Twice(&'static str),
    /// The text is one in base64, as a Secret's `data` holds it.
    #[error("is in base64 once more; give it as Azure shows it, or in a Secret as stringData")]
    Base64,
    /// The text is the name of a variable.
    #[error("is the name of a variable, not what it holds; give that name as connectionFromEnv")]
    Variable,
    /// The text is the name of a host or of a namespace.
    #[error("is the name of a host; give it as namespace, to ask with workload identity")]
    Host,
    /// Azure's other clients have this form to ask as an identity.
    #[error("asks for an identity and has no key; give the namespace as namespace instead")]
    Identity,
    /// No value for what has to be there.
    #[error("has no {0}; give the connection string as Azure shows it")]
    Missing(&'static str),
    /// The endpoint is no host.
    #[error("has an {ENDPOINT} that is not sb://<host>/; give it as Azure shows it")]
    Endpoint,
    /// Where clouds tell a machine its own secrets.
    #[error(
        "has an {ENDPOINT} at a link-local address, where no namespace is; give it as Azure shows it"
    )]
    LinkLocal,
    /// Neither true nor false.
    #[error(
        "has {EMULATOR} that is neither true nor false; give true for the local emulator, or leave it out"
    )]
    Emulator,
    /// Nothing that lets in.
    #[error("has neither {KEY} nor {SIGNATURE}; give the connection string as Azure shows it")]
    NoCredential,
    /// Too much that lets in.
    #[error("has both {KEY} and {SIGNATURE}; give one of the two")]
    TwoCredentials,
    /// Not a signature.
    #[error(
        "has a {SIGNATURE} that is cut or no signature; give all of \"SharedAccessSignature sr=…&sig=…&se=…&skn=…\", without quotes"
    )]
    Signature,
}

impl ConnectionString {
    /// Takes a connection string apart.
    ///
    /// # Errors
    /// A part is missing or wrong; which one.
    pub(super) fn parse(text: &SecretString) -> Result<Self, ConnectionStringError> {
        use ConnectionStringError::{Emulator, Missing, NoCredential, Signature, TwoCredentials};
        let text = unquoted(text.expose_secret().trim());
        if let Some(error) = mistaken(text) {
            return Err(error);
        }
        let [endpoint, key_name, key, signature, entity_path, emulator] = parts(text)?;
        let emulator = match emulator {
            None => false,
            Some(word) if word.eq_ignore_ascii_case("true") => true,
            Some(word) if word.eq_ignore_ascii_case("false") => false,
            Some(_) => return Err(Emulator),
        };
        let endpoint = parse_endpoint(endpoint.ok_or(Missing(ENDPOINT))?, emulator)?;
        let credential = match (key_name, key, signature) {
            (_, Some(_), Some(_)) => return Err(TwoCredentials),
            (Some(name), Some(key), None) => {
                Credential::Key { name: name.to_owned(), key: Secret::from(key) }
            }
            (None, Some(_), None) => return Err(Missing(KEY_NAME)),
            (_, None, Some(signature)) => {
                sas::expiry(signature).ok_or(Signature)?;
                Credential::Signature(Secret::from(signature))
            }
            (Some(_), None, None) => return Err(Missing(KEY)),
            (None, None, None) => return Err(NoCredential),
        };
        Ok(Self { endpoint, credential, entity_path: entity_path.map(str::to_owned) })
    }
}

/// The text without the quotes around it, which a shell or a YAML file has left there.
fn unquoted(text: &str) -> &str {
    let within =
        ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    within.map_or(text, str::trim)
}

/// What was given instead of a connection string.
fn mistaken(text: &str) -> Option<ConnectionStringError> {
    // `Endpoint=` and `SharedAccess` in base64, of which one comes first.
    if text.starts_with("RW5kcG9pbnQ9") || text.starts_with("U2hhcmVkQWNjZXNz") {
        return Some(ConnectionStringError::Base64);
    }
    let has_part = |name: &str| {
        let names = text.split(';').filter_map(|part| part.split_once('='));
        names.map(|(name, _)| name.trim()).any(|part| part.eq_ignore_ascii_case(name))
    };
    if has_part("Authentication") && !has_part(KEY) && !has_part(SIGNATURE) {
        return Some(ConnectionStringError::Identity);
    }
    if text.is_empty() || text.contains(['=', ';']) {
        return None;
    }
    let of_name = |c: char| c.is_ascii_alphanumeric() || "-._:/".contains(c);
    if text.contains('.') && text.chars().all(of_name) {
        return Some(ConnectionStringError::Host);
    }
    let of_variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    (text.contains('_') && text.chars().all(of_variable)).then_some(ConnectionStringError::Variable)
}

/// The values of the parts that are known; a blank one is absent.
fn parts(text: &str) -> Result<[Option<&str>; 6], ConnectionStringError> {
    const NAMES: [&str; 6] = [ENDPOINT, KEY_NAME, KEY, SIGNATURE, ENTITY_PATH, EMULATOR];
    let mut values = [None; 6];
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        // Keys are base64 and may end in `=`.
        let (name, value) = part.split_once('=').ok_or(ConnectionStringError::Malformed)?;
        let (name, value) = (name.trim(), value.trim());
        let Some(known) = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)) else {
            continue;
        };
        if !value.is_empty() && values[known].replace(value).is_some() {
            return Err(ConnectionStringError::Twice(NAMES[known]));
        }
    }
    Ok(values)
}

fn parse_endpoint(text: &str, emulator: bool) -> Result<Endpoint, ConnectionStringError> {
    let (scheme, rest) = text.split_once("://").ok_or(ConnectionStringError::Endpoint)?;
    if !["sb", "amqp", "amqps", "http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err(ConnectionStringError::Endpoint);
    }
    // `sb` means nothing to a URL parser, and a host is only looked at closely where the scheme
    // does.
    let url =
        Url::parse(&format!("https://{rest}")).map_err(|_| ConnectionStringError::Endpoint)?;
    let alone = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let is_link_local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_link_local(),
        Some(Host::Ipv6(address)) => {
            let mapped = address.to_ipv4_mapped().is_some_and(|address| address.is_link_local());
            address.is_unicast_link_local() || mapped
        }
        _ => false,
    };
    if is_link_local {
        return Err(ConnectionStringError::LinkLocal);
    }
    match url.host_str() {
        Some(host) if alone && url.port() != Some(0) => {
            Ok(Endpoint { host: host.to_owned(), port: url.port(), emulator })
        }
        _ => Err(ConnectionStringError::Endpoint),
    }
}

#[cfg(test)]
mod tests;
