//! Who asks the API server: users with a certificate, service accounts with a token.
//!
//! A user exists as soon as someone has a certificate with the name, and may do nothing before
//! something is granted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::server::ApiServer;

/// The user who may do everything.
pub const ADMIN: &str = "admin";

/// How long the token of a [`ServiceAccount`] is good for.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// A service account that can ask the API server.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it shows to the API server; good for a day, and for no one else.
    pub token: String,
    /// A kubeconfig file with the token.
    pub kubeconfig: PathBuf,
    contact: Contact,
}

/// What every client needs to know of the server.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    pub(crate) ca_der: Vec<u8>,
}

/// A user's credentials.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    auth_info: Value,
    kubeconfig: PathBuf,
}

impl ApiServer {
    /// A client that may do everything.
    ///
    /// It belongs to the runtime in which it was made, so each test makes its own.
    pub fn admin(&self) -> Client {
        self.user(ADMIN)
    }

    /// A client of a user, who may do nothing until something is granted: see [`ApiServer::grant`].
    pub fn user(&self, name: &str) -> Client {
        self.contact().client(&self.credentials(name).auth_info)
    }

    /// A kubeconfig file of a user: of [`ADMIN`] too.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.credentials(user).kubeconfig
    }

    /// A service account, created if it is not there, with a token from TokenRequest. It may do
    /// nothing until something is granted to its [`user`](ServiceAccount::user), or by manifests.
    ///
    /// # Panics
    /// If it cannot be created, or its namespace is missing.
    pub async fn service_account(&self, namespace: &str, name: &str) -> ServiceAccount {
        let accounts = Api::<v1::ServiceAccount>::namespaced(self.admin(), namespace);
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let account = v1::ServiceAccount { metadata, ..v1::ServiceAccount::default() };
        match accounts.create(&PostParams::default(), &account).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("service account {namespace}/{name}: {error}"),
        }
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let request = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let token =
            request.unwrap_or_else(|error| panic!("a token of {namespace}/{name}: {error}"));
        let token = token.status.expect("an answer has a status").token;

        let contact = self.contact().clone();
        let kubeconfig = self.new_file("kubeconfig");
        contact.write_kubeconfig(&json!({ "token": &token }), namespace, &kubeconfig);
        ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            token,
            kubeconfig,
            contact,
        }
    }

    fn credentials(&self, name: &str) -> Credentials {
        let mut users: MutexGuard<'_, _> = self.users();
        if let Some(credentials) = users.get(name) {
            return Credentials::clone(credentials);
        }
        let group = (name == ADMIN).then_some("system:masters");
        let identity = self.authority().user(name, group);
        let auth_info = json!({
            "client-certificate-data": BASE64_STANDARD.encode(identity.cert),
            "client-key-data": BASE64_STANDARD.encode(identity.key),
        });
        let kubeconfig = self.new_file("kubeconfig");
        self.contact().write_kubeconfig(&auth_info, "default", &kubeconfig);
        let credentials = Credentials { auth_info, kubeconfig };
        users.insert(name.to_owned(), credentials.clone());
        credentials
    }
}

impl ServiceAccount {
    /// Its name as a user: `system:serviceaccount:<namespace>:<name>`.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// A client that shows the token.
    pub fn client(&self) -> Client {
        self.contact.client(&json!({ "token": self.token }))
    }
}

impl Contact {
    /// `auth_info` is a user's entry of a kubeconfig file.
    fn client(&self, auth_info: &Value) -> Client {
        let mut config = Config::new(self.url.parse().expect("a valid address"));
        config.root_cert = Some(vec![self.ca_der.clone()]);
        config.auth_info = serde_json::from_value(auth_info.clone()).expect("a user's entry");
        Client::try_from(config).expect("a client of valid credentials")
    }

    /// JSON is YAML too.
    fn write_kubeconfig(&self, auth_info: &Value, namespace: &str, file: &Path) {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "test",
                "cluster": {
                    "server": self.url,
                    "certificate-authority-data": BASE64_STANDARD.encode(&self.ca_pem),
                },
            }],
            "users": [{ "name": "test", "user": auth_info }],
            "contexts": [{
                "name": "test",
                "context": { "cluster": "test", "user": "test", "namespace": namespace },
            }],
            "current-context": "test",
        });
        fs::write(file, kubeconfig.to_string()).expect("a temporary folder can be written");
    }
}
