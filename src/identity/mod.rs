//! Identity: tokens for what Azure guards, and the hosts that may see them.
//!
//! - `principal`: as whom a trigger asks · `cloud`, `hosts`: where its namespace is, and whether a
//!   token may go there
//! - `identities`: all tokens, each fetched once and ahead of its end · `lifetime`: when that is ·
//!   `exchange`: the one call to Entra · `options`: what the workload identity webhook tells the
//!   pod
//! - `client_credentials`: tokens for a client of the user's own, from an OAuth endpoint of the
//!   user's choice
//! - `error`, `words`: what can go wrong
//!
//! A token of the scaler's is for one [`AzurePrincipal`] and one [`Scope`], and goes to a
//! [`TrustedHost`] alone.

mod client_credentials;
mod cloud;
mod error;
mod exchange;
mod hosts;
mod identities;
mod lifetime;
mod options;
mod principal;
mod words;

pub use client_credentials::{OAuthClient, TokenEndpoint, TokenEndpointError, TokenEndpoints};
pub use cloud::{Cloud, CloudError};
pub use error::Error;
pub use hosts::{HostError, Hosts, Scope, TrustedHost};
pub use identities::{Identities, Token};
pub use options::Options;
pub use principal::{AzurePrincipal, AzurePrincipalError};
