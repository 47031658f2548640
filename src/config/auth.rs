//! Who may do what: how clients say who they are, and the rules.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize, Serializer};

use super::hosts::WebUrl;
use super::lists;
use super::values::Secret;

/// `auth`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Which of the two below is used. Not a key: naming one of them decides, or `REGISTRY_AUTH`.
    #[serde(skip)]
    pub scheme: Scheme,
    /// Users and passwords.
    pub htpasswd: Htpasswd,
    /// Tokens of somebody who knows the users.
    pub token: Token,
    /// What users may do; the first rule that fits decides. Without any, a valid user may do everything.
    pub rules: Vec<Rule>,
    /// What clients may do in a registry that has neither htpasswd nor token; see
    /// [`without_login`](Self::without_login).
    #[serde(deserialize_with = "lists::optional")]
    pub anonymous: Option<Vec<Action>>,
    /// Whether the registry has an upstream. Not a key: loading finds it out.
    #[serde(skip)]
    pub beside_upstream: bool,
}

impl Auth {
    /// What clients may do that do not log in, in a registry that has neither htpasswd nor token: `anonymous`;
    /// without that, everything in a registry of its own, and only pulls in one that stands in front of an upstream,
    /// because a cache is often put on a public name by operators that push nothing to it.
    #[must_use]
    pub fn without_login(&self) -> &[Action] {
        match &self.anonymous {
            Some(actions) => actions,
            None if self.beside_upstream => &[Action::Pull],
            None => &Action::ALL,
        }
    }
}

/// How clients say who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// No client is asked; what all of them may do, [`Auth::without_login`] says.
    #[default]
    Open,
    /// By a name and a password.
    Htpasswd,
    /// By a token.
    Token,
}

/// `auth.htpasswd`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Htpasswd {
    /// What clients show when they ask for a password; without it, the program's name.
    pub realm: Option<String>,
    /// A file of lines `user:bcrypt`. It is made, with a user, when it is missing.
    pub path: Option<PathBuf>,
    /// Such lines themselves, or with commas between them.
    pub users: Option<Secret>,
}

/// `auth.token`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Token {
    /// The URL where clients get tokens.
    pub realm: Option<WebUrl>,
    /// What the registry is called there; the `aud` of tokens.
    pub service: Option<String>,
    /// The `iss` of tokens.
    pub issuer: Option<String>,
    /// A PEM file with certificates or public keys that sign tokens, or lead to those that do.
    pub rootcertbundle: Option<PathBuf>,
    /// A JSON file with such keys (RFC 7517).
    pub jwks: Option<PathBuf>,
    /// The algorithms that are accepted; without any, all those of public keys.
    #[serde(deserialize_with = "lists::list")]
    pub signingalgorithms: Vec<SigningAlgorithm>,
    /// Tokens are got where clients reach pounce, at `autoredirectpath`, instead of at `realm`.
    pub autoredirect: Option<bool>,
    /// See above; without it, distribution's `/auth/token/`.
    pub autoredirectpath: Option<String>,
}

impl Htpasswd {
    /// The realm that clients are shown.
    #[must_use]
    pub fn realm(&self) -> &str {
        self.realm.as_deref().unwrap_or("pounce")
    }
}

impl Token {
    /// Whether tokens are got beside pounce, instead of at `realm`.
    #[must_use]
    pub fn is_beside(&self) -> bool {
        self.autoredirect.unwrap_or(false)
    }

    /// The path at which tokens are got with `autoredirect`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.autoredirectpath.as_deref().unwrap_or("/auth/token/")
    }
}

/// An algorithm of RFC 7518 or RFC 8037 that takes a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the RFCs'")]
pub enum SigningAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];
}

impl FromStr for SigningAlgorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| format!("{algorithm:?}") == text)
            .ok_or("pounce knows RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA")
    }
}

/// One of `auth.rules`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The users that it is about: names, `*` in them; or `anonymous`.
    #[serde(deserialize_with = "lists::list")]
    pub users: Vec<UserPattern>,
    /// The repositories that it is about: `*` is within a component of the name, `**` any components.
    /// Left out, all.
    #[serde(deserialize_with = "lists::some")]
    pub repositories: Option<Vec<RepositoryPattern>>,
    /// What they may do there; without any, nothing.
    #[serde(deserialize_with = "lists::list")]
    pub actions: Vec<Action>,
}

/// What can be done in a repository, in the words of distribution's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Manifests, blobs, tags and referrers can be read.
    Pull,
    /// They can be added.
    Push,
    /// They can be deleted.
    Delete,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

impl Action {
    /// Several of them in a sentence.
    #[must_use]
    pub fn list(actions: &[Self]) -> String {
        let words: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
        match words.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, before)) => format!("{} and {last}", before.join(", ")),
            None => "do nothing".to_owned(),
        }
    }
}

impl FromStr for Action {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or("an action is pull, push or delete")
    }
}

/// A pattern for names of repositories: `*`, `?` and `[a-z]` within a component, `**` for any number of
/// components, `{a,b}` for one of several.
#[derive(Clone)]
pub struct RepositoryPattern(Pattern);

/// A pattern for names of users, in which a slash is a letter as any other.
#[derive(Clone)]
pub struct UserPattern(Pattern);

#[derive(Clone)]
struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    fn new(text: &str, components: bool) -> Result<Self, String> {
        let glob = GlobBuilder::new(text)
            .literal_separator(components)
            .backslash_escape(true)
            .build()
            .map_err(|error| error.kind().to_string())?;
        Ok(Self {
            text: text.to_owned(),
            matcher: glob.compile_matcher(),
        })
    }
}

macro_rules! pattern {
    ($name:ident, $components:literal, $impossible:expr, $why:literal) => {
        impl $name {
            /// Whether a name fits.
            #[must_use]
            pub fn matches(&self, name: &str) -> bool {
                self.0.matcher.is_match(name)
            }

            /// As it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0.text
            }
        }

        impl FromStr for $name {
            type Err = String;

            /// One that no name can fit would forbid nothing.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if $impossible(text) {
                    return Err($why.to_owned());
                }
                Pattern::new(text, $components).map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pattern!(
    RepositoryPattern,
    true,
    |text: &str| {
        let odd = |c: char| c.is_ascii_uppercase() || c.is_whitespace() || c == ':';
        text.contains(odd) || text.starts_with('/') || text.ends_with('/') || text.contains("//")
    },
    "no name of a repository fits: they have lower case, digits, and components between single slashes"
);
pattern!(
    UserPattern,
    false,
    |text: &str| {
        let odd = |c: char| c.is_whitespace() || c == ':';
        text.contains(odd) || (text.contains(',') && !text.contains('{'))
    },
    "no name of a user fits: they have no blanks, colons or commas; write several as a list"
);
