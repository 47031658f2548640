//! A requested range of a blob whose size is known.

use crate::oci::{Error, ErrorCode, RangeRequest, Slice};

/// A part of a blob whose size is known.
#[derive(Clone, Copy, Debug)]
pub struct BlobPart {
    /// From which byte to which.
    pub slice: Slice,
    /// The size of the whole blob in bytes.
    pub of: u64,
}

impl BlobPart {
    pub(super) const fn is_whole(self) -> bool {
        self.slice.len() == self.of
    }

    /// The part that a request wants. `None` means the whole, which any range gets while the size is unknown.
    ///
    /// # Errors
    /// `RANGE_INVALID`: no byte of the blob lies in the range.
    pub(super) fn resolve(range: &RangeRequest, size: Option<u64>) -> Result<Option<Self>, Error> {
        let Some(of) = size else {
            return Ok(None);
        };
        let slice = range.resolve(of).map_err(|()| range_invalid(size))?;
        Ok(slice.map(|slice| Self { slice, of }))
    }
}

pub(super) fn range_invalid(size: Option<u64>) -> Error {
    let message = "no byte of the blob lies in the requested range";
    Error::new(ErrorCode::RangeInvalid, message).with_size(size)
}
