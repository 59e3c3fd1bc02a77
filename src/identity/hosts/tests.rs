//! Which hosts may have a token, and which names look like theirs and are not.

use proptest::prelude::*;
use url::Url;

use super::*;

const OPERATORS: &str = "sb.example.com";

fn hosts() -> Hosts {
    Hosts::new(&[OPERATORS.to_owned()]).expect("a suffix")
}

fn private(suffix: &str) -> Cloud {
    Cloud::Private(suffix.to_owned())
}

#[test]
fn a_namespace_becomes_a_host_under_an_allowed_suffix() {
    let rows = [
        ("a short name", "orders", Cloud::Public, "orders.servicebus.windows.net"),
        ("upper case", "Orders-1", Cloud::Public, "orders-1.servicebus.windows.net"),
        (
            "its host name",
            "orders.ServiceBus.windows.net",
            Cloud::Public,
            "orders.servicebus.windows.net",
        ),
        ("a number", "127", Cloud::Public, "127.servicebus.windows.net"),
        ("government", "orders", Cloud::UsGovernment, "orders.servicebus.usgovcloudapi.net"),
        ("china", "orders", Cloud::China, "orders.servicebus.chinacloudapi.cn"),
        ("the operator's", "orders", private(OPERATORS), "orders.sb.example.com"),
        (
            "under the operator's",
            "orders",
            private("eu.sb.example.com"),
            "orders.eu.sb.example.com",
        ),
        (
            "azure's as private",
            "orders",
            private("servicebus.windows.net"),
            "orders.servicebus.windows.net",
        ),
    ];
    for (case, namespace, cloud, expected) in rows {
        let host = hosts().trust(namespace, &cloud);
        assert_eq!(host.as_ref().map(TrustedHost::as_str), Ok(expected), "{case}");
    }
}

#[test]
fn an_operator_can_list_the_hosts_there_are() {
    let hosts = Hosts::default().listing(&["Orders.servicebus.windows.net ".to_owned()]);
    assert!(hosts.trust("orders", &Cloud::Public).is_ok());
    assert!(hosts.trust_host("ORDERS.servicebus.windows.net").is_ok());
    let relay = hosts.trust("relay", &Cloud::Public);
    assert!(matches!(relay, Err(HostError::NotListed { .. })), "{relay:?}");
    assert!(Hosts::default().listing(&[]).trust("relay", &Cloud::Public).is_ok());
}

#[test]
fn no_other_host_is_trusted() {
    let rows = [
        ("nothing", "", Cloud::Public),
        ("a dot", ".", Cloud::Public),
        ("another host", "evil.example", Cloud::Public),
        ("dots", "orders.evil", Cloud::Public),
        ("a level between", "evil.orders.servicebus.windows.net", Cloud::Public),
        ("a trailing dot", "orders.servicebus.windows.net.", Cloud::Public),
        ("an empty label", ".servicebus.windows.net", Cloud::Public),
        ("the bare suffix", "servicebus.windows.net", Cloud::Public),
        ("the suffix within", "orders.servicebus.windows.net.evil.example", Cloud::Public),
        ("the suffix without its dot", "evilservicebus.windows.net", Cloud::Public),
        ("another cloud's", "orders.servicebus.chinacloudapi.cn", Cloud::Public),
        ("a path", "evil.example/", Cloud::Public),
        ("a path before the suffix", "evil.example/.servicebus.windows.net", Cloud::Public),
        ("a backslash", "evil.example\\.servicebus.windows.net", Cloud::Public),
        ("a user", "orders@evil.example", Cloud::Public),
        ("the host as a user", "orders.servicebus.windows.net@evil.example", Cloud::Public),
        ("a user before the suffix", "a@orders.servicebus.windows.net", Cloud::Public),
        ("a port", "orders:443", Cloud::Public),
        ("a port on the host", "orders.servicebus.windows.net:443", Cloud::Public),
        ("a query", "evil.example?.servicebus.windows.net", Cloud::Public),
        ("a fragment", "evil.example#.servicebus.windows.net", Cloud::Public),
        ("an address", "10.0.0.1", Cloud::Public),
        ("an address of six", "[::1]", Cloud::Public),
        ("a blank", "orders ", Cloud::Public),
        ("a blank within", "or ders", Cloud::Public),
        ("a tab", "or\tders", Cloud::Public),
        ("a line break", "orders\n", Cloud::Public),
        ("a percent", "orders%2eevil", Cloud::Public),
        ("an ideographic dot", "evil。example", Cloud::Public),
        ("a fullwidth letter", "ｏrders", Cloud::Public),
        ("the kelvin sign", "\u{212a}afka", Cloud::Public),
        ("a soft hyphen", "or\u{ad}ders", Cloud::Public),
        ("broken punycode", "xn--a", Cloud::Public),
        ("a hyphen first", "-orders", Cloud::Public),
        ("a hyphen last", "orders-", Cloud::Public),
        ("a scheme", "https://orders", Cloud::Public),
        ("a suffix not allowed", "orders", private("evil.example")),
        ("a suffix around the operator's", "orders", private("sb.example.com.evil.example")),
        ("a suffix ending as the operator's", "orders", private("evilsb.example.com")),
        ("a suffix with a user", "orders", private("evil.example@sb.example.com")),
        ("a suffix with a path", "orders", private("evil.example/sb.example.com")),
        ("a suffix with a port", "orders", private("sb.example.com:8443")),
        ("above the operator's", "orders", private("example.com")),
        ("an empty suffix", "orders", private("")),
        ("an address as suffix", "10", private("0.0.1")),
    ];
    for (case, namespace, cloud) in rows {
        let trusted = hosts().trust(namespace, &cloud);
        let told = trusted.expect_err(case).to_string();
        assert!(!told.contains('\n') && told.len() < 500, "{case}: {told}");
    }
}

#[test]
fn a_whole_host_is_trusted_in_any_cloud() {
    for host in [
        "orders.servicebus.chinacloudapi.cn",
        "ORDERS.servicebus.windows.net",
        "a.b.sb.example.com",
    ] {
        assert!(hosts().trust_host(host).is_ok(), "{host}");
    }
    for host in ["orders", "sb.example.com", "orders.servicebus.windows.net:9093", "evil.example"] {
        assert!(hosts().trust_host(host).is_err(), "{host}");
    }
}

#[test]
fn an_operator_allows_suffixes_and_nothing_wider() {
    for good in ["servicebus.cloudapi.de", ".servicebus.cloudapi.de", "SB.Example.com"] {
        assert!(Hosts::new(&[good.to_owned()]).is_ok(), "{good}");
    }
    for bad in [
        "",
        ".",
        "com",
        "..com",
        "*.example.com",
        "a b.com",
        "10.0.0.1",
        "example.com:443",
        "x..y",
        "a.1",
    ] {
        assert!(Hosts::new(&[bad.to_owned()]).is_err(), "{bad}");
    }
}

#[test]
fn scopes_name_what_the_token_is_for() {
    let host = hosts().trust("orders", &Cloud::UsGovernment).expect("azure's");
    assert_eq!(&*Scope::service_bus(&host).resource, "https://servicebus.azure.net/.default");
    let event_hubs = Scope::event_hubs(&host);
    assert_eq!(&*event_hubs.resource, "https://orders.servicebus.usgovcloudapi.net/.default");
    assert_eq!(event_hubs.authority, "https://login.microsoftonline.us");
}

/// Any text, and text that has a suffix somewhere among what a URL takes apart.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9-]{0,8}",
        "[.@:/\\\\?#%\\[\\] \t\n-]",
        Just(".servicebus.windows.net".to_owned()),
        Just("servicebus.windows.net".to_owned()),
        Just(OPERATORS.to_owned()),
        "\\PC{0,3}",
    ];
    prop_oneof![
        any::<String>(),
        proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat()),
    ]
}

fn clouds() -> impl Strategy<Value = Cloud> {
    prop_oneof![
        Just(Cloud::Public),
        Just(Cloud::UsGovernment),
        Just(Cloud::China),
        Just(private(OPERATORS)),
        texts().prop_map(Cloud::Private),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_trusted_is_that_very_host_to_a_url_parser(namespace in texts(), cloud in clouds()) {
        let by_name = hosts().trust(&namespace, &cloud);
        for host in by_name.into_iter().chain(hosts().trust_host(&namespace)) {
            let suffixes = Cloud::AZURE.iter().map(Cloud::suffix).chain([OPERATORS]);
            let under = |suffix: &str| host.as_str().ends_with(&format!(".{suffix}"));
            prop_assert!(suffixes.into_iter().any(under), "{host}");
            for scheme in ["https", "wss"] {
                let url = Url::parse(&format!("{scheme}://{host}/orders")).expect("a URL");
                prop_assert_eq!(url.host_str(), Some(host.as_str()));
                prop_assert_eq!((url.username(), url.password(), url.port()), ("", None, None));
                prop_assert_eq!(url.path(), "/orders");
            }
        }
    }
}
