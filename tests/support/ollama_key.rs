//! The key of an Ollama, and the requests that it signs with it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::Algorithm;
use rcgen::PublicKeyData;
use reqwest::header::HeaderMap;
use sha2::{Digest, Sha256};
use url::form_urlencoded::Serializer;

use super::signer::Signer;

/// `~/.ollama/id_ed25519`
pub struct OllamaKey(Signer);

/// `WWW-Authenticate`, as `server/images.go` reads it.
pub struct Challenge {
    pub realm: String,
    pub service: String,
    pub scope: String,
}

impl OllamaKey {
    pub fn new() -> Self {
        Self(Signer::new(Algorithm::EdDSA))
    }

    /// The wire form of the public key (RFC 8709, section 4), in base64.
    pub fn blob(&self) -> String {
        let key = self.0.key.der_bytes();
        let mut blob = Vec::new();
        for text in [&b"ssh-ed25519"[..], key] {
            blob.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(text);
        }
        STANDARD.encode(blob)
    }

    /// `~/.ollama/id_ed25519.pub`
    pub fn public(&self) -> String {
        format!("ssh-ed25519 {}", self.blob())
    }

    /// The `Authorization` of a GET of this URL.
    pub fn authorization(&self, url: &str) -> String {
        let of_nothing = STANDARD.encode(const_hex::encode(Sha256::digest(b"")));
        let signed = format!("GET,{url},{of_nothing}");
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.0.secret(), Algorithm::EdDSA).unwrap();
        let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
        format!("{}:{}", self.blob(), STANDARD.encode(signature))
    }
}

pub fn challenge(headers: &HeaderMap) -> Challenge {
    let text = headers["www-authenticate"].to_str().unwrap();
    let text = text.strip_prefix("Bearer ").unwrap();
    let value = |key: &str| {
        let rest = text.split_once(&format!("{key}=\"")).map_or("", |(_, rest)| rest);
        // Up to a quote before a comma or the end.
        let end = rest.find("\",").unwrap_or(rest.len().saturating_sub(1));
        rest[..end].trim_end_matches('"').to_owned()
    };
    Challenge { realm: value("realm"), service: value("service"), scope: value("scope") }
}

/// The URL at which it asks for a token: the query sorted by its keys, as Go encodes it.
pub fn token_request(challenge: &Challenge, ts: u64, nonce: &str) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("nonce", nonce);
    for scope in challenge.scope.split(' ') {
        query.append_pair("scope", scope);
    }
    query.append_pair("service", &challenge.service);
    query.append_pair("ts", &ts.to_string());
    format!("{}?{}", challenge.realm, query.finish())
}
