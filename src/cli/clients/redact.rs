//! What changes in a file, without the credentials in it.
//!
//! Files of all clients are shown so, whatever their format: TOML, YAML or JSON, in one line or in many. Therefore the
//! masks go by keys and indentation, and rather hide too much: the changes go to terminals and to the logs of machines.

use std::fmt::Write;

use similar::{ChangeTag, TextDiff};
use toml_edit::Key;

/// Stands for a value that may be a credential.
const MASK: &str = "(not shown)";
/// Parts of the names of keys that carry credentials, in lower case, without hyphens and underscores.
const SECRET: [&str; 7] = ["auth", "passw", "token", "secret", "header", "cookie", "credential"];

/// What changes in a file, as a unified diff. A line whose credential alone changes is there twice, as it would be
/// without the mask.
pub(super) fn diff(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    let name = |side: Option<&str>| if side.is_some() { path } else { "/dev/null" };
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default());
    let (old, new) = (masked(diff.iter_old_slices()), masked(diff.iter_new_slices()));
    let mut text = String::new();
    for hunk in diff.unified_diff().iter_hunks() {
        if text.is_empty() {
            text.extend(["--- ", name(before), "\n+++ ", name(after), "\n"]);
        }
        let _ = writeln!(text, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let line = match change.tag() {
                ChangeTag::Insert => change.new_index().and_then(|at| new.get(at)),
                ChangeTag::Delete | ChangeTag::Equal => change.old_index().and_then(|at| old.get(at)),
            };
            let _ = writeln!(text, "{}{}", change.tag(), line.map_or(MASK, String::as_str));
            if change.missing_newline() {
                text.push_str("\\ No newline at end of file\n");
            }
        }
    }
    text
}

/// Where the value of a key that carries credentials may go on in the next lines.
struct Value {
    /// The column of its key. What stands further to the right belongs to it, in YAML.
    column: usize,
    /// Brackets that are open, in TOML and JSON.
    depth: usize,
    /// The quotes that end a text of several lines, in TOML.
    quotes: Option<&'static str>,
    /// Nothing of it was there yet.
    is_empty: bool,
}

/// The lines, without their ends.
fn masked<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut value, mut in_secret_table, mut in_key) = (None::<Value>, false, false);
    let mask = |line: &str| {
        let line = line.trim_end_matches(['\r', '\n']);
        let blanks = line.len() - line.trim_start().len();
        let trimmed = line.trim();
        if in_key || trimmed.contains("PRIVATE KEY") {
            in_key = !trimmed.contains("-----END");
            return format!("{}{MASK}", &line[..blanks]);
        }
        if value.as_mut().is_some_and(|value| value.goes_on(blanks, trimmed)) {
            let shown = if trimmed.is_empty() { "" } else { MASK };
            return format!("{}{shown}", &line[..blanks]);
        }
        value = None;
        if let Some(keys) = table(trimmed) {
            in_secret_table = keys.iter().any(|key| is_secret(key.get()));
            return line.to_owned();
        }
        let Some((column, separator)) = secret_key(line, in_secret_table) else {
            return without_users(line);
        };
        let (key, rest) = line.split_at(separator + 1);
        let mut begun = Value { column, depth: 0, quotes: None, is_empty: true };
        begun.read(rest.trim());
        let shown = if begun.is_empty { String::new() } else { format!(" {MASK}") };
        value = Some(begun);
        format!("{}{shown}", without_users(key))
    };
    lines.map(mask).collect()
}

impl Value {
    /// Whether the next line belongs to it.
    fn goes_on(&mut self, blanks: usize, line: &str) -> bool {
        let is_item = self.is_empty || line.starts_with('-');
        let belongs = self.depth > 0
            || self.quotes.is_some()
            || line.is_empty()
            || blanks > self.column
            || (is_item && blanks == self.column)
            // JSON and TOML may have the value at any column.
            || (self.is_empty && !line.contains([':', '=']));
        if belongs {
            self.read(line);
        }
        belongs
    }

    /// Follows the brackets and quotes of a line.
    fn read(&mut self, line: &str) {
        self.is_empty &= line.is_empty();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let triple = ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(quotes));
            let mut length = first.len_utf8();
            match (self.quotes, triple) {
                (Some(open), Some(quotes)) if open == quotes => (self.quotes, length) = (None, 3),
                (None, Some(quotes)) => (self.quotes, length) = (Some(quotes), 3),
                (Some(_), _) => {}
                (None, None) => match first {
                    '"' | '\'' => length = quoted(rest, first),
                    '[' | '{' => self.depth += 1,
                    ']' | '}' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                },
            }
            rest = &rest[length..];
        }
    }
}

/// The length of a text in quotes, with both, at the beginning of a line's rest.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    let inner = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == quote && !is_escaped;
        is_escaped = *c == '\\' && quote == '"' && !is_escaped;
        ends
    });
    inner.map_or(text.len(), |(at, c)| at + c.len_utf8())
}

/// The keys of a TOML table's line, `[a.b]` or `[[a.b]]`.
fn table(line: &str) -> Option<Vec<Key>> {
    let line = line.split(" #").next().unwrap_or_default().trim_end();
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    let inner = inner.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(inner);
    Key::parse(inner).ok()
}

/// The first key in a line whose value may be a credential: its column, and where the separator behind it is. In the
/// table of such a key, it is the first one.
fn secret_key(line: &str, in_secret_table: bool) -> Option<(usize, usize)> {
    let separators = line.match_indices([':', '=']).map(|(at, _)| at);
    separators.filter_map(|at| Some((key_before(&line[..at])?, at))).find_map(|((column, keys), at)| {
        let is_toml = line[at..].starts_with('=');
        let is_one = is_toml && in_secret_table || keys.iter().any(|key| is_secret(key));
        is_one.then_some((column, at))
    })
}

/// The column and the parts of the key that ends a text, as `a."b".c`.
fn key_before(text: &str) -> Option<(usize, Vec<&str>)> {
    let (mut rest, mut keys) = (text.trim_end(), Vec::new());
    loop {
        let quote = rest.chars().next_back().filter(|c| matches!(c, '"' | '\''));
        let begin = match quote {
            Some(quote) => rest[..rest.len() - 1].rfind(quote)?,
            None => rest
                .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_')))
                .map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8)),
        };
        keys.push(rest[begin..].trim_matches(['"', '\'']));
        match rest[..begin].trim_end().strip_suffix('.') {
            Some(before) => rest = before.trim_end(),
            None => return Some((begin, keys)),
        }
    }
}

/// Whether the value of a key may be a credential. The name of a host never says so.
fn is_secret(key: &str) -> bool {
    let name: String = key.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect();
    let is_host = key.contains(['.', '/', ':']);
    !is_host && (SECRET.iter().any(|part| name.contains(part)) || name.ends_with("key") || name.ends_with("keydata"))
}

/// A line without users and passwords in URLs.
fn without_users(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        let end = behind.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',')).unwrap_or(behind.len());
        shown.push_str(before);
        rest = behind;
        if let Some(at) = behind[..end].rfind('@') {
            shown.push_str(MASK);
            rest = &behind[at..];
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_in_every_format() {
        let files = [
            "server = 'https://a.example'\n[host.\"https://b.example\".header]\n  Authorization = \"Basic hidden\"\n  \
             X-Id = [\n'hidden',\n]\n[host.\"https://auth.example\"]\n  shown = 1\n",
            "[host.\"https://b.example\"]\nheader = { X-Id = [\"hidden\"] }\nshown = 1\nheader.\"X-Id\" = \"hidden\"\n",
            "[plugins.\"cri\".registry.configs.\"b.example\".auth]\nusername = \"hidden\"\nidentitytoken='hidden'\n",
            "password = \"\"\"\nhidden = 1\n\"\"\"\nshown = 1\n",
            "secret = [\"]\",\n\"hidden\"]\nshown = 1\n",
            "# password = \"hidden\"\nshown = 1\n",
            "{\n\"shown\": 1,\n\"auths\": {\n\"b.example\": {\n\"auth\": \"hidden\"\n}\n},\n\"shown\": 2\n}\n",
            "{\"shown\":1,\"auths\":{\"b.example\":{\"auth\":\"hidden\"}}}",
            "{\n  \"password\":\n\"hidden\",\n  \"shown\": 1\n}\n",
            "{\"http-proxy\": \"http://hidden:hidden@b.example:3128\", \"shown\": \"https://b.example\"}",
            "{\n  \"HttpHeaders\": { \"X-Id\": \"hidden\" },\n  \"registryToken\": \"hidden\",\n  \"shown\": 1\n}\n",
            "configs:\n  b.example:\n    auth:\n      username: hidden\n      password: hidden\n    shown: 1\n",
            "auth:\n- hidden\n- hidden\nshown: 1\n",
            "a:\n- password: |\n    hidden\n\n    hidden: 1\n  shown: 1\n- Secret: hidden\n    hidden\n",
            "tls:\n  key: hidden\n  client-key-data: hidden\n  shown: 1\n",
            "-----BEGIN EC PRIVATE KEY-----\nhidden\n-----END EC PRIVATE KEY-----\nshown\n",
        ];
        for text in files {
            for printed in [diff("/x", None, Some(text)), diff("/x", Some(text), None)] {
                assert!(!printed.contains("hidden"), "{text}: {printed}");
                assert_eq!(
                    printed.matches("shown").count() - printed.matches(MASK).count(),
                    text.matches("shown").count()
                );
                assert_eq!(printed.lines().count(), text.lines().count() + 3 + usize::from(!text.ends_with('\n')));
            }
        }
    }

    #[test]
    fn what_is_no_credential_is_shown() {
        let text = "[host.\"https://token.example:5000\"]\n  capabilities = [\"pull\"]\n  ca = \"/a/ca.crt\"\n";
        let expected = text.lines().fold(String::new(), |all, line| all + "+" + line + "\n");
        assert_eq!(diff("/x", None, Some(text)), format!("--- /dev/null\n+++ /x\n@@ -0,0 +1,3 @@\n{expected}"));
        assert_eq!(diff("/x", Some(text), Some(text)), "");
        // A change is there also where both sides look alike.
        let (before, after) = ("a = 1\ntoken = \"b\"\n", "a = 1\ntoken = \"c\"\n");
        let printed = diff("/x", Some(before), Some(after));
        assert!(printed.ends_with(" a = 1\n-token = (not shown)\n+token = (not shown)\n"), "{printed}");
    }
}
