//! What clients may change.

use crate::oci::{Error, ErrorCode};

/// What clients may change (`storage.maintenance.readonly.enabled`, `storage.delete.enabled`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Nothing: the registry is read-only.
    Nothing,
    /// Clients may push, and not delete.
    Pushes,
    /// Clients may push and delete.
    Everything,
}

impl Changes {
    /// # Errors
    /// `UNSUPPORTED`: the registry is read-only.
    pub(super) fn allow_push(self) -> Result<(), Error> {
        if self == Self::Nothing {
            return Err(Error::new(ErrorCode::Unsupported, "this registry is read-only"));
        }
        Ok(())
    }

    /// # Errors
    /// `UNSUPPORTED`: the registry is read-only, or deletes are off.
    pub(super) fn allow_delete(self) -> Result<(), Error> {
        self.allow_push()?;
        if self != Self::Everything {
            return Err(Error::new(ErrorCode::Unsupported, "nothing can be deleted from this registry"));
        }
        Ok(())
    }
}
