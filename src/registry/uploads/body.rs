//! The bytes of a push as they come, and the few of them that wait to be sent on.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::oci::{Error, ErrorCode, Hasher};
use crate::store::PartSource;

/// How long a client may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_mins(1);

/// The body of a push.
pub type BlobBody = BoxStream<'static, io::Result<Bytes>>;

/// A body that is counted and hashed as it is read.
pub(super) struct Incoming {
    body: BlobBody,
    pub(super) hasher: Hasher,
    /// How many bytes came.
    pub(super) len: u64,
    /// How many were announced.
    announced: Option<u64>,
}

impl Incoming {
    pub(super) fn new(body: BlobBody, hasher: Hasher, announced: Option<u64>) -> Self {
        Self {
            body,
            hasher,
            len: 0,
            announced,
        }
    }

    /// The next piece, or `None` at the announced end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Ok(next) = tokio::time::timeout(SILENCE, self.body.next()).await else {
            let message = "no byte came for a minute";
            return Err(Error::new(ErrorCode::BlobUploadInvalid, message));
        };
        let piece = next.transpose().map_err(|error| {
            let message = "the body broke off";
            Error::new(ErrorCode::BlobUploadInvalid, message).because(error)
        })?;
        let wrong_size = || {
            let message = "the body has not as many bytes as were announced";
            Error::new(ErrorCode::SizeInvalid, message)
        };
        let Some(piece) = piece else {
            let whole = self.announced.is_none_or(|announced| announced == self.len);
            return if whole { Ok(None) } else { Err(wrong_size()) };
        };
        self.len += piece.len() as u64;
        if self.announced.is_some_and(|announced| announced < self.len) {
            return Err(wrong_size());
        }
        self.hasher.update(&piece);
        Ok(Some(piece))
    }
}

/// Bytes that came and were not sent on yet, without a copy of them.
#[derive(Default)]
pub(super) struct Buffer {
    pieces: VecDeque<Bytes>,
    len: u64,
}

impl Buffer {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len() as u64;
        self.pieces.push_back(piece);
    }

    /// The first `len` bytes, or as many as there are.
    pub(super) fn take(&mut self, len: u64) -> Self {
        let mut taken = Self::default();
        while taken.len < len
            && let Some(mut piece) = self.pieces.pop_front()
        {
            self.len -= piece.len() as u64;
            // What does not fit into memory does not fit into a piece.
            let wanted = usize::try_from(len - taken.len).unwrap_or(usize::MAX);
            if piece.len() > wanted {
                let rest = piece.split_off(wanted);
                self.len += rest.len() as u64;
                self.pieces.push_front(rest);
            }
            taken.push(piece);
        }
        taken
    }

    pub(super) fn update(&self, hasher: &mut Hasher) {
        self.pieces.iter().for_each(|piece| hasher.update(piece));
    }

    /// Yields the bytes anew for every attempt to send them.
    pub(super) fn into_source(self) -> PartSource {
        let pieces: Arc<[Bytes]> = self.pieces.into_iter().collect();
        Arc::new(move || {
            let pieces = Arc::clone(&pieces);
            stream::iter((0..pieces.len()).map(move |index| Ok(pieces[index].clone()))).boxed()
        })
    }
}

impl From<Bytes> for Buffer {
    fn from(bytes: Bytes) -> Self {
        let mut buffer = Self::default();
        buffer.push(bytes);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_and_nothing_else() {
        let mut buffer = Buffer::default();
        for piece in ["ab", "cde", "", "f"] {
            buffer.push(Bytes::from_static(piece.as_bytes()));
        }
        let text =
            |buffer: &Buffer| -> Vec<u8> { buffer.pieces.iter().flatten().copied().collect() };
        let first = buffer.take(4);
        assert_eq!((text(&first), first.len()), (b"abcd".to_vec(), 4));
        assert_eq!((text(&buffer), buffer.len()), (b"ef".to_vec(), 2));
        let rest = buffer.take(u64::MAX);
        assert_eq!((text(&rest), buffer.len()), (b"ef".to_vec(), 0));
    }
}
