//! Which keda-sift this is, as the build says.

/// The version, and the commit where that is known: `0.1.0 (1a2b3c4)`.
pub const VERSION: &str = env!("KEDA_SIFT_VERSION");

/// The whole number of the commit; `unknown` where the build was told none.
pub const COMMIT: &str = env!("KEDA_SIFT_COMMIT");
