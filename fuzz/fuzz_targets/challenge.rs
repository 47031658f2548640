//! The `WWW-Authenticate` headers of an upstream.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| pounce::internals::fuzz_challenge(text));
