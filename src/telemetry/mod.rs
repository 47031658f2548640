//! Logs and metrics, and how what pounce asks answers.

mod access_log;
mod fatal;
mod health;
mod logs;
mod metrics;
mod output;

#[cfg(feature = "internals")]
pub(crate) use access_log::measured_line;
pub(crate) use access_log::{AccessLog, Line, MAX_TEXT};
pub use fatal::fatal;
pub use health::Health;
pub use logs::{causes, init as init_logs, speaks_plain_http};
pub use metrics::{FillMemory, Metrics, OutcomeTotals, UpstreamCall};
pub(crate) use output::{check as check_log_file, flush as flush_logs, reopen as reopen_log_files};
