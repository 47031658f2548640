//! The lease of a fill.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pounce::internals::fuzz_lease(data));
