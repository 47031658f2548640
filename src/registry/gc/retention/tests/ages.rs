//! What goes by its age, its use and its tags.

use std::time::Duration;

use super::{Repository, ago, repository};
use crate::registry::cache::Origin::{Pushed, Upstream};

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
