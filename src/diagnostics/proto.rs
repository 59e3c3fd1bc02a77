//! The calls in Rust, generated from `proto/sift/v1/diagnostics.proto`; the client too.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated code; the comments are in the proto file"
)]

tonic::include_proto!("sift.v1");

/// The calls themselves, as reflection serves them: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("diagnostics");
