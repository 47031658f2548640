use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const DEATH: Duration = Duration::from_secs(12);
const STATES: [LeaseState; 7] = [
    LeaseState::Asking,
    LeaseState::Filling,
    LeaseState::Leaving,
    LeaseState::Released,
    LeaseState::Verified,
    LeaseState::Done,
    LeaseState::Failed,
];

/// Valid leases of blobs of up to 40 chunks.
pub(in crate::registry::fill) fn leases() -> impl Strategy<Value = Lease> {
    let chunks = prop::collection::btree_map(0..40_u64, 0..4_u128, 0..40);
    let heads = prop::collection::vec((0..40_u64, 1..1000_u64, "[a-f0-9]{0,32}"), 0..4);
    let parts = (any::<u64>(), 0..STATES.len(), 1..=MAX_GENERATIONS, 0..5 * MIB, any::<bool>());
    (parts, chunks, heads, any::<prop::sample::Index>(), any::<Vec<u8>>()).prop_map(
        |((write, state, generations, rest, long), chunks, heads, hashed, seen)| {
            let generations: Vec<_> = (0..generations as u128).map(Uuid::from_u128).collect();
            let stored =
                runs::runs(chunks.into_iter().map(|(number, own)| (number, Uuid::from_u128(own))), &generations);
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&seen);
            let prefix = usize::try_from(runs::prefix(&stored)).unwrap();
            let chunks = hashed.index(prefix + 1) as u64;
            if chunks == 0 {
                hasher = Hasher::new(algorithm);
            }
            let state = match STATES[state] {
                LeaseState::Verified | LeaseState::Done if chunks < 40 => LeaseState::Filling,
                state => state,
            };
            let heads = heads.into_iter().map(|(number, len, etag)| {
                let start = number * 8 * MIB;
                Head { start, end: start + len, etag }
            });
            Lease {
                write,
                state,
                stored,
                generations,
                size: 40 * 8 * MIB - rest,
                chunk: 8 * MIB,
                heads: heads.collect(),
                hashed: Hashed { chunks, hasher, chain: PartsDigest::default() },
            }
        },
    )
}

proptest! {
    #[test]
    fn made_up_leases_are_valid(lease in leases()) {
        prop_assert!(lease.is_valid(5 * MIB));
        prop_assert!(!lease.is_valid(9 * MIB));
    }

    #[test]
    fn a_successor_has_the_chunks_and_the_last_word(lease in leases(), own: u128) {
        prop_assume!(lease.write < u64::MAX);
        let own = Uuid::from_u128(own);
        let taken = lease.taken_over(own);
        prop_assert!(taken.is_valid(5 * MIB));
        prop_assert_eq!(taken.owner(), own);
        prop_assert_eq!(taken.write, lease.write + 1);
        prop_assert!(taken.heads.is_empty());
        let adopts = !matches!(lease.state, LeaseState::Asking | LeaseState::Failed | LeaseState::Done)
            && lease.generations.len() < MAX_GENERATIONS;
        if adopts {
            prop_assert!(taken.chunks().eq(lease.chunks()));
            prop_assert_eq!(taken.hashed.chunks, lease.hashed.chunks);
            prop_assert_eq!(taken.state, LeaseState::Filling);
        } else {
            prop_assert_eq!((taken.stored.len(), taken.hashed.chunks, taken.generations.len()), (0, 0, 1));
            prop_assert_eq!(taken.state, LeaseState::Asking);
        }
    }
}

fn lease() -> Lease {
    let mut lease = Lease::asking(Uuid::from_u128(1), 25 * MIB, 8 * MIB, Algorithm::Sha256);
    lease.state = LeaseState::Filling;
    lease.stored = vec![Run { from: 0, to: 2, generation: 0 }, Run { from: 3, to: 4, generation: 0 }];
    lease.hashed.chunks = 2;
    lease
}

#[test]
fn broken_leases_are_found() {
    let breaks: &[fn(&mut Lease)] = &[
        |lease| lease.generations.clear(),
        |lease| lease.generations = vec![Uuid::nil(); MAX_GENERATIONS + 1],
        |lease| (lease.size, lease.chunk) = (0, 8 * MIB),
        |lease| (lease.size, lease.chunk) = (25 * MIB, 4 * MIB),
        |lease| (lease.size, lease.chunk) = (25 * MIB, 9 * MIB),
        |lease| (lease.size, lease.chunk) = (4097 * 8 * MIB, 8 * MIB),
        |lease| lease.stored[1].to = 5,
        |lease| lease.stored[1].to = 3,
        |lease| lease.stored[1].from = 1,
        |lease| lease.stored[1].generation = 1,
        |lease| lease.stored.reverse(),
        |lease| lease.hashed.chunks = 3,
        |lease| lease.stored[0].from = 1,
        |lease| lease.state = LeaseState::Verified,
        |lease| lease.state = LeaseState::Done,
        |lease| lease.heads = vec![Head { start: 0, end: 1, etag: String::new() }; MAX_HEADS + 1],
        |lease| lease.heads = vec![Head { start: 5, end: 5, etag: String::new() }],
        |lease| lease.heads = vec![Head { start: 5, end: 8 * MIB + 1, etag: String::new() }],
        |lease| lease.heads = vec![Head { start: 24 * MIB, end: 26 * MIB, etag: String::new() }],
        |lease| lease.heads = vec![Head { start: 0, end: 1, etag: "x".repeat(257) }],
    ];
    assert!(lease().is_valid(5 * MIB));
    for (number, breaks) in breaks.iter().enumerate() {
        let mut lease = lease();
        breaks(&mut lease);
        assert!(!lease.is_valid(5 * MIB), "{number}");
    }
}

#[test]
fn states_follow_one_another() {
    for before in STATES {
        let follows: Vec<_> = STATES.into_iter().filter(|state| state.may_follow(before)).collect();
        let ends = matches!(before, LeaseState::Released | LeaseState::Done | LeaseState::Failed);
        assert_eq!(follows.is_empty(), ends, "{before:?}");
        // A blob is stored only after the upstream was asked for it.
        assert_eq!(LeaseState::Done.may_follow(before), !ends && before != LeaseState::Asking);
    }
}

#[test]
fn an_owner_is_dead_after_two_looks_or_a_long_one() {
    let (lease, began) = (lease(), Instant::now());
    let verdict = |lease: Option<&Lease>, seen, age: Option<u64>| {
        let look = Look { since: began, age: age.map(Duration::from_secs) };
        judge(lease, look, began + Duration::from_secs(seen), DEATH)
    };
    for (seen, age, dead) in [
        (0, None, false),
        (11, None, false),
        (12, None, true),
        (12, Some(0), true),
        // One look is not enough, however old the lease is.
        (0, Some(3600), false),
        (3, Some(3600), false),
        (4, Some(12), false),
        (4, Some(13), true),
    ] {
        let expected = if dead { Verdict::Dead } else { Verdict::Alive };
        assert_eq!(verdict(Some(&lease), seen, age), expected, "{seen} {age:?}");
        // Its content plays no part.
        let expected = if dead { Verdict::Dead } else { Verdict::Foreign };
        assert_eq!(verdict(None, seen, age), expected, "{seen} {age:?}");
    }
    for (state, expected) in [
        (LeaseState::Asking, Verdict::Alive),
        (LeaseState::Verified, Verdict::Alive),
        (LeaseState::Leaving, Verdict::Free),
        (LeaseState::Released, Verdict::Free),
        (LeaseState::Failed, Verdict::Free),
        (LeaseState::Done, Verdict::Done),
    ] {
        let lease = Lease { state, ..lease.clone() };
        assert_eq!(verdict(Some(&lease), 0, None), expected);
    }
}
