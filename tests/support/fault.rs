//! What can go wrong with a request to an S3.

/// A fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 503 `SlowDown`.
    SlowDown,
    /// 500 `InternalError`.
    Internal,
    /// The connection is closed before the store hears of the request.
    LostRequest,
    /// The connection is closed after the store has done the operation.
    LostAnswer,
    /// There is no answer.
    Hang,
    /// Half of a body is sent, of the request's or of the answer's.
    Cut,
    /// The answer takes two seconds.
    Delay,
    /// As `LostAnswer`, for a `CompleteMultipartUpload`: a second one finds no upload.
    LostComplete,
    /// For a second, requests without the consistency header do not see a write; if the write came without it, no
    /// request does.
    Lag,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::SlowDown,
        Self::Internal,
        Self::LostRequest,
        Self::LostAnswer,
        Self::Hang,
        Self::Cut,
        Self::Delay,
        Self::LostComplete,
        Self::Lag,
    ];

    pub fn describe(self) -> &'static str {
        match self {
            Self::SlowDown => "503 SlowDown",
            Self::Internal => "500 InternalError",
            Self::LostRequest => "reset before the S3 heard of it",
            Self::LostAnswer => "reset after the S3 did it",
            Self::Hang => "no answer",
            Self::Cut => "the beginning of a body, then a reset",
            Self::Delay => "2 s late",
            Self::LostComplete => "CompleteMultipartUpload done, its answer lost",
            Self::Lag => "not seen in another region for 1 s",
        }
    }
}
