//! Two replicas fill one blob (`registry/fill`). The upstream may send either of them wrong bytes, and either may die:
//! the bucket never shows a wrong blob, and no client gets the whole of one.

use super::{Model, explore};

/// Pieces of the blob; each is a part, too.
const PIECES: usize = 3;

/// The guards that make a fill safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Guards {
    /// A replica verifies the bytes before it completes the upload.
    complete: bool,
    /// A replica verifies the bytes before it releases the last of them.
    release: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Running,
    Stored,
    Failed,
    Died,
}

/// One replica's fill, and a client that follows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fill {
    /// The received pieces, right or wrong.
    received: Vec<bool>,
    /// How many parts the store has.
    sent: usize,
    /// How many pieces the client has.
    read: usize,
    verified: bool,
    /// The multipart upload is open.
    open: bool,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    fills: [Fill; 2],
    /// The blob in the bucket.
    blob: Option<Vec<bool>>,
    guards: Guards,
}

impl World {
    fn start(guards: Guards) -> Self {
        let fill = Fill { received: Vec::new(), sent: 0, read: 0, verified: false, open: true, end: End::Running };
        Self { fills: [fill.clone(), fill], blob: None, guards }
    }

    /// The possible next steps of a replica.
    fn steps(&self, number: usize) -> Vec<(&'static str, Self)> {
        let fill = &self.fills[number];
        if fill.end != End::Running {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let mut when = |holds: bool, name, change: &dyn Fn(&mut Fill, &mut Option<Vec<bool>>)| {
            if holds {
                let mut next = self.clone();
                change(&mut next.fills[number], &mut next.blob);
                steps.push((name, next));
            }
        };
        let whole = fill.received.len() == PIECES;
        for right in [true, false] {
            when(!whole, "gets a piece", &|fill, _| fill.received.push(right));
        }
        let verified = fill.verified || !self.guards.release;
        let readable = fill.received.len() - usize::from(whole && !verified);
        when(fill.read < readable, "is read", &|fill, _| {
            fill.read += 1;
        });
        when(fill.sent < fill.received.len(), "sends a part", &|fill, _| {
            fill.sent += 1;
        });
        let right = fill.received.iter().all(|piece| *piece);
        when(whole && right && !fill.verified, "verifies", &|fill, _| {
            fill.verified = true;
        });
        when(whole && !right, "aborts", &|fill, _| {
            (fill.open, fill.end) = (false, End::Failed);
        });
        let completes = fill.sent == PIECES && (fill.verified || !self.guards.complete);
        when(completes && fill.open, "completes", &|fill, blob| {
            (fill.open, *blob) = (false, Some(fill.received.clone()));
        });
        when(!fill.open && fill.read == PIECES, "ends", &|fill, _| {
            fill.end = End::Stored;
        });
        when(true, "dies", &|fill, _| fill.end = End::Died);
        steps
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let steps = (0..2).flat_map(|number| {
            let steps = self.steps(number).into_iter();
            steps.map(move |(name, next)| (format!("{number} {name}"), next))
        });
        steps.collect()
    }

    fn always(&self) -> Result<(), String> {
        if self.blob.iter().flatten().any(|piece| !piece) {
            return Err("the bucket shows a wrong blob".to_owned());
        }
        let served = |fill: &Fill| fill.read == PIECES && fill.received.contains(&false);
        if self.fills.iter().any(served) {
            return Err("a client has the whole of a wrong blob".to_owned());
        }
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        for fill in &self.fills {
            if fill.end == End::Stored && self.blob.is_none() {
                return Err("it was stored, and is not there".to_owned());
            }
        }
        Ok(())
    }

    fn succeeded(&self) -> bool {
        self.fills.iter().all(|fill| fill.end == End::Stored)
    }
}

const BOTH: Guards = Guards { complete: true, release: true };

#[test]
fn nothing_wrong_is_stored_or_served_whole() {
    assert!(explore(World::start(BOTH)).unwrap() > 10_000);
}

#[test]
fn without_either_guard_it_would_be() {
    let found = explore(World::start(Guards { complete: false, ..BOTH })).unwrap_err();
    assert!(found.contains("the bucket shows a wrong blob"), "{found}");
    let found = explore(World::start(Guards { release: false, ..BOTH })).unwrap_err();
    assert!(found.contains("a client has the whole"), "{found}");
}
