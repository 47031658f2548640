//! S3's answers as XML.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::Said;

/// An answer with a body.
pub fn document(body: &str) -> Said {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
    (200, vec![("content-type", "application/xml".into())], text.into())
}

/// An error.
pub fn error(status: u16, code: &str, message: &str) -> Said {
    let (_, headers, body) = document(&format!(
        "<Error>{}{}<RequestId>1</RequestId></Error>",
        element("Code", code),
        element("Message", message)
    ));
    (status, headers, body)
}

/// An answer without a body.
pub fn empty(status: u16, headers: Vec<(&'static str, String)>) -> Said {
    (status, headers, bytes::Bytes::new())
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and texts are written alike")]
pub fn element(name: &str, text: impl ToString) -> String {
    let mut escaped = String::new();
    for c in text.to_string().chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => write!(escaped, "&#x{:x};", u32::from(c)).unwrap(),
            c => escaped.push(c),
        }
    }
    format!("<{name}>{escaped}</{name}>")
}

/// `2026-11-28T12:00:00.000Z`
pub fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// The texts of all elements with this name, in document order.
pub fn texts(body: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let after = body.split(&open).skip(1);
    after
        .filter_map(|rest| Some(rest.split_once(&close)?.0))
        .map(|text| text.replace("&quot;", "\"").replace("&#34;", "\""))
        .collect()
}
