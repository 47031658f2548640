//! Manifests with as many descriptors as fit into 4 MiB.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::support::image::{OCI_INDEX, OCI_MANIFEST};
use crate::support::scripted::{Said, Scripted, refusal};

/// How many descriptors fit.
pub(crate) const FULL: usize = 37_000;

/// A manifest or an index with `count` entries; each `seed` gives other digests.
pub(crate) fn naming(media_type: &str, seed: u64, count: usize) -> Bytes {
    let mut text = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","#);
    let of = if media_type == OCI_INDEX {
        text.push_str(r#""manifests":["#);
        OCI_MANIFEST
    } else {
        let digest = format!("sha256:{seed:064x}");
        let config = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":2}}"#);
        write!(text, r#""config":{config},"layers":["#).unwrap();
        "a/b"
    };
    for index in 0..count {
        let comma = if index == 0 { "" } else { "," };
        let digest = format!("{seed:032x}{index:032x}");
        write!(text, r#"{comma}{{"mediaType":"{of}","digest":"sha256:{digest}","size":1}}"#).unwrap();
    }
    text.push_str("]}");
    text.into()
}

/// The same manifest with the digests of another seed: much faster than building it again.
fn reseeded(base: &Bytes, seed: u64) -> Bytes {
    let mut bytes = base.to_vec();
    let seed = format!("{seed:032x}");
    let entry = br#"{"mediaType":"a/b","digest":"sha256:"#.len();
    let start = base.windows(3).position(|it| it == b":[{").unwrap() + 2;
    let stride = entry + 64 + br#"","size":1},"#.len();
    for at in (start + entry..bytes.len() - 64).step_by(stride) {
        bytes[at..at + 32].copy_from_slice(seed.as_bytes());
    }
    bytes.into()
}

/// An upstream that has such a manifest under every numeric tag, and no blob.
pub(crate) async fn upstream(count: usize) -> Scripted {
    let base = naming(OCI_MANIFEST, 0, count);
    Scripted::start(move |request| {
        let said = answer(&request.path, &base);
        async move { said }
    })
    .await
}

pub(crate) fn answer(path: &str, base: &Bytes) -> Said {
    let tag = path.rsplit_once("/manifests/");
    match tag.and_then(|(_, tag)| tag.parse().ok()) {
        Some(seed) => {
            let headers = vec![("content-type", OCI_MANIFEST.to_owned())];
            (200, headers, reseeded(base, seed))
        }
        None => refusal(404, "BLOB_UNKNOWN"),
    }
}

/// Pulls so many of them at once from its own address; how often each status came, 0 for no answer.
pub(crate) async fn pull(addr: &str, name: &str, manifests: usize) -> BTreeMap<u16, usize> {
    let client = reqwest::Client::builder().no_proxy();
    let client = client.local_address(IpAddr::from([127, 0, 0, 2]));
    let client = client.build().unwrap();
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
