//! Kubernetes, on a real API server: what `manifests/` and the chart install, and what the scaler
//! does with the rights that each of their components grants.
//!
//! `make test-cluster` runs these; they need Go, which builds the API server once, and KEDA's
//! definitions.

mod check;
mod events;
mod examples;
mod go;
mod grpcurl;
mod jobs;
mod keda;
mod manifests;
mod operator;
mod poller;
mod replica;
mod rollout;
mod scale;
mod service_accounts;
mod trigger_authentications;
mod warm_up;
