//! Logs and metrics.

mod logs;
mod metrics;

pub use logs::{causes, init as init_logs};
pub use metrics::{FillMemory, Metrics, UpstreamCall};
