//! Lengths, which are signed in S3's types.

/// A length for the SDK.
pub(super) fn signed(len: u64) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// A length from the SDK; 0 if it is missing or negative.
pub(super) fn unsigned(len: Option<i64>) -> u64 {
    len.and_then(|len| u64::try_from(len).ok()).unwrap_or(0)
}
