//! A machine that reaches other hosts through a proxy, and trusts a CA of its own: `HTTPS_PROXY`, `NO_PROXY`,
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` apply to upstreams and the bucket.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use pounce::config::{Config, Environment};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::image::digest;
use crate::support::tls::Authority;
use crate::support::{Image, Pounce, Process, borrowed};

/// A proxy that only knows `CONNECT`, and resolves every name to this machine.
struct Proxy {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&seen)));
            }
        });
        Self { addr, asked }
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The hosts that clients asked it for.
    fn hosts(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let mut hosts: Vec<String> = asked
            .iter()
            .map(|line| {
                let target = line.strip_prefix("CONNECT ").unwrap_or(line);
                target.split(':').next().unwrap().to_owned()
            })
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

async fn serve(connection: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut client = BufReader::new(connection);
    let mut first = String::new();
    client.read_line(&mut first).await.ok()?;
    seen.lock().unwrap().push(first.clone());
    let mut line = String::new();
    while client.read_line(&mut line).await.ok()? > 2 {
        line.clear();
    }
    let target = first.strip_prefix("CONNECT ")?.split(' ').next()?;
    let port = target.rsplit(':').next()?;
    let mut server = TcpStream::connect(format!("127.0.0.1:{port}")).await.ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

const NAMES: [&str; 3] = ["org/a", "org/b", "org/c"];

fn image(index: usize) -> Image {
    Image::new(index as u64, &[1000])
}

/// An upstream and a bucket over TLS, and the variables of a pounce that uses both by names that only a proxy resolves.
async fn behind(authority: &Authority) -> (Pounce, Pounce, Vec<(&'static str, String)>) {
    authority.sign("server");
    let variables = authority.variables("server");
    let plain = Pounce::with(&[]).await;
    for (seed, name) in NAMES.iter().enumerate() {
        plain.push_image(name, "v1", &image(seed)).await;
    }
    let upstream = plain.restart(&borrowed(&variables)).await;
    let bucket = Pounce::with(&borrowed(&variables)).await;
    let mut variables = bucket.as_s3();
    variables.retain(|(name, _)| *name != "REGISTRY_STORAGE_S3_REGIONENDPOINT");
    let port = |pounce: &Pounce| pounce.addr.port();
    variables.extend([
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", format!("https://bucket.test:{}", port(&bucket))),
        ("REGISTRY_PROXY_REMOTEURL", format!("https://registry.test:{}", port(&upstream))),
        ("REGISTRY_PROXY_PREFETCH", "false".to_owned()),
        ("REGISTRY_HTTP_SECRET", "s".to_owned()),
    ]);
    (upstream, bucket, variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_and_bucket_are_reached_through_the_proxy() {
    let authority = Authority::new();
    let (_upstream, bucket, variables) = behind(&authority).await;
    let folder = tempfile::TempDir::new().unwrap();
    let root = authority.text("root.crt");
    std::fs::copy(&root, folder.path().join("own.pem")).unwrap();
    let folder = folder.path().to_str().unwrap();
    let ways = [
        ("HTTPS_PROXY", ("SSL_CERT_FILE", &root[..])),
        ("https_proxy", ("SSL_CERT_DIR", folder)),
        ("ALL_PROXY", ("SSL_CERT_FILE", &root[..])),
    ];
    for (index, (proxy_name, trust)) in ways.into_iter().enumerate() {
        let (name, layer) = (NAMES[index], digest(image(index).layer()));
        let proxy = Proxy::start().await;
        let url = proxy.url();
        let mut all = borrowed(&variables);
        all.extend([(proxy_name, &url[..]), trust]);
        let process = Process::start(&all);
        let manifest = process.url(&format!("/v2/{name}/manifests/v1"));
        assert_eq!(reqwest::get(manifest).await.unwrap().status(), 200);
        let blob = process.url(&format!("/v2/{name}/blobs/{layer}"));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let reply = client.build().unwrap().get(blob).send().await.unwrap();
        assert_eq!(reply.bytes().await.unwrap(), image(index).layer());
        bucket.until_stored(&layer).await;
        process.until_quiet().await;
        assert_eq!(proxy.hosts(), ["bucket.test", "registry.test"], "{proxy_name}");
    }
    // `check` requests from this machine the URLs that clients would use.
    let proxy = Proxy::start().await;
    let mut command = Command::new(crate::support::program());
    command.arg("check").env_clear().envs(borrowed(&variables));
    command.env("HTTPS_PROXY", proxy.url()).env("SSL_CERT_FILE", &root);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(proxy.hosts(), ["bucket.test", "registry.test"]);
}

/// Go's rule, which distribution has too: no proxy between a machine and itself.
#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_never_asked_through_the_proxy() {
    let proxy = Proxy::start().await;
    let upstream = Pounce::with(&[]).await;
    let image = Image::new(1, &[1000]);
    upstream.push_image("org/app", "v1", &image).await;
    let remote = format!("http://localhost:{}", upstream.addr.port());
    let (remote, url) = (("REGISTRY_PROXY_REMOTEURL", &remote[..]), proxy.url());
    let proxied = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY"].map(|name| (name, &url[..]));
    let pull = async |process: &Process| {
        let manifest = process.url("/v2/org/app/manifests/v1");
        assert_eq!(reqwest::get(manifest).await.unwrap().status(), 200);
    };
    // A bucket on this machine.
    let store = Pounce::with(&[]).await;
    let bucket = store.as_s3();
    let variables = [&borrowed(&bucket)[..], &proxied, &[remote]].concat();
    pull(&Process::start(&variables)).await;
    // The embedded S3, used by its own process and by another one.
    let variables = [&proxied[..], &[remote, ("REGISTRY_HTTP_SECRET", "s")]].concat();
    let process = Process::start(&variables);
    pull(&process).await;
    let mut command = Command::new(crate::support::program());
    command.arg("check").env_clear().envs(variables);
    command.env("REGISTRY_HTTP_ADDR", &process.addr);
    command.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", process.folder.path().join("data"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(proxy.hosts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_excepts_hosts() {
    let proxy = Proxy::start().await;
    let authority = Authority::new();
    let (_upstream, _bucket, variables) = behind(&authority).await;
    let (url, root) = (proxy.url(), authority.text("root.crt"));
    let checks = ["NO_PROXY", "no_proxy"].map(|name| {
        let mut command = Command::new(crate::support::program());
        command
            .arg("check")
            .env_clear()
            .envs(borrowed(&variables))
            .env("HTTPS_PROXY", &url)
            .env("SSL_CERT_FILE", &root)
            .env(name, "example.com,.test");
        tokio::task::spawn_blocking(move || command.output().unwrap())
    });
    for output in futures_util::future::join_all(checks).await {
        // Without the proxy, neither name resolves.
        assert!(!output.unwrap().status.success());
    }
    assert_eq!(proxy.hosts(), Vec::<String>::new());
}

#[test]
fn what_has_no_effect_is_said() {
    let notices = |variables: &[(&str, &str)]| {
        let environment: Environment = variables.iter().copied().collect();
        Config::load(None, &environment).unwrap().notices
    };
    for (name, value, said) in [
        ("AWS_CA_BUNDLE", "/etc/ca.pem", "SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "/no/such.pem", "/no/such.pem"),
        ("SSL_CERT_DIR", "/:/no/such", "/no/such"),
        ("https_proxy", "socks5://user:hunter2@10.0.0.1:1080", "https_proxy"),
        ("ALL_PROXY", "::::", "ALL_PROXY"),
    ] {
        let notices = notices(&[(name, value)]);
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].contains(said) && !notices[0].contains("hunter2"), "{notices:?}");
    }
    let fine = [
        ("HTTPS_PROXY", "http://user:p%40ss@10.0.0.1:3128/"),
        ("http_proxy", "10.0.0.1:3128"),
        ("NO_PROXY", "*"),
        ("SSL_CERT_DIR", "/"),
    ];
    assert_eq!(notices(&fine), Vec::<String>::new());
}
