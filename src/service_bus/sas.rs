//! Shared access signatures: tokens made with the key of a policy, for one resource and all below
//! it.
//!
//! The key never leaves; what does is a signature over the resource and the moment it ends. So it
//! may go to any host: whoever gets it can use it on that resource alone.
//!
//! # References
//! - Microsoft Learn, "Service Bus access control with Shared Access Signatures"
//! - `generate_sas_token` of the Python package azure-servicebus 7.15

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use url::form_urlencoded::{self, byte_serialize};

/// What a token begins with.
const SCHEME: &str = "SharedAccessSignature ";

/// A token for the URI `resource` and all below it, good until `expiry`.
///
/// The key is used as the text that it is, though it looks like base64.
pub(super) fn token(
    key_name: &str,
    key: &SecretString,
    resource: &str,
    expiry: SystemTime,
) -> SecretString {
    let resource: String = byte_serialize(resource.as_bytes()).collect();
    let expiry = expiry.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut signed = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes())
        .expect("HMAC takes keys of any length");
    signed.update(format!("{resource}\n{expiry}").as_bytes());
    let signature = BASE64_STANDARD.encode(signed.finalize().into_bytes());
    let signature: String = byte_serialize(signature.as_bytes()).collect();
    let key_name: String = byte_serialize(key_name.as_bytes()).collect();
    SecretString::from(format!("{SCHEME}sr={resource}&sig={signature}&se={expiry}&skn={key_name}"))
}

/// When a token ends; `None` for a text that is none.
pub(super) fn expiry(token: &str) -> Option<SystemTime> {
    let fields = token.strip_prefix(SCHEME)?.as_bytes();
    let field = |name| form_urlencoded::parse(fields).find(|(key, _)| key == name);
    let (Some((_, expiry)), Some(_), Some(_)) = (field("se"), field("sr"), field("sig")) else {
        return None;
    };
    UNIX_EPOCH.checked_add(Duration::from_secs(expiry.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the Python package makes them.
    const ROWS: &[(&str, &str, &str, u64, &str)] = &[
        (
            "RootManageSharedAccessKey",
            "dGhlIGtleSBvZiBhIHRlc3Q=",
            "https://orders.servicebus.windows.net/invoices",
            1700000000,
            "SharedAccessSignature sr=https%3A%2F%2Forders.servicebus.windows.net%2Finvoices&sig=2hvNseLiAeTD1Wjo7dAInbO%2B6cpAVLOlM3shKaMr%2BDE%3D&se=1700000000&skn=RootManageSharedAccessKey",
        ),
        (
            "listen",
            "k",
            "amqp://orders.servicebus.windows.net/t/Subscriptions/s",
            4102444800,
            "SharedAccessSignature sr=amqp%3A%2F%2Forders.servicebus.windows.net%2Ft%2FSubscriptions%2Fs&sig=zDXXYffdXJyt7tfoOqHjqncwQ5r8Leu5eQT2VkQaZFM%3D&se=4102444800&skn=listen",
        ),
        (
            "listen",
            "schlüssel+/=",
            "http://127.0.0.1:5300/$Resources/queues",
            1,
            "SharedAccessSignature sr=http%3A%2F%2F127.0.0.1%3A5300%2F%24Resources%2Fqueues&sig=dcCVfJJ6BhfVIB7OIySnAYiCyVLOcQuRFZjESqnvBgg%3D&se=1&skn=listen",
        ),
    ];

    #[test]
    fn a_token_is_what_microsoft_s_library_makes_of_the_same() {
        for &(name, key, resource, seconds, expected) in ROWS {
            let expiry = UNIX_EPOCH + Duration::from_secs(seconds);
            let made = token(name, &SecretString::from(key), resource, expiry);
            assert_eq!(made.expose_secret(), expected, "{resource}");
            assert_eq!(super::expiry(made.expose_secret()), Some(expiry), "{resource}");
        }
    }

    #[test]
    fn a_text_that_is_no_token_has_no_end() {
        let rows = [
            "",
            "SharedAccessSignature",
            "SharedAccessSignature sr=a&sig=b",
            "SharedAccessSignature sr=a&se=1",
            "SharedAccessSignature sig=b&se=1",
            "SharedAccessSignature sr=a&sig=b&se=soon",
            "SharedAccessSignature sr=a&sig=b&se=18446744073709551616",
            "sr=a&sig=b&se=1",
        ];
        for text in rows {
            assert_eq!(expiry(text), None, "{text}");
        }
        let odd = "SharedAccessSignature se=7&skn=k&sig=b&sr=a";
        assert_eq!(expiry(odd), Some(UNIX_EPOCH + Duration::from_secs(7)));
    }
}
