//! Times as people read them: how long ago, with the time itself as the title.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use crate::registry::LastPull;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `3 days`: one number, rounded down.
fn span(age: Duration) -> String {
    let seconds = age.as_secs();
    if seconds < MINUTE {
        return "a moment".to_owned();
    }
    let units =
        [(730 * DAY, 365 * DAY, "year"), (60 * DAY, 30 * DAY, "month"), (DAY, DAY, "day"), (HOUR, HOUR, "hour")];
    let fits = units.into_iter().find(|(from, ..)| seconds >= *from);
    let (_, size, unit) = fits.unwrap_or((MINUTE, MINUTE, "minute"));
    let number = seconds / size;
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// `2026-11-29 21:04 UTC`
fn utc(time: SystemTime) -> String {
    let text = rfc3339(time);
    format!("{} {} UTC", &text[..10], &text[11..16])
}

fn rfc3339(time: SystemTime) -> String {
    // Later times have no text.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_seconds(time.clamp(SystemTime::UNIX_EPOCH, last)).to_string()
}

/// `3 days ago`; a time that is not over yet is told as it is.
pub(super) fn ago(time: SystemTime) -> Markup {
    let text = SystemTime::now().duration_since(time).map_or_else(|_| utc(time), |age| format!("{} ago", span(age)));
    html! { time datetime=(rfc3339(time)) title=(utc(time)) { (text) } }
}

/// A time that an image says, which may be anything.
pub(super) fn told(text: &str) -> Markup {
    let time = humantime::parse_rfc3339(text).map(ago);
    time.unwrap_or_else(|_| html! { bdi { (text.chars().take(64).collect::<String>()) } })
}

/// When something was last pulled.
pub(super) fn pulled(last: LastPull) -> Markup {
    match last {
        LastPull::Now => html! { "within the hour" },
        LastPull::At(time) => ago(time),
        LastPull::NotSince(time) => match SystemTime::now().duration_since(time) {
            Ok(age) if age.as_secs() >= HOUR => {
                html! { span.muted title=(format!("Pulls are known since {}", utc(time))) { "not in " (span(age)) } }
            }
            _ => html! { span.muted title="Pulls are known since less than an hour" { "–" } },
        },
        LastPull::Unknown => html! { span.muted { "unknown" } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_number() {
        let ages = [0, 59, 60, 119, 7200, DAY, 59 * DAY, 61 * DAY, 800 * DAY].map(|age| span(Duration::from_secs(age)));
        let expected =
            ["a moment", "a moment", "1 minute", "1 minute", "2 hours", "1 day", "59 days", "2 months", "2 years"];
        assert_eq!(ages, expected);
    }

    #[test]
    fn what_an_image_says_of_its_age_is_text() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(ago(far).into_string().contains("9999-12-31"));
        assert!(told("0001-01-01T00:00:00Z").into_string().starts_with("<bdi>"));
        assert_eq!(told("<b>").into_string(), "<bdi>&lt;b&gt;</bdi>");
    }
}
