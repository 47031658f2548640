//! Users and their password hashes, from the lines of an htpasswd file.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use bcrypt::HashParts;

use super::error::AuthError;
use crate::bounded_file;
use crate::config::ANONYMOUS;

/// The highest accepted cost, at which a comparison takes some seconds.
const MAX_COST: u32 = 15;
/// The longest file, in bytes: more than 100,000 users.
pub(super) const MAX_FILE: u64 = 16 << 20;
/// How many unusable lines a message names.
const MAX_NAMED: usize = 5;

/// Users with their bcrypt hashes.
#[derive(Debug)]
pub(super) struct Users {
    hashes: HashMap<Arc<str>, Arc<str>>,
    /// For unknown users: a hash that no password has, of each user's cost.
    dummies: Vec<Arc<str>>,
    /// Lines whose hash is not bcrypt's, the first few of them, for a message: `auth.htpasswd.users: line 2`.
    unusable: Vec<String>,
}

/// How many lines have a user, and how many of these a bcrypt hash.
struct Counted {
    users: usize,
    usable: usize,
}

impl Users {
    /// Reads lines `user:hash` from a file, and from a text, which wins and whose lines may also end with commas. No user
    /// may have one of the `reserved` names, which are those of OIDC providers.
    ///
    /// # Errors
    /// The file cannot be read, a line has no `:`, a name or a cost is not accepted, or the text lets no user in: it
    /// does not change while pounce runs. A file does, so one without users is accepted.
    pub(super) fn read(file: Option<&Path>, text: Option<&str>, reserved: &[String]) -> Result<Self, AuthError> {
        let mut users = Self { hashes: HashMap::new(), dummies: Vec::new(), unusable: Vec::new() };
        if let Some(path) = file {
            let lines = bounded_file::read_text(path, MAX_FILE).map_err(|source| AuthError::Read {
                setting: "auth.htpasswd.path",
                path: path.to_owned(),
                source,
            })?;
            users.take(lines.lines(), &path.display().to_string(), reserved)?;
        }
        let lines = text.unwrap_or_default().split(['\n', ',']);
        let counted = users.take(lines, "auth.htpasswd.users", reserved)?;
        // Comments alone say that the users are in the file.
        if text.is_some() && counted.usable == 0 && (counted.users > 0 || file.is_none()) {
            return Err(AuthError::NoUsers);
        }
        let mut costs: Vec<u32> = users.hashes.values().filter_map(|it| cost(it)).collect();
        if costs.is_empty() {
            costs.push(bcrypt::DEFAULT_COST);
        }
        costs.sort_unstable();
        users.dummies = costs.into_iter().map(|cost| impossible(cost).into()).collect();
        Ok(users)
    }

    fn take<'a>(
        &mut self,
        lines: impl Iterator<Item = &'a str>,
        origin: &str,
        reserved: &[String],
    ) -> Result<Counted, AuthError> {
        let mut counted = Counted { users: 0, usable: 0 };
        for (index, line) in lines.enumerate() {
            let Some(line) = content(line) else {
                continue;
            };
            let wrong = |message| AuthError::Line { origin: origin.to_owned(), line: index + 1, message };
            let (user, hash) =
                line.split_once(':').ok_or_else(|| wrong("is not user:hash, as `pounce htpasswd USER` prints it"))?;
            if user.is_empty() || user == ANONYMOUS || user.contains(char::is_whitespace) {
                return Err(wrong("no user can be called that"));
            }
            if reserved.iter().any(|name| name == user) {
                return Err(wrong("no user can be called that, because one of auth.oidc is: rename either"));
            }
            counted.users += 1;
            match cost(hash) {
                None => {
                    if self.unusable.len() < MAX_NAMED {
                        self.unusable.push(format!("{origin}: line {}", index + 1));
                    }
                    tracing::warn!(
                        line = index + 1,
                        "{origin}: this user cannot log in, because the hash is not bcrypt's: use `pounce htpasswd` or `htpasswd -B`"
                    );
                    continue;
                }
                Some(cost) if cost > MAX_COST => {
                    return Err(wrong("a cost over 15 keeps a core busy for seconds"));
                }
                Some(_) => {}
            }
            counted.usable += 1;
            self.hashes.insert(user.into(), hash.into());
        }
        Ok(counted)
    }

    /// Lines whose hash is not bcrypt's, for a message; empty if there are none.
    pub(super) fn unusable(&self) -> &[String] {
        &self.unusable
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// A user's name and hash.
    pub(super) fn get(&self, user: &str) -> Option<(&Arc<str>, &Arc<str>)> {
        self.hashes.get_key_value(user)
    }

    /// A dummy hash for an unknown user, at a real user's cost, so that timing does not reveal names. `name` is a
    /// digest of the name, so that each name always has the same cost.
    pub(super) fn dummy_hash(&self, name: usize) -> &Arc<str> {
        // There is always one.
        &self.dummies[name % self.dummies.len()]
    }
}

/// What a line of an htpasswd file says; `None` for a comment or nothing.
pub(super) fn content(line: &str) -> Option<&str> {
    let line = line.trim_start_matches('\u{feff}').trim();
    (!line.is_empty() && !line.starts_with('#')).then_some(line)
}

/// The cost of a bcrypt hash; `None` for another hash.
fn cost(hash: &str) -> Option<u32> {
    let cost = HashParts::from_str(hash).ok()?.get_cost();
    // The crate does not check the range.
    (hash.len() == 60 && (4..=31).contains(&cost)).then_some(cost)
}

/// A hash of the right form that no password has.
fn impossible(cost: u32) -> String {
    format!("$2b${cost:02}$......................{}", ".".repeat(31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_htpasswd_writes_them() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let md5 = "old:$apr1$abc$def";
        let text = format!("# users\r\n\nalice:{hash}\r\n{md5}\n bob:{} ,carol:{hash}", hash.replace("$2b$", "$2y$"));
        let users = Users::read(None, Some(&text), &[]).unwrap();
        assert_eq!(users.len(), 3);
        for user in ["alice", "bob", "carol"] {
            let (_, found) = users.get(user).unwrap();
            assert!(bcrypt::verify("secret", found).unwrap(), "{user}");
        }
        assert_eq!(users.unusable(), ["auth.htpasswd.users: line 4"]);
        assert!(users.get("old").is_none() && users.get("").is_none());
        assert!(!bcrypt::verify("", users.dummy_hash(7)).unwrap());
        assert_eq!(cost(users.dummy_hash(7)), Some(4));
    }

    #[test]
    fn no_user_has_the_name_of_a_provider() {
        let reserved = ["github".to_owned()];
        let read = |text: &str| Users::read(None, Some(text), &reserved);
        let line = |name: &str| format!("{name}:{}", impossible(4));
        // What follows a colon is the hash: no name has one.
        for name in ["github", "github:org/app"] {
            let error = read(&format!("{}\n{}", line("alice"), line(name))).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains("auth.oidc"), "{error}");
        }
        assert_eq!(read(&line("githubs")).unwrap().len(), 1);
    }

    #[test]
    fn wrong_lines_are_named_without_what_they_say() {
        for text in ["alice", "a:b\nbob", ":x", "anonymous:x"] {
            let error = Users::read(None, Some(text), &[]).unwrap_err().to_string();
            assert!(error.contains("auth.htpasswd.users") && error.contains("line"), "{error}");
            assert!(!error.contains("bob"), "{error}");
        }
        for (file, text) in [(None, "# none"), (None, "a:$apr1$x"), (Some(Path::new("/dev/null")), "a:b10x")] {
            let error = Users::read(file, Some(text), &[]).unwrap_err().to_string();
            assert!(error.starts_with("auth.htpasswd.users: ") && error.contains('$'), "{error}");
        }
        let empty = Users::read(Some(Path::new("/dev/null")), Some("# see the file"), &[]).unwrap();
        assert_eq!(empty.len(), 0);
        let costly = format!("a:{}", impossible(31));
        assert!(Users::read(None, Some(&costly), &[]).is_err());
    }
}
