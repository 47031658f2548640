//! The `_state` of an upload.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pounce::internals::fuzz_upload_state(data));
