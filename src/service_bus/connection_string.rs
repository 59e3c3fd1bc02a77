//! What a connection string says: where a namespace is, what lets in, and perhaps one entity.
//!
//! Parts are `<name>=<value>` with `;` between, in any order; names in any case; blanks around names,
//! values and parts, and empty parts, make no difference. A part that nobody knows is left alone, as
//! Microsoft's clients do, and quotes around the whole are taken off. The text is a secret as a whole:
//! an error names the part that is wrong and shows nothing of it.
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
    // `sb` means nothing to a URL parser, and a host is only looked at closely where the scheme does.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "aHVudGVyMg+/==";
    const TOKEN: &str =
        "SharedAccessSignature sr=sb%3A%2F%2Fa&sig=aHVudGVyMg%3D%3D&se=4102444800&skn=k";

    fn parse(text: &str) -> Result<ConnectionString, ConnectionStringError> {
        ConnectionString::parse(&SecretString::from(text))
    }

    fn endpoint(host: &str, port: Option<u16>, emulator: bool) -> Endpoint {
        Endpoint { host: host.to_owned(), port, emulator }
    }

    #[test]
    fn azure_s_own_form_is_read() {
        let azure = endpoint("orders.servicebus.windows.net", None, false);
        let rows = [
            (
                "as shown",
                format!(
                    "Endpoint=sb://orders.servicebus.windows.net/;SharedAccessKeyName=all;SharedAccessKey={SECRET}"
                ),
                azure.clone(),
                None,
            ),
            (
                "with an entity",
                format!(
                    "Endpoint=sb://orders.servicebus.windows.net/;SharedAccessKeyName=all;SharedAccessKey={SECRET};EntityPath=in/voices"
                ),
                azure.clone(),
                Some("in/voices"),
            ),
            (
                "in an odd order, with blanks",
                format!(
                    " ;; EntityPath = q ;SHAREDACCESSKEY= {SECRET} ; endpoint = sb://Orders.ServiceBus.Windows.net ;sharedaccesskeyname=all\n;"
                ),
                azure.clone(),
                Some("q"),
            ),
            (
                "in quotes",
                format!(
                    "\"Endpoint=sb://orders.servicebus.windows.net/;SharedAccessKeyName=all;SharedAccessKey={SECRET}\"\n"
                ),
                azure.clone(),
                None,
            ),
            (
                "with parts nobody knows",
                format!(
                    "Endpoint=sb://orders.servicebus.windows.net/;TransportType=Amqp;SharedAccessKeyName=all;SharedAccessKey={SECRET}"
                ),
                azure,
                None,
            ),
            (
                "of the emulator",
                format!(
                    "Endpoint=sb://localhost;SharedAccessKeyName=all;SharedAccessKey={SECRET};UseDevelopmentEmulator=true;"
                ),
                endpoint("localhost", None, true),
                None,
            ),
            (
                "of one on another port",
                format!(
                    "Endpoint=sb://[::1]:9;SharedAccessKeyName=all;SharedAccessKey={SECRET};UseDevelopmentEmulator=True"
                ),
                endpoint("[::1]", Some(9), true),
                None,
            ),
            (
                "without the emulator",
                format!(
                    "Endpoint=sb://a.b:9;SharedAccessKeyName=all;SharedAccessKey={SECRET};UseDevelopmentEmulator=false"
                ),
                endpoint("a.b", Some(9), false),
                None,
            ),
        ];
        let credential = Credential::Key { name: "all".to_owned(), key: Secret::from(SECRET) };
        for (name, text, endpoint, entity) in rows {
            let expected = ConnectionString {
                endpoint,
                credential: credential.clone(),
                entity_path: entity.map(str::to_owned),
            };
            assert_eq!(parse(&text), Ok(expected), "{name}");
        }
        let signed =
            parse(&format!("SharedAccessSignature={TOKEN};Endpoint=sb://a/")).expect("signed");
        assert_eq!(signed.credential, Credential::Signature(Secret::from(TOKEN)));
    }

    #[test]
    fn a_broken_one_names_the_part_and_prints_no_key() {
        use ConnectionStringError as Error;
        let key = format!("SharedAccessKeyName=all;SharedAccessKey={SECRET}");
        let rows = [
            ("nothing", String::new(), Error::Missing(ENDPOINT)),
            ("no endpoint", key.clone(), Error::Missing(ENDPOINT)),
            ("an empty endpoint", format!("Endpoint=;{key}"), Error::Missing(ENDPOINT)),
            ("a bare host", format!("Endpoint=a.b;{key}"), Error::Endpoint),
            ("another scheme", format!("Endpoint=file://a.b;{key}"), Error::Endpoint),
            ("a path", format!("Endpoint=sb://a.b/q;{key}"), Error::Endpoint),
            ("a user", format!("Endpoint=sb://u:p@a.b/;{key}"), Error::Endpoint),
            ("a query", format!("Endpoint=sb://a.b/?x;{key}"), Error::Endpoint),
            ("a port too far", format!("Endpoint=sb://a.b:65536/;{key}"), Error::Endpoint),
            ("no port", format!("Endpoint=sb://a.b:0/;{key}"), Error::Endpoint),
            ("no host", format!("Endpoint=sb://;{key}"), Error::Endpoint),
            (
                "a cloud's own",
                format!("Endpoint=sb://169.254.169.254:80;{key};UseDevelopmentEmulator=true"),
                Error::LinkLocal,
            ),
            ("the same in disguise", format!("Endpoint=sb://0xa9fea9fe;{key}"), Error::LinkLocal),
            ("and mapped", format!("Endpoint=sb://[::ffff:169.254.1.1];{key}"), Error::LinkLocal),
            ("an IPv6 one", format!("Endpoint=sb://[fe80::1];{key}"), Error::LinkLocal),
            (
                "the key alone",
                format!("Endpoint=sb://a/;SharedAccessKey={SECRET}"),
                Error::Missing(KEY_NAME),
            ),
            (
                "the key's name alone",
                "Endpoint=sb://a/;SharedAccessKeyName=all".to_owned(),
                Error::Missing(KEY),
            ),
            ("no key", "Endpoint=sb://a/".to_owned(), Error::NoCredential),
            (
                "key and signature",
                format!("Endpoint=sb://a/;{key};SharedAccessSignature={TOKEN}"),
                Error::TwoCredentials,
            ),
            (
                "no signature",
                format!("Endpoint=sb://a/;SharedAccessSignature={SECRET}"),
                Error::Signature,
            ),
            (
                "a key twice",
                format!("Endpoint=sb://a/;{key};sharedAccessKey={SECRET}"),
                Error::Twice(KEY),
            ),
            ("a part without a name", format!("Endpoint=sb://a/;{key};hunter2"), Error::Malformed),
            ("base64", "RW5kcG9pbnQ9c2I6Ly9hLw==".to_owned(), Error::Base64),
            ("base64 in another order", "U2hhcmVkQWNjZXNzS2V5PWE=".to_owned(), Error::Base64),
            ("a variable", "SERVICEBUS_CONNECTION".to_owned(), Error::Variable),
            ("a host", "orders.servicebus.windows.net".to_owned(), Error::Host),
            ("a host with a scheme", "sb://orders.servicebus.windows.net/".to_owned(), Error::Host),
            (
                "an identity",
                "Endpoint=sb://a/;Authentication=Managed Identity".to_owned(),
                Error::Identity,
            ),
            (
                "a cut signature",
                format!("Endpoint=sb://a/;SharedAccessSignature={}", &TOKEN[..40]),
                Error::Signature,
            ),
            (
                "a quoted signature",
                format!("Endpoint=sb://a/;SharedAccessSignature='{TOKEN}'"),
                Error::Signature,
            ),
            (
                "an odd emulator",
                format!("Endpoint=sb://a/;{key};UseDevelopmentEmulator=yes"),
                Error::Emulator,
            ),
        ];
        for (name, text, expected) in rows {
            let error = parse(&text).expect_err(name);
            assert_eq!(error, expected, "{name}");
            let told = error.to_string();
            assert!(
                ["has ", "is ", "asks "].iter().any(|verb| told.starts_with(verb))
                    && !told.contains("aHVudGVyMg"),
                "{name}: {told}"
            );
        }
        assert!(!format!("{:?}", parse(&format!("Endpoint=sb://a/;{key}"))).contains(SECRET));
    }

    proptest! {
        #[test]
        fn an_endpoint_s_host_is_what_a_url_has(rest in "[a-zA-Z0-9.:@/?#%\\[\\]\\\\ -]{0,20}|\\PC{0,10}") {
            let text = format!("Endpoint=sb://{rest};SharedAccessKeyName=n;SharedAccessKey=k");
            if let Ok(ConnectionString { endpoint, .. }) = parse(&text) {
                let port = endpoint.port.map_or(String::new(), |port| format!(":{port}"));
                let url = Url::parse(&format!("https://{}{port}/", endpoint.host)).expect("a URL");
                prop_assert_eq!(url.host_str(), Some(&*endpoint.host));
                prop_assert_eq!(url.port(), endpoint.port);
            }
        }
    }
}
