//! JSON: an object a line, with the names of the log's other lines where these mean the same.

use super::clock::Now;
use super::escape;
use super::fields::{self, Fields};
use super::line::Line;

struct Json<'a>(&'a mut Vec<u8>);

pub(super) fn write(out: &mut Vec<u8>, line: &Line<'_>, now: Now<'_>) {
    out.extend_from_slice(br#"{"timestamp":""#);
    let ended = now.rfc3339(out);
    out.extend_from_slice(br#"","level":"INFO","message":"request""#);
    fields::write(&mut Json(out), line, ended);
    out.push(b'}');
}

impl Json<'_> {
    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
}

impl Fields for Json<'_> {
    fn text(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        escape::quoted(self.0, escape::cut(value));
    }

    fn token(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.0.push(b'"');
        write(self.0);
        self.0.push(b'"');
    }

    fn literal(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        write(self.0);
    }
}
