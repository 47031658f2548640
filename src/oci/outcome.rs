//! How a request for content was answered.

/// How a request for content was answered, for log and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// From the caches or the bucket.
    Hit,
    /// From the bucket, because the upstream could not be asked for a newer version.
    Stale,
    /// From the bucket, after the upstream confirmed the tag.
    Revalidated,
    /// From the upstream, and into the bucket.
    Fill,
    /// From a fill that another request started.
    Follow,
    /// By a redirect to the upstream's storage.
    Redirect,
    /// Streamed from the bucket instead of redirected to it.
    Stream,
}

impl Outcome {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Fill, Self::Follow, Self::Redirect, Self::Stream];

    /// Whether the content was here: in memory or in the bucket.
    #[must_use]
    pub const fn is_hit(self) -> bool {
        match self {
            Self::Hit | Self::Stale | Self::Revalidated | Self::Stream => true,
            Self::Fill | Self::Follow | Self::Redirect => false,
        }
    }

    /// The word in log and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Fill => "fill",
            Self::Follow => "follow",
            Self::Redirect => "redirect",
            Self::Stream => "stream",
        }
    }
}
