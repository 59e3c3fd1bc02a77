//! Rights of users, as RBAC gives them, and what they come to.
//!
//! RBAC takes effect a moment after its objects are written, so whoever grants or revokes here
//! waits until it has.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams};
use test_basics::{PATIENCE, holds_within};

use crate::server::ApiServer;

/// Rights that are to be granted.
#[derive(Debug)]
#[must_use = "nothing is granted before `everywhere` or `in_namespace`"]
pub struct Grant<'a> {
    api: &'a ApiServer,
    user: String,
    rules: Vec<Rule>,
}

/// Rights that were granted. They last as long as the server, not as this value.
#[derive(Debug)]
pub struct Granted<'a> {
    grant: Grant<'a>,
    name: String,
    namespace: Option<String>,
}

#[derive(Debug)]
struct Rule {
    verbs: Vec<String>,
    resource: String,
}

impl ApiServer {
    /// Grants rights to a user: `api.grant("alice").to(&["list", "watch"],
    /// "scaledjobs.keda.sh").everywhere().await`.
    pub fn grant(&self, user: impl Into<String>) -> Grant<'_> {
        Grant { api: self, user: user.into(), rules: Vec::new() }
    }

    /// Whether a user may do something, in one namespace or in all. A resource is named as in
    /// `serviceaccounts/token` and `scaledjobs.keda.sh/status`.
    ///
    /// # Panics
    /// If the server does not say.
    pub async fn allows(
        &self,
        user: &str,
        verb: &str,
        resource: &str,
        namespace: Option<&str>,
    ) -> bool {
        let (group, resource, subresource) = split(resource);
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.to_owned()),
                groups: Some(groups(user)),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource: subresource.map(str::to_owned),
                    namespace: namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews = Api::<SubjectAccessReview>::all(self.admin());
        let review = reviews.create(&PostParams::default(), &review).await;
        review.expect("the server reviews rights").status.expect("an answer has a status").allowed
    }

    /// Waits until a user may do something, for rights that manifests give.
    ///
    /// # Panics
    /// If it does not come to that in two minutes.
    pub async fn wait_until_allowed(
        &self,
        user: &str,
        verb: &str,
        resource: &str,
        namespace: Option<&str>,
    ) {
        let allowed = holds_within(PATIENCE, || self.allows(user, verb, resource, namespace)).await;
        assert!(allowed, "{user} may still not {verb} {resource} in {namespace:?}");
    }
}

impl<'a> Grant<'a> {
    /// Verbs on a resource: `serviceaccounts/token`, `scaledjobs.keda.sh`.
    pub fn to(mut self, verbs: &[&str], resource: &str) -> Self {
        let verbs = verbs.iter().map(ToString::to_string).collect();
        self.rules.push(Rule { verbs, resource: resource.to_owned() });
        self
    }

    /// In all namespaces.
    ///
    /// # Panics
    /// If the server refuses it, or it has no effect in two minutes.
    pub async fn everywhere(self) -> Granted<'a> {
        self.bind(None).await
    }

    /// In one namespace.
    ///
    /// # Panics
    /// As [`Grant::everywhere`] does.
    pub async fn in_namespace(self, namespace: &str) -> Granted<'a> {
        self.bind(Some(namespace.to_owned())).await
    }

    async fn bind(self, namespace: Option<String>) -> Granted<'a> {
        let name = self.api.new_name("grant");
        let client = self.api.admin();
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let role = ClusterRole {
            metadata: metadata.clone(),
            rules: Some(self.rules.iter().map(Rule::policy).collect()),
            ..ClusterRole::default()
        };
        let role_ref = RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: name.clone(),
        };
        let subjects = Some(vec![Subject {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "User".to_owned(),
            name: self.user.clone(),
            namespace: None,
        }]);
        let post = PostParams::default();
        Api::all(client.clone()).create(&post, &role).await.expect("a role can be created");
        match &namespace {
            None => {
                let binding = ClusterRoleBinding { metadata, role_ref, subjects };
                Api::all(client).create(&post, &binding).await.expect("a role can be bound");
            }
            Some(namespace) => {
                let binding = RoleBinding { metadata, role_ref, subjects };
                let bindings = Api::namespaced(client, namespace);
                bindings.create(&post, &binding).await.expect("a role can be bound");
            }
        }
        let granted = Granted { grant: self, name, namespace };
        granted.wait_until(true).await;
        granted
    }
}

impl Granted<'_> {
    /// Takes the rights back. Nothing else may give them too.
    ///
    /// # Panics
    /// If the server refuses it, or it has no effect in two minutes.
    pub async fn revoke(self) {
        let client = self.grant.api.admin();
        let delete = DeleteParams::default();
        match &self.namespace {
            None => {
                let bindings = Api::<ClusterRoleBinding>::all(client.clone());
                bindings.delete(&self.name, &delete).await.expect("a binding can be deleted");
            }
            Some(namespace) => {
                let bindings = Api::<RoleBinding>::namespaced(client.clone(), namespace);
                bindings.delete(&self.name, &delete).await.expect("a binding can be deleted");
            }
        }
        let roles = Api::<ClusterRole>::all(client);
        roles.delete(&self.name, &delete).await.expect("a role can be deleted");
        self.wait_until(false).await;
    }

    async fn wait_until(&self, expected: bool) {
        let Grant { api, user, rules } = &self.grant;
        for Rule { verbs, resource } in rules {
            for verb in verbs {
                let namespace = self.namespace.as_deref();
                let done = holds_within(PATIENCE, async || {
                    api.allows(user, verb, resource, namespace).await == expected
                });
                assert!(
                    done.await,
                    "whether {user} may {verb} {resource} in {namespace:?} is not yet {expected}"
                );
            }
        }
    }
}

impl Rule {
    fn policy(&self) -> PolicyRule {
        let (group, resource, subresource) = split(&self.resource);
        let resource = subresource.map_or(resource.to_owned(), |part| format!("{resource}/{part}"));
        PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(vec![resource]),
            verbs: self.verbs.clone(),
            ..PolicyRule::default()
        }
    }
}

/// `scaledjobs.keda.sh/status` as group, resource and subresource.
fn split(resource: &str) -> (&str, &str, Option<&str>) {
    let (resource, subresource) = resource
        .split_once('/')
        .map_or((resource, None), |(resource, part)| (resource, Some(part)));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    (group, resource, subresource)
}

/// The groups that authentication puts a user into.
fn groups(user: &str) -> Vec<String> {
    let mut groups = vec!["system:authenticated".to_owned()];
    if let Some((namespace, _)) =
        user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
    {
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    groups
}
