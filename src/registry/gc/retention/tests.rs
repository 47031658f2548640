//! What rules take and keep. Times are in hours before now, as are the settings.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::Retention;
use crate::config::{Config, Environment};
use crate::oci::{Algorithm, Digest, Tag};
use crate::registry::cache::Origin::{self, Pushed, Upstream};
use crate::registry::gc::facts::{ManifestFacts, Reason, RepositoryFacts, TagFacts, Verdict, Verdicts};

fn ago(hours: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000 - hours)
}

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

/// A repository, whose manifests have names here.
struct Repository {
    facts: RepositoryFacts,
    names: Vec<&'static str>,
    recorded_since: SystemTime,
}

/// A repository whose pulls are known for long.
fn repository(name: &str) -> Repository {
    let facts = RepositoryFacts { name: name.parse().unwrap(), tags: BTreeMap::new(), manifests: BTreeMap::new() };
    Repository { facts, names: Vec::new(), recorded_since: ago(9_000) }
}

impl Repository {
    /// A manifest that was written so long ago.
    fn has(mut self, name: &'static str, origin: Origin, linked: u64) -> Self {
        let (pulled, untagged, children, subject) = (None, None, Vec::new(), None);
        let facts = ManifestFacts { linked: ago(linked), origin, pulled, untagged, children, subject };
        self.facts.manifests.insert(digest(name), facts);
        self.names.push(name);
        self
    }

    /// The last manifest was pulled so long ago.
    fn pulled(mut self, hours: u64) -> Self {
        self.last().pulled = Some(ago(hours));
        self
    }

    /// The last manifest lost its tag so long ago.
    fn untagged(mut self, hours: u64) -> Self {
        self.last().untagged = Some(ago(hours));
        self
    }

    /// The last manifest names these.
    fn of(mut self, children: &[&str]) -> Self {
        self.last().children = children.iter().map(|name| digest(name)).collect();
        self
    }

    /// The last manifest refers to this one.
    fn to(mut self, subject: &str) -> Self {
        self.last().subject = Some(digest(subject));
        self
    }

    /// A tag of the last manifest that was written so long ago.
    fn tag(self, tag: &str, hours: u64) -> Self {
        let name = *self.names.last().unwrap();
        let origin = self.facts.manifests[&digest(name)].origin;
        self.tag_of(tag, name, origin, hours)
    }

    fn tag_of(mut self, tag: &str, name: &str, origin: Origin, hours: u64) -> Self {
        let facts = TagFacts { digest: digest(name), modified: ago(hours), origin };
        self.facts.tags.insert(tag.parse().unwrap(), facts);
        self
    }

    fn recorded(mut self, hours: u64) -> Self {
        self.recorded_since = ago(hours);
        self
    }

    fn last(&mut self) -> &mut ManifestFacts {
        let digest = digest(self.names.last().unwrap());
        self.facts.manifests.get_mut(&digest).unwrap()
    }

    fn decide(&self, storage: &str) -> Verdicts {
        let config = Config::parse(&format!("storage: {storage}"), &Environment::default()).unwrap().config;
        let verdicts = Retention::new(&config).decide(&self.facts, ago(0), self.recorded_since);
        assert_eq!(verdicts.manifests.len(), self.facts.manifests.len());
        verdicts
    }

    /// What a rule takes: manifests by their names, then tags.
    fn loses(&self, rule: &str) -> String {
        let verdicts = self.decide(&format!("{{retention: [{{repositories: ['**'], {rule}}}]}}"));
        let goes = |name: &&&str| matches!(verdicts.manifests[&digest(name)], Verdict::Expired(Reason::Rule(0)));
        let mut gone: Vec<_> = self.names.iter().filter(goes).map(|name| (*name).to_owned()).collect();
        gone.sort();
        for (tag, reason) in &verdicts.expired_tags {
            assert_eq!(*reason, Reason::Rule(0));
            gone.push(format!(":{tag}"));
        }
        self.check(&verdicts);
        gone.join(" ")
    }

    /// What holds whatever the rule.
    fn check(&self, verdicts: &Verdicts) {
        let stays = |digest: &Digest| !matches!(verdicts.manifests.get(digest), None | Some(Verdict::Expired(_)));
        let exists = |digest: &&Digest| self.facts.manifests.contains_key(*digest);
        for (digest, facts) in &self.facts.manifests {
            if stays(digest) {
                assert!(facts.children.iter().filter(exists).all(stays), "an index lost a child");
            }
            if let Some(subject) = facts.subject.as_ref().filter(exists) {
                assert!(stays(digest) || !stays(subject), "a referrer goes without its subject");
            }
            if let (Verdict::Evictable(used), true) = (verdicts.manifests[digest], facts.subject.is_none()) {
                for child in facts.children.iter().filter_map(|child| verdicts.manifests.get(child)) {
                    assert!(!matches!(child, Verdict::Evictable(child) if *child < used), "a child is older");
                }
            }
        }
        for (tag, facts) in &self.facts.tags {
            if !verdicts.expired_tags.contains_key(tag) && self.facts.manifests.contains_key(&facts.digest) {
                assert!(stays(&facts.digest), "{tag} names what goes");
            }
        }
    }

    /// What the budget may take, with the hours since its last use.
    fn evictable(&self, storage: &str) -> String {
        let verdicts = self.decide(storage);
        self.check(&verdicts);
        let evictable = |name: &&str| match verdicts.manifests[&digest(name)] {
            Verdict::Evictable(used) => {
                Some(format!("{name}={}", ago(0).duration_since(used).unwrap().as_secs() / 3600))
            }
            Verdict::Keep | Verdict::Expired(_) => None,
        };
        let mut found: Vec<_> = self.names.iter().filter_map(evictable).collect();
        found.sort();
        found.join(" ")
    }
}

/// The tag by which cosign and the spec name what is about a manifest.
fn about(name: &str, ending: &str) -> String {
    format!("sha256-{}{ending}", digest(name).hex())
}

#[test]
fn what_was_not_pulled_goes() {
    let it = repository("a")
        .has("old", Upstream, 900)
        .tag("1", 900)
        .has("pulled", Upstream, 900)
        .pulled(719)
        .tag("2", 900)
        .has("just", Upstream, 900)
        .pulled(720)
        .tag("3", 900)
        .has("new", Upstream, 10)
        .tag("4", 10)
        .has("retagged", Upstream, 900)
        .tag("5", 100)
        .has("bare", Upstream, 900)
        .has("bare-pulled", Upstream, 900)
        .pulled(3);
    assert_eq!(it.loses("unpulled: 720h"), "bare just old :1 :3");
    assert_eq!(it.loses("unpulled: 720h, from: push"), "");
    assert_eq!(it.loses("untagged: 720h"), "bare");
}

/// A HEAD counts as a GET does, because both are in the notes; clients ask for a tag by HEAD before they run what they
/// have (Harbor deleted images in use).
#[test]
fn a_pull_by_head_or_by_digest_keeps_the_tag() {
    let it = repository("a").has("image", Pushed, 900).pulled(1).tag("1", 900).tag("2", 900);
    assert_eq!(it.loses("unpulled: 720h, from: any"), "");
}

/// Everything would go at once when pulls begin to be recorded (zot did that).
#[test]
fn nothing_is_unpulled_before_pulls_were_recorded_for_so_long() {
    let it = repository("a").has("old", Upstream, 5000).tag("1", 5000).has("bare", Upstream, 5000).untagged(4000);
    let since = |it: Repository| it.loses("unpulled: 720h, untagged: 168h");
    let again = || repository("a").has("old", Upstream, 5000).tag("1", 5000).has("bare", Upstream, 5000).untagged(4000);
    assert_eq!(since(it.recorded(0)), "");
    assert_eq!(since(again().recorded(167)), "");
    assert_eq!(since(again().recorded(168)), "bare");
    assert_eq!(since(again().recorded(719)), "bare");
    assert_eq!(since(again().recorded(720)), "bare old :1");
}

#[test]
fn times_in_the_future_are_not_long_ago() {
    let mut it = repository("a").has("ahead", Upstream, 900).tag("1", 900);
    it.last().pulled = Some(ago(0) + Duration::from_hours(48));
    assert_eq!(it.loses("unpulled: 1h"), "");
    it.last().pulled = None;
    it.recorded_since = ago(0) + Duration::from_hours(1);
    assert_eq!(it.loses("unpulled: 1h, untagged: 1h"), "");
}

#[test]
fn a_manifest_without_a_tag_goes_after_its_time() {
    let it = repository("a")
        .has("long", Pushed, 900)
        .untagged(200)
        .has("short", Pushed, 900)
        .untagged(100)
        .has("never", Pushed, 900)
        .has("fresh", Pushed, 100)
        .has("pulled", Pushed, 900)
        .pulled(100)
        .untagged(300)
        .has("tagged", Pushed, 900)
        .tag("1", 900);
    assert_eq!(it.loses("untagged: 168h, from: push"), "long never");
    assert_eq!(it.loses("untagged: 168h, from: upstream"), "");
    assert_eq!(it.loses("unpulled: 720h, untagged: 168h, from: push"), "long never short tagged :1");
}

#[test]
fn the_newest_tags_stay() {
    let tags = |it: Repository| {
        it.has("v1", Pushed, 50).tag("v1", 50).has("v2", Pushed, 40).tag("v2", 40).has("v3", Pushed, 30).tag("v3", 30)
    };
    let it = tags(repository("a"));
    assert_eq!(it.loses("from: push, keep: {newest: 1}"), "v1 v2 :v1 :v2");
    assert_eq!(it.loses("from: push, keep: {newest: 2}"), "v1 :v1");
    assert_eq!(it.loses("from: push, keep: {newest: 3}"), "");
    assert_eq!(it.loses("from: push, keep: {newest: 30}"), "");
    // Those under keep.tags do not count.
    let it = tags(repository("a")).has("stable", Pushed, 20).tag("stable", 20);
    assert_eq!(it.loses("from: push, keep: {newest: 2, tags: [stable]}"), "v1 :v1");
    assert_eq!(it.loses("from: push, keep: {newest: 2}"), "v1 v2 :v1 :v2");
    // With a time, the others go after it.
    assert_eq!(it.loses("from: push, unpulled: 45h, keep: {newest: 1}"), "v1 :v1");
    assert_eq!(it.loses("from: push, unpulled: 720h, keep: {newest: 1}"), "");
    // A number takes no manifest that never had a tag.
    let it = tags(repository("a")).has("bare", Pushed, 900);
    assert_eq!(it.loses("from: push, keep: {newest: 3}"), "");
    assert_eq!(it.loses("from: push, untagged: 168h, keep: {newest: 3}"), "bare");
}

#[test]
fn tags_of_the_same_second_are_equally_new() {
    let it = repository("a")
        .has("a", Pushed, 50)
        .tag("a", 50)
        .has("b", Pushed, 50)
        .tag("b", 50)
        .has("c", Pushed, 50)
        .tag("c", 50)
        .has("d", Pushed, 60)
        .tag("d", 60);
    assert_eq!(it.loses("from: push, keep: {newest: 1}"), "d :d");
    assert_eq!(it.loses("from: push, keep: {newest: 3}"), "d :d");
    assert_eq!(it.loses("from: push, keep: {newest: 4}"), "");
}

#[test]
fn only_tags_that_a_rule_may_touch_count() {
    let it = repository("a")
        .has("mine", Pushed, 10)
        .tag("mine", 10)
        .has("new", Upstream, 20)
        .tag("new", 20)
        .has("old", Upstream, 30)
        .tag("old", 30);
    assert_eq!(it.loses("keep: {newest: 1}"), "old :old");
    assert_eq!(it.loses("from: any, keep: {newest: 1}"), "new old :new :old");
}

#[test]
fn a_manifest_with_a_kept_tag_stays() {
    let it = repository("a").has("image", Pushed, 900).tag("v1", 900).tag("nightly", 900);
    assert_eq!(it.loses("from: push, unpulled: 720h, keep: {tags: ['v*']}"), ":nightly");
    assert_eq!(it.loses("from: push, unpulled: 720h"), "image :nightly :v1");
    let it = repository("a").has("image", Pushed, 900).tag("old", 900).tag("new", 10);
    assert_eq!(it.loses("from: push, keep: {newest: 1}"), ":old");
    // A tag that a client pushed holds the copy of an upstream's.
    let it = repository("a").has("copy", Upstream, 900).tag("theirs", 900).tag_of("mine", "copy", Pushed, 900);
    assert_eq!(it.loses("unpulled: 720h"), ":theirs");
    assert_eq!(it.loses("unpulled: 720h, from: any"), "copy :mine :theirs");
}

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

#[test]
fn the_first_rule_that_fits_decides() {
    let it =
        |name: &str| repository(name).has("mine", Pushed, 900).tag("1", 900).has("copy", Upstream, 900).tag("2", 900);
    let storage = "{retention: [{repositories: ['team/prod/**'], keep: {tags: ['*']}}, \
                   {repositories: ['team/*', 'x'], from: push, unpulled: 720h}, {repositories: ['**'], unpulled: 720h}]}";
    let expired = |name: &str| {
        let verdicts = it(name).decide(storage);
        let expired = |name| match verdicts.manifests[&digest(name)] {
            Verdict::Expired(reason) => Some(reason),
            Verdict::Keep | Verdict::Evictable(_) => None,
        };
        (expired("mine"), expired("copy"))
    };
    assert_eq!(expired("team/prod/a"), (None, None));
    assert_eq!(expired("team/a"), (Some(Reason::Rule(1)), None));
    assert_eq!(expired("x"), (Some(Reason::Rule(1)), None));
    assert_eq!(expired("team/a/b"), (None, Some(Reason::Rule(2))));
    assert_eq!(expired("other"), (None, Some(Reason::Rule(2))));
}

#[test]
fn a_pattern_with_the_host_of_the_default_upstream_is_about_names_without_one() {
    let text = "proxy: {remoteurl: 'https://registry-1.docker.io', upstreams: [{host: ghcr.io}]}\n\
                storage: {retention: [{repositories: ['docker.io/**'], unpulled: 720h}]}";
    let config = Config::parse(text, &Environment::default()).unwrap().config;
    let goes = |name: &str| {
        let it = repository(name).has("copy", Upstream, 900).tag("1", 900);
        !Retention::new(&config).decide(&it.facts, ago(0), it.recorded_since).expired_tags.is_empty()
    };
    assert!(goes("library/alpine") && goes("a"));
    assert!(!goes("ghcr.io/a/b"));
}

#[test]
fn the_ttl_is_a_last_rule() {
    let retention = |enabled: bool, ttl: &str| {
        let text = format!(
            "proxy: {{ttl: {ttl}}}\nstorage: {{maintenance: {{gc: {{enabled: {enabled}}}}}, \
             retention: [{{repositories: [kept], unpulled: 9000h}}]}}"
        );
        Retention::new(&Config::parse(&text, &Environment::default()).unwrap().config)
    };
    let it = |name: &str| {
        repository(name).has("copy", Upstream, 900).tag("1", 900).has("bare", Upstream, 900).has("mine", Pushed, 900)
    };
    let goes = |retention: Retention, name: &str| {
        let verdicts = retention.decide(&it(name).facts, ago(0), ago(9_000));
        verdicts.manifests.values().filter(|it| **it == Verdict::Expired(Reason::Ttl)).count()
    };
    assert_eq!(goes(retention(true, "168h"), "a/b"), 2);
    assert_eq!(goes(retention(true, "168h"), "kept"), 0);
    assert_eq!(goes(retention(false, "168h"), "a/b"), 0);
    assert_eq!(goes(retention(true, "0"), "a/b"), 0);
    assert_eq!(retention(true, "0").history(), Some(Duration::from_hours(9000)));
}

#[test]
fn history_goes_as_far_back_as_rules_ask() {
    let history = |storage: &str| {
        let config = Config::parse(&format!("storage: {storage}"), &Environment::default()).unwrap().config;
        Retention::new(&config).history().map(|it| it.as_secs() / 3600)
    };
    assert_eq!(history("{}"), None);
    assert_eq!(history("{retention: [{repositories: [a], from: push, keep: {newest: 3}}]}"), None);
    assert_eq!(history("{retention: [{repositories: [a], untagged: 7h}, {repositories: [b], unpulled: 3h}]}"), Some(7));
    assert_eq!(history("{maxsize: 1TiB}"), Some(90 * 24));
    assert_eq!(history("{maxsize: 1TiB, retention: [{repositories: [a], unpulled: 5000h}]}"), Some(5000));
}

#[test]
fn the_budget_takes_what_came_from_upstreams() {
    let it = repository("a")
        .has("mine", Pushed, 900)
        .tag("mine", 900)
        .has("mine-bare", Pushed, 900)
        .has("copy", Upstream, 900)
        .pulled(30)
        .tag("1", 800)
        .has("unpulled", Upstream, 900)
        .tag("2", 700)
        .has("bare", Upstream, 600);
    assert_eq!(it.evictable("{}"), "bare=600 copy=30 unpulled=700");
    // A rule keeps some of it.
    let rule = "{retention: [{repositories: ['**'], unpulled: 750h, keep: {tags: ['1']}}]}";
    assert_eq!(it.evictable(rule), "bare=600 unpulled=700");
    let rule = "{retention: [{repositories: ['**'], unpulled: 650h, keep: {newest: 1}}]}";
    assert_eq!(it.evictable(rule), "bare=600 copy=30");
    // A tag that a client pushed.
    let it = it.tag_of("held", "copy", Pushed, 900);
    assert_eq!(it.evictable("{}"), "bare=600 unpulled=700");
}

#[test]
fn the_budget_takes_no_child_before_its_index() {
    let it = repository("a")
        .has("amd64", Upstream, 900)
        .has("arm64", Upstream, 900)
        .pulled(5)
        .has("index", Upstream, 900)
        .of(&["amd64", "arm64"])
        .pulled(100)
        .tag("1", 900)
        .has("signature", Upstream, 900)
        .to("index")
        .pulled(3)
        .has("attached", Upstream, 900)
        .pulled(2)
        .tag(&about("index", ".sig"), 900);
    assert_eq!(it.evictable("{}"), "amd64=100 arm64=5 attached=100 index=100 signature=100");
    // A push needs some of it.
    let it = it.has("mine", Pushed, 900).of(&["amd64"]).tag("2", 900);
    assert_eq!(it.evictable("{}"), "arm64=5 attached=100 index=100 signature=100");
    // What is about a push stays with it.
    let it = repository("a").has("mine", Pushed, 900).tag("1", 900).has("about", Upstream, 900).to("mine");
    assert_eq!(it.evictable("{}"), "");
}
