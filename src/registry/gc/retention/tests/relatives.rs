//! What lives and dies with others: children of indexes, referrers, and tags about a manifest.

use super::{about, ago, digest, repository};
use crate::oci::{Algorithm, Digest, Tag};
use crate::registry::cache::Origin::{Pushed, Upstream};
use crate::registry::gc::facts::{ManifestFacts, TagFacts};

#[test]
fn what_an_index_needs_stays_with_it() {
    let it = repository("a")
        .has("amd64", Upstream, 900)
        .has("arm64", Upstream, 900)
        .has("index", Upstream, 900)
        .pulled(10)
        .of(&["amd64", "arm64", "missing"])
        .tag("1", 900);
    assert_eq!(it.loses("unpulled: 720h, untagged: 1h"), "");
    // An index of indexes.
    let it = repository("a")
        .has("image", Upstream, 900)
        .has("inner", Upstream, 900)
        .of(&["image"])
        .has("outer", Upstream, 900)
        .of(&["inner"])
        .pulled(1)
        .tag("1", 900);
    assert_eq!(it.loses("unpulled: 720h, untagged: 1h"), "");
}

#[test]
fn children_go_with_their_index() {
    let it = |pulled| {
        repository("a")
            .has("amd64", Upstream, 900)
            .has("arm64", Upstream, 900)
            .pulled(pulled)
            .has("index", Upstream, 900)
            .of(&["amd64", "arm64"])
            .tag("1", 900)
    };
    assert_eq!(it(800).loses("unpulled: 720h"), "amd64 arm64 index :1");
    // One that was pulled by its digest is in use.
    assert_eq!(it(5).loses("unpulled: 720h"), "amd64 index :1");
    // By a rule that only counts, no time tells.
    let it = repository("a")
        .has("shared", Pushed, 900)
        .has("first", Pushed, 900)
        .has("index1", Pushed, 900)
        .of(&["shared", "first"])
        .tag("1", 900)
        .has("second", Pushed, 100)
        .has("index2", Pushed, 100)
        .of(&["shared", "second"])
        .tag("2", 100);
    assert_eq!(it.loses("from: push, keep: {newest: 1}"), "first index1 :1");
}

#[test]
fn a_child_with_a_tag_of_its_own_outlives_its_index() {
    let it = |tag| {
        repository("a")
            .has("image", Pushed, 900)
            .tag("amd64", tag)
            .has("other", Pushed, 900)
            .has("index", Pushed, 900)
            .of(&["image", "other"])
            .tag("1", 900)
    };
    assert_eq!(it(10).loses("from: push, unpulled: 720h"), "index other :1");
    assert_eq!(it(10).loses("from: push, keep: {newest: 1}"), "index other :1");
    // Its tag goes, and the manifest stays with the index.
    let it = it(900).has("new", Pushed, 10).tag("2", 10).of(&["image"]);
    assert_eq!(it.loses("from: push, keep: {newest: 1}"), "index other :1 :amd64");
}

#[test]
fn referrers_live_and_die_with_their_subject() {
    let it = |pulled| {
        repository("a")
            .has("image", Pushed, 900)
            .pulled(pulled)
            .tag("1", 900)
            .has("signature", Pushed, 900)
            .to("image")
            .has("of-signature", Pushed, 800)
            .pulled(1)
            .to("signature")
    };
    assert_eq!(it(10).loses("from: push, unpulled: 720h, untagged: 1h"), "");
    // However often they were pulled: nothing is left that they are about.
    assert_eq!(it(900).loses("from: push, unpulled: 720h"), "image of-signature signature :1");
    assert_eq!(
        it(10).has("next", Pushed, 1).tag("2", 1).loses("from: push, keep: {newest: 1}"),
        "image of-signature signature :1"
    );
    // With a tag of its own, it stays.
    let tagged = it(900).has("sbom", Pushed, 900).to("image").tag("sbom", 10);
    assert_eq!(tagged.loses("from: push, unpulled: 720h"), "image of-signature signature :1");
    // One that the rule does not touch stays, too.
    let other = repository("a").has("image", Upstream, 900).tag("1", 900).has("mine", Pushed, 900).to("image");
    assert_eq!(other.loses("unpulled: 720h"), "image :1");
}

#[test]
fn the_children_of_a_referrer_stay_with_it() {
    let it = repository("a")
        .has("image", Pushed, 900)
        .pulled(1)
        .tag("1", 900)
        .has("part", Pushed, 900)
        .has("list", Pushed, 900)
        .of(&["part"])
        .to("image");
    assert_eq!(it.loses("from: push, unpulled: 720h, untagged: 1h"), "");
}

#[test]
fn a_referrer_without_its_subject_is_a_manifest_like_others() {
    let it = |linked| repository("a").has("signature", Pushed, linked).to("elsewhere");
    assert_eq!(it(900).loses("from: push, unpulled: 720h"), "signature");
    assert_eq!(it(900).loses("from: push, untagged: 168h"), "signature");
    assert_eq!(it(10).loses("from: push, unpulled: 720h, untagged: 168h"), "");
    assert_eq!(it(10).tag("1", 10).loses("from: push, keep: {newest: 1}"), "");
}

#[test]
fn tags_about_a_manifest_live_and_die_with_it() {
    let endings = ["", ".sig", ".att", ".sbom"];
    for ending in endings {
        let tag = about("image", ending);
        let it = |pulled| {
            repository("a")
                .has("image", Pushed, 900)
                .pulled(pulled)
                .tag("1", 900)
                .has("about", Pushed, 900)
                .tag(&tag, 900)
        };
        assert_eq!(it(10).loses("from: push, unpulled: 720h, untagged: 1h"), "", "{ending}");
        assert_eq!(it(900).loses("from: push, unpulled: 720h"), format!("about image :1 :{tag}"));
        // It does not count as one of the newest.
        let more = it(900).has("older", Pushed, 950).tag("0", 950);
        assert_eq!(more.loses("from: push, keep: {newest: 2}"), "");
        assert_eq!(more.loses("from: push, keep: {newest: 1}"), "older :0");
        let next = it(900).has("newer", Pushed, 1).tag("2", 1);
        assert_eq!(next.loses("from: push, keep: {newest: 1}"), format!("about image :1 :{tag}"));
        // Kept by its name.
        let rule = "from: push, unpulled: 720h, keep: {tags: ['sha256-*']}";
        assert_eq!(it(900).loses(rule), "image :1");
    }
    // No subject here: cosign can keep signatures in a repository of their own.
    let it = repository("a")
        .has("new", Pushed, 10)
        .tag(&about("x", ".sig"), 10)
        .has("old", Pushed, 20)
        .tag(&about("y", ".sig"), 20);
    assert_eq!(it.loses("from: push, keep: {newest: 2}"), "");
    assert_eq!(it.loses("from: push, unpulled: 15h"), format!("old :{}", about("y", ".sig")));
    // Not such a tag.
    for tag in ["sha256-12", "sha256-x.sig", "md5-1", "sha256"] {
        let it = repository("a").has("image", Pushed, 900).tag(tag, 900);
        assert_eq!(it.loses("from: push, unpulled: 720h"), format!("image :{tag}"));
    }
}

/// The spec cuts the tag of a sha512.
#[test]
fn a_tag_has_the_first_digits_of_a_long_digest() {
    let mut it = repository("a").has("about", Pushed, 900);
    let long = Digest::of(Algorithm::Sha512, b"image");
    let facts = it.last().clone();
    it.facts.manifests.insert(long, ManifestFacts { pulled: Some(ago(1)), ..facts });
    let tag: Tag = format!("sha512-{}.sig", &long.hex()[..64]).parse().unwrap();
    it.facts.tags.insert(tag, TagFacts { digest: digest("about"), modified: ago(900), origin: Pushed });
    assert_eq!(it.loses("from: push, unpulled: 720h"), "");
    it.facts.manifests.get_mut(&long).unwrap().pulled = None;
    assert!(it.loses("from: push, unpulled: 720h").starts_with("about :sha512-"));
}

/// Digests make circles impossible, and content that was written past the registry does not.
#[test]
fn circles_end() {
    let it = |pulled| {
        repository("a")
            .has("x", Pushed, 900)
            .to("y")
            .has("y", Pushed, 900)
            .to("x")
            .pulled(pulled)
            .has("self", Pushed, 900)
            .to("self")
            .of(&["self"])
            .has("left", Pushed, 900)
            .of(&["right"])
            .has("right", Pushed, 900)
            .of(&["left"])
    };
    assert_eq!(it(900).loses("from: push, unpulled: 720h"), "left right self x y");
    // One that is in use keeps what refers to it.
    assert_eq!(it(1).loses("from: push, unpulled: 720h"), "left right self");
    it(1).loses("from: push, keep: {newest: 1}");
    let (tag, other) = (about("x", ".sig"), about("y", ".sig"));
    let it = repository("a").has("y", Pushed, 900).tag(&tag, 900).has("x", Pushed, 900).tag(&other, 900);
    assert_eq!(
        it.loses("from: push, unpulled: 720h"),
        format!("x y :{}", if tag < other { format!("{tag} :{other}") } else { format!("{other} :{tag}") })
    );
    // A tag about the manifest that it names.
    let it = repository("a").has("x", Pushed, 900).tag(&tag, 900);
    assert_eq!(it.loses("from: push, unpulled: 720h"), format!("x :{tag}"));
}

#[test]
fn a_tag_that_names_nothing_goes_by_its_own_age() {
    let it = repository("a").tag_of("1", "missing", Upstream, 900).tag_of("2", "missing", Upstream, 10);
    assert_eq!(it.loses("unpulled: 720h"), ":1");
    assert_eq!(it.loses("keep: {newest: 1}"), ":1");
}
