//! As whom a trigger asks: the scaler itself, or an identity that the trigger names.

use std::fmt;

/// The client and the tenant of an identity; what is absent is the scaler's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Who {
    pub(super) client_id: Option<String>,
    pub(super) tenant_id: Option<String>,
}

/// What is wrong with a trigger's `identityId` or `identityTenantId`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value:?} is not {what}; give {fits}")]
pub struct WhoError {
    key: &'static str,
    value: String,
    what: &'static str,
    fits: &'static str,
}

impl Who {
    /// A trigger's `identityId` and `identityTenantId`.
    ///
    /// # Errors
    /// One of them holds what no ID has: both become part of a request to Entra, the tenant of its path.
    pub fn parse(identity_id: Option<&str>, tenant_id: Option<&str>) -> Result<Who, WhoError> {
        let client_id =
            id("identityId", identity_id, "-", "a client ID", "the identity's client ID, a GUID")?;
        let tenant_id = id(
            "identityTenantId",
            tenant_id,
            "-.",
            "a tenant",
            "the tenant's GUID or its domain name",
        )?;
        Ok(Who { client_id, tenant_id })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.client_id.as_deref().unwrap_or("of the scaler"))?;
        self.tenant_id.as_ref().map_or(Ok(()), |tenant| write!(f, " in tenant {tenant}"))
    }
}

/// IDs fit in any case, so that one spelling stands for all.
fn id(
    key: &'static str,
    value: Option<&str>,
    marks: &str,
    what: &'static str,
    fits: &'static str,
) -> Result<Option<String>, WhoError> {
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
    Err(WhoError { key, value: value.chars().take(60).collect(), what, fits })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "6F1C0A2E-0000-4000-8000-00000000000a";

    #[test]
    fn ids_are_taken_in_any_case() {
        let who = Who::parse(Some(CLIENT), Some("Contoso.onmicrosoft.com")).expect("two IDs");
        assert_eq!(
            who,
            Who::parse(Some(&CLIENT.to_lowercase()), Some("contoso.onmicrosoft.com")).unwrap()
        );
        assert_eq!(
            who.to_string(),
            "6f1c0a2e-0000-4000-8000-00000000000a in tenant contoso.onmicrosoft.com"
        );
        assert_eq!(Who::parse(None, None), Ok(Who::default()));
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
            let told = Who::parse(client, tenant).expect_err(case).to_string();
            assert!(told.starts_with(key) && !told.contains('\n'), "{case}: {told}");
        }
    }
}
