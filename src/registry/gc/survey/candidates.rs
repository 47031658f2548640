//! Keys that nothing needs, or that the budget may take, in the order of their kinds, in a spool.

use std::io::{self, Read};
use std::path::PathBuf;

use super::decide::Candidacy;
use super::needed::Needed;
use super::spool::{SharedSpool, Spool};
use crate::registry::gc::facts::{Candidate, CandidateKind};

/// How many bytes of candidates stay in memory: a small round writes no file.
const LIMIT: usize = 16 << 20;
/// In the order in which they are deleted.
pub(super) const KINDS: [CandidateKind; 7] = [
    CandidateKind::Tag,
    CandidateKind::TagHistory,
    CandidateKind::TagPush,
    CandidateKind::Referrer,
    CandidateKind::Revision,
    CandidateKind::Layer,
    CandidateKind::Blob,
];
/// The part of the spool that has what goes later.
const LATER: usize = KINDS.len();

/// Takes candidates, while the bucket is read.
#[derive(Debug)]
pub(super) struct CandidateWriter(SharedSpool);

impl CandidateWriter {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self(SharedSpool::new(Spool::new(KINDS.len() + 1, LIMIT, directory)))
    }

    /// # Errors
    /// A temporary file was not written.
    pub(super) async fn add(&self, candidates: &[Candidacy]) -> io::Result<()> {
        self.add_to(|kind| kind as usize, candidates).await
    }

    /// Blobs that go once the manifests are gone that name them.
    ///
    /// # Errors
    /// A temporary file was not written.
    pub(super) async fn add_later(&self, blobs: &[Candidacy]) -> io::Result<()> {
        self.add_to(|_| LATER, blobs).await
    }

    async fn add_to(
        &self,
        part: impl Fn(CandidateKind) -> usize + Send + Sync,
        candidates: &[Candidacy],
    ) -> io::Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let append = |spool: &mut Spool| {
            for Candidacy { kind, needed, size, path } in candidates {
                // A key has at most 1,024 bytes.
                let len = u16::try_from(path.len()).unwrap_or(u16::MAX);
                let head = [&needed.to_bytes()[..], &size.to_le_bytes(), &len.to_le_bytes()].concat();
                spool.append(part(*kind), &head);
                spool.append(part(*kind), &path.as_bytes()[..len.into()]);
            }
        };
        self.0.write(append).await
    }

    /// # Errors
    /// A temporary file was not written.
    pub(super) fn finish(self) -> io::Result<Candidates> {
        Ok(Candidates { spool: self.0.into_inner()?, cutoff: Needed::FIRST, has_blobs: true })
    }
}

/// What may go.
#[derive(Debug)]
pub(super) struct Candidates {
    spool: Spool,
    /// The budget takes what is needed until before that.
    pub(super) cutoff: Needed,
    /// Whether blobs may go.
    pub(super) has_blobs: bool,
}

impl Candidates {
    /// All of one kind, also those that the budget does not take.
    fn of_kind(&self, kind: CandidateKind) -> impl Iterator<Item = io::Result<Candidacy>> + use<'_> {
        self.of_part(kind as usize, kind)
    }

    /// Blobs that manifests name, also those that the budget does not take.
    pub(super) fn named_blobs(&self) -> impl Iterator<Item = io::Result<Candidacy>> + use<'_> {
        self.of_part(LATER, CandidateKind::Blob)
    }

    fn of_part(&self, part: usize, kind: CandidateKind) -> impl Iterator<Item = io::Result<Candidacy>> + use<'_> {
        let mut bytes = self.spool.read(part);
        std::iter::from_fn(move || read(&mut bytes, kind).transpose())
    }

    /// Blobs that go once the manifests are gone that name them, all of which go. This blocks where there is a file.
    pub(super) fn iter_later(&self) -> impl Iterator<Item = io::Result<Candidate>> + use<'_> {
        self.going(self.named_blobs().take_while(|_| self.has_blobs))
    }

    fn going(&self, all: impl Iterator<Item = io::Result<Candidacy>>) -> impl Iterator<Item = io::Result<Candidate>> {
        let cutoff = self.cutoff;
        all.filter_map(move |candidacy| match candidacy {
            Ok(Candidacy { kind, needed, size, path }) => {
                needed.reason(cutoff).map(|reason| Ok(Candidate { kind, path, size, reason }))
            }
            Err(error) => Some(Err(error)),
        })
    }

    /// Those that go, in the order of kinds. This blocks where there is a file.
    pub(super) fn iter(&self) -> impl Iterator<Item = io::Result<Candidate>> + use<'_> {
        let kinds = KINDS.into_iter().filter(|kind| self.has_blobs || *kind != CandidateKind::Blob);
        self.going(kinds.flat_map(|kind| self.of_kind(kind)))
    }

    pub(super) fn is_spilled(&self) -> bool {
        self.spool.is_spilled()
    }
}

fn read(bytes: &mut impl Read, kind: CandidateKind) -> io::Result<Option<Candidacy>> {
    let mut head = [0; 18];
    if bytes.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    bytes.read_exact(&mut head[1..])?;
    let number = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut path = vec![0; u16::from_le_bytes([head[16], head[17]]).into()];
    bytes.read_exact(&mut path)?;
    let path = String::from_utf8(path).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some(Candidacy { kind, needed: Needed::from_number(number(0)), size: number(8), path }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::gc::facts::Reason;

    #[tokio::test]
    async fn candidates_come_in_the_order_of_kinds() {
        assert!(KINDS.is_sorted());
        let writer = CandidateWriter::new(None);
        let used = Needed::FIRST.next();
        for (n, kind) in (0..).zip(KINDS.into_iter().rev()) {
            for needed in [Needed::NOT, used] {
                let candidacy = Candidacy { kind, needed, size: n, path: format!("{kind:?}/{n}") };
                writer.add(&[candidacy]).await.unwrap();
            }
        }
        let mut candidates = writer.finish().unwrap();
        let mut all = |cutoff, has_blobs| {
            (candidates.cutoff, candidates.has_blobs) = (cutoff, has_blobs);
            let found = candidates.iter().map(Result::unwrap);
            found.map(|candidate| (candidate.kind, candidate.reason, candidate.path)).collect::<Vec<_>>()
        };
        let unneeded: Vec<_> =
            (0..7).map(|n| (KINDS[n], Reason::Unneeded, format!("{:?}/{}", KINDS[n], 6 - n))).collect();
        assert_eq!(all(Needed::FIRST, true), unneeded);
        assert_eq!(all(used, true), unneeded);
        assert_eq!(all(Needed::FIRST, false), unneeded[..6]);
        assert_eq!(all(used.next(), true).len(), 14);
    }
}
