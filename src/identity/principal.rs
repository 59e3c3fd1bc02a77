//! As whom a trigger asks: the scaler itself, an identity that the trigger names, or that of a
//! service account.

use std::fmt;

use crate::kubernetes::{Name, ServiceAccount};
use crate::metadata::{Reader, cut, quoted};

/// The client and the tenant of an identity; what is absent is the service account's, or else the
/// scaler's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct AzurePrincipal {
    pub(super) client_id: Option<String>,
    pub(super) tenant_id: Option<String>,
    /// Whose token is exchanged in place of the scaler's.
    pub(super) account: Option<ServiceAccount>,
}

/// Bytes of a value that an error shows.
const SHOWN_BYTES: usize = 60;

/// The keys that name an identity.
const IDS: [&str; 2] = ["identityId", "identityTenantId"];
/// The key that names whose token is exchanged for the identity's.
const ACCOUNT: &str = "serviceAccountName";

/// What is wrong with a trigger's `identityId` or `identityTenantId`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value:?} is not {what}; give {fits}")]
pub struct AzurePrincipalError {
    key: &'static str,
    value: String,
    what: &'static str,
    fits: &'static str,
}

impl AzurePrincipal {
    /// A trigger's `identityId` and `identityTenantId`.
    ///
    /// # Errors
    /// One of them holds what no ID has: both become part of a request to Entra, the tenant of its
    /// path.
    pub fn parse(
        identity_id: Option<&str>,
        tenant_id: Option<&str>,
    ) -> Result<AzurePrincipal, AzurePrincipalError> {
        let client_id =
            id("identityId", identity_id, "-", "a client ID", "the identity's client ID, a GUID")?;
        let tenant_id = id(
            "identityTenantId",
            tenant_id,
            "-.",
            "a tenant",
            "the tenant's GUID or its domain name",
        )?;
        Ok(AzurePrincipal { client_id, tenant_id, account: None })
    }

    /// What a trigger's `identityId`, `identityTenantId` and `serviceAccountName` say; each is
    /// complained of on its own.
    pub fn decode(reader: &mut Reader<'_>) -> Option<AzurePrincipal> {
        let [identity, tenant] = IDS.map(|key| reader.text(key).map(str::trim));
        if AzurePrincipal::parse(identity, None).is_err() {
            reader.complain(IDS[0], "is not a client ID; give the identity's client ID, a GUID");
        }
        if AzurePrincipal::parse(None, tenant).is_err() {
            reader.complain(IDS[1], "is not a tenant; give its GUID or its domain name");
        }
        let account = reader.parsed(ACCOUNT, "give the name of a service account", |text| {
            Name::parse(text).map_err(|error| format!("{} {error}", quoted(text)))
        });
        let namespace = Name::parse(reader.namespace()).ok();
        if account.is_some() && namespace.is_none() {
            reader.complain(
                ACCOUNT,
                "is of the trigger's namespace, which the request does not name",
            );
        }
        let account =
            namespace.zip(account).map(|(namespace, name)| ServiceAccount { namespace, name });
        Some(AzurePrincipal { account, ..AzurePrincipal::parse(identity, tenant).ok()? })
    }
}

impl fmt::Display for AzurePrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.client_id, &self.account) {
            (Some(client), _) => f.write_str(client)?,
            (None, None) => f.write_str("of the scaler")?,
            (None, Some(_)) => {}
        }
        if let Some(tenant) = &self.tenant_id {
            write!(f, " in tenant {tenant}")?;
        }
        self.account.as_ref().map_or(Ok(()), |account| write!(f, " of service account {account}"))
    }
}

/// IDs fit in any case, so that one spelling stands for all.
pub(super) fn id(
    key: &'static str,
    value: Option<&str>,
    marks: &str,
    what: &'static str,
    fits: &'static str,
) -> Result<Option<String>, AzurePrincipalError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let good = value.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.len() <= 253
        && !value.contains("..");
    if good {
        return Ok(Some(value.to_ascii_lowercase()));
    }
    Err(AzurePrincipalError { key, value: cut(value, SHOWN_BYTES).to_owned(), what, fits })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "6F1C0A2E-0000-4000-8000-00000000000a";

    #[test]
    fn ids_are_taken_in_any_case() {
        let who =
            AzurePrincipal::parse(Some(CLIENT), Some("Contoso.onmicrosoft.com")).expect("two IDs");
        assert_eq!(
            who,
            AzurePrincipal::parse(Some(&CLIENT.to_lowercase()), Some("contoso.onmicrosoft.com"))
                .unwrap()
        );
        assert_eq!(
            who.to_string(),
            "6f1c0a2e-0000-4000-8000-00000000000a in tenant contoso.onmicrosoft.com"
        );
        assert_eq!(AzurePrincipal::parse(None, None), Ok(AzurePrincipal::default()));
    }

    #[test]
    fn what_no_id_has_is_told_by_its_key() {
        let rows = [
            ("a path", None, Some("../common"), "identityTenantId"),
            ("a slash", None, Some("a/b"), "identityTenantId"),
            ("dots", None, Some("a..b"), "identityTenantId"),
            ("a dot in a client", Some("a.b"), None, "identityId"),
            ("a blank", Some("a b"), None, "identityId"),
            ("nothing", Some(""), None, "identityId"),
            ("another alphabet", Some("ａｂｃ"), None, "identityId"),
            ("a line break", Some("a\nb"), None, "identityId"),
        ];
        for (case, client, tenant, key) in rows {
            let told = AzurePrincipal::parse(client, tenant).expect_err(case).to_string();
            assert!(told.starts_with(key) && !told.contains('\n'), "{case}: {told}");
        }
    }
}
