//! Write-backs of the upstream's answers, pushes and a delete of one tag, on a bucket that ignores conditions
//! (`registry/unconditional`): no acknowledged push loses to a write-back, and marker and link agree in the end.

use super::{Model, explore};

/// The content of a tag's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Link {
    Absent,
    /// The upstream's answer, of a first or a second comparison.
    Upstream(u8),
    /// A push, by number.
    Pushed(u8),
}

type Marker = Option<u8>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pusher {
    Marks,
    WritesLink,
    LooksAtLink,
    LooksAtMarker(Link),
    /// The marker was gone, so the pusher writes it again.
    MarksAgain(Link),
    /// The link was overwritten, so the pusher writes it again.
    WritesAgain(u8),
    Acknowledged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writer {
    /// It has compared the link with the upstream, and reads the marker.
    LooksAtMarker,
    LooksAtLink,
    Writes,
    /// It has written the link for this marker, and reads the marker again.
    LooksAgain(Marker),
    Restores(Marker),
    Done,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Deleter {
    Unmarks,
    DropsLink,
    LooksAgain(Marker),
    Restores(Marker),
    Done,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations are looked at")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    marker: Marker,
    link: Link,
    /// The link that the write-backs compared with the upstream.
    compared: Link,
    pushers: Vec<Pusher>,
    writers: Vec<Writer>,
    deleter: Deleter,
    /// The delete removed an earlier push.
    took: bool,
    /// A write-back's process may die.
    mortal: bool,
    /// Write-backs check for markers.
    guarded: bool,
    /// Pushers check again after their write.
    careful: bool,
}

impl World {
    fn start(link: Link, pushers: usize, writers: usize) -> Self {
        Self {
            marker: None,
            link,
            compared: link,
            pushers: vec![Pusher::Marks; pushers],
            writers: vec![Writer::LooksAtMarker; writers],
            deleter: Deleter::Done,
            took: false,
            mortal: false,
            guarded: true,
            careful: true,
        }
    }

    fn push(&mut self, number: usize) {
        let own = u8::try_from(number).unwrap();
        self.pushers[number] = match self.pushers[number] {
            Pusher::Marks => {
                self.marker = Some(own);
                Pusher::WritesLink
            }
            Pusher::WritesLink => {
                self.link = Link::Pushed(own);
                if self.careful { Pusher::LooksAtLink } else { Pusher::Acknowledged }
            }
            // A delete removed the link: `is_whole` notices, and the pusher writes everything once more.
            Pusher::LooksAtLink if self.link == Link::Absent => Pusher::Marks,
            Pusher::LooksAtLink => Pusher::LooksAtMarker(self.link),
            Pusher::LooksAtMarker(link) => match (self.marker, link) {
                (None, link) => Pusher::MarksAgain(link),
                (Some(pushed), Link::Upstream(_)) => Pusher::WritesAgain(pushed),
                (Some(_), _) => Pusher::Acknowledged,
            },
            Pusher::MarksAgain(link) => {
                self.marker = Some(own);
                match link {
                    Link::Upstream(_) => Pusher::WritesAgain(own),
                    _ => Pusher::LooksAtLink,
                }
            }
            Pusher::WritesAgain(pushed) => {
                self.link = Link::Pushed(pushed);
                Pusher::LooksAtLink
            }
            Pusher::Acknowledged => Pusher::Acknowledged,
        };
    }

    fn write_back(&mut self, number: usize) {
        self.writers[number] = match self.writers[number] {
            Writer::LooksAtMarker if self.guarded && self.marker.is_some() => match self.link {
                Link::Pushed(_) => Writer::Done,
                _ => Writer::LooksAgain(None),
            },
            Writer::LooksAtMarker => Writer::LooksAtLink,
            Writer::LooksAtLink if self.link == self.compared => Writer::Writes,
            Writer::LooksAtLink => Writer::Done,
            Writer::Writes => {
                self.link = Link::Upstream(1);
                if self.guarded { Writer::LooksAgain(None) } else { Writer::Done }
            }
            Writer::LooksAgain(written) if self.marker == written => Writer::Done,
            Writer::LooksAgain(_) => Writer::Restores(self.marker),
            Writer::Restores(marker) => {
                self.link = marker.map_or(Link::Absent, Link::Pushed);
                Writer::LooksAgain(marker)
            }
            done => done,
        };
    }

    fn delete(&mut self) {
        self.deleter = match self.deleter {
            Deleter::Unmarks => {
                self.took |= self.marker.is_some();
                self.marker = None;
                Deleter::DropsLink
            }
            Deleter::DropsLink => {
                self.took |= matches!(self.link, Link::Pushed(_));
                self.link = Link::Absent;
                Deleter::LooksAgain(None)
            }
            Deleter::LooksAgain(written) if self.marker == written => Deleter::Done,
            Deleter::LooksAgain(_) => Deleter::Restores(self.marker),
            Deleter::Restores(marker) => {
                self.link = marker.map_or(Link::Absent, Link::Pushed);
                Deleter::LooksAgain(marker)
            }
            Deleter::Done => Deleter::Done,
        };
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, pusher) in self.pushers.iter().enumerate() {
            if *pusher != Pusher::Acknowledged {
                let mut pushed = self.clone();
                pushed.push(number);
                next.push((format!("push {number} {pusher:?}"), pushed));
            }
        }
        for (number, writer) in self.writers.iter().enumerate() {
            if !matches!(writer, Writer::Done | Writer::Dead) {
                let mut wrote = self.clone();
                wrote.write_back(number);
                next.push((format!("write-back {number} {writer:?}"), wrote));
                if self.mortal {
                    let mut died = self.clone();
                    (died.mortal, died.writers[number]) = (false, Writer::Dead);
                    next.push((format!("write-back {number} dies"), died));
                }
            }
        }
        if self.deleter != Deleter::Done {
            let mut deleted = self.clone();
            deleted.delete();
            next.push((format!("delete {:?}", self.deleter), deleted));
        }
        next
    }

    fn always(&self) -> Result<(), String> {
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        let died = self.writers.contains(&Writer::Dead);
        match (self.marker, self.link) {
            (Some(_), Link::Pushed(_)) => Ok(()),
            // The delete may have come after the push.
            (None, Link::Absent | Link::Upstream(_)) if self.took => Ok(()),
            // The next write-back restores it.
            (Some(_), Link::Upstream(_)) if died => Ok(()),
            (_, link) => Err(format!("a push is lost, the tag is {link:?}")),
        }
    }

    fn succeeded(&self) -> bool {
        let pushed = self.pushers.iter().all(|it| *it == Pusher::Acknowledged);
        let ended = |it: &Writer| matches!(it, Writer::Done | Writer::Dead);
        pushed && self.writers.iter().all(ended) && self.deleter == Deleter::Done
    }
}

const LINKS: [Link; 2] = [Link::Absent, Link::Upstream(0)];

#[test]
fn no_push_loses_to_a_write_back() {
    for link in LINKS {
        for (pushers, writers) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            for careful in [true, false] {
                let world = World { careful, ..World::start(link, pushers, writers) };
                explore(world).unwrap();
            }
        }
    }
}

#[test]
fn nor_where_a_write_back_dies_for_longer_than_until_the_next_one() {
    for link in LINKS {
        let world = World { mortal: true, ..World::start(link, 2, 2) };
        explore(world).unwrap();
        // The next write-back.
        let world = World { marker: Some(0), pushers: vec![Pusher::Acknowledged], ..World::start(link, 1, 2) };
        explore(world).unwrap();
    }
}

#[test]
fn nor_where_a_delete_comes_in_between() {
    for (pushers, writers) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        for link in LINKS {
            let world = World { deleter: Deleter::Unmarks, ..World::start(link, pushers, writers) };
            explore(world).unwrap();
        }
    }
}

#[test]
fn without_the_marker_one_would() {
    for careful in [true, false] {
        let world = World { guarded: false, careful, ..World::start(Link::Upstream(0), 1, 1) };
        let found = explore(world).unwrap_err();
        assert!(found.contains("a push is lost"), "{found}");
    }
}
