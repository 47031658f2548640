//! A valid digest is written as it was read.
#![no_main]

use pounce::oci::Digest;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.hex().len(), 2 * digest.algorithm().size());
    }
});
