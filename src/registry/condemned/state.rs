//! The object that says which batches of keys are condemned, and which process collects garbage.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most batches that a state names.
pub(in crate::registry) const MAX_BATCHES: usize = 64;

/// A process that knows another version must neither write nor collect.
const VERSION: u32 = 1;

/// What the object holds. Times are the bucket's, in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(in crate::registry) struct GcState {
    version: u32,
    /// The process that collects, if any does. What else it says is not of another one's.
    pub(in crate::registry) holder: Option<Uuid>,
    /// Counts the writes, so that no two states have the same `ETag`.
    pub(in crate::registry) write: u64,
    /// The active batches.
    pub(in crate::registry) batches: Vec<Batch>,
}

/// An active batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(in crate::registry) struct Batch {
    pub(in crate::registry) id: Uuid,
    /// When a state named it first, or later. `None`: the holder does not know yet.
    pub(in crate::registry) published: Option<u64>,
    /// When the last of its keys was deleted, or later.
    pub(in crate::registry) spent: Option<u64>,
    pub(in crate::registry) keys: u64,
}

impl Batch {
    /// From when on it need not bind writers, `after` so long, in seconds since 1970; `None`: its keys are not deleted yet.
    pub(in crate::registry) fn retires(&self, after: Duration) -> Option<u64> {
        Some(self.spent?.saturating_add(after.as_secs()))
    }
}

impl GcState {
    pub(in crate::registry) fn new() -> Self {
        Self { version: VERSION, ..Self::default() }
    }

    pub(in crate::registry) fn encode(&self) -> Bytes {
        // Numbers and ids always serialize.
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }

    /// # Errors
    /// Why it is none, or of another version.
    pub(in crate::registry) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if state.version != VERSION {
            return Err(format!("it has the version {}, and this pounce knows {VERSION}", state.version));
        }
        if state.batches.len() > MAX_BATCHES {
            return Err(format!("it names {} batches, of at most {MAX_BATCHES}", state.batches.len()));
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_state_of_this_version_is_read() {
        let batch = Batch { id: Uuid::from_u128(1), published: Some(5), spent: None, keys: 3 };
        let state = GcState { holder: Some(Uuid::from_u128(2)), write: 7, batches: vec![batch], ..GcState::new() };
        assert_eq!(GcState::decode(&state.encode()), Ok(state.clone()));
        for bad in ["", "{}", "null", r#"{"version":2,"holder":null,"write":0,"batches":[]}"#] {
            assert!(GcState::decode(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = GcState { batches: vec![batch; MAX_BATCHES + 1], ..state };
        assert!(GcState::decode(&many.encode()).is_err());
    }
}
