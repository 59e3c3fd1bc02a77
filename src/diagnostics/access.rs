//! Who may ask, and about which namespaces.
//!
//! A token is read from its file at each call: these are rare, and a mounted Secret changes without
//! a word.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use crate::kubernetes::Name;

/// Bytes of the longest token.
const TOKEN_BYTES: u64 = 4_096;

/// Bytes of the longest header that may hold one: as Base64, with a name before it.
const HEADER_BYTES: usize = 8_192;

/// What a caller must show, and what it may see then.
#[derive(Debug, Clone)]
pub struct Access {
    /// The file with the token; `None` where to connect is enough.
    token: Option<PathBuf>,
    /// The only namespaces that are told of; none: all.
    namespaces: Vec<Name>,
}

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Its file cannot be read.
    #[error("{}: cannot be read: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is none in it.
    #[error("{}: holds no token; give one line of up to {TOKEN_BYTES} bytes", .0.display())]
    Empty(PathBuf),
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It shows no token.
    #[error(
        "give the token of --diagnostics-token-file: the header authorization with \"Bearer TOKEN\""
    )]
    NoToken,
    /// It shows another one.
    #[error("the token is not the one that is expected")]
    WrongToken,
    /// The token that is expected cannot be read. Its path is the operator's, not the caller's to
    /// know.
    #[error("no token can be compared with; see the log")]
    Unreadable,
}

impl Access {
    /// For whoever shows the token in this file.
    ///
    /// # Errors
    /// There is none.
    pub fn by_token(file: PathBuf) -> Result<Self, AccessError> {
        read(&file)?;
        Ok(Self { token: Some(file), namespaces: Vec::new() })
    }

    /// For whoever can connect: with a client certificate, or from this very machine.
    pub fn by_connection() -> Self {
        Self { token: None, namespaces: Vec::new() }
    }

    /// About these namespaces alone; none: about all.
    #[must_use]
    pub fn within(self, namespaces: Vec<Name>) -> Self {
        Self { namespaces, ..self }
    }

    /// Whether triggers of this namespace may be told of.
    pub fn may_see(&self, namespace: &str) -> bool {
        self.namespaces.is_empty()
            || self.namespaces.iter().any(|allowed| allowed.as_str() == namespace)
    }

    /// Whether a token must be shown.
    pub fn asks_for_token(&self) -> bool {
        self.token.is_some()
    }

    /// Lets a caller in that sent this header `authorization`, if it sent one.
    ///
    /// # Errors
    /// It shows no token, or not the one of now.
    pub async fn admit(&self, authorization: Option<&str>) -> Result<(), Denied> {
        let Some(file) = self.token.clone() else { return Ok(()) };
        let shown = authorization.and_then(token_of).ok_or(Denied::NoToken)?;
        // Digests, so that how long it takes says nothing of how much of it was right.
        let shown = Sha256::digest(shown.trim());
        match tokio::task::spawn_blocking(move || read(&file)).await {
            Ok(Ok(token)) if Sha256::digest(&token) == shown => Ok(()),
            Ok(Ok(_)) => Err(Denied::WrongToken),
            Ok(Err(error)) => {
                tracing::error!(%error, "--diagnostics-token-file");
                Err(Denied::Unreadable)
            }
            // The process ends.
            Err(_) => Err(Denied::Unreadable),
        }
    }
}

/// The token in a header: `Bearer TOKEN` (RFC 6750, 2.1), or as browsers send it, as the password
/// of `Basic` under any name (RFC 7617).
fn token_of(authorization: &str) -> Option<String> {
    let (scheme, shown) = authorization.split_once(' ')?;
    if authorization.len() > HEADER_BYTES {
        return None;
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(shown.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(shown.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn read(file: &Path) -> Result<String, AccessError> {
    let unreadable = |error: io::Error| AccessError::Unreadable {
        file: file.to_owned(),
        reason: error.to_string(),
    };
    let mut token = String::new();
    File::open(file)
        .and_then(|opened| opened.take(TOKEN_BYTES + 1).read_to_string(&mut token))
        .map_err(unreadable)?;
    let token = token.trim();
    if token.is_empty() || token.len() as u64 > TOKEN_BYTES {
        return Err(AccessError::Empty(file.to_owned()));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_where_clients_put_it() {
        let rows = [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            // x:abc, and :a:b
            ("Basic eDphYmM=", Some("abc")),
            ("basic OmE6Yg==", Some("a:b")),
            ("Basic eA==", None),
            ("Basic !", None),
            ("Basic //8=", None),
            ("Digest abc", None),
            ("abc", None),
            ("", None),
        ];
        for (header, expected) in rows {
            assert_eq!(token_of(header).as_deref(), expected, "{header}");
        }
        assert_eq!(token_of(&format!("Bearer {}", "x".repeat(HEADER_BYTES))), None);
    }
}
