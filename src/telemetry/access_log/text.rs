//! Text: `TIME  INFO request NAME=VALUE …`, in the style of the log's other lines.

use super::clock::Now;
use super::escape::{self, Plain};
use super::fields::{self, Fields};
use super::line::Line;

struct Text<'a>(&'a mut Vec<u8>);

pub(super) fn write(out: &mut Vec<u8>, line: &Line<'_>, now: Now<'_>) {
    let ended = now.rfc3339(out);
    out.extend_from_slice(b"  INFO request");
    fields::write(&mut Text(out), line, ended);
}

impl Text<'_> {
    fn name(&mut self, name: &str) {
        self.0.push(b' ');
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
    }
}

impl Fields for Text<'_> {
    fn text(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        let value = escape::cut(value);
        if escape::is_plain(value, Plain::Word) {
            self.0.extend_from_slice(value);
        } else {
            escape::quoted(self.0, value);
        }
    }

    fn token(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        write(self.0);
    }

    fn literal(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.token(name, write);
    }
}
