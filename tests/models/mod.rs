//! What several requests and replicas do to one bucket at once, as plain state machines of which every interleaving is
//! looked at.
//!
//! A step is one call to the store, or one event of a client; between any two, anybody else may have any number of
//! steps, or a replica may die. Each model has a variant without the guard that makes it right, of which the search
//! must find the flaw: so it is known that it would.

mod deletes;
mod fill;
mod tails;
mod upload;
mod writeback;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

/// A state of everything that takes part.
trait Model: Clone + Debug + Eq + Hash {
    /// What can happen next, and what it leads to.
    fn next(&self) -> Vec<(String, Self)>;

    /// What must never be.
    ///
    /// # Errors
    /// It is; in a few words.
    fn always(&self) -> Result<(), String>;

    /// What must not be when nothing can happen any more.
    ///
    /// # Errors
    /// It is; in a few words.
    fn finally(&self) -> Result<(), String>;

    /// Whether everybody got what he wanted; there must be a way to that.
    fn succeeded(&self) -> bool;
}

/// Looks at every state that can be reached; how many there are.
///
/// # Errors
/// One of them must not be: why, and the shortest way to it; or nobody can succeed.
fn explore<M: Model>(start: M) -> Result<usize, String> {
    let mut known = HashMap::from([(start.clone(), 0)]);
    // Each with where it came from, and by what.
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
