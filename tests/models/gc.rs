//! Garbage collection beside writes (`registry/gc`, `registry/condemned`): nothing that was acknowledged is lost.
//!
//! [`world`] has one key, writers that find it or bring it, and collectors; [`named`] what a manifest names.

mod named;
mod world;

use super::{Model, explore};
use world::{Guard, World};

fn holds(world: impl Model) {
    let states = explore(world).unwrap();
    assert!(states > 1000, "{states}");
}

fn finds(world: impl Model) {
    let found = explore(world).unwrap_err();
    assert!(found.contains("is lost"), "{found}");
}

/// From the publication on: a push, and two rounds.
#[test]
fn nothing_that_was_acknowledged_is_lost() {
    holds(World::<1, 1>::start(None));
}

#[test]
fn nor_where_the_last_manifest_that_needs_it_is_deleted_meanwhile() {
    holds(World::<1, 1> { old: true, ..World::condemned(None) });
    holds(World::<1, 1> { old: true, ..World::start(None) });
}

#[test]
fn nor_where_lists_lag() {
    holds(World::<1, 1> { lags: true, ..World::condemned(None) });
}

#[test]
fn nor_by_a_collector_that_was_paused_while_another_one_took_over() {
    holds(World::<1, 2>::surveyed(None));
}

#[test]
fn nor_of_two_pushes() {
    let world = World::<2, 1>::surveyed(None);
    holds(World { end: world.end - 4, ..world });
}

#[test]
fn without_a_guard_of_writers_it_would_be() {
    finds(World::<1, 1>::start(Some(Guard::ReferencesFirst)));
    finds(World::<1, 1>::start(Some(Guard::KnowledgeAge)));
    for guard in [Guard::Settle, Guard::Look, Guard::Belief] {
        finds(World::<1, 1>::condemned(Some(guard)));
    }
}

#[test]
fn without_a_guard_of_the_collector_it_would_be() {
    for guard in [Guard::Delay, Guard::DueBefore, Guard::PublishedAfter] {
        finds(World::<1, 1>::start(Some(guard)));
    }
    for guard in [Guard::Condition, Guard::Expiry, Guard::Retire] {
        finds(World::<1, 1>::condemned(Some(guard)));
    }
    // Until the other collector may take over, nothing happens.
    let world = World::<1, 2>::surveyed(Some(Guard::Renew));
    finds(World { now: world.now + 2, ..world });
}

/// The wait before a takeover only keeps two collectors from the same work.
#[test]
fn a_lease_that_is_taken_at_once_loses_nothing() {
    let world = World::<1, 2>::surveyed(Some(Guard::Takeover));
    holds(World { end: world.end - 2, ..world });
}
