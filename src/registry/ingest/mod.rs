//! Bytes that come from a client, or pass through memory, on their way to the bucket: permits and memory for them,
//! hashing, cutting into parts, sending.

mod blob_writer;
mod buffer;
mod hashing_body;
mod part_reader;
mod parts;
mod permits;

pub(super) use blob_writer::{BlobWriter, put, require_digest};
pub(super) use buffer::Buffer;
pub use hashing_body::BlobBody;
pub(super) use hashing_body::HashingBody;
pub(super) use part_reader::PartReader;
pub(super) use parts::{LARGEST, part_sizes, send};
pub use permits::{BodyPermit, Pusher};
