//! Reads Rust source as far as the layers need it: paths, declarations and `impl` blocks. Test modules are left out.

use std::collections::VecDeque;

/// One source file.
pub struct Source {
    /// Its module path from the crate's root: `["http", "server", "tls"]`.
    pub module: Vec<String>,
    tokens: Vec<String>,
}

/// A used path of another module, from the crate's root, and its name in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Use {
    pub path: Vec<String>,
    pub name: String,
    /// By `pub use`: the file exports the name, and need not use it itself.
    pub is_reexport: bool,
}

/// An `impl` block: its type, and its trait if any.
#[derive(Debug, PartialEq, Eq)]
pub struct Impl {
    pub type_name: String,
    pub trait_name: Option<String>,
}

impl Source {
    pub fn new(module: &[&str], text: &str) -> Self {
        let module = module.iter().map(|&name| name.to_owned()).collect();
        Self { module, tokens: without_tests(&tokens(text)) }
    }

    /// Whether a path here contains `word::`.
    pub fn names(&self, word: &str) -> bool {
        self.tokens.windows(2).any(|pair| pair[0] == word && pair[1] == "::")
    }

    /// Every path of this crate, in `use` items and elsewhere, with all entries of nested lists.
    pub fn uses(&self) -> Vec<Use> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let is_visibility = self.token(at) == "pub" && self.token(at + 1) == "(";
            let is_use = self.token(at) == "use";
            let begins = ["crate", "super", "self"].contains(&self.token(at)) && self.token(at + 1) == "::";
            if is_visibility {
                at = self.closing(at + 1) + 1;
            } else if is_use || begins {
                let from = found.len();
                let is_reexport = is_use && at > 0 && ["pub", ")"].contains(&self.token(at - 1));
                at = self.tree(at + usize::from(is_use), &[], is_use, &mut found);
                found[from..].iter_mut().for_each(|used| used.is_reexport = is_reexport);
            } else {
                at += 1;
            }
        }
        found
    }

    /// Every `a.b` that goes on with a `.`: fields of fields, whose methods are called.
    pub fn chains(&self) -> impl Iterator<Item = (&str, &str)> {
        let chains = self.tokens.windows(4).filter(|it| it[1] == "." && it[3] == ".");
        chains.map(|it| (it[0].as_str(), it[2].as_str()))
    }

    /// The names after any of these keywords: `["struct", "enum"]`.
    pub fn declared(&self, keywords: &[&str]) -> Vec<&str> {
        let pairs = self.tokens.windows(2).filter(|pair| keywords.contains(&pair[0].as_str()));
        pairs.map(|pair| pair[1].as_str()).collect()
    }

    pub fn impls(&self) -> Vec<Impl> {
        // Elsewhere, `impl` stands in a type.
        let begins = |at: usize| at == 0 || ["}", "{", ";", "]", "unsafe"].contains(&self.token(at - 1));
        let blocks = (0..self.tokens.len()).filter(|&at| self.token(at) == "impl" && begins(at));
        blocks.map(|at| self.impl_at(at + 1)).collect()
    }

    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", String::as_str)
    }

    /// Where the bracket at `at` closes.
    fn closing(&self, at: usize) -> usize {
        closing(&self.tokens, at)
    }

    /// Reads a path or a list of paths behind `prefix`; where it ends.
    fn tree(&self, mut at: usize, prefix: &[String], is_use: bool, found: &mut Vec<Use>) -> usize {
        let mut path = prefix.to_vec();
        while self.token(at) == "::" {
            at += 1;
        }
        loop {
            if self.token(at) == "{" {
                let end = self.closing(at);
                at += 1;
                while at < end {
                    at = self.tree(at, &path, is_use, found);
                    at += usize::from(self.token(at) == ",");
                }
                return end + 1;
            }
            path.push(self.token(at).to_owned());
            at += 1;
            if self.token(at) != "::" || (!is_use && !self.continues(at + 1)) {
                break;
            }
            at += 1;
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if is_use && self.token(at) == "as" {
            self.token(at + 1).clone_into(&mut name);
            at += 2;
        }
        if name == "self" {
            path.pop();
            name = path.last().cloned().unwrap_or_default();
        }
        found.extend(self.absolute(path).map(|path| Use { path, name, is_reexport: false }));
        at
    }

    /// Whether a path in an expression goes on here: not with `::<T>`.
    fn continues(&self, at: usize) -> bool {
        self.token(at).starts_with(|c: char| c.is_alphabetic() || c == '_')
    }

    /// A path from the crate's root; `None` if it leads to another crate. (In a `use`, a path may also begin with a
    /// child of this module.)
    fn absolute(&self, path: Vec<String>) -> Option<Vec<String>> {
        let mut path = VecDeque::from(path);
        let mut module = self.module.clone();
        match path.front()?.as_str() {
            "crate" => {
                path.pop_front();
                return Some(path.into());
            }
            "self" => {
                path.pop_front();
            }
            "super" => {
                while path.front().is_some_and(|name| name == "super") {
                    path.pop_front();
                    module.pop();
                }
            }
            child if self.declared(&["mod"]).contains(&child) => {}
            _ => return None,
        }
        Some(module.into_iter().chain(path).collect())
    }

    fn impl_at(&self, mut at: usize) -> Impl {
        if self.token(at) == "<" {
            at = self.closing(at) + 1;
        }
        let (first, at) = self.type_name(at);
        if self.token(at) == "for" {
            return Impl { type_name: self.type_name(at + 1).0, trait_name: Some(first) };
        }
        Impl { type_name: first, trait_name: None }
    }

    /// The last name of a type's path, without its parameters, and where the type ends.
    fn type_name(&self, mut at: usize) -> (String, usize) {
        let mut name = String::new();
        while !["for", "where", "{", ""].contains(&self.token(at)) {
            if ["<", "(", "["].contains(&self.token(at)) {
                at = self.closing(at);
            } else if self.continues(at) && !["dyn", "mut"].contains(&self.token(at)) {
                self.token(at).clone_into(&mut name);
            }
            at += 1;
        }
        (name, at)
    }
}

fn closing(tokens: &[String], at: usize) -> usize {
    let (open, close) = match tokens[at].as_str() {
        "(" => ("(", ")"),
        "[" => ("[", "]"),
        "<" => ("<", ">"),
        _ => ("{", "}"),
    };
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        depth += i32::from(token == open) - i32::from(token == close);
        if depth == 0 {
            return index;
        }
    }
    tokens.len()
}

/// Leaves out every item behind `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().take(CFG_TEST.len()).eq(CFG_TEST.iter()) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += CFG_TEST.len();
        while at < tokens.len() && tokens[at] != ";" && tokens[at] != "{" {
            at += 1;
        }
        at = if tokens.get(at).is_some_and(|token| token == "{") { closing(tokens, at) + 1 } else { at + 1 };
    }
    kept
}

/// Identifiers, `::`, `->`, `=>` and single characters, without comments, blanks, literals and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if let Some(len) = skipped(rest) {
            len
        } else {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let is_pair = ["::", "->", "=>"].iter().any(|pair| rest.starts_with(pair));
            let len = if is_pair { 2 } else { word.max(first.len_utf8()) };
            if !first.is_whitespace() {
                found.push(rest[..len].to_owned());
            }
            len
        };
        rest = &rest[len..];
    }
    found
}

/// The length of a comment, a text, a character or a lifetime with which `rest` begins.
fn skipped(rest: &str) -> Option<usize> {
    let upto = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return Some(upto("\n", 0));
    }
    if rest.starts_with("/*") {
        return Some(upto("*/", 2));
    }
    let raw = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r');
    if let Some(raw) = raw.filter(|raw| raw.trim_start_matches('#').starts_with('"')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let from = rest.len() - raw.len() + hashes + 1;
        return Some(upto(&format!("\"{}", "#".repeat(hashes)), from));
    }
    let quoted = rest.strip_prefix('b').filter(|it| it.starts_with(['"', '\''])).unwrap_or(rest);
    let from = rest.len() - quoted.len();
    if quoted.starts_with('"') {
        return Some(from + quoted_len(quoted, '"'));
    }
    if let Some(inside) = quoted.strip_prefix('\'') {
        let is_char = inside.starts_with('\\') || inside.chars().nth(1) == Some('\'');
        return Some(from + if is_char { quoted_len(quoted, '\'') } else { 1 + lifetime_len(inside) });
    }
    None
}

/// The length of a literal between quotes, in which a backslash escapes a character.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn lifetime_len(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}
