//! Writes what the next survey is to remember.

use super::super::error::SurveyError;
use super::super::missing::Missing;
use super::super::reader::Reader;
use super::{Checksums, Known, MAGIC, SEGMENT, head, write};
use crate::oci::{Algorithm, Digest, MediaType};
use crate::store::{Condition, Key, Metadata};

/// Writes what is to be remembered, in the order of the list. What the list lacks is looked for first, because it is
/// forgotten then.
#[derive(Debug)]
pub(in crate::registry::gc::survey) struct KnownWriter {
    bytes: Vec<u8>,
    number: u8,
    before: Checksums,
    missing: Missing,
    /// There is no room, or the bucket takes no writes.
    is_over: bool,
}

impl KnownWriter {
    pub(in crate::registry::gc::survey) fn new(before: Checksums, missing: Missing, remembers: bool) -> Self {
        Self { bytes: head(), number: 0, before, missing, is_over: !remembers }
    }

    /// # Errors
    /// The list is not whole, or the bucket does not answer.
    pub(in crate::registry::gc::survey) async fn push(
        &mut self,
        reader: &Reader,
        (name, digest): (&str, &Digest),
        known: &Known,
    ) -> Result<(), SurveyError> {
        if self.is_over {
            return Ok(());
        }
        write(&mut self.bytes, name, digest, known);
        if self.bytes.len() >= SEGMENT {
            self.missing.look(reader).await?;
            self.put(reader, self.number < u8::MAX).await;
        }
        Ok(())
    }

    /// Writes the last segment.
    ///
    /// # Errors
    /// The list is not whole, or the bucket does not answer.
    pub(in crate::registry::gc::survey) async fn finish(mut self, reader: &Reader) -> Result<(), SurveyError> {
        self.missing.look(reader).await?;
        if !self.is_over {
            self.put(reader, false).await;
        }
        Ok(())
    }

    async fn put(&mut self, reader: &Reader, more: bool) {
        let mut bytes = std::mem::replace(&mut self.bytes, head());
        bytes[MAGIC.len()] = more.into();
        let checksum = Digest::of(Algorithm::Sha256, &bytes);
        bytes.extend_from_slice(checksum.value());
        let number = self.number;
        if !self.before.contains(number, &checksum) {
            let key = Key::KnownManifests(number);
            let store = reader.writes().await;
            let (metadata, condition) = (Metadata::new(), Condition::Always);
            let put = store.put(key, bytes.into(), &MediaType::OCTET_STREAM, &metadata, condition);
            if let Err(error) = Box::pin(put).await {
                tracing::warn!(%error, "what is known of manifests is not remembered: the next survey reads them again");
                self.is_over = true;
            }
        }
        self.is_over |= !more;
        self.number = number.saturating_add(1);
    }
}
