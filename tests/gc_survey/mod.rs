//! What a survey of a bucket finds that nothing needs, by its list of candidates.

mod bad_input;
mod budget;
mod layout;
mod memory;

use std::collections::BTreeSet;

use pounce::internals::{Ruled, SurveyRules, survey};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{FakeS3, Image, Pounce, Upstream, borrowed};
use layout::{
    Bucket, Folder, From, OLD, ROOT, blob_key, candidates, history_key, image, index, layer_key, push_key, referrer,
    referrer_key, revision_key, set, store, surveyed, tag_key, tree,
};

/// Rules by which these manifests, and tags, go.
fn expire(manifests: &[&String], tags: &'static [&'static str]) -> SurveyRules {
    let manifests: BTreeSet<String> = manifests.iter().copied().cloned().collect();
    SurveyRules {
        manifest: Box::new(
            move |_, _, digest| {
                if manifests.contains(&digest.to_string()) { Ruled::Expired } else { Ruled::Keep }
            },
        ),
        tag: Box::new(move |_, tag| tags.contains(&tag)),
        ..SurveyRules::default()
    }
}

/// Pushes, a mount, a pull through, a delete, as pounce leaves them.
#[tokio::test]
async fn a_bucket_as_pounce_writes_it() {
    let (s3, upstream) = (FakeS3::start(&[]).await, Upstream::start().await);
    let fetched = Image::new(1, &[100, 200]);
    upstream.add("up/app", "latest", &fetched);
    let mut variables = s3.variables();
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    variables.push(("REGISTRY_STORAGE_DELETE_ENABLED", "true".into()));
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let pushed = Image::new(2, &[300]);
    pounce.push_image("own/app", "v1", &pushed).await;
    pounce.push_image("own/copy", "v1", &pushed).await;
    let deleted = Image::new(3, &[400]);
    pounce.push_image("own/app", "v2", &deleted).await;
    let orphan = pounce.push("own/app", "an orphan".into()).await;
    let reply = pounce.get("/v2/up/app/manifests/latest").await;
    assert_eq!(reply.status, 200);
    for blob in &fetched.blobs {
        pounce.pull("up/app", &crate::support::image::digest(blob)).await;
    }
    pounce.until_quiet().await;
    let reply = pounce.delete(&format!("/v2/own/app/manifests/{}", deleted.digest())).await;
    assert_eq!(reply.status, 202);
    pounce.until_quiet().await;

    let rules = SurveyRules { asks_origins: true, ..SurveyRules::default() };
    assert_eq!(candidates(&surveyed(&s3, &rules).await), BTreeSet::new(), "all of it is young");
    s3.age("", OLD);
    let found = surveyed(&s3, &rules).await;
    let mut expected: Vec<String> = vec![blob_key(&deleted.digest()), layer_key("own/app", &orphan), blob_key(&orphan)];
    for blob in &deleted.blobs {
        let digest = crate::support::image::digest(blob);
        expected.extend([layer_key("own/app", &digest), blob_key(&digest)]);
    }
    assert_eq!(candidates(&found), expected.into_iter().collect());
    let totals = &found["totals"];
    assert_eq!((&totals["repositories"], &totals["tags"], &totals["manifests"]), (&json!(3), &json!(3), &json!(3)));
    assert_eq!(totals["pushed"]["count"], 3);
    assert_eq!(totals["upstream"]["count"], 4);
    assert_eq!(totals["unnamed"]["count"], 4);
    assert_eq!(totals["strangers"], 0);
    let usage: Vec<_> = found["repositories"].as_array().unwrap().iter().map(usage).collect();
    let size = |image: &Image| image.blobs.iter().map(bytes::Bytes::len).sum::<usize>() + image.manifest.len();
    let (shared, own) = (json!({"count": 3, "bytes": size(&pushed)}), json!({"count": 4, "bytes": size(&fetched)}));
    let none = json!({"count": 0, "bytes": 0});
    assert_eq!(
        usage,
        [
            ("own/app".into(), none.clone(), shared.clone()),
            ("own/copy".into(), none.clone(), shared),
            ("up/app".into(), own, none)
        ]
    );
}

fn usage(repository: &Value) -> (String, Value, Value) {
    let name = repository["name"].as_str().unwrap().to_owned();
    (name, repository["own"].clone(), repository["shared"].clone())
}

/// A folder that distribution wrote: no metadata, no markers.
#[tokio::test]
async fn a_folder_as_distribution_left_it() {
    let folder = TempDir::new().unwrap();
    let bucket = Folder(folder.path());
    let [kept, config, layer] = bucket.image("a", "v1", From::Push);
    let [old, ..] = bucket.image("a/b", "v1", From::Push);
    // Both have the layer, and another image has the tag since.
    bucket.layer("a/b", "a:v1 layer");
    let other = bucket.manifest("a/b", From::Push, &image(&config, &[&layer]));
    assert_eq!(other, kept);
    bucket.tag("a/b", "v1", From::Push, &kept);
    let orphan = bucket.blob("an orphan");
    let unlinked = bucket.layer("a", "not named");
    let own = format!("{ROOT}/repositories/a/_uploads/8d2b6d5f-8a4c-4c39-8f43-1d4e7f4b9d20/data");
    bucket.put(&own, "bytes".into(), &[]);
    let root = folder.path().to_str().unwrap();
    let store = store(&[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)]).await;
    let rules = SurveyRules { asks_origins: true, shows_facts: true, ..SurveyRules::default() };
    let found = survey(&store, &rules).await.unwrap();
    let expected = set([blob_key(&orphan), layer_key("a", &unlinked), blob_key(&unlinked)]);
    assert_eq!(candidates(&found), expected);
    assert_eq!(found["totals"]["uploads"], 1);
    let facts = &found["facts"][1];
    assert_eq!(facts["tags"]["v1"]["pushed"], true);
    assert_eq!(facts["manifests"][&old]["untagged"], facts["tags"]["v1"]["modified"]);
    assert_eq!(facts["manifests"][&kept]["untagged"], Value::Null);
}

#[tokio::test]
async fn what_a_rule_lets_go_goes_with_its_links_and_what_only_it_needs() {
    let s3 = FakeS3::start(&[]).await;
    let shared = s3.layer("a", "shared");
    let own = s3.layer("a", "own");
    let gone = s3.manifest("a", From::Push, &image(&own, &[&shared]));
    s3.tag("a", "v1", From::Push, &gone);
    Bucket::put(&s3, &push_key("a", "v1"), gone.clone().into(), &[]);
    let kept = s3.manifest("a", From::Push, &image(&shared, &[]));
    s3.tag("a", "v2", From::Push, &gone);
    s3.tag("a", "v2", From::Push, &kept);
    s3.tag("a", "v3", From::Push, &kept);
    let config = s3.layer("a", "{}");
    let signature = s3.manifest("a", From::Push, &referrer(&gone, &config));
    s3.age("", OLD);
    let found = surveyed(&s3, &expire(&[&gone, &signature], &["v1", "v3"])).await;
    let expected = set([
        tag_key("a", "v1"),
        tag_key("a", "v3"),
        history_key("a", "v1", &gone),
        history_key("a", "v2", &gone),
        history_key("a", "v3", &kept),
        push_key("a", "v1"),
        referrer_key("a", &gone, &signature),
        revision_key("a", &gone),
        revision_key("a", &signature),
    ]);
    // A push may still name the manifests, and keeps nothing of what they name.
    assert_eq!(candidates(&found), expected);
    let kinds: Vec<_> = found["candidates"].as_array().unwrap().iter().map(|it| it["kind"].clone()).collect();
    let order = ["Tag", "TagHistory", "TagPush", "Referrer", "Revision", "Layer", "Blob"];
    assert!(kinds.is_sorted_by_key(|kind| order.iter().position(|it| kind == it)), "{kinds:?}");
    assert_eq!(found["totals"]["goes"]["tags"], 2);
    assert_eq!(found["totals"]["goes"]["blobs"]["count"], 4);
    assert_eq!(found["totals"]["by_reason"]["0"]["manifests"], 2);
    for key in expected {
        s3.remove(&key);
    }
    let bytes = [&own, &config, &gone, &signature].map(|digest| blob_key(digest));
    let left = [&bytes[..], &[layer_key("a", &own), layer_key("a", &config)]].concat();
    assert_eq!(candidates(&surveyed(&s3, &expire(&[], &[])).await), left.into_iter().collect());
}

#[tokio::test]
async fn another_repository_needs_a_blob_but_not_the_link() {
    let s3 = FakeS3::start(&[]).await;
    let [gone, config, layer] = s3.image("a", "v1", From::Push);
    for digest in [&config, &layer] {
        Bucket::put(&s3, &layer_key("b", digest), digest.clone().into(), &[]);
    }
    let rules = |digest: String| SurveyRules {
        manifest: Box::new(
            move |name, _, found| {
                if name == "a" && found.to_string() == digest { Ruled::Expired } else { Ruled::Keep }
            },
        ),
        ..SurveyRules::default()
    };
    s3.manifest("b", From::Push, &image(&config, &[&layer]));
    s3.age("", OLD);
    let expected = set([tag_key("a", "v1"), history_key("a", "v1", &gone), revision_key("a", &gone)]);
    assert_eq!(candidates(&surveyed(&s3, &rules(gone.clone())).await), expected);
    for key in expected {
        s3.remove(&key);
    }
    let expected = set([layer_key("a", &config), layer_key("a", &layer)]);
    assert_eq!(candidates(&surveyed(&s3, &rules(gone)).await), expected);
}

/// The link of an upstream's tag is written at each revalidation.
#[tokio::test]
async fn a_manifest_is_without_its_tag_since_that_moved() {
    let s3 = FakeS3::start(&[]).await;
    let config = s3.layer("a", "{}");
    let [old, new] =
        [&[][..], &[config.as_str()]].map(|layers| s3.manifest("a", From::Upstream, &image(&config, layers)));
    for digest in [&old, &new] {
        s3.tag("a", "v1", From::Upstream, digest);
    }
    s3.age("", OLD);
    s3.tag("a", "v1", From::Upstream, &new);
    s3.age(&history_key("a", "v1", &new), OLD);
    let rules = SurveyRules { asks_origins: true, shows_facts: true, ..SurveyRules::default() };
    let facts = &surveyed(&s3, &rules).await["facts"][0];
    let (since, written) = (&facts["manifests"][&old]["untagged"], &facts["tags"]["v1"]["modified"]);
    assert_ne!(since, written, "{facts}");
    assert_eq!(since, &facts["manifests"][&new]["linked"], "{facts}");
}

/// Retention is told of children and subjects. Nothing goes without a rule, tagged or not.
#[tokio::test]
async fn indexes_and_referrers() {
    let s3 = FakeS3::start(&[]).await;
    let config = s3.layer("a", "{}");
    let [one, ..] = s3.image("a", "one", From::Upstream);
    let two = s3.manifest("a", From::Upstream, &image(&config, &[&config]));
    let absent = crate::support::image::digest(b"another platform");
    let list = s3.manifest("a", From::Upstream, &index(&[&one, &two, &absent]));
    let signature = s3.manifest("a", From::Push, &referrer(&list, &config));
    let cosign = format!("sha256-{}.sig", layout::hex(&one));
    s3.tag("a", &cosign, From::Push, &two);
    s3.age("", OLD);
    let rules = SurveyRules { asks_origins: true, shows_facts: true, ..SurveyRules::default() };
    let found = surveyed(&s3, &rules).await;
    assert_eq!(candidates(&found), BTreeSet::new());
    let facts = &found["facts"][0];
    let mut children = [one, two];
    children.sort();
    assert_eq!(facts["manifests"][&list]["children"], json!(children));
    assert_eq!(facts["manifests"][&signature]["subject"], json!(list));
    assert_eq!(facts["manifests"][&signature]["children"], json!([]));
    assert_eq!(facts["manifests"][&signature]["pushed"], true);
    assert_eq!(facts["manifests"][&list]["pushed"], false);
    assert_eq!(facts["tags"]["one"]["pushed"], false);
    assert_eq!(facts["tags"][&cosign]["pushed"], true);
}

#[tokio::test]
async fn nothing_young_goes_and_it_holds_what_it_needs() {
    let s3 = FakeS3::start(&[]).await;
    let [tagged, ..] = s3.image("a", "v1", From::Push);
    let [linked, ..] = s3.image("b", "v1", From::Push);
    let layer = s3.layer("c", "a layer");
    let unlinked = s3.blob("a blob");
    s3.age("", OLD);
    // A tag, a manifest's link, a layer link, and a blob, all written anew.
    s3.tag("a", "v1", From::Push, &tagged);
    Bucket::put(&s3, &revision_key("b", &linked), linked.clone().into(), &[]);
    Bucket::put(&s3, &layer_key("c", &layer), layer.clone().into(), &[]);
    s3.blob("a blob");
    let found = surveyed(&s3, &expire(&[&tagged, &linked], &["v1"])).await;
    // The old tag of a manifest that stays may go.
    assert_eq!(candidates(&found), set([tag_key("b", "v1"), history_key("b", "v1", &linked)]));
    s3.age("", OLD);
    let found = surveyed(&s3, &expire(&[&tagged, &linked], &["v1"])).await;
    let pinned: BTreeSet<_> = [&tagged, &linked].map(|digest| blob_key(digest)).into();
    let goes = candidates(&found);
    assert!(goes.contains(&blob_key(&unlinked)) && goes.contains(&layer_key("c", &layer)), "{goes:?}");
    assert!(goes.contains(&revision_key("a", &tagged)) && goes.is_disjoint(&pinned), "{goes:?}");
    for key in &goes {
        assert!(s3.remove(key), "{key}");
    }
    let found = surveyed(&s3, &expire(&[], &[])).await;
    assert_eq!(candidates(&found), tree(&s3));
}
