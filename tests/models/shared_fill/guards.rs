//! What a search may leave out of the protocol, what may go wrong, and the flaws that it looks for.

pub const WRONG_BLOB: &str = "the bucket shows a wrong blob";
pub const LOST_CHUNK: &str = "a fill lost a chunk that was stored";
pub const COPIES: &str = "more copies than faults";
pub const WRONG_CLIENT: &str = "a client has the whole of a wrong blob";
pub const BROKEN: &str = "a client's stream broke";
pub const ROBBED: &str = "a live owner believes that it was robbed";
pub const OWNERS: &str = "two processes own the fill";
pub const WAITS: &str = "a client waits for ever";
pub const DELETED: &str = "a live lease names deleted chunks";

/// A rule of the protocol that a search leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// A chunk is copied only with the `ETag` that was hashed (`x-amz-copy-source-if-match`).
    CopyByEtag,
    /// Before Complete, the listed `ETag`s are those that were hashed.
    ListByEtag,
    /// A new owner takes the midstate over only if the chunks still have the `ETag`s of its chain.
    Chain,
    /// Each generation has a directory of its own.
    Directory,
    /// A chunk is put with `If-None-Match: *`.
    WriteOnce,
    /// The digest is right before Complete.
    Verify,
    /// The tail waits for the digest.
    Tail,
    /// A reader gets the tail only if its other chunks are of the verified generations.
    Record,
    /// The same, before a reader goes on in the stored blob.
    RecordAtBlob,
    /// A chunk that is downloaded again belongs to a new generation.
    Renew,
    /// A heartbeat is a compare-and-swap.
    Cas,
    /// Only the process that wrote `done` or `failed` deletes.
    EnderDeletes,
    /// `done` is written after the blob is visible.
    DoneAfterBlob,
    /// The chunks are deleted after each follower had time to look.
    Grace,
    /// A heartbeat changes the lease's `ETag`, even if nothing else changed.
    WriteNumber,
    /// A refused condition is read after: the lost answer of the own write looks the same.
    ReadAfterUnmet,
    /// The lease is read at the leader.
    Leader,
    /// A lease is dead only after two looks.
    TwoLooks,
    /// A follower of a dead lease takes it over.
    TakeOver,
    /// A robbed filler follows.
    RobbedFollows,
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    pub deaths: u8,
    pub pauses: u8,
    /// SIGTERM: the lease says `leaving`.
    pub leaves: u8,
    /// The upstream of a filler is slow: the lease says `leaving` for a while.
    pub yields: u8,
    /// The upstream sends a wrong chunk.
    pub lies: u8,
    /// The bucket's other writer replaces a chunk by a wrong one.
    pub exchanges: u8,
    /// The bucket loses a chunk.
    pub losses: u8,
    /// An attempt of a PUT that was given up lands later.
    pub late: u8,
    /// A lease write lands, and its answer is lost.
    pub unheard: u8,
    /// A stored chunk leaves the memory before it is hashed.
    pub evictions: u8,
    pub sweeps: u8,
    /// A read shows the lease before the last write.
    pub lags: u8,
}
