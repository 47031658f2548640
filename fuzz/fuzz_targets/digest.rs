#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| pounce::internals::digest(text));
