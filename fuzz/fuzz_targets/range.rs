#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u64, &str)| pounce::internals::range(input.0, input.1));
