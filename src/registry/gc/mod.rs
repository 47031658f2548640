//! Retention and garbage collection: what the bucket keeps, and how what nothing needs goes without harm to pushes,
//! mounts and fills that go on meanwhile.

mod facts;
#[cfg(feature = "internals")]
mod measured;
mod survey;

#[cfg(feature = "internals")]
pub(crate) use measured::measured_survey;
#[cfg(feature = "internals")]
pub use measured::{Ruled, SurveyRules};
