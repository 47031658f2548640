//! A pushed manifest: the digest of one that is accepted is that of its bytes.
#![no_main]

use pounce::oci::{Digest, Manifest};

libfuzzer_sys::fuzz_target!(|input: (Option<&str>, &[u8])| {
    let (media_type, bytes) = input;
    let media_type = media_type.and_then(|text| text.parse().ok());
    if let Ok(manifest) = Manifest::pushed(&bytes.to_vec().into(), media_type, None) {
        let _ = (manifest.links(), manifest.referrer());
        let digest = manifest.digest();
        assert_eq!(digest, Digest::of(digest.algorithm(), bytes));
    }
});
