//! Tokens, as a token server signs them.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair, SignatureAlgorithm};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Pounce;

/// A token server's key, and its certificate.
pub struct Signer {
    pub algorithm: Algorithm,
    pub key: KeyPair,
    pub certificate: Certificate,
}

impl Signer {
    pub fn new(algorithm: Algorithm) -> Self {
        let kind: &'static SignatureAlgorithm = match algorithm {
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            _ => &rcgen::PKCS_RSA_SHA256,
        };
        let key = KeyPair::generate_for(kind).unwrap();
        let mut parameters = CertificateParams::new(vec!["token".to_owned()]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        Self { algorithm, key, certificate }
    }

    pub fn secret(&self) -> EncodingKey {
        let pem = self.key.serialize_pem();
        match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        }
        .unwrap()
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&Header::new(self.algorithm), claims)
    }

    pub fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.secret()).unwrap()
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The claims of a valid token.
pub fn claims(access: &Value) -> Value {
    json!({
        "iss": "the issuer", "aud": "the registry", "sub": "alice", "jti": "1", "access": access,
        "iat": now(), "nbf": now(), "exp": now() + 300,
    })
}

pub fn right(name: &str, actions: &[&str]) -> Value {
    json!([{"type": "repository", "name": name, "actions": actions}])
}

/// A pounce that trusts the content of these files.
pub(crate) async fn pounce_with(folder: &TempDir, setting: &str, content: &str, more: &[(&str, &str)]) -> Pounce {
    let path: PathBuf = folder.path().join(setting);
    std::fs::write(&path, content).unwrap();
    let setting = format!("REGISTRY_AUTH_TOKEN_{setting}");
    let mut variables = vec![
        ("REGISTRY_AUTH", "token"),
        ("REGISTRY_AUTH_TOKEN_REALM", "https://auth.example.com/token"),
        ("REGISTRY_AUTH_TOKEN_SERVICE", "the registry"),
        ("REGISTRY_AUTH_TOKEN_ISSUER", "the issuer"),
        (&setting, path.to_str().unwrap()),
    ];
    variables.extend(more);
    Pounce::with(&variables).await
}

pub(crate) async fn trusting(signer: &Signer, more: &[(&str, &str)]) -> Pounce {
    let folder = TempDir::new().unwrap();
    pounce_with(&folder, "ROOTCERTBUNDLE", &signer.certificate.pem(), more).await
}
