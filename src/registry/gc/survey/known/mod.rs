//! What surveys remember of manifests, so that the next one need not read them again.
//!
//! `pounce/gc/manifests/<2 hex>`: up to 256 segments, one list in the order in which a bucket lists repositories, and in
//! each in the order of digests. A survey reads it beside that list, and writes it anew. Everything in it is for ever
//! true: what a digest names cannot change, where a manifest came from is remembered of a link that was written at a
//! certain second, which was over when it was read, and a survey found no tag of it. So segments of several surveys may be mixed. One that cannot be
//! read, or whose checksum is wrong, counts for nothing.
//!
//! ```text
//! pounce manifests 2\n
//! 1 if there is another segment, else 0
//! records: length of the repository's name (2 bytes), name, digest, second of the link (8), flags (1),
//!          second of the first survey that found no tag (8), subject, length of the names (4), names
//! SHA-256 of all of this
//! ```

mod reader;
mod writer;

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::codec::{Bytes, Digests, put_digest};
use super::named::Named;
use crate::oci::{Algorithm, Digest};
use crate::registry::cache::Origin;

pub(super) use reader::KnownReader;
pub(super) use writer::KnownWriter;

const MAGIC: &[u8] = b"pounce manifests 2\n";
/// How many bytes a segment has before the next one begins: four times as many make a GiB, which is some 4 million
/// manifests.
const SEGMENT: usize = 4 << 20;
/// How many bytes of names a record has at most, some 500 names: larger manifests are rare, and read each time.
pub(super) const MAX_NAMES: usize = 16 << 10;
/// How many bytes of names of one repository are held at once. Its other manifests are read again.
const MOST_BYTES: usize = 24 << 20;
/// More than [`SEGMENT`] and a record.
const MAX_SEGMENT: u64 = 5 << 20;

const PUSHED: u8 = 1;
const UPSTREAM: u8 = 2;
const SUBJECT: u8 = 4;
const UNTAGGED: u8 = 8;

/// A manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// When its link was written, in seconds since 1970.
    pub(super) linked: u64,
    /// Where it came from, if that was asked.
    pub(super) origin: Option<Origin>,
    /// Since when surveys have found no tag of it, in seconds since 1970; `None`: the last one found one.
    pub(super) untagged: Option<u64>,
    pub(super) named: Named,
}

/// Compares repositories as a bucket lists their keys.
fn in_list_order(one: &str, other: &str) -> Ordering {
    one.bytes().chain(*b"/_").cmp(other.bytes().chain(*b"/_"))
}

fn write(bytes: &mut Vec<u8>, name: &str, digest: &Digest, known: &Known) {
    // Names have at most 255 characters.
    let len = u16::try_from(name.len()).unwrap_or_default();
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&name.as_bytes()[..usize::from(len)]);
    put_digest(bytes, digest);
    bytes.extend_from_slice(&known.linked.to_le_bytes());
    let origin = match known.origin {
        None => 0,
        Some(Origin::Pushed) => PUSHED,
        Some(Origin::Upstream) => UPSTREAM,
    };
    let (untagged, subject) = (known.untagged.map_or(0, |_| UNTAGGED), known.named.subject.map_or(0, |_| SUBJECT));
    bytes.push(origin | untagged | subject);
    if let Some(untagged) = known.untagged {
        bytes.extend_from_slice(&untagged.to_le_bytes());
    }
    if let Some(subject) = &known.named.subject {
        put_digest(bytes, subject);
    }
    let names = known.named.digests.as_bytes();
    // At most MAX_NAMES.
    bytes.extend_from_slice(&u32::try_from(names.len()).unwrap_or_default().to_le_bytes());
    bytes.extend_from_slice(names);
}

fn read<'a>(bytes: &mut Bytes<'a>) -> Option<(&'a str, Digest, Known)> {
    let len = u16::from_le_bytes(bytes.take(2)?.try_into().ok()?);
    let name = str::from_utf8(bytes.take(len.into())?).ok()?;
    let (digest, linked, flags) = (bytes.digest()?, bytes.u64()?, bytes.byte()?);
    let origin = match flags & (PUSHED | UPSTREAM) {
        0 => None,
        PUSHED => Some(Origin::Pushed),
        UPSTREAM => Some(Origin::Upstream),
        _ => return None,
    };
    let untagged = if flags & UNTAGGED == 0 { None } else { Some(bytes.u64()?) };
    let subject = if flags & SUBJECT == 0 { None } else { Some(bytes.digest()?) };
    let len = usize::try_from(bytes.u32()?).ok()?;
    let digests = Digests::read(bytes.take(len)?)?;
    Some((name, digest, Known { linked, origin, untagged, named: Named { digests, subject } }))
}

/// The records of a segment, whether there is another segment, and the checksum; `None` if it is corrupt.
fn open(segment: &[u8]) -> Option<(&[u8], bool, Digest)> {
    let (content, checksum) = segment.split_at_checked(segment.len().checked_sub(32)?)?;
    let actual = Digest::of(Algorithm::Sha256, content);
    let (records, more) = open_read(segment)?;
    (actual.value() == checksum).then_some((records, more, actual))
}

/// [`open`], of a segment whose checksum was verified when it was read.
fn open_read(segment: &[u8]) -> Option<(&[u8], bool)> {
    let content = segment.get(..segment.len().checked_sub(32)?)?;
    let (more, records) = content.strip_prefix(MAGIC)?.split_first()?;
    Some((records, *more == 1))
}

/// Those of the segments that were read so far; without one that was corrupt. A segment that is as it was is not
/// written.
#[derive(Clone, Debug, Default)]
pub(super) struct Checksums(Arc<Mutex<Vec<Option<Digest>>>>);

impl Checksums {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<Digest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next segment, if there can be one.
    fn next(&self) -> Option<u8> {
        u8::try_from(self.lock().len()).ok()
    }

    fn push(&self, checksum: Option<Digest>) {
        self.lock().push(checksum);
    }

    fn contains(&self, number: u8, checksum: &Digest) -> bool {
        self.lock().get(usize::from(number)).is_some_and(|found| found.as_ref() == Some(checksum))
    }
}

fn head() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[n])
    }

    #[test]
    fn records_come_back() {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (n, origin) in (0..6).zip([None, Some(Origin::Pushed), Some(Origin::Upstream)].into_iter().cycle()) {
            let named =
                Named { digests: Digests::new((0..n).map(digest).collect()), subject: (n % 2 == 0).then(|| digest(n)) };
            let untagged = (n > 2).then_some(u64::from(n) << 20);
            let known = Known { linked: u64::from(n), origin, untagged, named };
            write(&mut bytes, "org/app", &digest(n), &known);
            expected.push(("org/app", digest(n), known));
        }
        let mut left = Bytes(&bytes);
        let found: Vec<_> = std::iter::from_fn(|| read(&mut left)).collect();
        assert_eq!(found, expected);
        assert!(left.is_empty());
        for cut in 1..60 {
            assert_eq!(read(&mut Bytes(&bytes[..cut])), None, "{cut}");
        }
    }

    #[test]
    fn a_segment_that_differs_in_a_bit_counts_for_nothing() {
        let mut segment = head();
        let known = Known { linked: 7, origin: None, untagged: None, named: Named::default() };
        write(&mut segment, "a", &digest(1), &known);
        let checksum = Digest::of(Algorithm::Sha256, &segment);
        segment.extend_from_slice(checksum.value());
        let (records, more, _) = open(&segment).unwrap();
        assert!(!more);
        assert_eq!(read(&mut Bytes(records)), Some(("a", digest(1), known)));
        for at in 0..segment.len() {
            let mut other = segment.clone();
            other[at] ^= 1;
            assert!(open(&other).is_none(), "{at}");
        }
        assert!(open(&[]).is_none());
        assert!(open(&segment[..40]).is_none());
    }

    #[test]
    fn repositories_are_in_the_order_of_their_keys() {
        let names = ["a-b", "a.b", "a/0", "a", "a/b", "a0", "a_b", "aa"];
        let mut keys: Vec<_> = names.iter().map(|name| format!("{name}/_manifests/")).collect();
        assert!(keys.is_sorted());
        keys.dedup();
        for (one, other) in names.iter().zip(&names[1..]) {
            assert_eq!(in_list_order(one, other), Ordering::Less);
        }
    }
}
