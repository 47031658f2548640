//! `pounce ls`: what it prints of a bucket, and what it asks of it.

use serde_json::{Value, json};

use crate::check::run;
use crate::support::image::{OCI_INDEX, digest};
use crate::support::{FakeS3, Image, Pounce, Upstream, borrowed};

const ROOT: &str = "docker/registry/v2";

/// The lines of JSON, and the exit status.
async fn listed(s3: &FakeS3, arguments: &[&str]) -> (i32, Vec<Value>) {
    let (status, text, errors) = run(&[&["ls", "--json"], arguments].concat(), &borrowed(&s3.variables()), "").await;
    assert_eq!(errors, "");
    (status, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

async fn serving(s3: &FakeS3, more: &[(&'static str, String)]) -> Pounce {
    Pounce::with(&borrowed(&[s3.variables(), more.to_vec()].concat())).await
}

fn names<'a>(lines: &'a [Value], field: &str) -> Vec<&'a str> {
    lines.iter().map(|line| line[field].as_str().unwrap_or("-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_come_with_their_counts_and_origins() {
    let (s3, upstream) = (FakeS3::start(&[]).await, Upstream::start().await);
    let image = Image::new(1, &[1000, 2000]);
    upstream.add("org/app", "v1", &image);
    let pounce = serving(&s3, &[("REGISTRY_PROXY_REMOTEURL", upstream.url())]).await;
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 200);
    for blob in &image.blobs {
        pounce.pull("org/app", &digest(blob)).await;
    }
    pounce.push_image("team/own", "a", &image).await;
    pounce.push_image("team/own", "b", &Image::new(2, &[10])).await;
    pounce.until_quiet().await;
    let (status, lines) = listed(&s3, &[]).await;
    assert_eq!((status, names(&lines, "repository")), (0, vec!["org/app", "team/own"]));
    let counts = |line: &Value| ["tags", "manifests", "blobs"].map(|field| line[field].as_u64().unwrap());
    assert_eq!((counts(&lines[0]), counts(&lines[1])), ([1, 1, 3], [2, 2, 5]));
    assert_eq!(names(&lines, "origin"), ["upstream", "push"]);
    let host = upstream.url().replace("http://", "");
    assert!(lines[0]["upstream"].as_str().unwrap().contains(&host), "{lines:?}");
    assert!(lines[0]["written"].as_str().unwrap().ends_with('Z'), "{lines:?}");
    let (status, text, _) = run(&["ls"], &borrowed(&s3.variables()), "").await;
    assert!(status == 0 && text.lines().count() == 3 && text.ends_with("team/own\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_with_their_platforms_and_their_own_bytes() {
    let s3 = FakeS3::start(&[]).await;
    let pounce = serving(&s3, &[]).await;
    let (first, second) = (Image::new(1, &[1000, 5000]), Image::new(2, &[300]));
    pounce.push_image("a/b", "only", &first).await;
    pounce.push_image("a/b", "second", &second).await;
    let entry = |image: &Image, architecture: &str| {
        json!({"mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [entry(&first, "amd64"), entry(&second, "arm64")]});
    let index = index.to_string();
    assert_eq!(pounce.put_manifest("a/b", "both", OCI_INDEX, index.clone()).await.status, 201);
    // An untagged one, whose layer is its own.
    let loose = Image::new(3, &[70]);
    pounce.push_image("a/b", &loose.digest(), &loose).await;
    let (status, lines) = listed(&s3, &["a/b"]).await;
    assert_eq!((status, names(&lines, "tag")), (0, vec!["both", "only", "second", "-"]));
    let bytes =
        |image: &Image| (image.manifest.len() + image.blobs.iter().map(bytes::Bytes::len).sum::<usize>()) as u64;
    let sizes = |line: &Value| (line["size"].as_u64().unwrap(), line["own"].as_u64().unwrap());
    assert_eq!(sizes(&lines[0]), (bytes(&first) + bytes(&second) + index.len() as u64, index.len() as u64));
    assert_eq!(sizes(&lines[1]), (bytes(&first), 0));
    assert_eq!(sizes(&lines[3]), (bytes(&loose), bytes(&loose)));
    let platforms = |line: &Value| {
        let list = line["platforms"].as_array().unwrap().iter();
        list.map(|it| (it["platform"].clone(), it["size"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(platforms(&lines[0]), [(json!("linux/amd64"), bytes(&first)), (json!("linux/arm64"), bytes(&second))]);
    // By its configuration.
    assert_eq!(platforms(&lines[1]), [(json!("linux/amd64"), bytes(&first))]);
    let (status, text, _) = run(&["ls", "a/b"], &borrowed(&s3.variables()), "").await;
    assert!(status == 0 && text.contains("  linux/arm64") && text.contains("<none>"), "{text}");
    let (status, _, errors) = run(&["ls", "a/c"], &borrowed(&s3.variables()), "").await;
    assert!(status == 1 && errors.contains("no repository a/c"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_a_line_that_says_so() {
    let s3 = FakeS3::start(&[]).await;
    let pounce = serving(&s3, &[]).await;
    let images = [1, 2, 3, 4].map(|seed| Image::new(seed, &[100]));
    for (tag, image) in ["good", "corrupt", "gone", "large"].iter().zip(&images) {
        pounce.push_image("a/b", tag, image).await;
    }
    let data = |image: &Image| {
        let hex = image.digest().replace("sha256:", "");
        format!("{ROOT}/blobs/sha256/{}/{hex}/data", &hex[..2])
    };
    s3.put(&data(&images[1]), "{\"schemaVersion\": 2}");
    assert!(s3.remove(&data(&images[2])));
    s3.put(&data(&images[3]), vec![b'{'; (4 << 20) + 1]);
    s3.put(&format!("{ROOT}/repositories/a/b/_manifests/tags/link/current/link"), "nonsense");
    // Another program's, and a name that changes terminals.
    s3.put(&format!("{ROOT}/repositories/a/b/_other/thing"), "");
    let hex = "a".repeat(64);
    s3.put(&format!("{ROOT}/repositories/e\u{1b}[31mvil/_layers/sha256/{hex}/link"), format!("sha256:{hex}"));
    let (status, lines) = listed(&s3, &["a/b"]).await;
    assert_eq!((status, names(&lines, "tag")), (1, vec!["corrupt", "gone", "good", "large", "link"]));
    let errors = names(&lines, "error");
    for (at, why) in [(0, "digest"), (1, "not in the bucket"), (2, "-"), (3, "larger than 4 MiB"), (4, "digest")] {
        assert!(errors[at].contains(why), "{errors:?}");
    }
    let (status, text, _) = run(&["ls"], &borrowed(&s3.variables()), "").await;
    assert!(status == 1 && text.contains("e\\u{1b}[31mvil: this is no name"), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_costs_a_request_for_a_thousand_keys_and_one_for_a_repository() {
    let s3 = FakeS3::start(&[]).await;
    let link = |number: u32| format!("sha256:{number:064x}");
    for repository in 0..300 {
        let base = format!("{ROOT}/repositories/r{repository}/_manifests");
        let path = |digest: u32| format!("{base}/revisions/{}/link", link(digest).replace(':', "/"));
        for digest in 0..10 {
            s3.put(&path(digest), link(digest));
        }
        s3.put(&format!("{base}/tags/latest/current/link"), link(0));
    }
    s3.take();
    let (status, lines) = listed(&s3, &[]).await;
    assert_eq!((status, lines.len()), (0, 300));
    let lists = s3.seen("ListObjectsV2").len();
    let gets = s3.seen("GetObject").len();
    // One of the lists is that of the records of pulls.
    assert_eq!((lists, gets), (5, 300));
}
