//! `log`: what is logged, and in which format.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values;

/// `log`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe events that are logged.
    #[serde(deserialize_with = "values::any_case")]
    pub level: LogLevel,
    /// The format of a log line.
    pub formatter: LogFormatter,
    /// The access log: one line for each request.
    pub accesslog: AccessLog,
}

/// `log.level`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// `log.formatter`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormatter {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object a line.
    #[serde(alias = "logstash")]
    Json,
}

/// `log.accesslog`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Requests are not logged.
    pub disabled: bool,
    /// The format of its lines; without one, that of the log.
    pub format: Option<AccessLogFormat>,
    /// The file that lines are appended to; without one, standard error.
    pub file: Option<PathBuf>,
}

/// `log.accesslog.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogFormat {
    /// `NAME=VALUE …`, in the style of the log.
    Text,
    /// Apache's combined format, as distribution's.
    Combined,
    /// One JSON object a line.
    Json,
}
