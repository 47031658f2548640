//! A survey reads everything that a bucket says of what is needed, and finds the keys that nothing needs.
//!
//! ```text
//! repository   LIST repositories/ → one repository at a time
//! content      GET of tags and manifests; known remembers manifests from survey to survey, gone those without bytes
//! missing      what is remembered and not listed
//! untagged     since when a manifest has had no tag
//! decide       facts → retention → until when each key is needed; young holds what is too young to go
//! records      which manifest names which digest, in 256 parts
//! blobs        LIST blobs/ beside the parts → blobs and layer links that nothing needs
//! budget       which last uses storage.maxsize has no room for
//! candidates   the result, in the order of kinds
//! run          all of these, one after the other
//! reader, pages, spool, codec, named, needed: what these are made of
//! ```
//!
//! A survey writes nothing but what it remembers of manifests. It is no snapshot: pushes go on meanwhile. What makes its
//! result safe is told by the module of batches: a key goes only if two surveys found it, at least the delay apart, and
//! no writer spoke for it in between. A survey itself makes sure that
//!
//! - no key is a candidate that was written less than the delay before it began, by the bucket's clock alone: times are
//!   those of the bucket's objects, and now is the `Date` of its responses. A bucket without that clock, or an object
//!   without a time, makes a key young.
//! - what names something is read before the list of what is named: a tag after the list of manifests, but it is only a
//!   candidate if it is old itself; blobs after all repositories, and a blob that came meanwhile is young.
//! - nothing is decided of what was not read whole. Where the bucket does not answer for minutes, the survey ends. A
//!   list out of order ends it, and so does one that lacks a manifest that is there and that an earlier one had. What cannot be understood keeps what it may name: an unreadable manifest, or one below a
//!   name that pounce does not know, keeps its repository and all blobs, and the budget takes nothing then, because
//!   taking links would make no room.
//! - a list that lags behind lacks what was written a moment ago, which is young, or has what was deleted, which is not
//!   read any more and names nothing.
//! - what retention lets go, but is held by a young key, stays with all that belongs to it.
//! - a manifest needs all that it names, in any member, and layer links that stay need their blob.
//!
//! Memory is bounded: 150,000 links of repositories, 24 MiB of names twice, 32 MiB of spools, 16 bytes a manifest and
//! some 150 a repository. What is beyond is in unlinked temporary files; a repository of more than 100,000 links is read
//! in parts, and nothing of it goes.

mod blobs;
mod budget;
mod candidates;
mod codec;
mod content;
mod decide;
mod error;
mod gone;
mod known;
mod missing;
mod named;
mod needed;
mod pages;
mod policy;
mod reader;
mod records;
mod repository;
mod run;
mod spool;
mod totals;
mod untagged;
mod young;

#[cfg(feature = "internals")]
pub(super) use blobs::RepositoryUsage;
pub(super) use blobs::Sizes;
pub(super) use error::SurveyError;
#[cfg(feature = "internals")]
pub(super) use policy::DEFAULT_RATE;
pub(super) use policy::{Policy, SurveyOptions};
pub(super) use run::{Survey, survey};
pub(super) use totals::Goes;
