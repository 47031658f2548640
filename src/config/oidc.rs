//! `auth.oidc`: issuers whose tokens (OIDC) log clients in, in place of passwords.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::durations;
use super::error::ConfigError;
use super::hosts::WebUrl;
use super::patterns::ClaimPattern;
use super::user_template::UserTemplate;
use super::values::deserialize_from_str;

/// The lifetime of pounce's own token, where it is not set.
const LIFE: Duration = Duration::from_hours(1);
/// The bounds of that lifetime.
const LIVES: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(12);
/// The most providers: one that is not named by its client is looked for among all.
const MAX_PROVIDERS: usize = 64;
/// The most patterns of one claim.
const MAX_PATTERNS: usize = 1000;

/// An element of `auth.oidc`. A loaded one has a name, an issuer, an audience, claims and a user.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcProvider {
    /// What clients send as the name of the user, and what the names of its users begin with, before a colon.
    pub name: Option<String>,
    /// The `iss` of tokens, and the URL below which the issuer's discovery document is.
    pub issuer: Option<SecureUrl>,
    /// The `aud` of tokens, or one of them.
    pub audience: Option<String>,
    /// What tokens must have: a pattern of each of these claims must match.
    pub claims: BTreeMap<String, Vec<ClaimPattern>>,
    /// The name of the user, behind the provider's.
    pub user: Option<UserTemplate>,
    /// A PEM file with CAs that are trusted for this issuer beside the system's.
    pub ca: Option<PathBuf>,
    /// A file with a token that the issuer demands for its documents; it is read anew for each request.
    pub tokenfile: Option<PathBuf>,
    /// Where the discovery document is, if not at the issuer.
    pub discovery: Option<SecureUrl>,
    /// Where the keys are, in place of what a discovery document says.
    pub jwks: Option<SecureUrl>,
    /// How long the token is good that pounce gives for the issuer's.
    #[serde(with = "durations")]
    pub life: Duration,
}

impl Default for OidcProvider {
    fn default() -> Self {
        Self {
            name: None,
            issuer: None,
            audience: None,
            claims: BTreeMap::new(),
            user: None,
            ca: None,
            tokenfile: None,
            discovery: None,
            jwks: None,
            life: LIFE,
        }
    }
}

impl OidcProvider {
    /// Its name; a loaded provider has one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// An `https` URL, or an `http` one of this machine, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureUrl {
    text: String,
    url: Url,
}

impl SecureUrl {
    /// The URL as it was written: an issuer's is compared as a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.url
    }
}

impl FromStr for SecureUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = text.parse::<WebUrl>()?.as_url().clone();
        if !is_secure(&url) {
            return Err("the URL must begin with https://, because keys come from there; http:// is for this machine");
        }
        Ok(Self { text: text.to_owned(), url })
    }
}

/// Whether no other machine can change what comes from this URL: it is `https`, or at a loopback address.
#[must_use]
pub fn is_secure(url: &Url) -> bool {
    let is_loopback = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    url.scheme() == "https" || (url.scheme() == "http" && url.host_str().is_some_and(is_loopback))
}

impl Serialize for SecureUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

deserialize_from_str!(SecureUrl);

/// `errors` gets the mistakes.
pub(super) fn check(providers: &[OidcProvider], errors: &mut Vec<ConfigError>) {
    let mut mistake = |setting: String, message: &str| errors.push(ConfigError::value(setting, message));
    if providers.len() > MAX_PROVIDERS {
        mistake("auth.oidc".to_owned(), "has more than 64 elements");
    }
    for (index, provider) in providers.iter().enumerate() {
        let setting = |field: &str| format!("auth.oidc.{index}.{field}");
        let name = provider.name();
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match name {
            "" => mistake(setting("name"), "is missing: what clients send as the user's name, as in github"),
            name if !name.chars().all(is_name) || name.len() > 64 => {
                mistake(setting("name"), "has lower-case letters, digits and '-', at most 64 of them");
            }
            name if providers[..index].iter().any(|it| it.name() == name) => {
                mistake(setting("name"), "is another provider's already");
            }
            _ => {}
        }
        if provider.issuer.is_none() {
            mistake(setting("issuer"), "is missing: the iss of its tokens, as in https://gitlab.com");
        }
        if provider.audience.as_deref().is_none_or(|it| it.trim().is_empty()) {
            let message = "is missing: the aud of the tokens that are meant for this registry, as in \
                           https://registry.example.com; without one, tokens for others would log in here";
            mistake(setting("audience"), message);
        }
        if provider.claims.is_empty() {
            let message = "are missing: without any, every client that the issuer gives a token could log in";
            mistake(setting("claims"), message);
        }
        for (claim, patterns) in &provider.claims {
            let setting = || setting(&format!("claims.{claim}"));
            if !is_path(claim) {
                let message = "the name of a claim, or a JSON pointer into one, as in /kubernetes.io/namespace";
                mistake(setting(), message);
            }
            if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
                mistake(setting(), "needs a list of values or patterns, up to 1000 of them");
            }
        }
        match &provider.user {
            None => mistake(setting("user"), "is missing: the user's name with claims in it, as in {repository}@{ref}"),
            Some(user) => {
                let unlisted = user.claims().find(|it| *it != "sub" && !provider.claims.contains_key(*it));
                if let Some(claim) = unlisted {
                    let message =
                        format!("names the claim {claim}, which is not in claims: only sub need not be there");
                    mistake(setting("user"), &message);
                }
            }
        }
        if provider.discovery.is_some() && provider.jwks.is_some() {
            mistake(setting("jwks"), "is one way to the keys, and discovery another: choose");
        }
        for (field, path) in [("ca", &provider.ca), ("tokenfile", &provider.tokenfile)] {
            if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
                mistake(setting(field), "is empty");
            }
        }
        if !LIVES.contains(&provider.life) {
            mistake(setting("life"), "a token of pounce's is good from 1m to 12h");
        }
    }
}

/// Whether a text is the name of a claim, or a JSON pointer (RFC 6901, section 3), which begins with a slash.
fn is_path(text: &str) -> bool {
    let escapes = text.split('~').skip(1);
    let is_pointer = text.len() > 1 && escapes.into_iter().all(|rest| rest.starts_with(['0', '1']));
    let is_odd = |c: char| c.is_control() || matches!(c, '{' | '}');
    !text.is_empty() && !text.contains(is_odd) && (!text.starts_with('/') || is_pointer)
}

/// Sentences for the log: patterns that say nothing.
pub(super) fn notices(providers: &[OidcProvider]) -> Vec<String> {
    let mut notices = Vec::new();
    for (index, provider) in providers.iter().enumerate() {
        for (claim, patterns) in &provider.claims {
            let setting = format!("auth.oidc.{index}.claims.{claim}");
            if patterns.iter().any(ClaimPattern::is_all) {
                notices.push(format!("{setting}: * lets in every value of the claim: write those that you mean"));
                continue;
            }
            for (at, pattern) in patterns.iter().enumerate() {
                let others = patterns.iter().enumerate().filter(|(other, _)| *other != at);
                let covers =
                    |(other, it): (usize, &ClaimPattern)| it.covers(pattern) && (other < at || !pattern.covers(it));
                if others.into_iter().any(covers) {
                    let text = pattern.as_str();
                    notices.push(format!("{setting}: {text} matches nothing that another pattern does not match"));
                }
            }
        }
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_reached_so_that_no_other_machine_can_change_its_keys() {
        for text in [
            "https://token.actions.githubusercontent.com",
            "https://oidc.fly.io/my-org/",
            "http://127.0.0.1:8080",
            "http://[::1]:8080/x",
            "http://localhost",
        ] {
            assert_eq!(text.parse::<SecureUrl>().unwrap().as_str(), text);
        }
        for text in [
            "http://gitlab.example.com",
            "http://10.0.0.1",
            "http://169.254.169.254",
            "http://localhost.example.com",
            "https://user:pw@a.example.com",
            "https://a.example.com/?x",
            "https://a.example.com/#x",
            "a.example.com",
            "file:///etc/passwd",
            "",
        ] {
            assert!(text.parse::<SecureUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_is_a_name_or_a_json_pointer() {
        for text in
            ["sub", "repository_id", "kubernetes.io", "https://example.com/x", "/kubernetes.io/pod/name", "/a~1b"]
        {
            assert!(is_path(text), "{text}");
        }
        for text in ["", "/", "/a~", "/a~2", "a\n", "a{b}"] {
            assert!(!is_path(text), "{text}");
        }
    }
}
