//! Connections, the hasher and the bucket share the memory of one fill (`registry/fill`): in whatever order
//! clients ask for chunks, the fill goes on.

use super::{Model, explore};

const CHUNKS: usize = 4;
/// Segments of a chunk: two connections may work on it.
const SEGMENTS: usize = 2;

/// The rules that keep the fill going.
#[expect(clippy::struct_excessive_bools, reason = "each is left out alone")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Guards {
    /// (a) A connection holds no segment while it waits for memory.
    empty_handed: bool,
    /// (b) The untaken segments of begun chunks come before a new chunk.
    begun_first: bool,
    /// (c) The lowest unfinished chunk has memory, or finds it free.
    lowest_has_memory: bool,
    /// A stored chunk that is not hashed leaves the memory if the lowest unfinished one needs it.
    evicts_unhashed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Untaken,
    Taken,
    Received,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Connection {
    Idle,
    Receives(usize, usize),
    /// For the memory of a chunk; with a segment in hand, which is not received meanwhile.
    Waits(usize, Option<(usize, usize)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Chunk {
    /// Its memory is reserved.
    in_memory: bool,
    segments: [Segment; SEGMENTS],
    stored: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    guards: Guards,
    /// How many chunks the memory holds.
    memory: usize,
    chunks: [Chunk; CHUNKS],
    hashed: usize,
    connections: [Connection; 2],
}

impl Chunk {
    fn is_whole(self) -> bool {
        self.segments.iter().all(|segment| *segment == Segment::Received)
    }

    fn untaken(self) -> Option<usize> {
        self.segments.iter().position(|segment| *segment == Segment::Untaken)
    }
}

impl World {
    fn start(memory: usize, guards: Guards) -> Self {
        let chunk = Chunk { in_memory: false, segments: [Segment::Untaken; SEGMENTS], stored: false };
        Self { guards, memory, chunks: [chunk; CHUNKS], hashed: 0, connections: [Connection::Idle; 2] }
    }

    fn lowest(&self) -> Option<usize> {
        self.chunks.iter().position(|chunk| !chunk.is_whole())
    }

    fn free(&self) -> usize {
        self.memory - self.chunks.iter().filter(|chunk| chunk.in_memory).count()
    }

    /// Whether there is memory for a new chunk: the next one of the prefix, or one for which a client waits.
    fn may_begin(&self, chunk: usize) -> bool {
        let served = self.lowest().is_none_or(|lowest| lowest == chunk || self.chunks[lowest].in_memory);
        let kept = usize::from(self.guards.lowest_has_memory && !served);
        self.free() > kept
    }

    fn begun(&self) -> impl Iterator<Item = usize> {
        (0..CHUNKS).filter(|chunk| self.chunks[*chunk].in_memory && self.chunks[*chunk].untaken().is_some())
    }

    fn unbegun(&self) -> impl Iterator<Item = usize> {
        (0..CHUNKS).filter(|chunk| !self.chunks[*chunk].in_memory && !self.chunks[*chunk].is_whole())
    }

    fn takes(&mut self, number: usize, chunk: usize) {
        let Some(segment) = self.chunks[chunk].untaken() else { return };
        self.chunks[chunk].in_memory = true;
        self.chunks[chunk].segments[segment] = Segment::Taken;
        self.connections[number] = Connection::Receives(chunk, segment);
    }

    fn connection(&self, number: usize) -> Vec<(String, Self)> {
        let mut steps = Vec::new();
        let mut step = |name: String, change: &dyn Fn(&mut World)| {
            let mut next = self.clone();
            change(&mut next);
            steps.push((name, next));
        };
        match self.connections[number] {
            Connection::Idle => {
                for chunk in self.begun() {
                    step(format!("{number} takes of {chunk}"), &|next| next.takes(number, chunk));
                }
                let goes_on = self.guards.begun_first && self.begun().next().is_some();
                for chunk in self.unbegun().filter(|_| !goes_on) {
                    if self.may_begin(chunk) {
                        step(format!("{number} begins {chunk}"), &|next| next.takes(number, chunk));
                    } else if !self.guards.begun_first {
                        let waits = Connection::Waits(chunk, None);
                        step(format!("{number} waits for {chunk}"), &|next| next.connections[number] = waits);
                    }
                }
            }
            Connection::Receives(chunk, segment) => {
                step(format!("{number} receives of {chunk}"), &|next| {
                    next.chunks[chunk].segments[segment] = Segment::Received;
                    next.connections[number] = Connection::Idle;
                });
                for other in self.unbegun().filter(|_| !self.guards.empty_handed) {
                    let waits = Connection::Waits(other, Some((chunk, segment)));
                    step(format!("{number} waits for {other}"), &|next| next.connections[number] = waits);
                }
            }
            Connection::Waits(chunk, held) => {
                let there = self.chunks[chunk].in_memory || self.chunks[chunk].is_whole();
                if there || self.may_begin(chunk) {
                    step(format!("{number} has memory for {chunk}"), &|next| {
                        next.chunks[chunk].in_memory |= !there;
                        let receives = held.map(|(chunk, segment)| Connection::Receives(chunk, segment));
                        next.connections[number] = receives.unwrap_or(Connection::Idle);
                    });
                }
            }
        }
        steps
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut steps: Vec<_> = (0..self.connections.len()).flat_map(|number| self.connection(number)).collect();
        let lowest = self.lowest().filter(|lowest| !self.chunks[*lowest].in_memory && self.free() == 0);
        for (number, chunk) in self.chunks.iter().enumerate() {
            let mut next = self.clone();
            if chunk.in_memory && chunk.is_whole() && !chunk.stored {
                next.chunks[number].stored = true;
                steps.push((format!("{number} is stored"), next));
            } else if chunk.in_memory && chunk.stored {
                let needed = lowest.is_some() && self.guards.evicts_unhashed;
                if number < self.hashed || needed {
                    next.chunks[number].in_memory = false;
                    steps.push((format!("{number} is evicted"), next));
                }
            }
        }
        // From memory, or from the bucket.
        if self.chunks.get(self.hashed).is_some_and(|chunk| chunk.is_whole()) {
            let mut next = self.clone();
            next.hashed += 1;
            steps.push((format!("{} is hashed", self.hashed), next));
        }
        steps
    }

    fn always(&self) -> Result<(), String> {
        let reserved = self.chunks.iter().filter(|chunk| chunk.in_memory).count();
        if reserved > self.memory { Err("more memory than there is".to_owned()) } else { Ok(()) }
    }

    fn finally(&self) -> Result<(), String> {
        if self.succeeded() { Ok(()) } else { Err("nothing can go on".to_owned()) }
    }

    fn succeeded(&self) -> bool {
        self.hashed == CHUNKS && self.chunks.iter().all(|chunk| chunk.stored)
    }
}

const ALL: Guards = Guards { empty_handed: true, begun_first: true, lowest_has_memory: true, evicts_unhashed: true };

#[test]
fn a_fill_goes_on_in_little_memory() {
    for memory in 1..=3 {
        assert!(explore(World::start(memory, ALL)).unwrap() > 100);
    }
}

/// (c) and the eviction of chunks that are not hashed stand in for each other: one of both is enough to go on.
#[test]
fn without_a_rule_nothing_could_go_on() {
    for guards in [Guards { lowest_has_memory: false, ..ALL }, Guards { evicts_unhashed: false, ..ALL }] {
        assert!(explore(World::start(2, guards)).unwrap() > 100);
    }
    for guards in [
        Guards { empty_handed: false, ..ALL },
        Guards { begun_first: false, ..ALL },
        Guards { lowest_has_memory: false, evicts_unhashed: false, ..ALL },
    ] {
        let found = explore(World::start(2, guards)).unwrap_err();
        assert!(found.contains("nothing can go on"), "{found}");
    }
}
