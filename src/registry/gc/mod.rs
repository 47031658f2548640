//! Retention and garbage collection: what the bucket keeps, and how what nothing needs goes without harm to pushes,
//! mounts and fills that go on meanwhile.

mod facts;
mod retention;
