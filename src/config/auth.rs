//! Who may do what: how clients say who they are, and the rules.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::hosts::WebUrl;
use super::lists;
use super::rules::Rule;
use super::values::Secret;
use crate::oci::Action;

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
    /// What clients may do that do not log in, in a registry that has neither htpasswd nor token: `anonymous`; without
    /// that, everything in a registry of its own, and only pulls in one that stands in front of an upstream, because a
    /// cache is often put on a public name by operators that push nothing to it.
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
