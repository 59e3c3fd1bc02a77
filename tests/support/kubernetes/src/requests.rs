//! What the server was asked, and by whom: its audit log.
//!
//! A request is there once its answer begins, so a watch counts as soon as it is open. What the
//! server asks itself is left out.

use std::fs;
use std::slice;

use serde::Deserialize;

use crate::server::ApiServer;

/// What is logged: everyone's requests but the server's own, without their bodies.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: [system:apiserver]
  - level: Metadata
";

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asked: the name of a user, or `system:serviceaccount:<namespace>:<name>`. Empty if that
    /// did not become clear.
    pub user: String,
    /// The program, as it calls itself.
    pub agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; a method
    /// in lower case for what is no resource.
    pub verb: String,
    /// Such as `scaledjobs.keda.sh` or `serviceaccounts/token`; empty for what is no resource, such
    /// as `/readyz`.
    pub resource: String,
    /// The namespace; empty for requests about all of them.
    pub namespace: String,
    /// The object; empty for requests about many.
    pub name: String,
    /// The path with its query.
    pub uri: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

/// Requests in the order of their answers.
#[derive(Clone, Debug, Default)]
pub struct Requests(Vec<Request>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl ApiServer {
    /// The requests so far. One that was answered a moment ago may be missing still.
    ///
    /// # Panics
    /// If the audit log cannot be read.
    pub fn requests(&self) -> Requests {
        let log = fs::read_to_string(self.audit_log()).unwrap_or_default();
        // The last line may be on its way.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let mut seen = std::collections::HashSet::new();
        let events = whole.lines().map(|line| {
            serde_json::from_str::<Event>(line)
                .unwrap_or_else(|error| panic!("{error} in the audit event {line}"))
        });
        // A watch is logged when it begins and when it ends.
        Requests(
            events.filter(|event| seen.insert(event.audit_id.clone())).map(Request::from).collect(),
        )
    }
}

impl Requests {
    /// Those of a user, or of a service account by its [`user`](crate::ServiceAccount::user).
    pub fn by(self, user: &str) -> Self {
        self.filter(|request| request.user == user)
    }

    /// Those with this verb.
    pub fn verb(self, verb: &str) -> Self {
        self.filter(|request| request.verb == verb)
    }

    /// Those about this resource, such as `scaledjobs.keda.sh` or `serviceaccounts/token`.
    pub fn resource(self, resource: &str) -> Self {
        self.filter(|request| request.resource == resource)
    }

    /// Those about this namespace.
    pub fn in_namespace(self, namespace: &str) -> Self {
        self.filter(|request| request.namespace == namespace)
    }

    /// Those that were refused for want of a right.
    pub fn forbidden(self) -> Self {
        self.filter(|request| request.code == 403)
    }

    /// Those of which something holds.
    pub fn filter(mut self, holds: impl FnMut(&Request) -> bool) -> Self {
        self.0.retain(holds);
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> slice::Iter<'_, Request> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Requests {
    type Item = &'a Request;
    type IntoIter = slice::Iter<'a, Request>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Event> for Request {
    fn from(event: Event) -> Self {
        let ObjectRef { api_group, mut resource, subresource, namespace, name } = event.object_ref;
        if !api_group.is_empty() {
            resource = format!("{resource}.{api_group}");
        }
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            user: event.impersonated_user.unwrap_or(event.user).username,
            agent: event.user_agent,
            verb: event.verb,
            resource,
            namespace,
            name,
            uri: event.request_uri,
            code: event.response_status.code,
        }
    }
}
