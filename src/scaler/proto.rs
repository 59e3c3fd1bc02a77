//! The contract with KEDA in Rust, generated from `proto/externalscaler.proto`.
//!
//! Holds the client too, for whoever asks a scaler: tests, benches and the demo.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated code; the comments are in the proto file"
)]

use std::fmt;

tonic::include_proto!("externalscaler");

/// The contract itself, as reflection serves it: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("externalscaler");

/// The keys of the metadata without their values, some of which are secrets.
impl fmt::Debug for ScaledObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScaledObjectRef")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("scaler_metadata", &self.scaler_metadata.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_metadata_value() {
        let asked = GetMetricsRequest {
            scaled_object_ref: Some(ScaledObjectRef {
                name: "thumbnails".to_owned(),
                namespace: "media".to_owned(),
                scaler_metadata: [("passwordFromEnv".to_owned(), "hunter2".to_owned())].into(),
            }),
            metric_name: String::new(),
        };
        let shown = format!("{asked:?}");
        assert!(shown.contains("passwordFromEnv"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
