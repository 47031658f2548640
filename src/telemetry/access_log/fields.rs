//! The fields of a line, and their order, which text and JSON share.

use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;
use std::time::Instant;

use super::line::Line;

/// A format that has names for values.
pub(super) trait Fields {
    /// A text that may be the client's: escaped, and cut after [`MAX_TEXT`](super::escape::MAX_TEXT) bytes.
    fn text(&mut self, name: &'static str, value: &[u8]);
    /// A text of visible ASCII that needs no escapes.
    fn token(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>));
    /// A number or a boolean.
    fn literal(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>));
}

/// Writes the fields of a request that `ended` now.
pub(super) fn write(fields: &mut impl Fields, line: &Line<'_>, ended: Instant) {
    fields.text("method", line.method.as_bytes());
    match line.repository {
        Some(repository) => fields.text("repository", repository.as_bytes()),
        None => fields.text("path", line.path.as_bytes()),
    }
    if let Some(reference) = line.reference {
        fields.token("reference", |out| display(out, reference));
    }
    if let Some(status) = line.status {
        fields.literal("status", |out| number(out, status.into()));
    }
    fields.literal("bytes", |out| number(out, line.bytes));
    let duration = ended.saturating_duration_since(line.began);
    fields.literal("duration_ms", |out| {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        number(out, micros / 1000);
        out.push(b'.');
        digits::<3>(out, micros % 1000);
    });
    if let Some(outcome) = line.outcome {
        fields.token("outcome", |out| out.extend_from_slice(outcome.as_str().as_bytes()));
    }
    if let Some(code) = line.code {
        fields.token("code", |out| out.extend_from_slice(code.as_str().as_bytes()));
    }
    if !line.complete {
        fields.literal("complete", |out| out.extend_from_slice(b"false"));
    }
    fields.token("client", |out| address(out, line.client));
    if let Some(user) = line.user {
        fields.text("user", user.as_bytes());
    }
    if let Some(user_agent) = line.user_agent {
        fields.text("user_agent", user_agent);
    }
    fields.token("request_id", |out| {
        out.extend_from_slice(line.request_id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
    });
}

/// A number in decimal digits.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The last `N` decimal digits of a number, with zeros in front.
pub(super) fn digits<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        // Less than ten.
        *digit += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let mut separator: &[u8] = b"";
            for octet in address.octets() {
                out.extend_from_slice(separator);
                number(out, octet.into());
                separator = b".";
            }
        }
        IpAddr::V6(address) => display(out, &address),
    }
}

fn display(out: &mut Vec<u8>, value: &dyn Display) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "{value}");
}
