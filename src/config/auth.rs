//! `auth`: how clients authenticate, and the rules.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::bucket_keys::{BUCKET, BucketKeysLife};
use super::hosts::WebUrl;
use super::lists;
use super::oidc::OidcProvider;
use super::ollama::Ollama;
use super::rules::Rule;
use super::values::Secret;
use crate::oci::Action;

/// `auth`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How clients authenticate. Not a key: loading derives it.
    #[serde(skip)]
    pub scheme: Scheme,
    /// Users and passwords.
    pub htpasswd: Htpasswd,
    /// Tokens of a token server.
    pub token: Token,
    /// Issuers of tokens that log clients in: beside htpasswd, or alone.
    pub oidc: Vec<OidcProvider>,
    /// Whether keys of the bucket in `storage.s3` log clients in: beside htpasswd and oidc, or alone.
    pub bucketkeys: bool,
    /// Not a key: tests make it shorter.
    #[serde(skip)]
    pub bucketkeyslife: BucketKeysLife,
    /// Ollama's keys, beside htpasswd.
    pub ollama: Ollama,
    /// What users may do: the first rule that matches decides. Without rules, every user may do everything.
    pub rules: Vec<Rule>,
    /// What clients may do if no client can log in; see [`without_login`](Self::without_login).
    #[serde(deserialize_with = "lists::optional")]
    pub anonymous: Option<Vec<Action>>,
    /// Whether the registry has an upstream. Not a key: loading derives it.
    #[serde(skip)]
    pub beside_upstream: bool,
}

impl Auth {
    /// What names of users may begin with, before a colon: the providers' names, and [`BUCKET`].
    pub(super) fn kinds_of_users(&self) -> Vec<&str> {
        let bucket = self.bucketkeys.then_some(BUCKET);
        self.oidc.iter().map(OidcProvider::name).chain(bucket).collect()
    }

    /// Whether the names of some users have a colon, behind the name of their provider, or [`BUCKET`].
    #[must_use]
    pub fn has_kinds_of_users(&self) -> bool {
        !self.kinds_of_users().is_empty()
    }

    /// What clients may do if no client can log in: `anonymous`. By default they may do everything, but
    /// only pull if there is an upstream, because operators often give a cache, to which they push nothing, a public
    /// name.
    #[must_use]
    pub fn without_login(&self) -> &[Action] {
        match &self.anonymous {
            Some(actions) => actions,
            None if self.beside_upstream => &[Action::Pull],
            None => &Action::ALL,
        }
    }
}

/// How clients authenticate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// They do not; they may do what [`Auth::without_login`] says.
    #[default]
    Open,
    /// By user name and password, and by the tokens of `auth.oidc` and `auth.bucketkeys`, if there are any.
    Htpasswd,
    /// By the tokens of `auth.oidc`, and by `auth.bucketkeys`, without passwords.
    Oidc,
    /// By `auth.bucketkeys` alone.
    BucketKeys,
    /// By a token of a token server.
    Token,
}

/// `auth.htpasswd`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Htpasswd {
    /// What clients show when they ask for a password; by default the program's name.
    pub realm: Option<String>,
    /// A file of lines `user:bcrypt`. If it is missing, pounce creates it with one user.
    pub path: Option<PathBuf>,
    /// Such lines, or several with commas between them.
    pub users: Option<Secret>,
}

/// `auth.token`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Token {
    /// The URL where clients get tokens.
    pub realm: Option<WebUrl>,
    /// The registry's name there, and the `aud` of tokens.
    pub service: Option<String>,
    /// The `iss` of tokens.
    pub issuer: Option<String>,
    /// A PEM file with the certificates or public keys that sign tokens, or roots of such certificates.
    pub rootcertbundle: Option<PathBuf>,
    /// A JSON file with public keys that sign tokens (RFC 7517).
    pub jwks: Option<PathBuf>,
    /// The accepted algorithms; by default all that pounce knows.
    #[serde(deserialize_with = "lists::list")]
    pub signingalgorithms: Vec<SigningAlgorithm>,
    /// Whether clients get tokens at pounce's own host, at `autoredirectpath`, instead of at `realm`.
    pub autoredirect: Option<bool>,
    /// See `autoredirect`; by default distribution's `/auth/token/`.
    pub autoredirectpath: Option<String>,
}

impl Htpasswd {
    /// The realm, or its default.
    #[must_use]
    pub fn realm(&self) -> &str {
        self.realm.as_deref().unwrap_or("pounce")
    }
}

impl Token {
    /// Whether clients get tokens at pounce's own host, instead of at `realm`.
    #[must_use]
    pub fn is_beside(&self) -> bool {
        self.autoredirect.unwrap_or(false)
    }

    /// The path at which clients get tokens with `autoredirect`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.autoredirectpath.as_deref().unwrap_or("/auth/token/")
    }
}

/// An algorithm of RFC 7518 or RFC 8037 with a public key, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SigningAlgorithm(&'static str);

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self("RS256"),
        Self("RS384"),
        Self("RS512"),
        Self("PS256"),
        Self("PS384"),
        Self("PS512"),
        Self("ES256"),
        Self("ES384"),
        Self("EdDSA"),
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for SigningAlgorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.0 == text);
        found.ok_or("pounce knows RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA")
    }
}
