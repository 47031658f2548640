//! A liveness probe of a pounce on the same machine, for health checks in images that have no HTTP client.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::config::Http;

/// How long the whole probe may take.
const TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const ALIVE: &[u8] = b"HTTP/1.1 200 ";

/// Requests `/healthz` at `http.addr`, within five seconds. Where clients need a certificate (`http.tls.clientcas`), a
/// listener that accepts connections counts as alive.
///
/// # Errors
/// It is not alive; the reason, in a few words.
pub(crate) async fn probe_liveness(http: &Http) -> Result<(), String> {
    match tokio::time::timeout(TIMEOUT, probe(http)).await {
        Ok(probed) => probed.map_err(|error| error.to_string()),
        Err(_) => Err("there was no answer within 5 seconds".to_owned()),
    }
}

async fn probe(http: &Http) -> std::io::Result<()> {
    let stream = TcpStream::connect(http.addr.to_reach()).await?;
    if http.tls.certificate.is_none() {
        return exchange(stream).await;
    }
    if !http.tls.clientcas.is_empty() {
        return Ok(());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)).with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    exchange(connector.connect(name, stream).await?).await
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    stream.write_all(REQUEST).await?;
    let mut status = [0; ALIVE.len()];
    stream.read_exact(&mut status).await?;
    if status == ALIVE { Ok(()) } else { Err(std::io::Error::other("it answers, but not with 200")) }
}

/// Accepts any certificate, because it is for the name that clients use, and the probe sends nothing secret.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}
