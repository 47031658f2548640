//! Processes fill one blob through the bucket (`registry/fill`): one owns the lease, the others follow, take over from
//! a dead one, and serve their clients. Two chunks, of which the second is the tail.

mod commit;
mod faults;
mod guards;
mod reading;
mod steps;
mod world;

use super::explore;
use guards::{BROKEN, COPIES, Faults, Guard, LOST_CHUNK, OWNERS, ROBBED, WAITS, WRONG_BLOB, WRONG_CLIENT};
use world::World;

const NONE: Faults = Faults {
    deaths: 0,
    pauses: 0,
    leaves: 0,
    yields: 0,
    lies: 0,
    exchanges: 0,
    losses: 0,
    late: 0,
    unheard: 0,
    evictions: 0,
    sweeps: 0,
    lags: 0,
};

const DEATH: Faults = Faults { deaths: 1, ..NONE };
const PAUSE: Faults = Faults { pauses: 1, ..NONE };
const LIE: Faults = Faults { lies: 1, ..NONE };
const LIE_AND_PAUSE: Faults = Faults { pauses: 1, ..LIE };
const LIE_AND_LOSS: Faults = Faults { evictions: 1, losses: 1, ..LIE };
const EXCHANGE: Faults = Faults { exchanges: 1, ..NONE };

fn holds<const N: usize>(start: World<N>) {
    let faults = start.faults;
    let states = explore(start).unwrap_or_else(|flaw| panic!("{faults:?}: {flaw}"));
    assert!(states > 1000, "{states} states with {faults:?}");
}

/// The first of two processes owns the lease.
fn two(faults: Faults) -> World<2> {
    World::start(faults, &[]).owned()
}

#[test]
fn every_client_ends_and_nothing_wrong_is_stored() {
    holds(World::<2>::start(Faults { unheard: 1, ..NONE }, &[]));
    holds(World::<3>::start(NONE, &[]));
    holds(two(LIE));
    holds(two(Faults { late: 1, ..NONE }));
    holds(two(EXCHANGE));
}

#[test]
fn a_lost_chunk_is_downloaded_again() {
    holds(two(LIE_AND_LOSS));
}

#[test]
fn a_dead_filler_is_replaced() {
    holds(two(Faults { unheard: 1, ..DEATH }));
    holds(two(Faults { lies: 1, ..DEATH }));
    holds(two(Faults { late: 1, ..DEATH }));
    holds(two(Faults { sweeps: 1, ..DEATH }));
}

#[test]
fn a_paused_filler_that_wakes_does_no_harm() {
    holds(two(LIE_AND_PAUSE));
}

#[test]
fn a_filler_that_stops_hands_over() {
    holds(two(Faults { leaves: 1, ..NONE }));
}

#[test]
fn a_filler_whose_upstream_is_slow_hands_over() {
    holds(two(Faults { yields: 1, ..NONE }));
    holds(two(Faults { yields: 1, unheard: 1, ..NONE }));
}

/// Whether the search finds this flaw if these guards are out.
fn finds(flaw: &'static str, without: &'static [Guard], faults: Faults) {
    // A lost answer is that of the first write, too.
    let start = World::<2>::start(faults, without);
    let mut world = if faults.unheard > 0 { start } else { start.owned() };
    world.only = Some(flaw);
    let found = explore(world).expect_err(flaw);
    assert!(found.contains(flaw), "{without:?}: {found}");
}

/// Either comparison of `ETag`s is enough against one exchange.
#[test]
fn without_both_etags_an_exchanged_chunk_is_composed() {
    finds(WRONG_BLOB, &[Guard::CopyByEtag, Guard::ListByEtag], EXCHANGE);
    for guard in [&[Guard::CopyByEtag], &[Guard::ListByEtag]] {
        assert!(explore(World::<2>::start(EXCHANGE, guard).owned()).unwrap() > 1000);
    }
}

#[test]
fn without_a_guard_the_blob_is_wrong() {
    finds(WRONG_BLOB, &[Guard::Chain], Faults { exchanges: 1, ..DEATH });
    finds(WRONG_BLOB, &[Guard::Verify], LIE);
    let shared = &[Guard::Directory, Guard::WriteOnce, Guard::CopyByEtag, Guard::ListByEtag];
    finds(WRONG_BLOB, shared, LIE_AND_PAUSE);
}

#[test]
fn without_a_guard_a_client_has_a_wrong_blob() {
    finds(WRONG_CLIENT, &[Guard::Tail], LIE);
    finds(WRONG_CLIENT, &[Guard::Record], LIE_AND_PAUSE);
    finds(WRONG_CLIENT, &[Guard::RecordAtBlob], LIE_AND_PAUSE);
    finds(WRONG_CLIENT, &[Guard::Renew], LIE_AND_LOSS);
}

#[test]
fn without_a_guard_a_fill_is_lost() {
    finds(LOST_CHUNK, &[Guard::WriteOnce], Faults { late: 1, ..NONE });
    finds(LOST_CHUNK, &[Guard::Directory], LIE_AND_PAUSE);
    finds(LOST_CHUNK, &[Guard::EnderDeletes], PAUSE);
    finds(BROKEN, &[Guard::Grace], NONE);
}

#[test]
fn without_a_guard_a_live_filler_is_robbed() {
    finds(OWNERS, &[Guard::Cas], PAUSE);
    finds(COPIES, &[Guard::TwoLooks], NONE);
    finds(COPIES, &[Guard::WriteNumber], NONE);
    finds(ROBBED, &[Guard::ReadAfterUnmet], Faults { unheard: 1, ..NONE });
    // A lagging read alone robs nothing: the write is conditional on the ETag of an old lease.
    finds(ROBBED, &[Guard::Leader], Faults { lags: 1, unheard: 1, ..NONE });
}

#[test]
fn without_a_guard_a_client_waits_for_ever() {
    finds(WAITS, &[Guard::TakeOver], DEATH);
    finds(WAITS, &[Guard::RobbedFollows], PAUSE);
    finds(WAITS, &[Guard::RobbedFollows], Faults { yields: 1, ..NONE });
    finds(WAITS, &[Guard::DoneAfterBlob], DEATH);
}
