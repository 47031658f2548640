//! The public keys that tokens are signed with.

use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Header};
use tokio_rustls::rustls::pki_types::pem::{PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, crypto::aws_lc_rs};

use super::AuthError;

/// The keys that are trusted.
#[derive(Debug)]
pub(super) struct Keys {
    known: Vec<Known>,
    /// Who vouches for the certificates that tokens bring along (`x5c`): as for those of TLS clients, so one that names
    /// purposes has to name that of a client.
    roots: Option<Arc<dyn ClientCertVerifier>>,
}

#[derive(Debug)]
struct Known {
    id: Option<String>,
    key: DecodingKey,
}

impl Keys {
    /// Reads a PEM file and a JSON file, of which one may be missing.
    ///
    /// # Errors
    /// One of them cannot be read, or has no key that tokens can be signed with.
    pub(super) fn read(bundle: Option<&Path>, jwks: Option<&Path>) -> Result<Self, AuthError> {
        let mut keys = Self { known: Vec::new(), roots: None };
        if let Some(path) = bundle {
            let setting = "auth.token.rootcertbundle";
            let text = read(setting, path)?;
            keys.take_pem(&text);
            keys.require_some(setting, path)?;
        }
        if let Some(path) = jwks {
            let setting = "auth.token.jwks";
            let wrong = |message: String| AuthError::Keys { setting, path: path.to_owned(), message };
            let text = read(setting, path)?;
            let set: JwkSet = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
            let known = set.keys.iter().filter_map(|jwk: &Jwk| {
                let key = DecodingKey::from_jwk(jwk).ok()?;
                Some(Known { id: jwk.common.key_id.clone(), key })
            });
            // A secret in such a file is not one that only the token server has.
            let before = keys.known.len();
            keys.known.extend(known.filter(|known| known.key.family() != AlgorithmFamily::Hmac));
            if keys.known.len() == before {
                return Err(wrong("there is no public key in it".to_owned()));
            }
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
            self.known.extend(decoding_key(label, &der).map(|key| Known { id: None, key }));
            if kind == SectionKind::Certificate {
                // One that nothing can be built on is a key all the same.
                let _ = roots.add(CertificateDer::from(der));
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.roots = verifier.build().ok();
    }

    fn require_some(&self, setting: &'static str, path: &Path) -> Result<(), AuthError> {
        if self.known.is_empty() {
            return Err(AuthError::Keys {
                setting,
                path: path.to_owned(),
                message: "there is no certificate or public key in it".to_owned(),
            });
        }
        Ok(())
    }

    /// The trusted keys that may have signed a token with this header: those it names, or else all, since servers name
    /// keys in several ways; and the one of the certificate that it brings along, if that leads to a trusted one.
    pub(super) fn of(&self, header: &Header) -> Vec<DecodingKey> {
        let family = |key: &DecodingKey| key.family() == header.alg.family();
        let fitting: Vec<&Known> = self.known.iter().filter(|known| family(&known.key)).collect();
        let named = |known: &&&Known| known.id.is_some() && known.id == header.kid;
        let mut keys: Vec<DecodingKey> = match fitting.iter().find(named) {
            Some(known) => vec![known.key.clone()],
            None => fitting.iter().map(|known| known.key.clone()).collect(),
        };
        keys.extend(self.brought_along(header).filter(family));
        keys
    }

    fn brought_along(&self, header: &Header) -> Option<DecodingKey> {
        let chain: Vec<CertificateDer<'_>> = header.x5c_der().ok()??.into_iter().map(CertificateDer::from).collect();
        let (leaf, intermediates) = chain.split_first()?;
        let verified = self.roots.as_ref()?.verify_client_cert(leaf, intermediates, UnixTime::now());
        verified.ok()?;
        decoding_key("CERTIFICATE", leaf)
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, AuthError> {
    std::fs::read(path).map_err(|source| AuthError::Read { setting, path: path.to_owned(), source })
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
