//! Manifests that name as much as fits into 4 MiB.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::support::image::{OCI_INDEX, OCI_MANIFEST};
use crate::support::scripted::{Said, Scripted, refusal};

/// How many descriptors fit.
pub(crate) const FULL: usize = 37_000;

/// A manifest or an index with this many entries, of other digests for every `seed`.
pub(crate) fn naming(media_type: &str, seed: u64, count: usize) -> Bytes {
    let list = if media_type == OCI_INDEX {
        "manifests"
    } else {
        "layers"
    };
    let of = if media_type == OCI_INDEX {
        OCI_MANIFEST
    } else {
        "a/b"
    };
    let mut text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{{"mediaType":"a/b","digest":"#
    );
    write!(text, r#""sha256:{seed:064x}","size":2}},"{list}":["#).unwrap();
    for index in 0..count {
        let comma = if index == 0 { "" } else { "," };
        let digest = format!("{seed:032x}{index:032x}");
        write!(
            text,
            r#"{comma}{{"mediaType":"{of}","digest":"sha256:{digest}","size":1}}"#
        )
        .unwrap();
    }
    text.push_str("]}");
    text.into()
}

/// An upstream that has such a manifest under every tag that is a number, and no blob.
pub(crate) async fn upstream(count: usize) -> Scripted {
    Scripted::start(move |request| async move { answer(&request.path, count) }).await
}

pub(crate) fn answer(path: &str, count: usize) -> Said {
    let tag = path.rsplit_once("/manifests/");
    match tag.and_then(|(_, tag)| tag.parse().ok()) {
        Some(seed) => {
            let headers = vec![("content-type", OCI_MANIFEST.to_owned())];
            (200, headers, naming(OCI_MANIFEST, seed, count))
        }
        None => refusal(404, "BLOB_UNKNOWN"),
    }
}

/// Pulls this many of them at once; how often each status came, 0 where nothing came.
pub(crate) async fn pull(addr: &str, name: &str, manifests: usize) -> BTreeMap<u16, usize> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut pulls: FuturesUnordered<_> = (1..=manifests)
        .map(|tag| client.get(format!("http://{addr}/v2/{name}/manifests/{tag}")))
        .map(|request| async {
            let Ok(reply) = request.send().await else {
                return 0;
            };
            let status = reply.status().as_u16();
            let mut pieces = reply.bytes_stream();
            while let Some(Ok(_)) = pieces.next().await {}
            status
        })
        .collect();
    let mut counts = BTreeMap::new();
    while let Some(status) = pulls.next().await {
        *counts.entry(status).or_default() += 1;
    }
    counts
}
