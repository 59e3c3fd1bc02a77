//! What a container's environment holds, as KEDA reads it: `env` after `envFrom`, each variable
//! after those that it refers to.
//!
//! Only what is asked for is read, with what it refers to, so that nobody's Secret is read in vain.
//!
//! # References
//! - KEDA 2.20 `pkg/scaling/resolver/scale_resolvers.go`
//! - Kubernetes, "Define Dependent Environment Variables": `$(NAME)`, and `$$` for a dollar sign

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvFromSource, EnvVar, Secret as Sealed};
use kube::Api;
use serde_json::Value;

use super::client::{Kubernetes, Right, Subject, ask};
use super::error::Error;
use super::names::Name;
use crate::secret::Secret;

/// Bytes of the longest value: beyond, variables that name one another would grow without end.
const MAX_BYTES: usize = 64 * 1024;

pub(super) const COMPONENT: &str = "trigger-authentications";

/// The environment of one container.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    from: Vec<EnvFromSource>,
    variables: Vec<EnvVar>,
}

/// What holds keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Holder {
    Secret,
    ConfigMap,
}

/// Keys and values; those that are no text are absent, and told apart from missing ones.
type Held = BTreeMap<String, Option<Secret>>;

impl Environment {
    /// The environment of the container of that name, or else of the first. `None` if there is no
    /// such container, or it is not one.
    pub(super) fn of(pod: &Value, container: Option<&str>) -> Option<Environment> {
        let all = |key: &str| pod[key].as_array().cloned().unwrap_or_default();
        let found = match container {
            None => all("containers").into_iter().next(),
            Some(name) => all("containers")
                .into_iter()
                .chain(all("initContainers"))
                .find(|it| it["name"] == name),
        };
        let container: Container = serde_json::from_value(found?).ok()?;
        let (from, variables) = (container.env_from, container.env);
        Some(Environment {
            from: from.unwrap_or_default(),
            variables: variables.unwrap_or_default(),
        })
    }

    /// The variables asked for, and those they refer to.
    fn closure(&self, names: &BTreeSet<&str>) -> BTreeSet<String> {
        let mut needed: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        for variable in self.variables.iter().rev() {
            if let (true, Some(text)) = (needed.contains(&variable.name), &variable.value) {
                expand(text, |name| {
                    needed.insert(name.to_owned());
                    None
                });
            }
        }
        needed
    }
}

impl Kubernetes {
    /// A variable of a container, by default of the Pod's first, as KEDA reads it. `None` if there
    /// is no such container, or it has no such variable with a value of its own.
    ///
    /// # Errors
    /// What the variable is taken from cannot be read.
    pub async fn variable(
        &self,
        pod: &Value,
        container: Option<&str>,
        namespace: &Name,
        name: &str,
    ) -> Result<Option<Secret>, Error> {
        let Some(environment) = Environment::of(pod, container) else { return Ok(None) };
        let mut values = self.variables(&environment, namespace, &BTreeSet::from([name])).await?;
        Ok(values.remove(name).filter(|value| !value.expose().is_empty()))
    }

    /// The variables of these names. One that is not defined, or is taken from the Pod itself, is
    /// left out.
    ///
    /// # Errors
    /// What a variable is taken from cannot be read, unless it is optional.
    pub(super) async fn variables(
        &self,
        environment: &Environment,
        namespace: &Name,
        names: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Secret>, Error> {
        let needed = environment.closure(names);
        let defined = |name: &String| environment.variables.iter().any(|it| it.name == *name);
        let mut values = BTreeMap::new();
        if !needed.iter().all(defined) {
            for source in &environment.from {
                let prefix = source.prefix.as_deref().unwrap_or_default();
                for (key, value) in self.all_of(source, namespace).await? {
                    let name = format!("{prefix}{key}");
                    if let (true, Some(value)) = (needed.contains(&name), value) {
                        values.insert(name, value);
                    }
                }
            }
        }
        for variable in environment.variables.iter().filter(|it| needed.contains(&it.name)) {
            if let Some(value) = self.value(variable, namespace, &values).await? {
                values.insert(variable.name.clone(), value);
            }
        }
        values.retain(|name, _| names.contains(name.as_str()));
        Ok(values)
    }

    async fn value(
        &self,
        variable: &EnvVar,
        namespace: &Name,
        before: &BTreeMap<String, Secret>,
    ) -> Result<Option<Secret>, Error> {
        if let Some(text) = variable.value.as_deref().filter(|text| !text.is_empty()) {
            let value =
                expand(text, |name| before.get(name).map(|value| value.expose().to_owned()));
            return Ok(Some(Secret::from(value.as_str())));
        }
        let Some(source) = &variable.value_from else {
            return Ok(None);
        };
        let (holder, name, key, optional) = if let Some(of) = &source.secret_key_ref {
            (Holder::Secret, &of.name, &of.key, of.optional)
        } else if let Some(of) = &source.config_map_key_ref {
            (Holder::ConfigMap, &of.name, &of.key, of.optional)
        } else {
            return Ok(None);
        };
        match self.key(holder, namespace, name, key).await {
            Err(Error::NotFound { .. } | Error::Unfit { .. }) if optional == Some(true) => Ok(None),
            value => value.map(Some),
        }
    }

    async fn all_of(&self, source: &EnvFromSource, namespace: &Name) -> Result<Held, Error> {
        let (holder, name, optional) = if let Some(of) = &source.secret_ref {
            (Holder::Secret, &of.name, of.optional)
        } else if let Some(of) = &source.config_map_ref {
            (Holder::ConfigMap, &of.name, of.optional)
        } else {
            return Ok(Held::new());
        };
        match self.held(holder, namespace, name).await {
            Err(Error::NotFound { .. }) if optional == Some(true) => Ok(Held::new()),
            held => held,
        }
    }

    /// One value of a Secret or ConfigMap.
    ///
    /// # Errors
    /// It cannot be read, or has no such key, or what it holds there is no text.
    pub(super) async fn key(
        &self,
        holder: Holder,
        namespace: &Name,
        name: &str,
        key: &str,
    ) -> Result<Secret, Error> {
        let unfit = |problem| unfit(holder, namespace, name, problem);
        match self.held(holder, namespace, name).await?.remove(key) {
            Some(Some(value)) => Ok(value),
            Some(None) => Err(unfit(format!("holds no text under its key {key:?}"))),
            None => Err(unfit(format!("has no key {key:?}"))),
        }
    }

    async fn held(&self, holder: Holder, namespace: &Name, name: &str) -> Result<Held, Error> {
        let valid =
            Name::parse(name).map_err(|error| unfit(holder, namespace, name, error.to_string()))?;
        let right = Right { verb: "get", resource: holder.resource(), component: COMPONENT };
        let (client, namespace) = (self.client(right)?, namespace.as_str());
        let about = Subject { kind: holder.kind(), name, namespace };
        let mut held = Held::new();
        match holder {
            Holder::Secret => {
                let secrets: Api<Sealed> = Api::namespaced(client, namespace);
                let found = ask(right, about, secrets.get(valid.as_str())).await?;
                for (key, value) in found.data.unwrap_or_default() {
                    held.insert(
                        key,
                        String::from_utf8(value.0).ok().map(|text| Secret::from(text.as_str())),
                    );
                }
            }
            Holder::ConfigMap => {
                let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
                let found = ask(right, about, maps.get(valid.as_str())).await?;
                held.extend(
                    found.binary_data.unwrap_or_default().into_keys().map(|key| (key, None)),
                );
                let texts = found.data.unwrap_or_default().into_iter();
                held.extend(texts.map(|(key, text)| (key, Some(Secret::from(text.as_str())))));
            }
        }
        Ok(held)
    }
}

impl Holder {
    fn kind(self) -> &'static str {
        match self {
            Holder::Secret => "Secret",
            Holder::ConfigMap => "ConfigMap",
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Holder::Secret => "secrets",
            Holder::ConfigMap => "configmaps",
        }
    }
}

fn unfit(holder: Holder, namespace: &Name, name: &str, problem: String) -> Error {
    let name = crate::metadata::one_line(name, 60);
    Error::Unfit { kind: holder.kind(), name, namespace: namespace.to_string(), problem }
}

/// The text with each `$(NAME)` replaced by what `value` has for it, or left as it is; `$$` is a
/// dollar sign.
fn expand(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (plain, dollar) = rest.split_at(at);
        expanded.push_str(plain);
        let after = &dollar[1..];
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = reference {
            match value(name).filter(|value| expanded.len() + value.len() <= MAX_BYTES) {
                Some(value) => expanded.push_str(&value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_replaced_and_dollars_kept() {
        let value = |name: &str| (name == "HOST").then(|| "kafka".to_owned());
        for (text, expected) in [
            ("plain", "plain"),
            ("$(HOST):9092", "kafka:9092"),
            ("$$(HOST)", "$(HOST)"),
            ("$(PORT)", "$(PORT)"),
            ("a$b$", "a$b$"),
            ("$(HOST", "$(HOST"),
            ("$(HOST)$(HOST)", "kafkakafka"),
        ] {
            assert_eq!(expand(text, value), expected, "{text}");
        }
    }

    #[test]
    fn a_container_is_found_by_its_name_or_is_the_first() {
        let pod = json!({
            "containers": [
                { "name": "job", "env": [{ "name": "A", "value": "1" }] },
                { "name": "other", "env": [{ "name": "A", "value": "2" }] },
            ],
            "initContainers": [{ "name": "first", "env": [{ "name": "A", "value": "3" }] }],
        });
        let value = |container| {
            Environment::of(&pod, container).and_then(|found| found.variables[0].value.clone())
        };
        assert_eq!(value(None).as_deref(), Some("1"));
        assert_eq!(value(Some("other")).as_deref(), Some("2"));
        assert_eq!(value(Some("first")).as_deref(), Some("3"));
        assert_eq!(value(Some("none")), None);
        for strange in
            [json!(null), json!({ "containers": 7 }), json!({ "containers": [{ "env": 7 }] })]
        {
            assert!(Environment::of(&strange, None).is_none(), "{strange}");
        }
    }

    #[tokio::test]
    async fn texts_need_no_cluster_and_nothing_is_read_in_vain() {
        let pod = json!({ "containers": [{ "name": "job",
            "envFrom": [{ "secretRef": { "name": "never-read" } }],
            "env": [
                { "name": "HOST", "value": "kafka" },
                { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "never-read", "key": "k" } } },
                { "name": "SERVERS", "value": "$(HOST):9092" },
                { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            ] }] });
        let environment = Environment::of(&pod, None).expect("a container");
        let namespace = Name::parse("media").expect("a name");
        let kubernetes = Kubernetes::none();
        let read = |names: &[&'static str]| {
            let names: BTreeSet<&str> = names.iter().copied().collect();
            let (kubernetes, environment, namespace) = (&kubernetes, &environment, &namespace);
            async move { kubernetes.variables(environment, namespace, &names).await }
        };
        let found = read(&["SERVERS", "NODE"]).await.expect("no API server is needed");
        let found: Vec<_> =
            found.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(found, [("SERVERS", "kafka:9092")]);
        assert!(matches!(
            read(&["SECRET"]).await,
            Err(Error::NoAccess { resource: "secrets", .. })
        ));
        assert!(matches!(read(&["ELSEWHERE"]).await, Err(Error::NoAccess { .. })));
    }
}
