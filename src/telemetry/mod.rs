//! Logs, metrics and traces, and how what pounce asks answers.

mod access_log;
mod fatal;
mod health;
mod logs;
mod metrics;
mod output;
mod panics;
mod traces;

#[cfg(feature = "internals")]
pub(crate) use access_log::measured_line;
pub(crate) use access_log::{AccessLog, Line, cut as cut_text};
pub use fatal::fatal;
pub use health::{Health, LastAnswer};
pub use logs::{causes, init as init_logs, speaks_plain_http};
pub use metrics::{
    AnsweredRequest, Authorized, CacheUsage, CredentialsCheck, EventCounters, FileUsage, FillMemory, Levels, Metrics,
    OutcomeTotals, RateLimit, RequestKind, Savings, SpoolUsage, UpstreamCall, UpstreamMetrics, UpstreamServer,
    until_tomorrow,
};
pub(crate) use output::{
    FlushOnDrop, check as check_log_file, flush as flush_logs, print_error, reopen as reopen_log_files,
};
pub(crate) use panics::log_panics;
pub use traces::{
    InScope, Post, Scope, Span, TraceSettings, Traces, flush as flush_traces, start as start_traces, try_collector,
};
