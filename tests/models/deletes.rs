//! One replica deletes a manifest by its digest while other replicas push it under a tag (`registry/manifests/delete`,
//! `registry/manifests/push`). In the end, no tag points at a missing manifest, and every listed tag can be pulled. If
//! the pushers push another manifest under the tag, that manifest stays.

use super::{Model, explore};

/// The manifests that a tag can point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Image {
    Deleted,
    /// The delete is not for this one.
    Other,
}

/// A tag in the bucket: a link, and an entry in its history. Either lists the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Tag {
    link: Option<Image>,
    history: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pusher {
    WritesRevision,
    WritesLink,
    /// Both at once: writes the history, and checks the revision, which tells whether it is there.
    WritesHistoryAndLooks {
        written: bool,
        seen: Option<bool>,
    },
    /// The last attempt has ended, and the push is acknowledged; in the background, checks that the link is still
    /// there. (Where too many tasks run, the answer waits for the check. Then the client of a replica that dies pushes
    /// again.)
    LooksAtLink,
    DropsHistory,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Deleter {
    /// Checks whether there is anything to delete.
    Begins,
    Reads,
    DropsLink,
    DropsHistory,
    DropsRevision,
    /// Checks whether a client pushed it meanwhile.
    LooksAgain,
    Done,
}

/// Which of the two checks again after its write; whether the deleter deletes a link only if it is unchanged since the
/// read; and whether the pusher tidies its history in the background.
#[expect(clippy::struct_excessive_bools, reason = "each is a guard of its own, and is left out once")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Guards {
    pusher: bool,
    deleter: bool,
    condition: bool,
    tidies: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations are looked at")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The deleted image's revision is there.
    revision: bool,
    tag: Tag,
    pushed: Image,
    pushers: Vec<Pusher>,
    deleter: Deleter,
    /// The deleter's replica may die; its client deletes again.
    mortal: bool,
    /// A pusher's replica may die; its client got no answer, and pushes again.
    mortal_push: bool,
    /// A pusher's replica may die when the push is acknowledged.
    mortal_tidy: bool,
    /// The deleter is in its second pass over the tags, or deletes a manifest that is already gone.
    last_pass: bool,
    guards: Guards,
    /// A tag that was pushed is looked for, too, where the manifest is there.
    looks_for_tag: bool,
}

impl World {
    fn start(pushers: usize, pushed: Image, there: bool, guards: Guards) -> Self {
        Self {
            revision: true,
            tag: Tag { link: there.then_some(Image::Deleted), history: there },
            pushed,
            pushers: vec![Pusher::WritesRevision; pushers],
            deleter: Deleter::Begins,
            mortal: true,
            mortal_push: true,
            mortal_tidy: false,
            last_pass: false,
            guards,
            looks_for_tag: false,
        }
    }

    /// What a pusher's next call does: of two at once, either may be the first.
    fn pushed(&self, number: usize) -> Vec<Self> {
        match self.pushers[number] {
            Pusher::WritesRevision => vec![self.with(number, Pusher::WritesLink, |world| {
                world.revision |= world.pushed == Image::Deleted;
            })],
            Pusher::WritesLink => {
                let seen = (!self.guards.pusher).then_some(true);
                let then = Pusher::WritesHistoryAndLooks { written: false, seen };
                vec![self.with(number, then, |world| world.tag.link = Some(world.pushed))]
            }
            Pusher::WritesHistoryAndLooks { written, seen } => {
                let mut next = Vec::new();
                if !written {
                    let then = self.after_push(true, seen);
                    next.push(self.with(number, then, |world| world.tag.history = true));
                }
                if seen.is_none() {
                    let is_there = self.revision || self.pushed == Image::Other;
                    next.push(self.with(number, self.after_push(written, Some(is_there)), |_| {}));
                }
                next
            }
            Pusher::LooksAtLink => {
                let then = if self.tag.link.is_some() { Pusher::Done } else { Pusher::DropsHistory };
                vec![self.with(number, then, |_| {})]
            }
            Pusher::DropsHistory => vec![self.with(number, Pusher::Done, |world| world.tag.history = false)],
            Pusher::Done => Vec::new(),
        }
    }

    fn after_push(&self, written: bool, seen: Option<bool>) -> Pusher {
        match seen {
            Some(true) if written && self.guards.tidies => Pusher::LooksAtLink,
            Some(true) if written => Pusher::Done,
            Some(false) if written => Pusher::WritesRevision,
            _ => Pusher::WritesHistoryAndLooks { written, seen },
        }
    }

    fn with(&self, number: usize, then: Pusher, change: impl FnOnce(&mut Self)) -> Self {
        let mut world = self.clone();
        change(&mut world);
        world.pushers[number] = then;
        world
    }

    fn delete(&mut self) {
        self.deleter = match self.deleter {
            Deleter::Begins => {
                self.last_pass = !self.revision;
                Deleter::Reads
            }
            Deleter::Reads => match self.tag.link {
                Some(Image::Deleted) => Deleter::DropsLink,
                None if self.tag.history => Deleter::DropsHistory,
                Some(Image::Other) | None => self.after_tags(),
            },
            Deleter::DropsLink if self.guards.condition && self.tag.link == Some(Image::Other) => Deleter::Reads,
            Deleter::DropsLink => {
                self.tag.link = None;
                Deleter::DropsHistory
            }
            Deleter::DropsHistory => {
                self.tag.history = false;
                self.after_tags()
            }
            Deleter::DropsRevision => {
                self.revision = false;
                if self.guards.deleter { Deleter::LooksAgain } else { Deleter::Done }
            }
            Deleter::LooksAgain if !self.revision => {
                self.last_pass = true;
                Deleter::Reads
            }
            Deleter::LooksAgain | Deleter::Done => Deleter::Done,
        };
    }

    fn after_tags(&self) -> Deleter {
        if self.last_pass { Deleter::Done } else { Deleter::DropsRevision }
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, pusher) in self.pushers.iter().enumerate() {
            next.extend(self.pushed(number).into_iter().map(|pushed| (format!("{number} {pusher:?}"), pushed)));
            let is_acknowledged = matches!(pusher, Pusher::LooksAtLink | Pusher::DropsHistory | Pusher::Done);
            if self.mortal_push && !is_acknowledged {
                let died = self.with(number, Pusher::WritesRevision, |world| world.mortal_push = false);
                next.push((format!("{number} dies"), died));
            }
            if self.mortal_tidy && is_acknowledged && *pusher != Pusher::Done {
                let died = self.with(number, Pusher::Done, |world| world.mortal_tidy = false);
                next.push((format!("{number} dies, acknowledged"), died));
            }
        }
        if self.deleter != Deleter::Done {
            let mut deleted = self.clone();
            deleted.delete();
            next.push((format!("{:?}", self.deleter), deleted));
            if self.mortal {
                let mut died = self.clone();
                (died.mortal, died.deleter) = (false, Deleter::Begins);
                next.push(("the deleter dies".to_owned(), died));
            }
        }
        next
    }

    fn always(&self) -> Result<(), String> {
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        if self.tag.link == Some(Image::Deleted) && !self.revision {
            return Err("a tag means what is not there".to_owned());
        }
        if self.tag.history && self.tag.link.is_none() {
            return Err("a tag is listed that cannot be pulled".to_owned());
        }
        let acknowledged = self.pushers.iter().all(|it| *it == Pusher::Done);
        if self.looks_for_tag && acknowledged && self.revision && self.tag.link.is_none() {
            return Err("a manifest is there without its tag".to_owned());
        }
        if self.pushed == Image::Other && self.tag.link != Some(Image::Other) {
            return Err("a tag that was pushed is gone".to_owned());
        }
        Ok(())
    }

    fn succeeded(&self) -> bool {
        let pushed = self.pushers.iter().all(|it| *it == Pusher::Done);
        pushed && self.deleter == Deleter::Done
    }
}

const ALL: Guards = Guards { pusher: true, deleter: true, condition: true, tidies: true };

#[test]
fn no_tag_means_what_is_not_there_and_no_other_push_is_lost() {
    for (pushers, pushed) in [(1, Image::Deleted), (2, Image::Deleted), (1, Image::Other), (2, Image::Other)] {
        for there in [false, true] {
            let states = explore(World::start(pushers, pushed, there, ALL)).unwrap();
            assert!(states > 50, "{states}");
        }
    }
}

#[test]
fn without_a_condition_another_push_would_be_lost() {
    let guards = Guards { condition: false, ..ALL };
    let found = explore(World::start(1, Image::Other, true, guards)).unwrap_err();
    assert!(found.contains("is gone"), "{found}");
}

#[test]
fn if_either_did_not_look_again_one_would() {
    for guards in [Guards { pusher: false, ..ALL }, Guards { deleter: false, ..ALL }] {
        let found = explore(World::start(1, Image::Deleted, true, guards)).unwrap_err();
        assert!(found.contains("a tag "), "{found}");
    }
}

#[test]
fn without_a_look_after_the_history_a_deleted_tag_would_be_listed() {
    let guards = Guards { tidies: false, ..ALL };
    let found = explore(World::start(1, Image::Deleted, true, guards)).unwrap_err();
    assert!(found.contains("is listed that cannot be pulled"), "{found}");
}

/// What is left. The next push or delete of the tag ends it.
#[test]
fn a_replica_that_dies_after_its_answer_can_leave_a_deleted_tag_listed() {
    let mut world = World::start(1, Image::Deleted, true, ALL);
    world.mortal_tidy = true;
    let found = explore(world).unwrap_err();
    assert!(found.contains("is listed that cannot be pulled"), "{found}");
}

/// What is left. A push writes manifest and tag while a delete of the manifest, which it deleted already, looks at the
/// tags once more: the tag has the content, and so the `ETag`, that the delete has read.
#[test]
fn a_push_between_the_last_two_steps_of_a_delete_can_lose_its_tag() {
    let mut world = World::start(1, Image::Deleted, true, ALL);
    world.looks_for_tag = true;
    let found = explore(world).unwrap_err();
    assert!(found.contains("is there without its tag"), "{found}");
}
