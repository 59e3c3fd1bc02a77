//! A token of a Job's service account, and which Azure identity it is for.
//!
//! The token is asked for when it is exchanged, for Entra's audience alone and for as short as
//! Kubernetes gives them, and is not kept.
//!
//! # References
//! - Kubernetes API, `TokenRequest` (authentication.k8s.io/v1): at least ten minutes
//! - Azure Workload Identity, "Service Account Labels and Annotations"

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount as Account;
use kube::Api;
use kube::api::PostParams;
use secrecy::SecretString;

use super::client::{Kubernetes, Right, Subject, ask};
use super::error::Error;
use super::names::ServiceAccount;

/// What Entra takes an assertion for.
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// The shortest life Kubernetes gives a token, in seconds; it is exchanged at once.
const LIFE: i64 = 600;

const CLIENT_ID: &str = "azure.workload.identity/client-id";
const TENANT_ID: &str = "azure.workload.identity/tenant-id";

const KIND: &str = "ServiceAccount";
const COMPONENT: &str = "service-account-tokens";

/// What a service account's annotations say of its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AzureIdentity {
    /// Whose token its own is exchanged for.
    pub client_id: Option<String>,
    /// Where that identity is.
    pub tenant_id: Option<String>,
}

impl Kubernetes {
    /// What the service account's annotations say.
    ///
    /// # Errors
    /// It cannot be read. An annotation that is missing is none.
    pub async fn azure_identity(&self, account: &ServiceAccount) -> Result<AzureIdentity, Error> {
        let right = Right { verb: "get", resource: "serviceaccounts", component: COMPONENT };
        let accounts: Api<Account> =
            Api::namespaced(self.client(right)?, account.namespace.as_str());
        let found = ask(right, about(account), accounts.get(account.name.as_str())).await?;
        let annotations = found.metadata.annotations.unwrap_or_default();
        let said = |key| annotations.get(key).map(|value| value.trim().to_owned());
        Ok(AzureIdentity { client_id: said(CLIENT_ID), tenant_id: said(TENANT_ID) })
    }

    /// A token of the service account that Entra takes.
    ///
    /// # Errors
    /// Kubernetes gives none.
    pub async fn token(&self, account: &ServiceAccount) -> Result<SecretString, Error> {
        let right =
            Right { verb: "create", resource: "serviceaccounts/token", component: COMPONENT };
        let accounts: Api<Account> =
            Api::namespaced(self.client(right)?, account.namespace.as_str());
        let spec = TokenRequestSpec {
            audiences: vec![AUDIENCE.to_owned()],
            expiration_seconds: Some(LIFE),
            bound_object_ref: None,
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let params = PostParams::default();
        let call = accounts.create_token_request(account.name.as_str(), &params, &request);
        let given = ask(right, about(account), call).await?.status.map(|status| status.token);
        given.filter(|token| !token.is_empty()).map(SecretString::from).ok_or_else(|| {
            Error::Refused {
                verb: right.verb,
                resource: right.resource,
                reason: "it answers without a token".to_owned(),
            }
        })
    }
}

fn about(account: &ServiceAccount) -> Subject<'_> {
    Subject { kind: KIND, name: account.name.as_str(), namespace: account.namespace.as_str() }
}
