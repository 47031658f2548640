#![no_main]

libfuzzer_sys::fuzz_target!(|input: (Option<&str>, &[u8])| pounce::internals::manifest(input.0, input.1));
