//! One replica deletes a manifest by its digest, while others push it under a tag (`registry/deletes`,
//! `registry/publish`): in the end, no tag means a manifest that is not there.

use super::{Model, explore};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pusher {
    WritesRevision,
    WritesTag,
    /// Whether the revision is still there.
    LooksAgain,
    WritesRevisionAgain,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Deleter {
    /// Lists the tags.
    Lists,
    /// It drops the tag if it means the manifest.
    DropsTag,
    DropsRevision,
    /// Whether somebody pushed it meanwhile.
    LooksAgain,
    /// Lists the tags once more.
    ListsAgain,
    DropsTagAgain,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    revision: bool,
    tag: bool,
    pushers: Vec<Pusher>,
    deleter: Deleter,
    /// Both look again.
    guarded: bool,
}

impl World {
    fn start(pushers: usize, there: bool, guarded: bool) -> Self {
        Self {
            revision: true,
            tag: there,
            pushers: vec![Pusher::WritesRevision; pushers],
            deleter: Deleter::Lists,
            guarded,
        }
    }

    fn push(&mut self, number: usize) {
        self.pushers[number] = match self.pushers[number] {
            Pusher::WritesRevision => {
                self.revision = true;
                Pusher::WritesTag
            }
            Pusher::WritesTag => {
                self.tag = true;
                if self.guarded {
                    Pusher::LooksAgain
                } else {
                    Pusher::Done
                }
            }
            Pusher::LooksAgain if self.revision => Pusher::Done,
            Pusher::LooksAgain => Pusher::WritesRevisionAgain,
            Pusher::WritesRevisionAgain => {
                self.revision = true;
                Pusher::Done
            }
            Pusher::Done => Pusher::Done,
        };
    }

    fn delete(&mut self) {
        self.deleter = match self.deleter {
            Deleter::Lists if self.tag => Deleter::DropsTag,
            Deleter::Lists => Deleter::DropsRevision,
            Deleter::DropsTag => {
                self.tag = false;
                Deleter::DropsRevision
            }
            Deleter::DropsRevision => {
                self.revision = false;
                if self.guarded {
                    Deleter::LooksAgain
                } else {
                    Deleter::Done
                }
            }
            Deleter::LooksAgain if !self.revision => Deleter::ListsAgain,
            Deleter::ListsAgain if self.tag => Deleter::DropsTagAgain,
            Deleter::DropsTagAgain => {
                self.tag = false;
                Deleter::Done
            }
            Deleter::ListsAgain | Deleter::LooksAgain | Deleter::Done => Deleter::Done,
        };
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, pusher) in self.pushers.iter().enumerate() {
            if *pusher != Pusher::Done {
                let mut pushed = self.clone();
                pushed.push(number);
                next.push((format!("{number} {pusher:?}"), pushed));
            }
        }
        if self.deleter != Deleter::Done {
            let mut deleted = self.clone();
            deleted.delete();
            next.push((format!("{:?}", self.deleter), deleted));
        }
        next
    }

    fn always(&self) -> Result<(), String> {
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        if self.tag && !self.revision {
            return Err("a tag means what is not there".to_owned());
        }
        Ok(())
    }
}

#[test]
fn no_tag_means_what_is_not_there() {
    for there in [false, true] {
        for pushers in [1, 2, 3] {
            assert!(explore(World::start(pushers, there, true)).unwrap() > 10);
        }
    }
}

#[test]
fn if_nobody_looked_again_one_would() {
    let found = explore(World::start(1, true, false)).unwrap_err();
    assert!(found.contains("a tag means what is not there"), "{found}");
}
