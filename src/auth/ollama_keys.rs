//! The keys with which Ollama logs in.
//!
//! A client signs the one request that gets it a token: `GET,<URL>,<digest of the empty body>`, with the time in the
//! URL's query. Another client that sees the request can repeat it while its time is recent. So a token is good only
//! for the scopes that the request asks for, and ends when the request cannot be repeated any more.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::config::{OllamaKey, SshKey};

/// The allowed difference of pounce's and the client's clock, in seconds.
pub(super) const SKEW: u64 = 300;
/// The digest of an empty body: base64 of the hexadecimal SHA-256.
const OF_NO_BODY: &str = "ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ==";

/// A signed request for a token.
#[derive(Clone, Debug)]
pub struct OllamaLogin<'a> {
    /// `Authorization`: the key and the signature, in base64 with a colon between them.
    pub authorization: &'a str,
    /// The URL that the client called: with `http` and with `https`, because a proxy in front may hide which.
    pub urls: [String; 2],
    /// The time in its query, in seconds since 1970.
    pub time: u64,
    /// The scopes in its query, with a blank between them.
    pub scopes: String,
}

/// Why a login is refused; for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OllamaKeyError {
    /// It is no key and no signature.
    #[error("an Ollama sent a malformed key")]
    Malformed,
    /// `auth.ollama.keys` does not have the key.
    #[error("the Ollama key {0} is not in auth.ollama.keys")]
    Unknown(String),
    /// The signature is not the key's, for this URL.
    #[error("the signature is not that of the Ollama key {0} for this registry's URL (http.host)")]
    Signature(String),
    /// The request is old, or the client's clock is wrong.
    #[error("the Ollama key {0} signed at a time that is more than 5 minutes from now")]
    Time(String),
}

/// Users by their keys.
#[derive(Debug)]
pub(super) struct OllamaKeys(HashMap<SshKey, Arc<str>>);

impl OllamaKeys {
    pub(super) fn new(keys: &[OllamaKey]) -> Self {
        // A loaded configuration has both of each.
        let pairs = keys.iter().filter_map(|it| Some((it.key?, Arc::from(it.user.as_deref()?))));
        Self(pairs.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The user of a key, which may be one in hexadecimal in a token of an earlier configuration.
    pub(super) fn user(&self, key: &str) -> Option<&Arc<str>> {
        let mut bytes = [0; 32];
        const_hex::decode_to_slice(key, &mut bytes).ok()?;
        self.0.iter().find(|(key, _)| *key.bytes() == bytes).map(|(_, user)| user)
    }

    /// The key of a login, and its user. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// See [`OllamaKeyError`].
    pub(super) fn verify(&self, login: &OllamaLogin<'_>, now: u64) -> Result<(SshKey, &Arc<str>), OllamaKeyError> {
        let (key, signature) = login.authorization.split_once(':').ok_or(OllamaKeyError::Malformed)?;
        let key = SshKey::from_base64(key).ok_or(OllamaKeyError::Malformed)?;
        let signature = STANDARD.decode(signature).map_err(|_| OllamaKeyError::Malformed)?;
        let user = self.0.get(&key).ok_or_else(|| OllamaKeyError::Unknown(key.fingerprint()))?;
        if !login.urls.iter().any(|url| is_signed(&key, &signature, url)) {
            return Err(OllamaKeyError::Signature(key.fingerprint()));
        }
        if login.time.abs_diff(now) > SKEW {
            return Err(OllamaKeyError::Time(key.fingerprint()));
        }
        Ok((key, user))
    }
}

/// Whether the key signed a GET of the URL.
fn is_signed(key: &SshKey, signature: &[u8], url: &str) -> bool {
    let (key, message) = (DecodingKey::from_ed_der(key.bytes()), format!("GET,{url},{OF_NO_BODY}"));
    let signature = URL_SAFE_NO_PAD.encode(signature);
    jsonwebtoken::crypto::verify(&signature, message.as_bytes(), &key, Algorithm::EdDSA).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_digest_is_that_of_nothing() {
        assert_eq!(STANDARD.encode(const_hex::encode(Sha256::digest(b""))), OF_NO_BODY);
    }

    #[test]
    fn what_is_no_key_and_no_signature_is_refused() {
        let known =
            SshKey::from_base64("AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH").unwrap();
        let keys = OllamaKeys::new(&[OllamaKey { key: Some(known), user: Some("alice".to_owned()) }]);
        let key = known.to_string().split_once(' ').unwrap().1.to_owned();
        let refused = |authorization: &str| {
            let urls = ["http://a/".to_owned(), "https://a/".to_owned()];
            let login = OllamaLogin { authorization, urls, time: 1000, scopes: String::new() };
            keys.verify(&login, 1000).unwrap_err()
        };
        for text in ["", ":", "a:b", &key, &format!("{key}x:AAAA"), &format!("{key}:not base64")] {
            assert_eq!(refused(text), OllamaKeyError::Malformed, "{text}");
        }
        for signature in ["", "AAAA", &"AAAA".repeat(22)] {
            let error = refused(&format!("{key}:{signature}"));
            assert_eq!(error, OllamaKeyError::Signature(known.fingerprint()), "{signature}");
        }
        assert_eq!(keys.user(&const_hex::encode(known.bytes())).map(|user| &**user), Some("alice"));
        assert!(keys.user("").is_none() && keys.user(&"00".repeat(32)).is_none());
    }
}
