//! The time of a line, from the steady clock's time of it.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::fields::digits;

/// How long the wall clock is taken from the steady one: a clock that is set shows after a second.
const ANCHORED: Duration = Duration::from_secs(1);
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Knows the wall clock's time at some instant of the last second, and the last second's text.
#[derive(Debug, Default)]
pub(super) struct Clock {
    anchor: Option<(Instant, Duration)>,
    second: Second,
}

/// A second since 1970, and its text without a zone, as in `2026-01-31T12:34:56`.
#[derive(Debug, Default)]
struct Second {
    number: u64,
    text: Vec<u8>,
}

/// The time of a line.
pub(super) struct Now<'a> {
    instant: Instant,
    /// Since 1970.
    wall: Duration,
    second: &'a mut Second,
}

impl Clock {
    /// The time of an instant, which is now or was just now.
    pub(super) fn at(&mut self, instant: Instant) -> Now<'_> {
        let anchored = self.anchor.map(|(anchor, wall)| (instant.saturating_duration_since(anchor), wall));
        let wall = match anchored {
            Some((since, wall)) if since < ANCHORED => wall + since,
            _ => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.anchor = Some((instant, wall));
                wall
            }
        };
        Now { instant, wall, second: &mut self.second }
    }
}

impl Second {
    /// The text of a second. Most lines share theirs with the line before.
    fn text(&mut self, number: u64) -> &[u8] {
        if self.text.is_empty() || self.number != number {
            self.number = number;
            self.text.clear();
            let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(number));
            // Fails after the year 9999 only.
            let _ = write!(self.text, "{time}");
            self.text.pop();
        }
        &self.text
    }
}

impl Now<'_> {
    /// Writes it, as in `2026-01-31T12:34:56.789Z`, and returns its instant.
    pub(super) fn rfc3339(self, out: &mut Vec<u8>) -> Instant {
        out.extend_from_slice(self.second.text(self.wall.as_secs()));
        out.push(b'.');
        digits::<3>(out, self.wall.subsec_millis().into());
        out.push(b'Z');
        self.instant
    }

    /// When a request began, as in `31/Jan/2026:12:34:56 +0000`.
    pub(super) fn apache(self, out: &mut Vec<u8>, began: Instant) {
        let wall = self.wall.saturating_sub(self.instant.saturating_duration_since(began));
        let text = self.second.text(wall.as_secs());
        let (Some((date, time)), Some(month)) = (text.split_at_checked(10), month(text)) else {
            return;
        };
        out.extend_from_slice(&date[8..]);
        out.push(b'/');
        out.extend_from_slice(month);
        out.push(b'/');
        out.extend_from_slice(&date[..4]);
        out.push(b':');
        out.extend_from_slice(&time[1..]);
        out.extend_from_slice(b" +0000");
    }
}

/// The month's name in the text of a second.
fn month(text: &[u8]) -> Option<&'static [u8; 3]> {
    let number: usize = str::from_utf8(text.get(5..7)?).ok()?.parse().ok()?;
    MONTHS.get(number.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_second_has_a_text_in_either_format() {
        let (instant, mut second) = (Instant::now(), Second::default());
        let mut at = |seconds: u64, millis: u64, apache: bool| {
            let wall = Duration::from_millis(seconds * 1000 + millis);
            let (mut out, now) = (Vec::new(), Now { instant, wall, second: &mut second });
            if apache {
                now.apache(&mut out, instant);
            } else {
                now.rfc3339(&mut out);
            }
            String::from_utf8(out).unwrap()
        };
        assert_eq!(at(0, 0, false), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_709_210_096, 7, false), "2024-02-29T12:34:56.007Z");
        assert_eq!(at(1_709_210_096, 7, true), "29/Feb/2024:12:34:56 +0000");
        assert_eq!(at(1_798_761_599, 999, true), "31/Dec/2026:23:59:59 +0000");
    }
}
