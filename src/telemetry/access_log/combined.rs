//! Apache's combined format, which distribution writes.
//!
//! The time is that of the request's begin. The referrer is always `-`, because it may have a query with a secret.

use super::clock::Now;
use super::escape::{self, Plain};
use super::fields::{address, number};
use super::line::Line;

/// The status of a request whose client left before the response, as in nginx's log.
const CLIENT_LEFT: u16 = 499;

pub(super) fn write(out: &mut Vec<u8>, line: &Line<'_>, now: Now<'_>) {
    address(out, line.client);
    out.extend_from_slice(b" - ");
    match line.user {
        Some(user) if !user.is_empty() => word(out, user.as_bytes()),
        _ => out.push(b'-'),
    }
    out.extend_from_slice(b" [");
    now.apache(out, line.began);
    out.extend_from_slice(b"] \"");
    word(out, line.method.as_bytes());
    out.push(b' ');
    word(out, line.path.as_bytes());
    out.push(b' ');
    out.extend_from_slice(line.protocol.as_bytes());
    out.extend_from_slice(b"\" ");
    number(out, line.status.unwrap_or(CLIENT_LEFT).into());
    out.push(b' ');
    number(out, line.bytes);
    out.extend_from_slice(b" \"-\" ");
    escape::quoted(out, escape::cut(line.user_agent.unwrap_or(b"-")));
}

/// A text without spaces, because spaces separate the fields.
fn word(out: &mut Vec<u8>, text: &[u8]) {
    escape::escaped(out, escape::cut(text), Plain::Word);
}
