//! TLS (`http.tls`): certificates that are read again when they change.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use crate::config::{self, ClientAuth, MinimumTls};
use crate::reload::Reloaded;

/// For ALPN (RFC 7301), in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why the certificates cannot be used, in a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {}: {message}", path.display())]
pub struct TlsError {
    setting: &'static str,
    path: PathBuf,
    message: String,
}

/// The TLS configuration, which follows its files.
#[derive(Clone)]
pub struct Tls(Reloaded<ServerConfig>);

impl Tls {
    /// Reads the certificates; `None` where none is configured.
    ///
    /// # Errors
    /// A file cannot be read or parsed, or the key is not the certificate's.
    pub fn open(config: &config::Tls) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(_)) = (&config.certificate, &config.key) else {
            return Ok(None);
        };
        let files = [certificate].into_iter().chain(&config.key);
        let files = files.chain(&config.clientcas).cloned().collect();
        let config = config.clone();
        Ok(Some(Self(Reloaded::of("http.tls", files, move || read(&config))?)))
    }

    /// The configuration for the next connection.
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
    let invalid_key = |error: rustls::Error| invalid("http.tls.key", key, error);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| invalid("http.tls.key", key, error))?;
    let versions: &[_] = match config.minimumtls {
        MinimumTls::Tls12 => &[&TLS12, &TLS13],
        MinimumTls::Tls13 => &[&TLS13],
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(invalid_key)?;
    let builder = match client_verifier(config, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, private).map_err(invalid_key)?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(server)
}

/// Verifies clients' certificates; `None` where clients need none.
fn client_verifier(
    config: &config::Tls,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    const SETTING: &str = "http.tls.clientcas";
    let Some(first) = config.clientcas.first() else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for path in &config.clientcas {
        for root in certificates(SETTING, path)? {
            roots.add(root).map_err(|error| invalid(SETTING, path, error))?;
        }
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match config.clientauth {
        ClientAuth::RequireAndVerifyClientCert => verifier,
        ClientAuth::VerifyClientCertIfGiven => verifier.allow_unauthenticated(),
    };
    verifier.build().map(Some).map_err(|error| invalid(SETTING, first, error))
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(chain) if chain.is_empty() => Err(invalid(setting, path, "there is no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(invalid(setting, path, error)),
    }
}

fn invalid(setting: &'static str, path: &Path, error: impl Display) -> TlsError {
    TlsError { setting, path: path.to_owned(), message: error.to_string() }
}
