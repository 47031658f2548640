//! TLS: versions and protocols, client authentication, and the certificate in use.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::support::image::digest;
use crate::support::tls::Authority;
use crate::support::{Image, Pounce, Process, borrowed};

async fn pounce(variables: &[(&'static str, String)]) -> Pounce {
    Pounce::with(&borrowed(variables)).await
}

/// The first line of the answer to a request over HTTP/1.1.
async fn hello(mut connection: TlsStream<TcpStream>) -> std::io::Result<String> {
    let request = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    connection.write_all(request).await?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply).await?;
    Ok(reply.lines().next().unwrap_or_default().to_owned())
}

const OK: &str = "HTTP/1.1 200 OK";

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls() {
    let authority = Authority::new();
    authority.sign("server");
    let pounce = pounce(&authority.variables("server")).await;
    for version in [&TLS12, &TLS13] {
        let connection = authority.connect(pounce.addr, &[version], &["http/1.1"], None).await;
        assert_eq!(hello(connection.unwrap()).await.unwrap(), OK);
    }
    let both = authority.connect(pounce.addr, &[&TLS13], &["h2", "http/1.1"], None).await.unwrap();
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(both)).await.unwrap();
    let connection = tokio::spawn(connection);
    let asking = (0..20).map(|_| {
        let request = hyper::Request::get(format!("https://localhost:{}/v2/", pounce.addr.port()));
        sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap())
    });
    for response in futures_util::future::join_all(asking.collect::<Vec<_>>()).await {
        let response = response.unwrap();
        assert_eq!((response.status(), response.version()), (200.try_into().unwrap(), hyper::Version::HTTP_2));
        assert_eq!(&response.collect().await.unwrap().to_bytes()[..], b"{}");
    }
    drop(sender);
    connection.await.unwrap().unwrap();
    // A client without a TLS handshake gets no answer.
    let plain = crate::support::wire::exchange(pounce.addr, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!plain.contains("HTTP/1.1 200"), "{plain}");
}

/// A body in the answer to a HEAD breaks its stream (RFC 9113, section 8.1.1).
#[tokio::test]
async fn a_head_over_http_2_has_no_body() {
    let authority = Authority::new();
    authority.sign("server");
    let pounce = pounce(&authority.variables("server")).await;
    let connection = authority.connect(pounce.addr, &[&TLS13], &["h2"], None).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection)).await.unwrap();
    let connection = tokio::spawn(connection);
    for (path, status) in [
        ("/", 200),
        ("/v2/", 200),
        ("/v2/a/manifests/v1", 404),
        ("/healthz", 200),
        ("/nowhere", 404),
        // The SDK is a client of the embedded S3, too: it took each such answer for a broken connection, and tried four
        // times.
        ("/pounce", 403),
        ("/pounce/docker/no/such/key", 403),
    ] {
        let url = format!("https://localhost:{}{path}", pounce.addr.port());
        let request = hyper::Request::head(url);
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        let body = response.collect().await;
        assert!(body.is_ok_and(|body| body.to_bytes().is_empty()), "{path}");
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_may_be_opened_in_advance() {
    let authority = Authority::new();
    authority.sign("server");
    let mut variables = authority.variables("server");
    variables.push(("REGISTRY_HTTP_LIMITS_HEADERTIMEOUT", "1s".to_owned()));
    let pounce = pounce(&variables).await;
    for protocols in [&["http/1.1"][..], &["h2"]] {
        let mut spare = authority.connect(pounce.addr, &[&TLS13], protocols, None).await.unwrap();
        // The handshake does not count as a request's header. (An HTTP/2 server sends its settings first.)
        let mut first = [0; 1024];
        let closed = async { while spare.read(&mut first).await.is_ok_and(|read| read > 0) {} };
        let closed = tokio::time::timeout(Duration::from_secs(2), closed).await;
        assert!(closed.is_err(), "{protocols:?}");
        if protocols == ["http/1.1"] {
            assert_eq!(hello(spare).await.unwrap(), OK);
        }
    }
}

#[tokio::test]
async fn the_lowest_version_is_the_configured_one() {
    let authority = Authority::new();
    authority.sign("server");
    let mut variables = authority.variables("server");
    variables.push(("REGISTRY_HTTP_TLS_MINIMUMTLS", "tls1.3".to_owned()));
    let pounce = pounce(&variables).await;
    assert!(authority.connect(pounce.addr, &[&TLS12], &[], None).await.is_err());
    let connection = authority.connect(pounce.addr, &[&TLS13], &[], None).await.unwrap();
    assert_eq!(hello(connection).await.unwrap(), OK);
}

#[tokio::test]
async fn clients_show_certificates_where_they_have_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("server");
    authority.sign("client");
    stranger.sign("client");
    for (required, nobody_is_let_in) in
        [("require-and-verify-client-cert", false), ("verify-client-cert-if-given", true)]
    {
        let mut variables = authority.variables("server");
        variables.push(("REGISTRY_HTTP_TLS_CLIENTCAS", authority.text("root.crt")));
        variables.push(("REGISTRY_HTTP_TLS_CLIENTAUTH", required.to_owned()));
        let pounce = pounce(&variables).await;
        let cases = [
            (None, nobody_is_let_in),
            (Some(authority.path("client.crt")), true),
            (Some(stranger.path("client.crt")), false),
        ];
        for (shows, let_in) in cases {
            let connection = authority.connect(pounce.addr, &[&TLS13], &[], shows.as_deref()).await;
            // With TLS 1.3 a client learns of its refusal at its first read.
            let answer = match connection {
                Ok(connection) => hello(connection).await,
                Err(error) => Err(error),
            };
            assert_eq!(answer.is_ok_and(|line| line == OK), let_in, "{required} {shows:?}");
        }
    }
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let authority = Authority::new();
    authority.sign("server");
    let before = std::fs::read(authority.path("server.crt")).unwrap();
    let pounce = pounce(&authority.variables("server")).await;
    let shown = || async {
        let connection = authority.connect(pounce.addr, &[&TLS13], &[], None).await.unwrap();
        let chain = connection.get_ref().1.peer_certificates().unwrap();
        chain[0].to_vec()
    };
    let first = shown().await;
    // The key does not fit the certificate, so pounce keeps the old pair.
    authority.sign("other");
    std::fs::copy(authority.path("other.crt"), authority.path("server.crt")).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(shown().await, first);
    std::fs::copy(authority.path("other.key"), authority.path("server.key")).unwrap();
    let mut tries = 0;
    while shown().await == first {
        tries += 1;
        assert!(tries < 200, "it never changes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(std::fs::read(authority.path("server.crt")).unwrap(), before);
}

#[tokio::test]
async fn blobs_of_a_folder_are_fetched_over_tls_too() {
    let authority = Authority::new();
    authority.sign("server");
    let pounce = pounce(&authority.variables("server")).await;
    let root = std::fs::read(authority.path("root.crt")).unwrap();
    let client =
        reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&root).unwrap()]).build().unwrap();
    let url = |path: &str| format!("https://localhost:{}{path}", pounce.addr.port());
    let image = Image::new(1, &[100_000]);
    let blob = image.layer().clone();
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&blob));
    let pushed = client.post(url(&path)).body(blob.clone()).send().await.unwrap();
    assert_eq!(pushed.status(), 201);
    // The client follows the redirect itself.
    let pulled = client.get(url(&format!("/v2/a/blobs/{}", digest(&blob)))).send().await.unwrap();
    assert_eq!(pulled.url().scheme(), "https");
    assert_eq!(pulled.bytes().await.unwrap(), blob);
}

#[tokio::test]
async fn what_is_wrong_with_certificates_is_said_at_start() {
    let authority = Authority::new();
    authority.sign("server");
    authority.sign("other");
    std::fs::write(authority.path("empty"), "").unwrap();
    let file = |name: &str| authority.text(name);
    let cases = [
        (file("missing"), file("server.key"), "http.tls.certificate"),
        (file("empty"), file("server.key"), "http.tls.certificate"),
        (file("server.crt"), file("missing"), "http.tls.key"),
        (file("server.crt"), file("server.crt"), "http.tls.key"),
        (file("server.crt"), file("other.key"), "http.tls.key"),
    ];
    for (certificate, key, setting) in cases {
        let folder = tempfile::TempDir::new().unwrap();
        let output = crate::support::process::command(folder.path())
            .env("REGISTRY_HTTP_TLS_CERTIFICATE", certificate)
            .env("REGISTRY_HTTP_TLS_KEY", key)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(setting), "{setting}: {said}");
    }
}

/// An upstream with TLS cannot make pounce fetch a token without TLS.
#[tokio::test]
async fn a_realm_is_reached_as_safely_as_the_upstream() {
    let authority = Authority::new();
    authority.sign("server");
    let inside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realm = format!("http://{}/latest/meta-data", inside.local_addr().unwrap());
    let mut variables = authority.variables("server");
    variables.extend([
        ("REGISTRY_AUTH", "token".to_owned()),
        ("REGISTRY_AUTH_TOKEN_REALM", realm),
        ("REGISTRY_AUTH_TOKEN_SERVICE", "s".to_owned()),
        ("REGISTRY_AUTH_TOKEN_ISSUER", "i".to_owned()),
        ("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", authority.text("root.crt")),
    ]);
    let upstream = pounce(&variables).await;
    let url = format!("https://localhost:{}", upstream.addr.port());
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &url), ("SSL_CERT_FILE", &authority.text("root.crt"))]);
    let reply = reqwest::get(process.url("/v2/a/b/manifests/v1")).await.unwrap();
    assert_eq!(reply.status(), 503);
    process.terminate();
    let (_, log) = process.end();
    assert!(log.contains("its token realm is reached by http"), "{log}");
    let asked = tokio::time::timeout(Duration::from_millis(100), inside.accept()).await;
    assert!(asked.is_err(), "somebody asked");
}
