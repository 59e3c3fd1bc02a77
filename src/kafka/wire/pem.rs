//! Which certificates and keys a text of PEM holds.
//!
//! The text comes out of a Secret, where it has often been indented, joined or saved by an editor
//! of Windows. So blanks at the ends of lines, blank lines, any line break, and any text around
//! blocks are passed over, as are blocks of another kind. What makes it unusable is a block that is
//! cut off, or data that is not base64.
//!
//! # References
//! - RFC 7468, "Textual Encodings of PKIX, PKCS, and CMS Structures"
//! - RFC 1421, section 4.6: the header lines of a key that is encrypted the old way

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
#[cfg(test)]
use base64::prelude::BASE64_STANDARD;
#[cfg(test)]
use secrecy::SecretString;
use zeroize::Zeroizing;

/// Takes base64 with and without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The length of a line of data.
#[cfg(test)]
const LINE: usize = 64;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum Kind {
    /// An X.509 certificate.
    Certificate,
    /// A private key of any form.
    PrivateKey,
}

/// What a block says that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum Label {
    /// A certificate.
    Certificate,
    /// A certificate, and after it what OpenSSL is to trust it for.
    TrustedCertificate,
    /// A key as PKCS#8.
    Pkcs8,
    /// A key as PKCS#8, encrypted.
    EncryptedPkcs8,
    /// An RSA key as PKCS#1.
    Pkcs1,
    /// An EC key as SEC1.
    Sec1,
    /// A DSA key, which TLS does not use any more.
    Dsa,
}

/// A block and its data. Not `Debug`, as it may be a key.
pub(in crate::kafka) struct Block {
    /// What it says that it holds.
    pub(in crate::kafka) label: Label,
    /// Its data, decoded from base64.
    pub(in crate::kafka) der: Zeroizing<Vec<u8>>,
    /// Whether header lines say that the data is encrypted.
    pub(in crate::kafka) encrypted: bool,
}

/// Why a text is not the PEM it ought to be. Each is a predicate over that text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum PemError {
    /// No block of the kind.
    #[error("has no {begin} line; give PEM text with its line breaks", begin = .0.begin())]
    Missing(Kind),
    /// A block of the kind without end, without data, or with other letters in it.
    #[error("has PEM that is cut off or not base64; give it from its BEGIN to its END line")]
    Broken,
}

impl Kind {
    fn begin(self) -> &'static str {
        match self {
            Self::Certificate => "-----BEGIN CERTIFICATE-----",
            Self::PrivateKey => "-----BEGIN PRIVATE KEY-----",
        }
    }

    fn has(self, label: Label) -> bool {
        let is_certificate = matches!(label, Label::Certificate | Label::TrustedCertificate);
        is_certificate == (self == Self::Certificate)
    }
}

impl Label {
    const ALL: [(&'static str, Label); 8] = [
        ("CERTIFICATE", Label::Certificate),
        ("X509 CERTIFICATE", Label::Certificate),
        ("TRUSTED CERTIFICATE", Label::TrustedCertificate),
        ("PRIVATE KEY", Label::Pkcs8),
        ("ENCRYPTED PRIVATE KEY", Label::EncryptedPkcs8),
        ("RSA PRIVATE KEY", Label::Pkcs1),
        ("EC PRIVATE KEY", Label::Sec1),
        ("DSA PRIVATE KEY", Label::Dsa),
    ];

    fn of(name: &str) -> Option<Label> {
        Self::ALL.iter().find_map(|(known, label)| (*known == name).then_some(*label))
    }

    /// The word for it in a BEGIN line.
    #[cfg(test)]
    fn name(self) -> &'static str {
        Self::ALL.iter().find_map(|(name, label)| (*label == self).then_some(*name)).unwrap_or("")
    }
}

/// The blocks of this kind in `text`, in their order: at least one.
pub(in crate::kafka) fn blocks(text: &str, kind: Kind) -> Result<Vec<Block>, PemError> {
    let mut lines = text.split(['\n', '\r']).map(clean);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        let label = name.and_then(Label::of).filter(|label| kind.has(*label));
        if let (Some(name), Some(label)) = (name, label) {
            found.push(block(name, label, &mut lines, text.len())?);
        }
    }
    if found.is_empty() { Err(PemError::Missing(kind)) } else { Ok(found) }
}

/// The rest of a block after its BEGIN line. `most` is more than its data can take, so that no copy
/// of a key is left behind by text that grows.
fn block<'a>(
    name: &str,
    label: Label,
    lines: &mut impl Iterator<Item = &'a str>,
    most: usize,
) -> Result<Block, PemError> {
    let mut data = Zeroizing::new(String::with_capacity(most));
    let mut encrypted = false;
    loop {
        let line = lines.next().ok_or(PemError::Broken)?;
        let end = line.strip_prefix("-----END ").and_then(|rest| rest.strip_suffix("-----"));
        if end == Some(name) {
            break;
        }
        // `Proc-Type` and `DEK-Info`.
        if data.is_empty() && line.contains(':') {
            encrypted |= line.starts_with("Proc-Type:") && line.contains("ENCRYPTED");
            continue;
        }
        data.push_str(line);
    }
    if data.is_empty() {
        return Err(PemError::Broken);
    }
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(data.len())]);
    let length = LENIENT.decode_slice(&*data, &mut der).map_err(|_| PemError::Broken)?;
    der.truncate(length);
    Ok(Block { label, der, encrypted })
}

/// The block that holds `der`, with a line break at its end.
#[cfg(test)]
pub(in crate::kafka) fn encode(label: Label, der: &[u8]) -> SecretString {
    let name = label.name();
    let data = Zeroizing::new(BASE64_STANDARD.encode(der));
    let length = data.len() + data.len() / LINE + 2 * name.len() + 40;
    let mut text = String::with_capacity(length);
    for part in ["-----BEGIN ", name, "-----\n"] {
        text.push_str(part);
    }
    let mut rest: &str = &data;
    while let Some((line, more)) = rest.split_at_checked(LINE) {
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    if !rest.is_empty() {
        text.push_str(rest);
        text.push('\n');
    }
    for part in ["-----END ", name, "-----\n"] {
        text.push_str(part);
    }
    // Copies once, because it keeps no room to spare; the copy that it is made from is zeroed.
    let text = Zeroizing::new(text);
    SecretString::from(text.as_str())
}

/// A line without the blanks at its ends, and without a byte order mark.
fn clean(line: &str) -> &str {
    line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

#[cfg(test)]
mod tests;
