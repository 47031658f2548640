//! Tables of commands: columns of plain text, in which nothing that a client or another program wrote can end a line or
//! change a terminal.

use std::fmt::Write;
use std::time::SystemTime;

use super::progress::bytes;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    /// The least width, in characters; longer texts push the rest of their line aside.
    width: usize,
    is_number: bool,
}

/// Text, from the left.
pub(super) const fn text(title: &'static str, width: usize) -> Column {
    Column { title, width, is_number: false }
}

/// A number, from the right.
pub(super) const fn number(title: &'static str, width: usize) -> Column {
    Column { title, width, is_number: true }
}

/// The line of titles.
pub(super) fn titles(columns: &[Column]) -> String {
    let titles: Vec<_> = columns.iter().map(|column| column.title.to_owned()).collect();
    line(columns, &titles)
}

/// A line of cells, without an end of line.
pub(super) fn line(columns: &[Column], cells: &[String]) -> String {
    let mut line = String::new();
    for (Column { width, is_number, .. }, cell) in columns.iter().zip(cells) {
        let cell = escaped(cell);
        // Writing to a String does not fail.
        let _ = if *is_number { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
    }
    line.truncate(line.trim_end().len());
    line
}

/// The titles and the rows, in columns that are as wide as their longest cells.
pub(super) fn lines(columns: &mut [Column], rows: &[Vec<String>]) -> Vec<String> {
    for (index, column) in columns.iter_mut().enumerate() {
        let longest = rows.iter().filter_map(|row| row.get(index)).map(|cell| escaped(cell).chars().count()).max();
        column.width = longest.unwrap_or_default().max(column.title.len());
    }
    let rows = rows.iter().map(|row| line(columns, row));
    std::iter::once(titles(columns)).chain(rows).collect()
}

/// Bytes, or a dash for none.
pub(super) fn size(size: u64) -> String {
    if size == 0 { "-".to_owned() } else { bytes(size) }
}

/// A text in which only visible ASCII, and letters and digits of other scripts, stand for themselves.
pub(super) fn escaped(text: &str) -> String {
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric());
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) { out.push(c) } else { out.extend(c.escape_default()) }
    }
    out
}

/// The digest without its algorithm, as far as tells digests apart.
pub(super) fn short(digest: &str) -> String {
    digest.split(':').next_back().unwrap_or_default().chars().take(12).collect()
}

/// In UTC, to a second.
pub(super) fn rfc3339(time: Option<SystemTime>) -> Option<String> {
    time.map(|time| humantime::format_rfc3339_seconds(time).to_string())
}

/// `2026-11-29 18:57`, in UTC.
pub(super) fn minute(time: Option<SystemTime>) -> String {
    rfc3339(time).map_or_else(|| "-".to_owned(), |time| time.chars().take(16).collect::<String>().replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells_and_their_cells_are_harmless() {
        let mut columns = [text("NAME", 0), number("BYTES", 0), text("WHY", 0)];
        let rows = [["a\u{1b}[31m\nb", "1", ""], ["über", "1000000", "\u{202e}x"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let expected =
            ["NAME              BYTES  WHY", "a\\u{1b}[31m\\nb        1", "\u{fc}ber            1000000  \\u{202e}x"];
        assert_eq!(lines(&mut columns, &rows), expected);
    }
}
