//! Which connection strings are taken, and what is said of the others.

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
    let signed = parse(&format!("SharedAccessSignature={TOKEN};Endpoint=sb://a/")).expect("signed");
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
