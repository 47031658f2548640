//! A configuration: a file and, behind a NUL, one variable without its `REGISTRY_`.
#![no_main]

use pounce::config::{Config, Environment};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (file, variable) = text.split_once('\0').unwrap_or((text, "="));
    let (name, value) = variable.split_once('=').unwrap_or_default();
    let environment = Environment::from_iter([(format!("REGISTRY_{name}"), value)]);
    if let Ok(loaded) = Config::parse(file, &environment) {
        let _ = loaded.settings();
    }
});
