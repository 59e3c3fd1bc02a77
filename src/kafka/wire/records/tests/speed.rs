//! How many records a second are read on one core?

use std::hint::black_box;

use tokio::time::Instant;

use super::*;

/// Batches of 1 MiB, read as a reader does: checked, decompressed, each record looked at.
#[test]
#[ignore = "prints figures, and only optimised code is worth a figure"]
fn records_a_second() {
    for size in [100, 1_000] {
        let count = 1_000_000 / size;
        let value = |delta: i32| -> Vec<u8> {
            let mut number = u64::from(delta.cast_unsigned());
            let mut text = String::new();
            while text.len() < size {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += &format!("{{\"id\":\"{number:016x}\",\"type\":\"image.uploaded\"}}");
            }
            text.into_bytes()[..size].to_vec()
        };
        let records: Vec<_> = (0..i32::try_from(count).unwrap())
            .map(|delta| record(delta, None, Some(&value(delta))))
            .collect();
        let plain = Made::of(&records);
        let packed = CODECS.map(|codec| Made::packed(codec, &records));
        for made in [&plain].into_iter().chain(&packed) {
            let bytes = made.bytes();
            let mut scratch = Scratch::default();
            let mut seen = 0;
            let begun = Instant::now();
            while begun.elapsed().as_millis() < 1_000 {
                for batch in Batches::new(black_box(&bytes)) {
                    let read = batch.unwrap().for_each(&mut scratch, |record| {
                        seen += record.value.map_or(0, |value| usize::from(value.len() == size));
                        ControlFlow::Continue(())
                    });
                    read.unwrap();
                }
            }
            let seconds = begun.elapsed().as_secs_f64();
            let ratio = made.bytes().len() as f64 / plain.bytes().len() as f64;
            println!(
                "{size:5} B, codec {}: {:5.2} million records/s, packed to {ratio:.2}",
                made.attributes,
                seen as f64 / seconds / 1e6,
            );
        }
    }
}
