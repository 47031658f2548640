//! One replica deletes a manifest by its digest, while others push it under a tag (`registry/deletes`,
//! `registry/publish`): in the end, no tag means a manifest that is not there, and no tag is listed that cannot be
//! pulled.

use super::{Model, explore};

/// What a tag is in the bucket: a link, and an entry in its history, which makes it be listed too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Tag {
    link: bool,
    history: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pusher {
    WritesRevision,
    WritesLink,
    WritesHistory,
    /// Whether the tag is still there.
    LooksAtLink,
    /// And the revision.
    LooksAtRevision,
    Acknowledged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Deleter {
    /// Whether there is anything to delete.
    Begins,
    /// Reads the tag.
    Reads,
    DropsLink,
    DropsHistory,
    DropsRevision,
    /// Whether somebody pushed it meanwhile.
    LooksAgain,
    Done,
}

/// Who looks again when he has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Guards {
    pusher: bool,
    deleter: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    revision: bool,
    tag: Tag,
    pushers: Vec<Pusher>,
    deleter: Deleter,
    /// The deleter's replica may die; its client deletes again.
    mortal: bool,
    /// The deleter is at its second pass over the tags, or at a delete of what is gone.
    last_pass: bool,
    guards: Guards,
}

impl World {
    fn start(pushers: usize, there: bool, guards: Guards) -> Self {
        Self {
            revision: true,
            tag: Tag {
                link: there,
                history: there,
            },
            pushers: vec![Pusher::WritesRevision; pushers],
            deleter: Deleter::Begins,
            mortal: true,
            last_pass: false,
            guards,
        }
    }

    fn push(&mut self, number: usize) {
        self.pushers[number] = match self.pushers[number] {
            Pusher::WritesRevision => {
                self.revision = true;
                Pusher::WritesLink
            }
            Pusher::WritesLink => {
                self.tag.link = true;
                Pusher::WritesHistory
            }
            Pusher::WritesHistory => {
                self.tag.history = true;
                if self.guards.pusher {
                    Pusher::LooksAtLink
                } else {
                    Pusher::Acknowledged
                }
            }
            Pusher::LooksAtLink if self.tag.link => Pusher::LooksAtRevision,
            Pusher::LooksAtRevision if self.revision => Pusher::Acknowledged,
            Pusher::LooksAtLink | Pusher::LooksAtRevision => Pusher::WritesRevision,
            Pusher::Acknowledged => Pusher::Acknowledged,
        };
    }

    fn delete(&mut self) {
        self.deleter = match self.deleter {
            Deleter::Begins => {
                self.last_pass = !self.revision;
                Deleter::Reads
            }
            Deleter::Reads if self.tag.link => Deleter::DropsLink,
            Deleter::Reads if self.tag.history => Deleter::DropsHistory,
            Deleter::Reads => self.after_tags(),
            Deleter::DropsLink => {
                self.tag.link = false;
                Deleter::DropsHistory
            }
            Deleter::DropsHistory => {
                self.tag.history = false;
                self.after_tags()
            }
            Deleter::DropsRevision => {
                self.revision = false;
                if self.guards.deleter {
                    Deleter::LooksAgain
                } else {
                    Deleter::Done
                }
            }
            Deleter::LooksAgain if !self.revision => {
                self.last_pass = true;
                Deleter::Reads
            }
            Deleter::LooksAgain | Deleter::Done => Deleter::Done,
        };
    }

    fn after_tags(&self) -> Deleter {
        if self.last_pass {
            Deleter::Done
        } else {
            Deleter::DropsRevision
        }
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, pusher) in self.pushers.iter().enumerate() {
            if *pusher != Pusher::Acknowledged {
                let mut pushed = self.clone();
                pushed.push(number);
                next.push((format!("{number} {pusher:?}"), pushed));
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
        if self.tag.link && !self.revision {
            return Err("a tag means what is not there".to_owned());
        }
        if self.tag.history && !self.tag.link {
            return Err("a tag is listed that cannot be pulled".to_owned());
        }
        Ok(())
    }

    fn succeeded(&self) -> bool {
        let pushed = self.pushers.iter().all(|it| *it == Pusher::Acknowledged);
        pushed && self.deleter == Deleter::Done
    }
}

const BOTH: Guards = Guards {
    pusher: true,
    deleter: true,
};

#[test]
fn no_tag_means_what_is_not_there() {
    for there in [false, true] {
        for pushers in [1, 2] {
            let states = explore(World::start(pushers, there, BOTH)).unwrap();
            assert!(states > 50, "{states}");
        }
    }
}

#[test]
fn if_either_did_not_look_again_one_would() {
    for guards in [
        Guards {
            pusher: false,
            ..BOTH
        },
        Guards {
            deleter: false,
            ..BOTH
        },
    ] {
        let found = explore(World::start(1, true, guards)).unwrap_err();
        assert!(found.contains("a tag "), "{found}");
    }
}
