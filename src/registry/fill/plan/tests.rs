use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// A blob that is not cut into chunks.
fn whole(size: u64, begun: u64, now: Instant) -> (Plan, Segment) {
    Plan::new(size, begun, u64::MAX, now)
}

fn take(plan: &mut Plan, wanted: &[u64], now: Instant) -> Option<Segment> {
    plan.take(wanted, now, &mut |_| true)
}

fn of(segment: Option<Segment>) -> Option<(u64, u64)> {
    segment.map(|segment| (segment.start / MIB, segment.end / MIB))
}

#[test]
fn segments_are_taken_in_order_and_become_shorter_near_the_end() {
    let now = Instant::now();
    let (mut plan, first) = whole(30 * MIB, SEGMENT, now);
    assert_eq!(of(Some(first)), Some((0, 8)));
    assert_eq!(of(take(&mut plan, &[], now)), Some((8, 13)));
    assert_eq!(of(take(&mut plan, &[], now)), Some((13, 17)));
    plan.receive(first, 8 * MIB, now);
    assert!(plan.is_received(first) && plan.has_untaken() && !plan.is_complete());
}

#[test]
fn large_blobs_have_large_segments() {
    for (size, segment) in [(MIB, 8 * MIB), (1 << 30, 16 * MIB), (20 << 30, 64 * MIB)] {
        assert_eq!(whole(size, SEGMENT, Instant::now()).0.segment, segment);
    }
}

#[test]
fn what_is_given_up_comes_first_again() {
    let now = Instant::now();
    let (mut plan, first) = whole(20 * MIB, SEGMENT, now);
    let second = take(&mut plan, &[], now).unwrap();
    plan.receive(first, MIB, now);
    plan.give_up(first);
    assert_eq!(of(take(&mut plan, &[], now)), Some((1, 5)));
    assert_eq!(plan.receive(second, 100 * MIB, now), second.end - second.start);
}

#[test]
fn what_a_client_waits_for_comes_first() {
    let now = Instant::now();
    let (mut plan, _) = whole(1 << 30, SEGMENT, now);
    // What a connection will bring in a moment needs no other.
    assert!(!plan.any_comes_late(&[0, 7 * MIB], now) && plan.any_comes_late(&[7 * MIB, 100 * MIB], now));
    assert_eq!(of(plan.take_wanted(&[7 * MIB], now, &mut |_| true)), None);
    assert_eq!(of(take(&mut plan, &[7 * MIB, 100 * MIB, 500 * MIB], now)), Some((100, 108)));
    assert_eq!(of(take(&mut plan, &[7 * MIB, 100 * MIB, 96 * MIB], now)), Some((96, 100)));
    assert_eq!(of(take(&mut plan, &[7 * MIB, 100 * MIB, 96 * MIB], now)), Some((8, 24)));
    // Half of a segment that is long underway.
    assert_eq!(of(take(&mut plan, &[20 * MIB], now)), Some((20, 24)));
    assert_eq!(of(take(&mut plan, &[16 * MIB], now)), Some((24, 40)));
}

#[test]
fn a_slow_one_shares_what_it_has_before_it() {
    let now = Instant::now();
    let (mut plan, first) = whole(8 * MIB, SEGMENT, now);
    assert_eq!(take(&mut plan, &[], now), None);
    let half = take(&mut plan, &[], now + SLOW).unwrap();
    assert_eq!(of(Some(half)), Some((4, 8)));
    assert_eq!(plan.receive(first, 8 * MIB, now), 4 * MIB);
    assert!(plan.is_received(first));
    plan.receive(half, 3 * MIB, now);
    assert_eq!(take(&mut plan, &[], now + SLOW), None);
}

#[test]
fn one_that_crawls_is_given_up() {
    let now = Instant::now();
    let (mut plan, first) = whole(20 * MIB, SEGMENT, now);
    let other = take(&mut plan, &[], now).unwrap();
    plan.receive(first, 5 * MIB, now);
    let later = now + SLOW * 2;
    // Nothing says yet what the upstream can do.
    assert!(!plan.any_comes_late(&[5 * MIB], later));
    plan.receive(other, other.end - other.start, now + SLOW / 4);
    // 1.25 and 10 MiB/s.
    assert!(plan.any_comes_late(&[5 * MIB], later) && !plan.any_comes_late(&[4 * MIB], later));
    let rest = take(&mut plan, &[], later).unwrap();
    assert_eq!(of(Some(rest)), Some((5, 8)));
    assert_eq!((plan.receive(first, MIB, later), plan.is_received(first)), (0, true));
    // One that had nothing yet begins where the next one does.
    let much_later = later + SLOW;
    let again = take(&mut plan, &[5 * MIB], much_later).unwrap();
    assert_eq!((of(Some(again)), plan.receive(rest, MIB, much_later)), (Some((5, 8)), 0));
    assert_eq!(plan.receive(again, 4 * MIB, much_later), 3 * MIB);
}

#[test]
fn without_ranges_the_rest_is_one_segment() {
    let now = Instant::now();
    let (mut plan, first) = whole(1 << 30, SEGMENT, now);
    plan.receive(first, SEGMENT, now);
    plan.expect_no_ranges();
    assert_eq!(of(take(&mut plan, &[], now)), Some((8, 1024)));
}

#[test]
fn one_that_is_far_behind_is_helped_before_anything_new_begins() {
    let now = Instant::now();
    let (mut plan, first) = whole(1 << 30, SEGMENT, now);
    let others: Vec<_> = (0..4).map(|_| take(&mut plan, &[], now).unwrap()).collect();
    // A quarter of the rate of the others.
    let later = now + 2 * SLOW;
    plan.receive(first, 4 * MIB, later);
    for other in others {
        assert_eq!(plan.receive(other, 1 << 30, later), 16 * MIB);
    }
    assert_eq!(of(take(&mut plan, &[], later)), Some((6, 8)));
    assert_eq!(plan.receive(first, 8 * MIB, later), 2 * MIB);
    assert_eq!(take(&mut plan, &[], later).unwrap().start, (8 + 4 * 16) * MIB);
}

/// What a connection does next, by its number: 0 gives its segment up, anything else receives so many bytes of it. One
/// without a segment takes one, while a client waits at a position.
type Move = (usize, u8, u64, u64);

fn moves() -> impl Strategy<Value = Vec<Move>> {
    prop::collection::vec((0..4_usize, 0..5_u8, 1..(12 * MIB), 0..(200 * MIB)), 0..300)
}

/// Four connections make these moves, and then fetch the rest of a blob of `size` bytes: every byte is received once.
/// `take` takes a segment while a client waits at a position; `receive` hears what is there, and from where on something
/// came.
fn fetch_all(
    (mut plan, first): (Plan, Segment),
    size: u64,
    (moves, last): (Vec<Move>, u64),
    mut take: impl FnMut(&mut Plan, u64, Instant) -> Result<Option<Segment>, TestCaseError>,
    mut receive: impl FnMut(&Intervals, u64, u64) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut now = Instant::now();
    let mut taken = [Some((first, 0)), None, None, None];
    let mut there = Intervals::default();
    let rest = (0..10_000).map(|round| (round % 4, 1, 7 * MIB, last));
    let made = moves.len();
    for (count, (number, what, len, wanted)) in moves.into_iter().chain(rest).enumerate() {
        if count >= made && plan.is_complete() {
            break;
        }
        now += Duration::from_millis(200);
        let Some((segment, position)) = taken[number] else {
            taken[number] = take(&mut plan, wanted, now)?.map(|segment| (segment, segment.start));
            continue;
        };
        if what == 0 {
            plan.give_up(segment);
            taken[number] = None;
            continue;
        }
        let own = plan.receive(segment, len, now);
        let before = there.len();
        there.insert(position, position + own);
        prop_assert_eq!(there.len(), before + own);
        receive(&there, position, own)?;
        taken[number] = (!plan.is_received(segment)).then_some((segment, position + own));
    }
    prop_assert!(plan.is_complete());
    prop_assert_eq!(there.end_from(0), size);
    Ok(())
}

proptest! {
    /// Connections that do whatever they like, and clients that wait anywhere.
    #[test]
    fn every_byte_comes_once(size in 1..200_u64, begun in 1..20_u64, moves in moves()) {
        let size = size * MIB;
        let begun = whole(size, begun * MIB, Instant::now());
        let taking = |plan: &mut Plan, wanted, now| {
            let late = plan.any_comes_late(&[wanted], now);
            let taking = take(plan, &[wanted], now);
            // What a client waits for is taken, wherever a connection broke.
            prop_assert!(!late || taking.is_some_and(|it| it.start <= wanted && wanted < it.end));
            prop_assert!(taking.is_none_or(|segment| segment.start < segment.end && segment.end <= size));
            Ok(taking)
        };
        fetch_all(begun, size, (moves, 0), taking, |_, _, _| Ok(()))?;
    }
}

/// Takes segments of a blob in chunks of 16 MiB until no other chunk may begin, of `memory` chunks that are not
/// complete.
fn take_all(plan: &mut Plan, wanted: &[u64], now: Instant, memory: &mut Vec<u64>, most: usize) -> Vec<Segment> {
    let mut taken = Vec::new();
    while let Some(segment) = plan.take(wanted, now, &mut |new| {
        let may = memory.len() < most;
        if may {
            memory.push(new.number);
        }
        may
    }) {
        taken.push(segment);
    }
    taken
}

#[test]
fn a_segment_lies_within_one_chunk() {
    let now = Instant::now();
    let (mut plan, first) = Plan::new(100 * MIB, SEGMENT, 16 * MIB, now);
    let mut memory = vec![0];
    let taken = take_all(&mut plan, &[70 * MIB], now, &mut memory, usize::MAX);
    assert!(taken.iter().chain([&first]).all(|it| it.start / (16 * MIB) == (it.end - 1) / (16 * MIB)));
    assert_eq!(of(taken.first().copied()), Some((70, 78)));
    assert_eq!(memory, [0, 4, 1, 2, 3, 5, 6]);
    // A connection alone grows up to a chunk.
    let (mut plan, first) = Plan::new(1 << 30, SEGMENT, 16 * MIB, now);
    plan.receive(first, SEGMENT, now);
    assert_eq!(of(take(&mut plan, &[], now)), Some((8, 16)));
}

#[test]
fn the_bytes_of_begun_chunks_come_before_those_of_others() {
    let now = Instant::now();
    let (mut plan, first) = Plan::new(1 << 30, SEGMENT, 16 * MIB, now);
    let mut memory = vec![0];
    let taken = take_all(&mut plan, &[500 * MIB], now, &mut memory, 2);
    assert_eq!(memory, [0, 31]);
    let taken: Vec<_> = taken.into_iter().map(|segment| of(Some(segment)).unwrap()).collect();
    assert_eq!(taken, [(500, 508), (8, 16), (496, 500), (508, 512)]);
    // What is given up in one of them as well, although no memory is left.
    plan.receive(first, MIB, now);
    plan.give_up(first);
    assert_eq!(of(plan.take(&[600 * MIB], now, &mut |_| false)), Some((1, 8)));
    assert_eq!(plan.take(&[600 * MIB], now, &mut |_| false), None);
}

#[test]
fn the_lowest_chunk_is_the_first_that_is_not_complete() {
    let now = Instant::now();
    let (mut plan, first) = Plan::new(64 * MIB, SEGMENT, 16 * MIB, now);
    let second = take(&mut plan, &[], now).unwrap();
    let mut asked = Vec::new();
    for segment in [second, first] {
        plan.take(&[], now, &mut |new| {
            asked.push((new.number, new.lowest));
            false
        });
        plan.receive(segment, SEGMENT, now);
    }
    plan.take(&[], now, &mut |new| {
        asked.push((new.number, new.lowest));
        false
    });
    assert_eq!(asked, [(1, 0), (1, 0), (1, 1)]);
}

proptest! {
    /// Connections that break anywhere, clients that wait anywhere, and memory for few chunks, of which each comes back
    /// when it is complete: nothing waits for ever.
    #[test]
    fn chunks_pass_through_little_memory(size in 1..200_u64, most in 1..4_usize, moves in moves()) {
        let (size, chunk) = (size * MIB, 16 * MIB);
        let begun = Plan::new(size, SEGMENT, chunk, Instant::now());
        let memory = RefCell::new(BTreeSet::from([0]));
        let taking = |plan: &mut Plan, wanted, now| {
            let mut memory = memory.borrow_mut();
            Ok(plan.take(&[wanted], now, &mut |new| {
                // As the window has it: the lowest chunk always finds memory.
                let kept = usize::from(new.number != new.lowest && !memory.contains(&new.lowest));
                memory.contains(&new.number) || (memory.len() + kept < most && memory.insert(new.number))
            }))
        };
        let receiving = |there: &Intervals, position, own| {
            let mut memory = memory.borrow_mut();
            prop_assert!(own == 0 || memory.contains(&(position / chunk)));
            memory.retain(|number| there.end_from(number * chunk) < size.min((number + 1) * chunk));
            Ok(())
        };
        fetch_all(begun, size, (moves, size - 1), taking, receiving)?;
    }
}
