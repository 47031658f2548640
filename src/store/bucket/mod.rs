//! [`Store`] and its operations, a file for each group of them.
//!
//! `handle` declares [`Store`]; `connect` makes one. Reads go through `read`, which knows the regions of an eventually
//! consistent bucket.

mod compose;
mod conditions;
mod connect;
mod delete;
mod expiring_delete;
mod handle;
mod health;
mod honour;
mod lifecycle;
mod listing;
mod login_keys;
mod multipart;
mod object;
mod part_sender;
mod presign;
mod read;
mod relocate;
mod stream;
mod swap;
mod write;

pub use compose::{ComposeSource, Composed};
pub use expiring_delete::{DELETE_LIFE, ExpiringDelete};
pub use handle::Store;
pub use honour::Conditions;
pub use lifecycle::{ArchiveRule, Lifecycle};
pub use listing::Listed;
pub use login_keys::{KeyRights, LoginKeys};
pub use multipart::{Completed, Multipart, Part};
pub use object::{DELETING, Metadata, Object, Stored};
pub use part_sender::PartSender;
pub use stream::ObjectStream;
pub use swap::{MAX_POLLED_BYTES, Polled, Version};
pub use write::{Condition, Swapped};
