//! Numbers as people read them.

use std::time::Duration;

/// Bytes in three digits, with decimal units as docker prints them: `4.21 GB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    // From 999.5 on, three digits would be 1000.
    while size >= 999.5 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1000.0, unit + 1);
    }
    let decimals = if size < 9.995 { 2 } else { usize::from(size < 99.95) };
    format!("{size:.decimals$} {}", UNITS[unit])
}

/// `1,240`
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 client`, `3 clients`
pub(super) fn plural(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

/// `97 %` of a whole that is not 0. Only all of it is 100 %.
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{} %", u128::from(part) * 100 / u128::from(whole.max(1)))
}

/// `40 s`, `12 min`, `3 h`: rounded up.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    match seconds {
        0..=90 => format!("{seconds} s"),
        91..=5400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_995, "10.0 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (4_210_000_000, "4.21 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn numbers_are_as_people_read_them() {
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(count).join(" "), "0 12 999 1,000 1,234,567");
        assert_eq!([plural(1, "client", "clients"), plural(0, "client", "clients")].join(" "), "1 client 0 clients");
        assert_eq!([percent(999, 1000), percent(0, 0), percent(3, 3)].join(" "), "99 % 0 % 100 %");
        let times = [1, 90, 91, 5400, 5401].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(times.join(", "), "1 s, 90 s, 2 min, 90 min, 2 h");
    }
}
