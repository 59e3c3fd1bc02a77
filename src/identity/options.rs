//! What the pod's environment says of its workload identity.
//!
//! # References
//! - Azure Workload Identity, "Mutating Admission Webhook": the variables it injects

use std::path::PathBuf;

pub(super) const CLIENT_ID: &str = "AZURE_CLIENT_ID";
pub(super) const TENANT_ID: &str = "AZURE_TENANT_ID";
pub(super) const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
pub(super) const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";

/// The scaler's own identity. All may be absent: then triggers that need it say which.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `AZURE_CLIENT_ID`
    pub client_id: Option<String>,
    /// `AZURE_TENANT_ID`
    pub tenant_id: Option<String>,
    /// `AZURE_FEDERATED_TOKEN_FILE`: the service account's token, which the kubelet writes anew
    /// every hour or so.
    pub token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`, an https URL; absent: that of the cloud the namespace is in.
    pub authority: Option<String>,
}

impl Options {
    /// What the environment holds; an empty variable is absent.
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            client_id: set(CLIENT_ID),
            tenant_id: set(TENANT_ID),
            token_file: set(TOKEN_FILE).map(PathBuf::from),
            authority: set(AUTHORITY_HOST),
        }
    }
}
