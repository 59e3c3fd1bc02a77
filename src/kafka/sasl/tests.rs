use test_basics::Rows;

use super::*;
use crate::kafka::{ClusterConfig, Kafka};
use crate::metadata::{self, Invalid};
use crate::source::Source as _;

const BEARER: Rows<'_> = &[
    ("sasl", "oauthbearer"),
    ("usernameFromEnv", "me\n"),
    ("passwordFromEnv", "hunter2\n"),
    ("oauthTokenEndpointUri", "https://login.example/token"),
];

const WORKLOAD: Rows<'_> = &[("sasl", "azure_workload"), ("tls", "enable")];

fn decode(rows: Rows<'_>, more: Rows<'_>) -> Result<ClusterConfig, Invalid> {
    let servers = [("bootstrapServers", "orders.servicebus.windows.net:9093")];
    let rows = servers.iter().chain(rows).chain(more);
    metadata::tests::decode(&[Kafka::TABLE], rows, ClusterConfig::decode)
}

fn login(rows: Rows<'_>, more: Rows<'_>) -> TokenLogin {
    let cluster = decode(rows, more).unwrap_or_else(|invalid| panic!("{invalid}"));
    cluster.token_login().cloned().expect("a login by token")
}

#[test]
fn a_client_is_read_as_keda_reads_it() {
    let TokenLogin::Client { client, extensions } = login(
        BEARER,
        &[
            ("saslTokenProvider", "bearer"),
            ("scopes", "kafka, read"),
            ("oauthExtensions", "logicalCluster=lkc-1,identity_pool-2=pool=1"),
        ],
    ) else {
        panic!("a client");
    };
    assert_eq!((client.id.as_str(), client.secret.expose()), ("me", "hunter2"));
    assert_eq!(client.endpoint.host(), "login.example");
    assert_eq!(client.scopes, ["kafka", "read"]);
    let expected = [("logicalCluster", "lkc-1"), ("identity_pool-2", "pool=1")];
    assert_eq!(extensions, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));

    let TokenLogin::Client { client, extensions } = login(BEARER, &[]) else {
        panic!("a client");
    };
    assert!(client.scopes.is_empty() && extensions.is_empty());
}

#[test]
fn the_scalers_token_goes_to_no_azure_of_a_tenants_authority() {
    let ca = crate::kafka::security::tests::CERTIFICATE;
    let refused = decode(WORKLOAD, &[("ca", ca)]).expect_err("Azure's own hosts");
    assert!(
        refused.to_string().starts_with("ca: its value cannot vouch for Azure's own hosts"),
        "{refused}"
    );
    // Where these are an operator's, or the token is a client's own.
    let own = [("ca", ca), ("bootstrapServers", "orders.sb.example.com:9093")];
    assert!(decode(WORKLOAD, &own).is_ok());
    assert!(decode(BEARER, &[("ca", ca), ("tls", "enable")]).is_ok());
}

#[test]
fn a_provider_that_is_not_used_changes_nothing() {
    for provider in ["bearer", "aws_msk_iam"] {
        assert!(decode(&[], &[("saslTokenProvider", provider)]).is_ok(), "{provider}");
    }
}

#[test]
fn an_identity_is_the_scalers_own_or_another() {
    assert_eq!(login(WORKLOAD, &[]), TokenLogin::Workload(AzurePrincipal::default()));
    let other = AzurePrincipal::parse(Some("other"), Some("there")).expect("two IDs");
    let rows = [("identityId", "other"), ("identityTenantId", "there")];
    assert_eq!(login(WORKLOAD, &rows), TokenLogin::Workload(other));
}

#[test]
fn a_changed_secret_is_another_cluster() {
    let cluster = decode(BEARER, &[]).expect("complete");
    assert!(!format!("{cluster:?}").contains("hunter2"));
    let other = decode(BEARER, &[("passwordFromEnv", "hunter3")]).expect("complete");
    assert_ne!(cluster, other);
}

#[test]
fn what_does_not_fit_is_complained_of() {
    let without = |key: &'static str| -> Vec<_> {
        BEARER.iter().filter(|(name, _)| *name != key).copied().collect()
    };
    let (no_user, no_password, no_endpoint) =
        (without("usernameFromEnv"), without("passwordFromEnv"), without("oauthTokenEndpointUri"));
    let plain: Rows<'_> = &[("sasl", "azure_workload")];
    let rows: &[(&str, Rows<'_>, Rows<'_>, &str)] = &[
        ("no client", &no_user, &[], "username: is missing; sasl needs it"),
        ("no secret", &no_password, &[], "password: is missing; sasl needs it"),
        ("no endpoint", &no_endpoint, &[], "oauthTokenEndpointUri: is missing; give the https URL"),
        (
            "an endpoint without TLS",
            &no_endpoint,
            &[("oauthTokenEndpointUri", "http://login.example/token")],
            "oauthTokenEndpointUri: is not an https URL",
        ),
        (
            "an endpoint with a secret",
            &no_endpoint,
            &[("oauthTokenEndpointUri", "https://me:hunter2@login.example/token")],
            "oauthTokenEndpointUri: has credentials in it",
        ),
        (
            "another provider",
            BEARER,
            &[("saslTokenProvider", "aws_msk_iam")],
            "saslTokenProvider: \"aws_msk_iam\" is not supported by this version; give bearer",
        ),
        (
            "another provider without sasl",
            &[],
            &[("saslTokenProvider", "google")],
            "saslTokenProvider: \"google\" is not known; give bearer",
        ),
        (
            "no pair",
            BEARER,
            &[("oauthExtensions", "pool")],
            "oauthExtensions: \"pool\" is not name=value",
        ),
        (
            "a name with a blank",
            BEARER,
            &[("oauthExtensions", "a b=c")],
            "oauthExtensions: \"a b\" is not a name",
        ),
        ("no name", BEARER, &[("oauthExtensions", "=c")], "oauthExtensions: \"\" is not a name"),
        (
            "the token itself",
            BEARER,
            &[("oauthExtensions", "auth=b")],
            "oauthExtensions: \"auth\" is not a name",
        ),
        (
            "a control character",
            BEARER,
            &[("oauthExtensions", "a=b\u{1}c")],
            "the value of \"a\" has a character",
        ),
        (
            "no TLS",
            plain,
            &[],
            "sasl: \"azure_workload\" sends a token of the scaler's, so it needs tls: enable",
        ),
        (
            "unchecked TLS",
            WORKLOAD,
            &[("brokerUnsafeSsl", "true")],
            "sasl: \"azure_workload\" sends a token",
        ),
        (
            "an ID of blanks",
            WORKLOAD,
            &[("identityId", "a b")],
            "identityId: \"a b\" is not a client ID",
        ),
        (
            "a tenant as a path",
            WORKLOAD,
            &[("identityTenantId", "../x")],
            "identityTenantId: \"../x\" is not a tenant",
        ),
    ];
    for (name, rows, more, expected) in rows {
        let invalid = decode(rows, more).expect_err(name);
        let told = invalid.to_string();
        assert!(told.contains(expected), "{name}: {told}");
        assert!(!format!("{told} {invalid:?}").contains("hunter2"), "{name}: {told}");
    }
}
