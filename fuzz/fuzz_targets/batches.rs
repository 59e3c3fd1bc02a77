//! Are there bytes of a partition that make reading its records panic, hang, or take memory beyond
//! what its limits say?

#![no_main]

use std::alloc::System;
use std::hint::black_box;
use std::ops::ControlFlow;

use keda_sift_fuzz::kafka::wire::records::{Aborted, Batches, Scratch};
use keda_sift_fuzz::kafka::wire::requests::AbortedTransaction;
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts what reading takes: libFuzzer counts only where a sanitizer is linked.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What reading may take in all: zstd's window, and the buffer as it grows to its largest, which
/// from so few bytes is a little more than the mebibyte that may come out of any batch.
const MOST_BYTES: usize = 64 * 1024 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some(([form, attributes], bytes)) = input.split_first_chunk() else { return };
    let attributes = i16::from(*attributes);
    match form % 4 {
        0 => read(bytes),
        1 => read(&batch(attributes, bytes)),
        2 => read(&message(0, attributes, bytes)),
        _ => read(&message(1, attributes, bytes)),
    }
});

fn read(bytes: &[u8]) {
    let region = Region::new(ALLOCATOR);
    let mut scratch = Scratch::default();
    let listed = AbortedTransaction { producer_id: 1, first_offset: 0 };
    let mut aborted = Aborted::new(vec![listed]);
    for batch in Batches::new(bytes) {
        let Ok(batch) = batch else { break };
        let _ = black_box(aborted.is_aborted(&batch, &mut scratch));
        let mut before = None;
        let read = batch.for_each(&mut scratch, |record| {
            assert!(before.is_none_or(|before| before < record.offset));
            assert!(record.offset <= batch.last_offset);
            before = Some(record.offset);
            let _ = black_box(record.header("ce_type"));
            ControlFlow::Continue(())
        });
        if let Err(error) = read {
            assert!(error.to_string().len() <= 200);
        }
    }
    let taken = region.change().bytes_allocated;
    assert!(taken <= MOST_BYTES, "{taken}");
}

/// A batch whose checksum fits, with this body.
fn batch(attributes: i16, body: &[u8]) -> Vec<u8> {
    let mut covered = attributes.to_be_bytes().to_vec();
    covered.extend(9_i32.to_be_bytes()); // The last offset.
    covered.extend([0; 16]);
    covered.extend(1_i64.to_be_bytes()); // The producer.
    covered.extend([0; 6]);
    covered.extend(10_i32.to_be_bytes()); // The number of records.
    covered.extend(body);
    let length = i32::try_from(covered.len() + 9).unwrap();
    let checksum = crc32c::crc32c(&covered).to_be_bytes();
    [&[0; 8], &length.to_be_bytes()[..], &[0; 4], &[2], &checksum, &covered].concat()
}

/// A message whose checksum fits, with this value.
fn message(magic: u8, attributes: i16, value: &[u8]) -> Vec<u8> {
    let [_, attributes] = attributes.to_be_bytes();
    let mut covered = vec![magic, attributes];
    covered.extend(vec![0; usize::from(magic) * 8]); // The time.
    covered.extend((-1_i32).to_be_bytes()); // The key.
    covered.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
    covered.extend(value);
    let length = i32::try_from(covered.len() + 4).unwrap();
    let checksum = crc32fast::hash(&covered).to_be_bytes();
    [&9_i64.to_be_bytes(), &length.to_be_bytes()[..], &checksum, &covered].concat()
}
