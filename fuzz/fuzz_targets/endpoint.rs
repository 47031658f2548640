//! A request's method, path and query.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| pounce::internals::fuzz_endpoint(text));
