//! Which manifest names which digest: too much for memory, so 256 parts of a spool have it, by the digest's first byte.
//! The list of blobs comes in the order of the parts, and each part is read once, and sorted.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::codec::{Bytes, Digests, put_digest};
use super::spool::{SharedSpool, Spool};
use crate::oci::{Algorithm, Digest};

/// How many bytes of records stay in memory.
const LIMIT: usize = 16 << 20;
/// By a digest's first byte.
const PARTS: usize = 256;

/// What names a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Namer {
    /// The manifest of this number names it.
    Manifest(u32),
    /// It is the digest of the manifest of this number.
    Own(u32),
    /// A layer link of this repository, and the link's size in bytes.
    OldLayer(u32, u32),
    /// One that is too young to go.
    YoungLayer(u32),
}

/// A digest, and what names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) digest: Digest,
    pub(super) namer: Namer,
}

impl Record {
    fn write(&self, bytes: &mut Vec<u8>) {
        let (kind, number, size) = match self.namer {
            Namer::Manifest(number) => (0, number, 0),
            Namer::Own(number) => (1, number, 0),
            Namer::OldLayer(number, size) => (2, number, size),
            Namer::YoungLayer(number) => (3, number, 0),
        };
        bytes.push(kind);
        put_digest(bytes, &self.digest);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let (kind, digest, number, size) = (bytes.byte()?, bytes.digest()?, bytes.u32()?, bytes.u32()?);
        let namer = match kind {
            0 => Namer::Manifest(number),
            1 => Namer::Own(number),
            2 => Namer::OldLayer(number, size),
            3 => Namer::YoungLayer(number),
            _ => return None,
        };
        Some(Self { digest, namer })
    }
}

/// Takes records, while repositories are read.
#[derive(Debug)]
pub(super) struct Records {
    spool: SharedSpool,
    has_sha512: AtomicBool,
}

impl Records {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        let spool = SharedSpool::new(Spool::new(PARTS, LIMIT, directory));
        Self { spool, has_sha512: AtomicBool::new(false) }
    }

    /// # Errors
    /// A temporary file was not written.
    pub(super) async fn add(&self, record: Record) -> io::Result<()> {
        self.spool.write(|spool| self.append(spool, &record)).await
    }

    /// A manifest of this number needs itself and these.
    ///
    /// # Errors
    /// A temporary file was not written.
    pub(super) async fn add_manifest(&self, number: u32, own: &Digest, names: Option<&Digests>) -> io::Result<()> {
        let append = |spool: &mut Spool| {
            self.append(spool, &Record { digest: *own, namer: Namer::Own(number) });
            for digest in names.into_iter().flat_map(Digests::iter) {
                self.append(spool, &Record { digest, namer: Namer::Manifest(number) });
            }
        };
        self.spool.write(append).await
    }

    fn append(&self, spool: &mut Spool, record: &Record) {
        if record.digest.algorithm() == Algorithm::Sha512 {
            self.has_sha512.store(true, Ordering::Relaxed);
        }
        let mut bytes = Vec::with_capacity(80);
        record.write(&mut bytes);
        spool.append(record.digest.value()[0].into(), &bytes);
    }

    /// All of them, once there are no more.
    ///
    /// # Errors
    /// A temporary file was not written.
    pub(super) fn sorted(self) -> io::Result<SortedRecords> {
        Ok(SortedRecords { spool: Some(self.spool.into_inner()?), has_sha512: self.has_sha512.into_inner() })
    }
}

/// Reads records in order, a part at a time.
#[derive(Debug)]
pub(super) struct SortedRecords {
    spool: Option<Spool>,
    has_sha512: bool,
}

impl SortedRecords {
    /// The parts in the order in which blobs are listed: the algorithm, and the digest's first byte.
    pub(super) fn parts() -> impl Iterator<Item = (Algorithm, u8)> {
        let part = |algorithm| (0..=u8::MAX).map(move |first| (algorithm, first));
        part(Algorithm::Sha256).chain(part(Algorithm::Sha512))
    }

    pub(super) fn is_spilled(&self) -> bool {
        self.spool.as_ref().is_some_and(Spool::is_spilled)
    }

    /// The records of a part, by digest, and of one digest by what names it.
    ///
    /// # Errors
    /// A temporary file cannot be read, or is not as it was written.
    pub(super) async fn part(&mut self, (algorithm, first): (Algorithm, u8)) -> io::Result<Vec<Record>> {
        if algorithm == Algorithm::Sha512 && !self.has_sha512 {
            return Ok(Vec::new());
        }
        let spool = self.spool.take().ok_or_else(|| io::Error::other("a part was not read"))?;
        let read = move || {
            let bytes = spool.load(first.into())?;
            let mut left = Bytes(&bytes);
            let mut records = Vec::new();
            while !left.is_empty() {
                let record = Record::read(&mut left).ok_or(io::ErrorKind::InvalidData)?;
                if record.digest.algorithm() == algorithm {
                    records.push(record);
                }
            }
            records.sort_unstable_by_key(|record| (record.digest, record.namer));
            Ok::<_, io::Error>((spool, records))
        };
        let (spool, records) = tokio::task::spawn_blocking(read).await??;
        self.spool = Some(spool);
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn records_come_back_by_digest() {
        let records = Records::new(None);
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for byte in 0..100_u8 {
            let n = u32::from(byte);
            let algorithm = if n % 10 == 0 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let (own, named) = (Digest::of(algorithm, &[1, byte]), Digest::of(algorithm, &[2, byte / 4]));
            let needed = Digests::new(vec![named]);
            records.add_manifest(n, &own, Some(&needed)).await.unwrap();
            let layer = Namer::OldLayer(n, 71);
            records.add(Record { digest: named, namer: layer }).await.unwrap();
            records.add(Record { digest: own, namer: Namer::YoungLayer(n) }).await.unwrap();
            let namers =
                [(own, Namer::Own(n)), (named, Namer::Manifest(n)), (named, layer), (own, Namer::YoungLayer(n))];
            expected.extend(namers.map(|(digest, namer)| Record { digest, namer }));
        }
        expected.sort_unstable_by_key(|record| (record.digest, record.namer));
        let mut sorted = records.sorted().unwrap();
        for part in SortedRecords::parts() {
            found.extend(sorted.part(part).await.unwrap());
        }
        assert_eq!(found, expected);
    }
}
