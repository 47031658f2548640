//! A `Range` resolves to a part of the blob, or to nothing.
#![no_main]

use pounce::oci::{ChunkRange, RangeRequest};

libfuzzer_sys::fuzz_target!(|input: (u64, &str)| {
    let (size, text) = input;
    if let Ok(Some(slice)) = RangeRequest::parse(text).resolve(size) {
        assert!(slice.start < slice.end && slice.end <= size);
    }
    let _ = ChunkRange::parse(text);
});
