//! Texts as YAML and shells read them back, whatever is in them.

use std::fmt::Write as _;

/// A text as a scalar of YAML (1.2, section 7.3).
pub(super) fn yaml(text: &str) -> String {
    let is_printable =
        |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if text.chars().all(is_printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if is_printable(c) => escaped.push(c),
            c => {
                // Writing to a String does not fail.
                let _ = write!(escaped, "\\U{:08x}", u32::from(c));
            }
        }
    }
    format!("\"{escaped}\"")
}

/// A value in a file of variables. Shells, compose files and systemd take the single quotes away, and docker does not:
/// then pounce does. So they may stand around a value, and not in it.
///
/// # Errors
/// No form means the same to all of them.
pub(super) fn variable(text: &str) -> Result<String, String> {
    if is_plain(text) {
        return Ok(text.to_owned());
    }
    if text.chars().any(|c| c.is_control() || c == '\'') || text.starts_with('"') {
        // Not shown, because it may be a key, or the hash of a password.
        return Err("its value has a quote or a line break, which mean different things in files of variables: write \
                    YAML, without --env"
            .to_owned());
    }
    Ok(format!("'{text}'"))
}

/// A word of a shell (POSIX, section 2.2).
pub(super) fn shell(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The beginning of a text, for a message, without credentials.
pub(super) fn shown(text: &str) -> String {
    let text = text.rsplit_once('@').map_or(text, |(_, behind)| behind);
    format!("{:?}", text.chars().take(60).collect::<String>())
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./:@%+,=-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, Environment};

    /// What the configuration reads for a text.
    fn read(yaml: &str, pairs: &[(&str, String)]) -> Option<String> {
        let loaded = Config::parse(yaml, &Environment::default().with(pairs)).ok()?;
        Some(loaded.config.http.secret?.reveal().to_owned())
    }

    #[test]
    fn scalars_of_yaml_are_read_back() {
        for text in
            ["a'b", "a\"b", "# no comment", "$HOME", "a: b", "- a", "*x", "&x", "~", "null", "{}", "é😀", "a\nb"]
        {
            assert_eq!(read(&format!("http: {{secret: {}}}", yaml(text)), &[]).as_deref(), Some(text), "{text}");
            assert_eq!(read(&format!("http:\n  secret: {} # x\n", yaml(text)), &[]).as_deref(), Some(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(text in "\\PC{1,40}|.{1,40}|[\\x01-\\x7f]{1,40}") {
            let found = read(&format!("http:\n  secret: {}\n", yaml(&text)), &[]);
            prop_assert_eq!(found.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn variables_mean_the_same_with_their_quotes(text in "[ -~]{1,30}") {
            if let Ok(quoted) = variable(&text) {
                let raw = read("", &[("REGISTRY_HTTP_SECRET", quoted)]);
                prop_assume!(raw.is_some());
                prop_assert_eq!(raw.as_deref(), Some(text.as_str()));
            }
        }
    }

    #[test]
    fn words_of_a_shell() {
        assert_eq!([shell("a/b.yml"), shell("a b"), shell("it's")], ["a/b.yml", "'a b'", "'it'\\''s'"]);
        assert_eq!(shown("https://user:secret@host"), "\"host\"");
    }
}
