//! TLS (`http.tls`): certificates that are read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::{self, ClientAuth, MinimumTls};
use crate::reload::Reloaded;

/// HTTP/2 for those who know it (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why connections cannot be encrypted, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {}: {message}", path.display())]
pub struct TlsError {
    setting: &'static str,
    path: PathBuf,
    message: String,
}

/// How connections are encrypted, as the files say at the moment.
#[derive(Clone)]
pub struct Tls(Reloaded<ServerConfig>);

impl Tls {
    /// Reads the certificates; `None` where none is configured.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be; the key is not the certificate's.
    pub fn open(config: &config::Tls) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(_)) = (&config.certificate, &config.key) else {
            return Ok(None);
        };
        let files = [certificate].into_iter().chain(&config.key);
        let files = files.chain(&config.clientcas).cloned().collect();
        let config = config.clone();
        let live = Reloaded::of("http.tls", files, move || read(&config))?;
        Ok(Some(Self(live)))
    }

    /// For the next connection.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.get()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn read(config: &config::Tls) -> Result<ServerConfig, TlsError> {
    let (certificate, key) =
        (config.certificate.as_deref().unwrap_or(Path::new("")), config.key.as_deref().unwrap_or(Path::new("")));
    let chain = certificates("http.tls.certificate", certificate)?;
    let of_key = |message: String| TlsError { setting: "http.tls.key", path: key.to_owned(), message };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of_key(error.to_string()))?;
    let versions: &[_] = match config.minimumtls {
        MinimumTls::Tls12 => &[&TLS12, &TLS13],
        MinimumTls::Tls13 => &[&TLS13],
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| of_key(error.to_string()))?;
    let builder = if config.clientcas.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for path in &config.clientcas {
            let setting = "http.tls.clientcas";
            for root in certificates(setting, path)? {
                let added = roots.add(root);
                added.map_err(|error| wrong(setting, path, error.to_string()))?;
            }
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match config.clientauth {
            ClientAuth::RequireAndVerifyClientCert => verifier,
            ClientAuth::VerifyClientCertIfGiven => verifier.allow_unauthenticated(),
        };
        let first = config.clientcas.first().map_or(Path::new(""), |path| path);
        let verifier = verifier.build().map_err(|error| wrong("http.tls.clientcas", first, error.to_string()))?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut server = builder.with_single_cert(chain, private).map_err(|error| of_key(error.to_string()))?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(server)
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path);
    let read = read.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => {
            let message = "there is no certificate in it".to_owned();
            Err(wrong(setting, path, message))
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(setting, path, error.to_string())),
    }
}

fn wrong(setting: &'static str, path: &Path, message: String) -> TlsError {
    TlsError { setting, path: path.to_owned(), message }
}
