//! In which of Azure's clouds a namespace is: its suffix, and who gives tokens there.
//!
//! # References
//! - KEDA 2.20, `pkg/scalers/azure/azure_cloud_environment.go`, and go-autorest's
//!   `azure/environments.go` for the names, which fit in any case

/// A cloud, as a trigger's `cloud` and `endpointSuffix` name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// The one that is meant where nothing is said.
    Public,
    /// For the government of the United States.
    UsGovernment,
    /// In China, run by 21Vianet.
    China,
    /// One that is not Azure's own, with the suffix of its namespaces.
    Private(String),
}

/// What is wrong with a trigger's `cloud` or `endpointSuffix`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// There is no cloud of this name.
    #[error(
        "cloud: {0:?} is not a cloud; give AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud or Private"
    )]
    Unknown(String),
    /// `cloud: Private` says nothing of where it is.
    #[error("endpointSuffix: missing; give the suffix of the namespaces of cloud: Private")]
    NoSuffix,
}

impl Cloud {
    /// Azure's own, whose suffixes nobody need allow.
    pub(super) const AZURE: [Cloud; 3] = [Cloud::Public, Cloud::UsGovernment, Cloud::China];

    /// What a trigger says. `endpoint_suffix` is for `Private` alone; elsewhere it is not looked
    /// at, as in KEDA.
    ///
    /// # Errors
    /// The name is not known, or `Private` comes without a suffix.
    pub fn parse(cloud: Option<&str>, endpoint_suffix: Option<&str>) -> Result<Cloud, CloudError> {
        let Some(name) = cloud else {
            return Ok(Cloud::Public);
        };
        match name.to_ascii_lowercase().as_str() {
            "azurepubliccloud" | "azurecloud" => Ok(Cloud::Public),
            "azureusgovernmentcloud" | "azureusgovernment" => Ok(Cloud::UsGovernment),
            "azurechinacloud" => Ok(Cloud::China),
            "private" => match endpoint_suffix.map(|suffix| suffix.trim_start_matches('.')) {
                None | Some("") => Err(CloudError::NoSuffix),
                Some(suffix) => Ok(Cloud::Private(suffix.to_ascii_lowercase())),
            },
            _ => Err(CloudError::Unknown(name.to_owned())),
        }
    }

    /// What follows a namespace's short name and a dot in its host name.
    pub fn suffix(&self) -> &str {
        match self {
            Cloud::Public => "servicebus.windows.net",
            Cloud::UsGovernment => "servicebus.usgovcloudapi.net",
            Cloud::China => "servicebus.chinacloudapi.cn",
            Cloud::Private(suffix) => suffix,
        }
    }

    /// Who gives tokens, where the pod's environment does not say.
    pub(super) fn authority(&self) -> &'static str {
        match self {
            Cloud::Public | Cloud::Private(_) => "https://login.microsoftonline.com",
            Cloud::UsGovernment => "https://login.microsoftonline.us",
            Cloud::China => "https://login.chinacloudapi.cn",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_names_its_cloud() {
        let private = |suffix: &str| Ok(Cloud::Private(suffix.to_owned()));
        let rows = [
            ("nothing said", None, None, Ok(Cloud::Public)),
            ("a suffix alone", None, Some("sb.example"), Ok(Cloud::Public)),
            ("public", Some("AzurePublicCloud"), None, Ok(Cloud::Public)),
            ("another case", Some("AZUREPUBLICCLOUD"), None, Ok(Cloud::Public)),
            ("go-autorest's other name", Some("AzureUSGovernment"), None, Ok(Cloud::UsGovernment)),
            ("government", Some("AzureUSGovernmentCloud"), None, Ok(Cloud::UsGovernment)),
            ("china", Some("AzureChinaCloud"), Some("sb.example"), Ok(Cloud::China)),
            ("private", Some("private"), Some("SB.example"), private("sb.example")),
            ("a leading dot", Some("Private"), Some(".sb.example"), private("sb.example")),
            ("private without", Some("Private"), None, Err(CloudError::NoSuffix)),
            ("private with a dot", Some("Private"), Some("."), Err(CloudError::NoSuffix)),
            ("unknown", Some("Moon"), None, Err(CloudError::Unknown("Moon".to_owned()))),
        ];
        for (case, cloud, suffix, expected) in rows {
            assert_eq!(Cloud::parse(cloud, suffix), expected, "{case}");
        }
    }
}
