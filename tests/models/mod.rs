//! Models of concurrent requests and replicas on one bucket: plain state machines, of which the search visits every
//! interleaving.
//!
//! A step is one call to the store, or one event of a client; between any two, the other participants may take any
//! number of steps, or a replica may die. Each model has a variant without its guard: the search must find that
//! variant's flaw, which proves that it would find a flaw of the model.

mod deletes;
mod fill;
mod gc;
mod memory;
mod shared_fill;
mod tails;
mod upload;
mod writeback;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A state of all participants.
trait Model: Clone + Debug + Eq + Hash {
    /// The possible next steps, each with the state that it leads to.
    fn next(&self) -> Vec<(String, Self)>;

    /// Checks a state.
    ///
    /// # Errors
    /// The flaw, in a few words.
    fn always(&self) -> Result<(), String>;

    /// Checks a state without next steps.
    ///
    /// # Errors
    /// The flaw, in a few words.
    fn finally(&self) -> Result<(), String>;

    /// Whether every client succeeded; some path must lead to such a state.
    fn succeeded(&self) -> bool;
}

/// The standard hasher takes most of a search in a debug build.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// An enum's variant.
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
}

/// Visits every reachable state; returns how many there are.
///
/// # Errors
/// The first flaw with the shortest path to it; or that no path leads to success.
fn explore<M: Model>(start: M) -> Result<usize, String> {
    let mut known = HashMap::<M, usize, BuildHasherDefault<Fold>>::default();
    known.insert(start.clone(), 0);
    // Each state with its predecessor, and the step from there.
    let mut states = vec![(start, 0, String::new())];
    let (mut at, mut succeeded) = (0, false);
    while at < states.len() {
        let state = states[at].0.clone();
        let steps = state.next();
        let mut verdict = state.always();
        if steps.is_empty() {
            verdict = verdict.and_then(|()| state.finally());
        }
        succeeded |= state.succeeded();
        if let Err(why) = verdict {
            let (mut way, mut place) = (Vec::new(), at);
            while place > 0 {
                way.push(states[place].2.clone());
                place = states[place].1;
            }
            way.reverse();
            return Err(format!("{why}: {}; {state:?}", way.join(", ")));
        }
        for (name, next) in steps {
            if !known.contains_key(&next) {
                known.insert(next.clone(), states.len());
                states.push((next, at, name));
            }
        }
        at += 1;
        assert!(at < 5_000_000, "this model is too large");
    }
    if !succeeded {
        return Err("nobody can succeed".to_owned());
    }
    Ok(states.len())
}
