//! Reads what earlier surveys remember, beside the list.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::super::codec::Bytes;
use super::super::missing::Missing;
use super::super::reader::{Purpose, Reader};
use super::{Checksums, Known, MAX_SEGMENT, MOST_BYTES, in_list_order, open, open_read, read};
use crate::oci::Digest;
use crate::store::{Key, StoreError};

/// Reads what is remembered, in order.
#[derive(Debug)]
pub(in crate::registry::gc::survey) struct KnownReader {
    segment: bytes::Bytes,
    /// How many bytes of the segment's records were read.
    at: usize,
    checksums: Checksums,
    is_over: bool,
    /// The last manifest that was asked for. Segments of several surveys may go back behind it.
    asked: Option<(String, Digest)>,
    missing: Missing,
}

impl KnownReader {
    pub(in crate::registry::gc::survey) fn new(missing: Missing) -> Self {
        let (segment, checksums) = (bytes::Bytes::new(), Checksums::default());
        Self { segment, at: 0, checksums, is_over: false, asked: None, missing }
    }

    /// The checksums of the segments that were read so far.
    pub(in crate::registry::gc::survey) fn checksums(&self) -> Checksums {
        self.checksums.clone()
    }

    /// What is remembered, and was not asked for.
    pub(in crate::registry::gc::survey) fn missing(&self) -> Missing {
        self.missing.clone()
    }

    /// What is remembered of a repository's manifests of these digests, of which some may be missing. Repositories are
    /// asked for in the order of a list, and so are the digests of one.
    ///
    /// # Errors
    /// The bucket does not answer.
    pub(in crate::registry::gc::survey) async fn take(
        &mut self,
        reader: &Reader,
        name: &str,
        wanted: &[Digest],
    ) -> Result<BTreeMap<Digest, Known>, StoreError> {
        let (mut found, mut room) = (BTreeMap::new(), MOST_BYTES);
        let Some(last) = wanted.last() else {
            return Ok(found);
        };
        while let Some((of, digest, known)) = self.next(reader, Some((name, last))).await? {
            let len = known.named.digests.as_bytes().len();
            if of == name && wanted.binary_search(&digest).is_ok() {
                if len <= room {
                    room -= len;
                    found.insert(digest, known);
                }
            } else {
                self.miss(&of, digest, &known);
            }
        }
        self.asked = Some((name.to_owned(), *last));
        Ok(found)
    }

    /// The list is over: what is left is missing.
    ///
    /// # Errors
    /// The bucket does not answer.
    pub(in crate::registry::gc::survey) async fn finish(&mut self, reader: &Reader) -> Result<(), StoreError> {
        while let Some((name, digest, known)) = self.next(reader, None).await? {
            self.miss(&name, digest, &known);
        }
        Ok(())
    }

    fn miss(&self, name: &str, digest: Digest, known: &Known) {
        let is_behind = |(asked, last): &(String, Digest)| {
            in_list_order(name, asked).then_with(|| digest.cmp(last)) != Ordering::Greater
        };
        if !self.asked.as_ref().is_some_and(is_behind) {
            self.missing.push(name, digest, known.linked);
        }
    }

    /// The next record, if it does not come after `last`.
    async fn next(
        &mut self,
        reader: &Reader,
        last: Option<(&str, &Digest)>,
    ) -> Result<Option<(String, Digest, Known)>, StoreError> {
        loop {
            if let Some((records, _)) = open_read(&self.segment)
                && let mut left = Bytes(records.get(self.at..).unwrap_or_default())
                && let Some((name, digest, known)) = read(&mut left)
            {
                let is_after = |(last_name, last): (&str, &Digest)| {
                    in_list_order(name, last_name).then_with(|| digest.cmp(last)) == Ordering::Greater
                };
                if last.is_some_and(is_after) {
                    return Ok(None);
                }
                self.at = records.len() - left.0.len();
                return Ok(Some((name.to_owned(), digest, known)));
            }
            if !self.open_next(reader).await? {
                return Ok(None);
            }
        }
    }

    /// Opens the next segment that can be read.
    async fn open_next(&mut self, reader: &Reader) -> Result<bool, StoreError> {
        self.segment = bytes::Bytes::new();
        while !self.is_over
            && let Some(number) = self.checksums.next()
        {
            let object = match reader.get(Purpose::Known, Key::KnownManifests(number), MAX_SEGMENT).await {
                Err(StoreError::Corrupt { .. }) => {
                    self.checksums.push(None);
                    continue;
                }
                other => other?,
            };
            let Some(object) = object else {
                break;
            };
            let Some((_, more, checksum)) = open(&object.bytes) else {
                tracing::warn!(segment = number, "what is remembered of manifests is corrupt, and is made anew");
                self.checksums.push(None);
                continue;
            };
            self.checksums.push(Some(checksum));
            (self.segment, self.at, self.is_over) = (object.bytes, 0, !more);
            return Ok(true);
        }
        self.is_over = true;
        Ok(false)
    }
}
