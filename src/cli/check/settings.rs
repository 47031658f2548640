//! The settings, as `pounce check` prints them.

use crate::config::{Driver, Loaded, Origin, Scheme};

/// Prints every setting with its value and its origin, and the notices.
pub(super) fn print(loaded: &Loaded) {
    let chosen = match loaded.config.storage.driver {
        Driver::S3 => "s3",
        Driver::Filesystem => "filesystem",
    };
    let scheme = match loaded.config.auth.scheme {
        Scheme::Open => "none",
        Scheme::Htpasswd => "htpasswd",
        Scheme::Token => "token",
    };
    println!("storage: {chosen}\nauth: {scheme}\n");
    for (path, value, origin) in loaded.settings() {
        let origin = match origin {
            Origin::Default => "default".to_owned(),
            Origin::File => "file".to_owned(),
            Origin::Variable(name) => name,
        };
        println!("{:<58} {origin}", format!("{path}: {value}"));
    }
    for notice in &loaded.notices {
        println!("! {notice}");
    }
}
