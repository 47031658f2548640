//! Models of concurrent requests and replicas on one bucket: plain state machines, of which the search visits every
//! interleaving.
//!
//! A step is one call to the store, or one event of a client; between any two, the other participants may take any
//! number of steps, or a replica may die. Each model has a variant without its guard: the search must find that
//! variant's flaw, which proves that it would find a flaw of the model.

mod deletes;
mod fill;
mod tails;
mod upload;
mod writeback;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

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

/// Visits every reachable state; returns how many there are.
///
/// # Errors
/// The first flaw with the shortest path to it; or that no path leads to success.
fn explore<M: Model>(start: M) -> Result<usize, String> {
    let mut known = HashMap::from([(start.clone(), 0)]);
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
