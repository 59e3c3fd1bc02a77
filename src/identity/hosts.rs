//! Which hosts may see a token: those under Azure's own suffixes, and under those that the operator allows.
//!
//! A trigger is written by a tenant. Without this its `namespace` or `endpointSuffix` could have our token sent to a
//! host of the tenant's own. So a host that may see one is a type, made here alone, before anything is exchanged.
//!
//! A host is only ever accepted in the one spelling that a URL parser gives back unchanged: lower case, labels of
//! letters, digits and hyphens; no user, port, path, address or trailing dot.
//!
//! # References
//! - Microsoft Learn, "Service Bus quotas" and "Microsoft.ServiceBus naming rules" for names of namespaces
//! - WHATWG URL Standard, host parsing

use std::fmt;
use std::sync::Arc;

use url::Host;

use super::cloud::Cloud;

/// What the operator allows besides Azure's own suffixes. The default: nothing.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    allowed: Vec<String>,
    /// No other ones; empty: whichever are under an allowed suffix.
    listed: Vec<String>,
}

/// A host that may see a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustedHost {
    name: Arc<str>,
    cloud: Cloud,
}

/// What a token is for, and who gives it where the pod's environment does not say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub(super) resource: Arc<str>,
    pub(super) authority: &'static str,
}

/// Why no token goes to a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// This is no namespace of its cloud.
    #[error(
        "namespace: {given:?} is not a namespace of this cloud; give its short name, or its host name under {suffix}"
    )]
    Namespace {
        /// What the trigger says, shortened.
        given: String,
        /// The suffix of the trigger's cloud, shortened.
        suffix: String,
    },
    /// The host is not under an allowed suffix.
    #[error(
        "no token is sent to {host:?}: it is under none of Azure's suffixes; correct namespace, endpointSuffix or bootstrapServers, or have the operator allow its suffix with --azure-allow-suffix"
    )]
    NotAllowed {
        /// The host, shortened.
        host: String,
    },
    /// The operator lists the hosts, and this is not among them.
    #[error(
        "no token is sent to {host:?}: the operator lists the namespaces that may have one, and it is not among them; have it added to --azure-namespace"
    )]
    NotListed {
        /// The host, shortened.
        host: String,
    },
    /// What the operator allows is not a suffix.
    #[error(
        "{given:?} is not a suffix of host names; give at least two names with a dot between, such as servicebus.example.com"
    )]
    Suffix {
        /// What the operator gave, shortened.
        given: String,
    },
}

impl Hosts {
    /// Azure's suffixes and these. A leading dot makes no difference.
    ///
    /// # Errors
    /// One of them is not a suffix of at least two names: with one a whole top-level domain would be allowed.
    pub fn new(allowed: &[String]) -> Result<Self, HostError> {
        let suffix = |given: &String| {
            let suffix = given.strip_prefix('.').unwrap_or(given).to_ascii_lowercase();
            if suffix.contains('.') && is_plain(&suffix) {
                Ok(suffix)
            } else {
                Err(HostError::Suffix { given: shortened(given) })
            }
        };
        let allowed = allowed.iter().map(suffix).collect::<Result<_, _>>()?;
        Ok(Self { allowed, listed: Vec::new() })
    }

    /// Of these hosts only the listed ones, by their full names; an empty list changes nothing.
    ///
    /// Whoever has an Azure subscription can have a host under Azure's suffix, and one of Azure Relay hands a
    /// request on to its owner, token and all.
    #[must_use]
    pub fn listing(self, hosts: &[String]) -> Self {
        let listed = hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect();
        Self { listed, ..self }
    }

    /// The host of a namespace: its short name, or its full host name under its cloud's suffix.
    ///
    /// # Errors
    /// It is neither, or no token may go there.
    pub fn trust(&self, namespace: &str, cloud: &Cloud) -> Result<TrustedHost, HostError> {
        let name = namespace.to_ascii_lowercase();
        let suffix = cloud.suffix();
        if is_label(&name) {
            self.trust_host(&format!("{name}.{suffix}"))
        } else if within(&name, suffix).is_some() {
            self.trust_host(&name)
        } else {
            Err(HostError::Namespace { given: shortened(namespace), suffix: shortened(suffix) })
        }
    }

    /// A full host name, in any cloud.
    ///
    /// # Errors
    /// No token may go there.
    pub fn trust_host(&self, host: &str) -> Result<TrustedHost, HostError> {
        let name = host.to_ascii_lowercase();
        let cloud = self.cloud_of(&name).filter(|_| is_plain(&name));
        let refused = || HostError::NotAllowed { host: shortened(host) };
        let cloud = cloud.ok_or_else(refused)?;
        if !self.listed.is_empty() && !self.listed.contains(&name) {
            return Err(HostError::NotListed { host: shortened(host) });
        }
        Ok(TrustedHost { cloud, name: name.into() })
    }

    /// Azure's namespaces lie right under their suffix; what the operator allows may have more levels.
    fn cloud_of(&self, name: &str) -> Option<Cloud> {
        let azure = Cloud::AZURE
            .into_iter()
            .find(|cloud| within(name, cloud.suffix()).is_some_and(is_label));
        let allowed = || self.allowed.iter().find(|suffix| within(name, suffix).is_some());
        azure.or_else(|| allowed().map(|suffix| Cloud::Private(suffix.clone())))
    }
}

impl TrustedHost {
    /// The host's name, as a URL has it.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for TrustedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Scope {
    /// Everything in Service Bus that the identity may do; the same in every cloud.
    pub fn service_bus(host: &TrustedHost) -> Scope {
        Scope::of("https://servicebus.azure.net/.default".into(), host)
    }

    /// Everything that the identity may do in one namespace of Event Hubs.
    pub fn event_hubs(host: &TrustedHost) -> Scope {
        Scope::of(format!("https://{host}/.default").into(), host)
    }

    fn of(resource: Arc<str>, host: &TrustedHost) -> Scope {
        Scope { resource, authority: host.cloud.authority() }
    }
}

/// What stands before a suffix and its dot.
fn within<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    name.strip_suffix(suffix)?.strip_suffix('.')
}

/// Whether a URL parser takes this for a host by name, and for the same one.
fn is_plain(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(is_label)
        && matches!(Host::parse(name), Ok(Host::Domain(parsed)) if parsed == name)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What a tenant wrote comes back in an error, so it is bounded.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
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
        for host in
            ["orders", "sb.example.com", "orders.servicebus.windows.net:9093", "evil.example"]
        {
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
}
