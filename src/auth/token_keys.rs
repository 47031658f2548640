//! The public keys that verify tokens.

use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Header};
use tokio_rustls::rustls::pki_types::pem::{PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, crypto::aws_lc_rs};

use super::error::AuthError;
use crate::bounded_file;

/// The longest file of keys or certificates, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The trusted keys.
#[derive(Debug)]
pub(super) struct TokenKeys {
    keys: Vec<TokenKey>,
    /// Verifies the certificates in tokens (`x5c`), like those of TLS clients; so one with purposes must have that of a
    /// client.
    roots: Option<Arc<dyn ClientCertVerifier>>,
}

#[derive(Debug)]
struct TokenKey {
    id: Option<String>,
    key: DecodingKey,
}

impl TokenKeys {
    /// Reads a PEM file, a JSON file, or both.
    ///
    /// # Errors
    /// A file cannot be read, or has no public key.
    pub(super) fn read(bundle: Option<&Path>, jwks: Option<&Path>) -> Result<Self, AuthError> {
        let mut keys = Self { keys: Vec::new(), roots: None };
        if let Some(path) = bundle {
            let setting = "auth.token.rootcertbundle";
            keys.take_pem(&read(setting, path)?);
            if keys.keys.is_empty() {
                let message = "there is no certificate or public key in it".to_owned();
                return Err(AuthError::Keys { setting, path: path.to_owned(), message });
            }
        }
        if let Some(path) = jwks {
            let setting = "auth.token.jwks";
            let error = |message: String| AuthError::Keys { setting, path: path.to_owned(), message };
            let text = read(setting, path)?;
            let set: JwkSet = serde_json::from_slice(&text).map_err(|cause| error(cause.to_string()))?;
            let mut found: Vec<TokenKey> = set.keys.iter().filter_map(TokenKey::from_jwk).collect();
            if found.is_empty() {
                return Err(error("there is no public key in it".to_owned()));
            }
            keys.keys.append(&mut found);
        }
        Ok(keys)
    }

    fn take_pem(&mut self, text: &[u8]) {
        let mut roots = RootCertStore::empty();
        let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text);
        for (kind, der) in sections.filter_map(Result::ok) {
            let label = match kind {
                SectionKind::Certificate => "CERTIFICATE",
                SectionKind::PublicKey => "PUBLIC KEY",
                _ => continue,
            };
            self.keys.extend(decoding_key(label, &der).map(|key| TokenKey { id: None, key }));
            if kind == SectionKind::Certificate {
                // A certificate that cannot be a root is a key all the same.
                let _ = roots.add(CertificateDer::from(der));
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.roots = verifier.build().ok();
    }

    /// The trusted keys that may have signed a token with this header: the one that it names, or else all, because
    /// servers name keys in several ways; and that of the certificate in it, if a trusted one vouches for that.
    pub(super) fn candidates(&self, header: &Header) -> Vec<DecodingKey> {
        let is_family = |key: &DecodingKey| key.family() == header.alg.family();
        let of_family: Vec<&TokenKey> = self.keys.iter().filter(|it| is_family(&it.key)).collect();
        let named = of_family.iter().find(|it| it.id.is_some() && it.id == header.kid);
        let mut keys: Vec<DecodingKey> = match named {
            Some(named) => vec![named.key.clone()],
            None => of_family.iter().map(|it| it.key.clone()).collect(),
        };
        keys.extend(self.enclosed(header).filter(is_family));
        keys
    }

    /// The key of the certificate in a token's header (`x5c`).
    fn enclosed(&self, header: &Header) -> Option<DecodingKey> {
        let chain: Vec<CertificateDer<'_>> = header.x5c_der().ok()??.into_iter().map(CertificateDer::from).collect();
        let (leaf, intermediates) = chain.split_first()?;
        let verified = self.roots.as_ref()?.verify_client_cert(leaf, intermediates, UnixTime::now());
        verified.ok()?;
        decoding_key("CERTIFICATE", leaf)
    }
}

impl TokenKey {
    /// `None` for a secret, which others than the token server may have.
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let key = DecodingKey::from_jwk(jwk).ok().filter(|key| key.family() != AlgorithmFamily::Hmac)?;
        Some(Self { id: jwk.common.key_id.clone(), key })
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, AuthError> {
    bounded_file::read(path, MAX_FILE).map_err(|source| AuthError::Read { setting, path: path.to_owned(), source })
}

/// The public key of a certificate, or a public key itself.
fn decoding_key(label: &str, der: &[u8]) -> Option<DecodingKey> {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    DecodingKey::from_rsa_pem(pem.as_bytes())
        .or_else(|_| DecodingKey::from_ec_pem(pem.as_bytes()))
        .or_else(|_| DecodingKey::from_ed_pem(pem.as_bytes()))
        .ok()
}
