//! The error that ends the program, in the format of the log.

use std::time::SystemTime;

use super::print_error;
use crate::config::LogFormatter;

/// Writes the error to standard error: as a line of the JSON log, which collectors read, or for people.
pub fn fatal(formatter: LogFormatter, error: &dyn std::error::Error) {
    let message = error.to_string();
    let line = match formatter {
        LogFormatter::Text => format!("pounce: {message}"),
        LogFormatter::Json => {
            let timestamp = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
            serde_json::json!({"timestamp": timestamp, "level": "ERROR", "message": message}).to_string()
        }
    };
    print_error(&line);
}
