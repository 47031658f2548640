//! How pounce answered a request for content.

/// How a request for content was answered; stands in the log and in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// From the caches or the bucket.
    Hit,
    /// From a copy that could not be compared with the upstream.
    Stale,
    /// The upstream was asked whether a tag still means the same, and it does.
    Revalidated,
    /// From the upstream, and into the bucket.
    Fill,
    /// From a fill that another request began.
    Follow,
    /// From the upstream, past the bucket: a part that the fill does not have yet, or there was no room to keep the
    /// blob.
    Bypass,
    /// The client was sent to where the upstream keeps it.
    Redirect,
    /// Streamed from the bucket, because redirects are off.
    Stream,
}

impl Outcome {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Hit,
        Self::Stale,
        Self::Revalidated,
        Self::Fill,
        Self::Follow,
        Self::Bypass,
        Self::Redirect,
        Self::Stream,
    ];

    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Fill => "fill",
            Self::Follow => "follow",
            Self::Bypass => "pass",
            Self::Redirect => "redirect",
            Self::Stream => "stream",
        }
    }
}
