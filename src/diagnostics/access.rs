//! Who may ask, and about which namespaces.
//!
//! A token is read from its file at each call: these are rare, and a mounted Secret changes without
//! a word.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::kubernetes::Name;

/// Bytes of the longest token.
const TOKEN_BYTES: u64 = 4_096;

/// Before the token in the header `authorization` (RFC 6750, 2.1).
const BEARER: &str = "Bearer ";

/// What a caller must show, and what it may see then.
#[derive(Debug, Clone)]
pub struct Access {
    /// The file with the token; `None` where the connection itself had a certificate.
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

impl Access {
    /// For whoever shows the token in this file.
    ///
    /// # Errors
    /// There is none.
    pub fn by_token(file: PathBuf) -> Result<Self, AccessError> {
        read(&file)?;
        Ok(Self { token: Some(file), namespaces: Vec::new() })
    }

    /// For whoever could connect, which takes a client certificate.
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

    /// Lets a caller in, or says why not.
    pub(super) async fn admit(&self, headers: &MetadataMap) -> Result<(), Status> {
        let Some(file) = self.token.clone() else { return Ok(()) };
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
        let Some(shown) = shown.and_then(|shown| shown.strip_prefix(BEARER)) else {
            return Err(Status::unauthenticated(
                "give the token of --diagnostics-token-file: the header authorization with \
                 \"Bearer TOKEN\"",
            ));
        };
        // Digests, so that how long it takes says nothing of how much of it was right.
        let shown = Sha256::digest(shown.trim());
        let token = tokio::task::spawn_blocking(move || read(&file));
        match token.await {
            Ok(Ok(token)) if Sha256::digest(&token) == shown => Ok(()),
            Ok(Ok(_)) => Err(Status::unauthenticated("the token is not the one that is expected")),
            // Its path is the operator's, not the caller's to read.
            Ok(Err(error)) => {
                tracing::error!(%error, "--diagnostics-token-file");
                Err(Status::new(Code::Unavailable, "no token can be compared with; see the log"))
            }
            Err(_) => Err(Status::unavailable("keda-sift is shutting down; ask again")),
        }
    }
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
