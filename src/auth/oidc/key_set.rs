//! The public keys of an issuer (JWK Set, RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of an issuer.
const MAX_KEYS: usize = 100;
/// The most keys that are tried for one token.
const MAX_TRIED: usize = 4;

/// The keys of an issuer that can sign tokens.
#[derive(Debug)]
pub(super) struct KeySet(Vec<IssuerKey>);

#[derive(Debug)]
struct IssuerKey {
    id: Option<String>,
    key: DecodingKey,
    /// The algorithms of its tokens: by its type, and what it says of itself.
    algorithms: Vec<Algorithm>,
}

#[derive(Deserialize)]
struct Written {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. Keys that pounce does not know, secrets and keys that are not for signatures are left out.
    ///
    /// # Errors
    /// It is no set of keys, or none of them can be used.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let written: Written =
            serde_json::from_slice(json).map_err(|error| format!("it is no set of keys: {error}"))?;
        let keys: Vec<IssuerKey> = written.keys.into_iter().take(MAX_KEYS).filter_map(IssuerKey::parse).collect();
        if keys.is_empty() {
            return Err("it has no key that can sign tokens".to_owned());
        }
        Ok(Self(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is a key with this id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// The keys that may have signed a token with this header: those with the id that it names, or else all; of these
    /// the ones for its algorithm. Whatever else the header says of keys (`jwk`, `jku`, `x5c`, `x5u`) does not count.
    pub(super) fn candidates(&self, header: &Header) -> impl Iterator<Item = &DecodingKey> {
        let is_named = |key: &&IssuerKey| header.kid.is_none() || key.id == header.kid;
        let fits = |key: &&IssuerKey| key.algorithms.contains(&header.alg);
        self.0.iter().filter(is_named).filter(fits).take(MAX_TRIED).map(|it| &it.key)
    }
}

impl IssuerKey {
    fn parse(written: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(written).ok()?;
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|key| key.family() != AlgorithmFamily::Hmac)?;
        let common = jwk.common;
        let is_for_signatures = common.public_key_use.is_none_or(|it| it == PublicKeyUse::Signature)
            && common.key_operations.is_none_or(|it| it.contains(&KeyOperations::Verify));
        if !is_for_signatures {
            return None;
        }
        let mut algorithms = of_type(&jwk.algorithm).to_vec();
        algorithms.retain(|it| common.key_algorithm.is_none_or(|said| said == KeyAlgorithm::from(*it)));
        (!algorithms.is_empty()).then_some(Self { id: common.key_id, key, algorithms })
    }
}

/// The algorithms of keys of a type.
fn of_type(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match parameters {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P256 => &[ES256],
        AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P384 => &[ES384],
        AlgorithmParameters::OctetKeyPair(it) if it.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of RFC 8037, appendix A.2.
    const POINT: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn candidates(key: &Value, header: &Header) -> usize {
        let set = json!({"keys": [{"kty": "none"}, key]}).to_string();
        KeySet::parse(set.as_bytes()).map_or(0, |set| set.candidates(header).count())
    }

    #[test]
    fn a_key_is_used_for_what_it_is_for() {
        let header = Header { kid: Some("1".to_owned()), ..Header::new(Algorithm::EdDSA) };
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": POINT, "kid": "1"});
        let with = |name: &str, value: Value| {
            let mut key = key.clone();
            key[name] = value;
            key
        };
        let good = [
            key.clone(),
            with("use", json!("sig")),
            with("alg", json!("EdDSA")),
            with("key_ops", json!(["sign", "verify"])),
            with("other", json!({"a": 1})),
        ];
        for key in good {
            assert_eq!(candidates(&key, &header), 1, "{key}");
        }
        for key in [
            with("use", json!("enc")),
            with("alg", json!("ES256")),
            with("alg", json!("HS256")),
            with("key_ops", json!(["sign"])),
            with("kid", json!("2")),
            with("kty", json!("oct")),
            with("crv", json!("X25519")),
            json!({"kty": "oct", "k": POINT, "kid": "1"}),
            json!({"kid": "1"}),
            json!("1"),
        ] {
            assert_eq!(candidates(&key, &header), 0, "{key}");
        }
        let without = Header::new(Algorithm::EdDSA);
        assert_eq!(candidates(&key, &without), 1);
        assert_eq!(candidates(&key, &Header::new(Algorithm::ES256)), 0);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "{}", "[]", r#"{"keys": []}"#, r#"{"keys": {}}"#, r#"{"keys": [1]}"#, "\u{0}"] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
