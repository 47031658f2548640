//! `make micro`: microbenchmarks of the steps of a request, with criterion.
#![allow(clippy::unwrap_used, missing_docs, reason = "a failure ends the measurement")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpListener;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use pounce::config::{Config, Environment};
use pounce::internals;
use pounce::oci::{Algorithm, Digest, Manifest, RepositoryName};
use pounce::store::Store;
use serde_json::json;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parsing(c: &mut Criterion) {
    let blob = format!("/v2/library/ubuntu/blobs/{DIGEST}");
    c.bench_function("endpoint: a blob", |b| {
        b.iter(|| internals::parse_endpoint(black_box(&blob), None));
    });
    c.bench_function("endpoint: a manifest by tag, with ?ns=", |b| {
        let path = "/v2/library/ubuntu/manifests/24.04";
        b.iter(|| internals::parse_endpoint(black_box(path), Some("ns=docker.io")));
    });
    c.bench_function("digest: parsed", |b| {
        b.iter(|| black_box(DIGEST).parse::<Digest>().unwrap());
    });
    let digest: Digest = DIGEST.parse().unwrap();
    c.bench_function("digest: written", |b| {
        b.iter(|| black_box(digest).text());
    });
    c.bench_function("repository name: parsed", |b| {
        b.iter(|| black_box("library/ubuntu").parse::<RepositoryName>().unwrap());
    });
    for layers in [10, 100] {
        let manifest = manifest(layers);
        c.bench_function(&format!("manifest of {layers} layers: parsed"), |b| {
            b.iter(|| Manifest::new(black_box(&manifest).clone(), None, None).unwrap());
        });
        let parsed = Manifest::new(manifest, None, None).unwrap();
        c.bench_function(&format!("manifest of {layers} layers: its blobs"), |b| {
            b.iter(|| black_box(&parsed).links());
        });
    }
    for format in ["text", "combined", "json"] {
        c.bench_function(&format!("access log: a line as {format}"), |b| {
            b.iter(|| internals::access_log_line(black_box(format)));
        });
    }
    c.bench_function("upload state: written and read", |b| {
        b.iter(internals::upload_state);
    });
}

fn presigning(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Answers every request with 200: connecting looks for the bucket, presigning sends no request.
    let s3 = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", s3.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut connection in s3.incoming().flatten() {
            let _ = connection.read(&mut [0; 8192]);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    let environment: Environment = [
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "bench"),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", &endpoint[..]),
        ("REGISTRY_STORAGE_S3_REGION", "auto"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "key"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "secret"),
    ]
    .into_iter()
    .collect();
    let config = Config::load(None, &environment).unwrap().config;
    let store = runtime.block_on(Store::connect(&config.storage)).unwrap();
    let (digest, base) = (Digest::of(Algorithm::Sha256, b"x"), "http://localhost/");
    c.bench_function("presigned URL: made", |b| {
        b.to_async(&runtime).iter(|| async { store.presign_blob(&digest, base).await.unwrap() });
    });
    let kept = runtime.block_on(store.presign_blob(&digest, base)).unwrap();
    c.bench_function("presigned URL: kept", |b| {
        b.iter(|| black_box(&kept).url(black_box(&digest)));
    });
}

fn manifest(layers: usize) -> Bytes {
    let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 1234});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 12},
        "layers": vec![layer; layers],
    });
    manifest.to_string().into()
}

criterion_group!(benches, parsing, presigning);
criterion_main!(benches);
