//! Who is let in, and what a browser may do with a reply.
//!
//! Without a token whoever can connect is let in, which is this very machine: `kubectl
//! port-forward` comes from there, or a proxy that asks for a login. But so does every page in the
//! browser of whoever forwards the port. Hence a name in `Host` must be known, or a page elsewhere
//! could give its own name our address and read us (DNS rebinding), and what another site has a
//! browser load is refused.
//!
//! # References
//! - <https://www.w3.org/TR/CSP3/>, <https://www.w3.org/TR/fetch-metadata/>

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::diagnostics::{Access, Denied};

/// What a browser may load, and who may frame it: our own files, and nobody.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// The headers of each reply, of refusals too.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Who is let in.
#[derive(Debug)]
pub(super) struct Guard {
    access: Access,
    /// Names by which a proxy is asked for us, in lower case.
    hosts: Vec<String>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error(
        "this name is not known; open the page as localhost or by its address, or give the name with --page-host"
    )]
    Host,
    #[error("another site may not load this")]
    OtherSite,
    #[error("{0}")]
    Denied(Denied),
}

impl Guard {
    pub(super) fn new(access: Access, hosts: &[String]) -> Self {
        Self { access, hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    async fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        // With a token a stranger's page has none: browsers keep it for the name that asked for it.
        if !self.access.asks_for_token() && !self.knows(text(HOST).unwrap_or_default()) {
            return Err(Refused::Host);
        }
        let site = text(HeaderName::from_static("sec-fetch-site"));
        let is_other = matches!(site, Some("cross-site" | "same-site"));
        // A link from elsewhere may be followed.
        if is_other && text(HeaderName::from_static("sec-fetch-dest")) != Some("document") {
            return Err(Refused::OtherSite);
        }
        self.access.admit(text(AUTHORIZATION)).await.map_err(Refused::Denied)
    }

    /// Whether a `Host` cannot be the name of somebody else's.
    fn knows(&self, host: &str) -> bool {
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let name = match host.rsplit_once(':') {
            Some((name, port)) if is_port(port) => name,
            _ => host,
        };
        let name = name.to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        address.unwrap_or(&name).parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.hosts.contains(&name)
    }
}

/// Lets a request pass or refuses it, and adds the headers.
pub(super) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut reply = match guard.check(request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.reply(),
    };
    for (name, value) in HEADERS {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

impl Refused {
    fn reply(self) -> Response {
        let status = match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::OtherSite => StatusCode::FORBIDDEN,
            Self::Denied(Denied::NoToken | Denied::WrongToken) => StatusCode::UNAUTHORIZED,
            Self::Denied(Denied::Unreadable) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut reply = (status, format!("{self}\n")).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let ask = "Basic realm=\"keda-sift: the token is the password\", charset=\"UTF-8\"";
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(ask));
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_anybody_could_have_is_not_known() {
        let guard = Guard::new(Access::by_connection(), &["Sift.example.com".to_owned()]);
        let rows = [
            ("localhost:9092", true),
            ("LOCALHOST", true),
            ("sift.localhost:1", true),
            ("127.0.0.1:9092", true),
            ("[::1]:9092", true),
            ("[::1]", true),
            ("10.1.2.3", true),
            ("sift.example.com:443", true),
            ("sift.example.com", true),
            ("evil.example.com:9092", false),
            ("sift.example.com.evil.org", false),
            ("localhost.evil.org", false),
            ("127.0.0.1.evil.org:9092", false),
            ("evillocalhost", false),
            ("", false),
        ];
        for (host, expected) in rows {
            assert_eq!(guard.knows(host), expected, "{host}");
        }
    }

    #[tokio::test]
    async fn another_site_may_link_here_and_load_nothing() {
        let guard = Guard::new(Access::by_connection(), &[]);
        let rows = [
            (Some("cross-site"), Some("document"), Ok(())),
            (Some("cross-site"), Some("iframe"), Err(Refused::OtherSite)),
            (Some("cross-site"), Some("image"), Err(Refused::OtherSite)),
            (Some("same-site"), Some("empty"), Err(Refused::OtherSite)),
            (Some("cross-site"), None, Err(Refused::OtherSite)),
            (Some("same-origin"), Some("empty"), Ok(())),
            (Some("none"), Some("document"), Ok(())),
            (None, None, Ok(())),
        ];
        for (site, destination, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("localhost"));
            for (name, value) in [("sec-fetch-site", site), ("sec-fetch-dest", destination)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            assert_eq!(guard.check(&headers).await, expected, "{site:?} {destination:?}");
        }
    }
}
