//! Replicas delete a manifest by its digest while others push it under a tag (`registry/manifests/delete`,
//! `registry/manifests/push`, `registry/removal`). What is acknowledged after a delete stays, even if a replica that was
//! paused goes on with an older delete. In the end, no tag names a missing manifest, a manifest that was pushed under a
//! tag has it, and every listed tag can be pulled. If the pushers push another manifest under the tag, that one stays.

use super::{Model, explore};

/// The manifests that a tag can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Image {
    Deleted,
    /// The delete is not for this one.
    Other,
}

/// A tag's link in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Link {
    image: Image,
    /// A delete replaced its content by one that no other has. Readers see what the link named.
    mark: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pusher {
    /// The client begins when the deletes before have ended.
    Waits,
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
    /// The client begins when it has given the delete before up.
    Waits,
    /// Checks whether there is anything to delete.
    Begins,
    /// The bucket refuses this after a while.
    DropsRevision,
    Reads,
    /// Replaces the link, if it is unchanged.
    Marks {
        read: Link,
    },
    /// Checks whether a client pushed the manifest meanwhile.
    LooksForRevision,
    /// Writes the link as it was, if its mark is still there.
    Restores,
    DropsLink,
    DropsHistory,
    Done,
}

/// Each is left out once.
#[expect(clippy::struct_excessive_bools, reason = "each is a guard of its own, and is left out once")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Guards {
    /// The pusher looks for the revision after it wrote the link.
    pusher: bool,
    /// The deleter marks a link before it deletes it.
    marks: bool,
    /// It looks for the revision in between.
    looks: bool,
    /// No two marks are the same.
    unique: bool,
    /// Readers take a link with a mark for what it named.
    readable: bool,
    /// A link is deleted and restored only if it has the mark.
    condition: bool,
    /// The bucket refuses to delete the revision after a while.
    expires: bool,
    /// The pusher tidies its history in the background.
    tidies: bool,
}

const ALL: Guards = Guards {
    pusher: true,
    marks: true,
    looks: true,
    unique: true,
    readable: true,
    condition: true,
    expires: true,
    tidies: true,
};

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations are looked at")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The deleted image's revision is there.
    revision: bool,
    link: Option<Link>,
    /// An entry of the tag's history, which lists the tag as its link does.
    history: bool,
    pushed: Image,
    pushers: Vec<Pusher>,
    deleters: Vec<Deleter>,
    /// How many more deleters' replicas may die. The client of the last one deletes again.
    deaths: usize,
    /// A pusher's replica may die; its client got no answer, and pushes again.
    mortal_push: bool,
    /// A pusher's replica may die when the push is acknowledged.
    mortal_tidy: bool,
    guards: Guards,
    /// The client pushes after its deletes, of which it gave all but the last up.
    in_turn: bool,
}

impl World {
    /// All of them at once.
    fn at_once(pushers: usize, deleters: usize, pushed: Image, there: bool, guards: Guards) -> Self {
        let link = Link { image: Image::Deleted, mark: None };
        Self {
            revision: true,
            link: there.then_some(link),
            history: there,
            pushed,
            pushers: vec![Pusher::WritesRevision; pushers],
            deleters: vec![Deleter::Begins; deleters],
            deaths: 1,
            mortal_push: true,
            mortal_tidy: false,
            guards,
            in_turn: false,
        }
    }

    /// A client deletes, gives that up, deletes at another replica, and pushes after the answer, and after the time in
    /// which the first one may still begin.
    fn in_turn(deleters: usize, guards: Guards) -> Self {
        let mut world = Self::at_once(1, deleters, Image::Deleted, true, guards);
        world.in_turn = true;
        world.mortal_push = false;
        world.pushers[0] = Pusher::Waits;
        world.deleters[1..].fill(Deleter::Waits);
        world
    }

    /// What a pusher's next call does: of two at once, either may be the first.
    fn pushed(&self, number: usize) -> Vec<Self> {
        match self.pushers[number] {
            Pusher::Waits if self.deleters.last() != Some(&Deleter::Done) => Vec::new(),
            Pusher::Waits => vec![self.with(number, Pusher::WritesRevision, |_| {})],
            Pusher::WritesRevision => vec![self.with(number, Pusher::WritesLink, |world| {
                world.revision |= world.pushed == Image::Deleted;
            })],
            Pusher::WritesLink => {
                let seen = (!self.guards.pusher).then_some(true);
                let then = Pusher::WritesHistoryAndLooks { written: false, seen };
                let link = Link { image: self.pushed, mark: None };
                vec![self.with(number, then, |world| world.link = Some(link))]
            }
            Pusher::WritesHistoryAndLooks { written, seen } => {
                let mut next = Vec::new();
                if !written {
                    let then = self.after_push(true, seen);
                    next.push(self.with(number, then, |world| world.history = true));
                }
                if seen.is_none() {
                    let is_there = self.revision || self.pushed == Image::Other;
                    next.push(self.with(number, self.after_push(written, Some(is_there)), |_| {}));
                }
                next
            }
            Pusher::LooksAtLink => {
                let then = if self.link.is_some() { Pusher::Done } else { Pusher::DropsHistory };
                vec![self.with(number, then, |_| {})]
            }
            Pusher::DropsHistory => vec![self.with(number, Pusher::Done, |world| world.history = false)],
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

    /// The life of a delete that was given up is over when the client pushes.
    fn is_expired(&self, number: usize) -> bool {
        let has_begun = self.pushers.iter().all(|it| *it != Pusher::Waits);
        self.in_turn && self.guards.expires && has_begun && number + 1 < self.deleters.len()
    }

    fn deletes(&mut self, number: usize) {
        let mark = if self.guards.unique { number } else { 0 };
        let own = Some(Link { image: Image::Deleted, mark: Some(mark) });
        let is_own = self.link == own || !self.guards.condition;
        self.deleters[number] = match self.deleters[number] {
            Deleter::Waits | Deleter::Begins if self.revision => Deleter::DropsRevision,
            Deleter::Waits | Deleter::Begins => Deleter::Reads,
            Deleter::DropsRevision if self.is_expired(number) => Deleter::Done,
            Deleter::DropsRevision => {
                self.revision = false;
                Deleter::Reads
            }
            Deleter::Reads => match self.link {
                Some(read) if read.image == Image::Deleted => Deleter::Marks { read },
                None if self.history => Deleter::DropsHistory,
                Some(_) | None => Deleter::Done,
            },
            Deleter::Marks { read } if self.guards.condition && self.link != Some(read) => Deleter::Reads,
            // By the `ETag` that was read, as it was once.
            Deleter::Marks { .. } if !self.guards.marks => {
                self.link = None;
                Deleter::DropsHistory
            }
            Deleter::Marks { .. } => {
                self.link = own;
                if self.guards.looks { Deleter::LooksForRevision } else { Deleter::DropsLink }
            }
            Deleter::LooksForRevision if self.revision => Deleter::Restores,
            Deleter::LooksForRevision => Deleter::DropsLink,
            Deleter::Restores => {
                if is_own {
                    self.link = Some(Link { image: Image::Deleted, mark: None });
                }
                Deleter::Done
            }
            Deleter::DropsLink if !is_own => Deleter::Reads,
            Deleter::DropsLink => {
                self.link = None;
                Deleter::DropsHistory
            }
            Deleter::DropsHistory => {
                self.history = false;
                Deleter::Done
            }
            Deleter::Done => Deleter::Done,
        };
    }

    /// What the tag names.
    fn named(&self) -> Option<Image> {
        let link = self.link.filter(|link| link.mark.is_none() || self.guards.readable)?;
        Some(link.image)
    }

    fn is_acknowledged(pusher: Pusher) -> bool {
        matches!(pusher, Pusher::LooksAtLink | Pusher::DropsHistory | Pusher::Done)
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, pusher) in self.pushers.iter().enumerate() {
            next.extend(self.pushed(number).into_iter().map(|pushed| (format!("{number} {pusher:?}"), pushed)));
            let is_acknowledged = Self::is_acknowledged(*pusher);
            if self.mortal_push && !is_acknowledged {
                let died = self.with(number, Pusher::WritesRevision, |world| world.mortal_push = false);
                next.push((format!("{number} dies"), died));
            }
            if self.mortal_tidy && is_acknowledged && *pusher != Pusher::Done {
                let died = self.with(number, Pusher::Done, |world| world.mortal_tidy = false);
                next.push((format!("{number} dies, acknowledged"), died));
            }
        }
        for (number, deleter) in self.deleters.iter().enumerate() {
            if *deleter == Deleter::Done {
                continue;
            }
            if *deleter == Deleter::Waits && self.deleters[number - 1] == Deleter::Waits {
                continue;
            }
            let mut deleted = self.clone();
            deleted.deletes(number);
            next.push((format!("deleter {number} {deleter:?}"), deleted));
            if self.deaths > 0 && *deleter != Deleter::Waits {
                let mut died = self.clone();
                died.deaths -= 1;
                let has_client = !self.in_turn || self.deleters.get(number + 1).is_none_or(|it| *it == Deleter::Waits);
                died.deleters[number] = if has_client { Deleter::Begins } else { Deleter::Done };
                next.push((format!("deleter {number} dies"), died));
            }
        }
        next
    }

    fn always(&self) -> Result<(), String> {
        let is_acknowledged = self.pushers.iter().all(|it| Self::is_acknowledged(*it));
        if self.in_turn && is_acknowledged && (!self.revision || self.named() != Some(Image::Deleted)) {
            return Err("what was acknowledged is gone".to_owned());
        }
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        if self.named() == Some(Image::Deleted) && !self.revision {
            return Err("a tag names what is not there".to_owned());
        }
        if self.history && self.link.is_none() {
            return Err("a tag is listed that cannot be pulled".to_owned());
        }
        if self.pushed == Image::Deleted && self.revision && self.named().is_none() {
            return Err("a manifest is there without its tag".to_owned());
        }
        if self.pushed == Image::Other && self.named() != Some(Image::Other) {
            return Err("a tag that was pushed is gone".to_owned());
        }
        Ok(())
    }

    fn succeeded(&self) -> bool {
        let pushed = self.pushers.iter().all(|it| *it == Pusher::Done);
        pushed && self.deleters.iter().all(|it| *it == Deleter::Done)
    }
}

#[test]
fn no_tag_names_what_is_not_there_and_no_push_is_lost() {
    for (pushers, deleters) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
        for pushed in [Image::Deleted, Image::Other] {
            for there in [false, true] {
                let states = explore(World::at_once(pushers, deleters, pushed, there, ALL)).unwrap();
                assert!(states > 50, "{states}");
            }
        }
    }
}

#[test]
fn a_delete_that_was_given_up_takes_nothing_that_is_pushed_later() {
    for deaths in 0..3 {
        let mut world = World::in_turn(3, ALL);
        world.deaths = deaths;
        let states = explore(world).unwrap();
        assert!(states > 50, "{states}");
    }
}

/// The flaw of a client that deletes, gives up, deletes again and pushes.
fn flaw_in_turn(guards: Guards) -> String {
    let mut world = World::in_turn(3, guards);
    world.deaths = 2;
    explore(world).unwrap_err()
}

#[test]
fn without_any_guard_of_deletes_a_paused_one_would_take_a_later_push() {
    let guards = [
        Guards { expires: false, ..ALL },
        Guards { marks: false, ..ALL },
        Guards { looks: false, ..ALL },
        Guards { readable: false, ..ALL },
    ];
    for guards in guards {
        let found = flaw_in_turn(guards);
        assert!(found.contains("what was acknowledged is gone"), "{guards:?}: {found}");
    }
}

#[test]
fn if_two_marks_were_the_same_a_paused_delete_would_take_a_later_push() {
    let found = explore(World::in_turn(4, Guards { unique: false, ..ALL })).unwrap_err();
    assert!(found.contains("what was acknowledged is gone"), "{found}");
}

#[test]
fn without_a_condition_another_push_would_be_lost() {
    let guards = Guards { condition: false, ..ALL };
    let found = explore(World::at_once(1, 1, Image::Other, true, guards)).unwrap_err();
    assert!(found.contains("is gone"), "{found}");
}

#[test]
fn without_a_mark_a_push_at_the_same_time_would_lose_its_tag() {
    for guards in [Guards { marks: false, ..ALL }, Guards { looks: false, ..ALL }] {
        let found = explore(World::at_once(1, 1, Image::Deleted, true, guards)).unwrap_err();
        assert!(found.contains("is there without its tag"), "{found}");
    }
}

#[test]
fn if_the_pusher_did_not_look_again_a_tag_would_name_what_is_not_there() {
    let guards = Guards { pusher: false, ..ALL };
    let found = explore(World::at_once(1, 1, Image::Deleted, true, guards)).unwrap_err();
    assert!(found.contains("a tag names what is not there"), "{found}");
}

#[test]
fn without_a_look_after_the_history_a_deleted_tag_would_be_listed() {
    let guards = Guards { tidies: false, ..ALL };
    let found = explore(World::at_once(1, 1, Image::Deleted, true, guards)).unwrap_err();
    assert!(found.contains("is listed that cannot be pulled"), "{found}");
}

/// What is left. The next push or delete of the tag ends it.
#[test]
fn a_replica_that_dies_after_its_answer_can_leave_a_deleted_tag_listed() {
    let mut world = World::at_once(1, 1, Image::Deleted, true, ALL);
    world.mortal_tidy = true;
    let found = explore(world).unwrap_err();
    assert!(found.contains("is listed that cannot be pulled"), "{found}");
}
