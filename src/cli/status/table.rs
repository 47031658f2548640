//! The status as lines of at most 80 columns. They are ASCII, because an upstream's words may be in them.

use std::fmt::Write;
use std::time::Duration;

use crate::cli::progress::bytes;
use crate::http::{Answering, Answers, Fill, Status};

const COLUMNS: usize = 80;
/// The width of a blob's name.
const NAME: usize = 26;

/// The lines of a status.
pub(super) fn render(status: &Status) -> String {
    let mut lines = Vec::new();
    let up = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    lines.push(format!("pounce {}, up {up}, {} connections", status.version, status.connections));
    let fills = &status.fills;
    lines.push(format!(
        "fills      {} running, {} waiting, {} stored, {} followed, {} failed",
        fills.running, fills.waiting, fills.stored, fills.followed, fills.failed
    ));
    lines.push(format!("           memory: {} of {}", bytes(fills.memory_bytes), bytes(fills.memory_limit_bytes)));
    if !fills.list.is_empty() {
        lines.push(row(["BLOB", "SIZE", "DONE", "RATE", "READ", "CONN", "SHARED"]));
        lines.extend(fills.list.iter().map(fill));
    }
    let unlisted = fills.running.saturating_sub(fills.list.len() as u64);
    if unlisted > 0 {
        lines.push(format!("  and {unlisted} more"));
    }
    lines.push(answers("blobs", &status.blobs));
    lines.push(answers("manifests", &status.manifests));
    let moved = &status.bytes;
    lines.push(format!(
        "bytes      {} redirected, {} streamed, {} fetched",
        bytes(moved.redirected),
        bytes(moved.streamed),
        bytes(moved.fetched)
    ));
    lines.push(format!("           saved: {}", bytes(moved.saved)));
    for (index, upstream) in status.upstreams.iter().enumerate() {
        let title = if index == 0 { "upstreams" } else { "" };
        let host = upstream.hosts.first().unwrap_or(&upstream.address);
        lines.push(format!("{title:<10} {host:<26} {}", answering(&upstream.health)));
    }
    let bucket = &status.bucket;
    let place = bucket.folder.as_ref().or(bucket.bucket.as_ref()).map_or("", String::as_str);
    lines.push(format!("bucket     {:<26} {}", end(place, NAME), answering(&bucket.health)));
    for (index, (name, cache)) in status.caches.iter().enumerate() {
        let title = if index == 0 { "caches" } else { "" };
        let size = cache.bytes.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
        lines.push(format!("{title:<10} {name:<26} {} entries{size}", cache.entries));
    }
    let mut text = String::new();
    for line in lines {
        let plain: String = line.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(COLUMNS).collect();
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}", plain.trim_end());
    }
    text
}

fn fill(fill: &Fill) -> String {
    let done = match fill.size {
        Some(0) => "100%".to_owned(),
        Some(size) => format!("{}%", u128::from(fill.received) * 100 / u128::from(size)),
        None => "?".to_owned(),
    };
    // As in `docker images`: twelve digits tell blobs apart.
    let digest = fill.digest.split(':').next_back().unwrap_or_default();
    let digest: String = digest.chars().take(12).collect();
    let name = format!("{}@{digest}", end(&fill.repository, NAME - 13));
    row([
        &name,
        &fill.size.map_or_else(|| "?".to_owned(), bytes),
        &done,
        &format!("{}/s", bytes(fill.bytes_per_second)),
        &fill.readers.to_string(),
        &fill.connections.to_string(),
        &fill.shared,
    ])
}

fn row([name, size, done, rate, readers, connections, shared]: [&str; 7]) -> String {
    format!("  {name:<NAME$} {size:>11} {done:>5} {rate:>13} {readers:>4} {connections:>4} {shared:<8}")
}

fn answers(kind: &str, answers: &Answers) -> String {
    let Answers { answered, hits, .. } = answers;
    match answers.hit_ratio {
        Some(ratio) => format!("{kind:<10} {:.1}% from the bucket or memory: {hits} of {answered}", ratio * 100.0),
        None => format!("{kind:<10} none was asked for"),
    }
}

fn answering(health: &Answering) -> String {
    if let Some(failing) = &health.failing {
        let time = humantime::format_duration(Duration::from_secs(failing.seconds));
        return format!("FAILS for {time}: {}", failing.cause);
    }
    match &health.last_answer {
        Some(last) => {
            let status = last.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            format!("{status} in {} ms at {}", last.milliseconds, last.at.get(11..19).unwrap_or_default())
        }
        None => "not asked yet".to_owned(),
    }
}

/// The last `most` characters of a text that is longer.
fn end(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(length - most + 2).collect();
    format!("..{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Status;

    #[test]
    fn lines_are_short_and_ascii_whatever_is_in_them() {
        let long = "x".repeat(200);
        let status: Status = serde_json::from_value(serde_json::json!({
            "version": "0.1.0",
            "fills": {"running": 3, "list": [
                {"repository": long, "digest": format!("sha256:{}", "a".repeat(64)), "size": u64::MAX,
                 "received": u64::MAX / 2, "bytes_per_second": u64::MAX, "readers": 1, "connections": 8,
                 "shared": "follower"},
                {"repository": "a", "digest": "sha256:b", "shared": "alone"},
            ]},
            "upstreams": [{"hosts": [long], "failing": {"seconds": 14, "cause": "\u{1b}[31m\n\u{fc}ber"}}],
            "bucket": {"folder": long},
        }))
        .unwrap();
        let text = render(&status);
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
        assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text}");
        assert!(text.contains(" 49%") && text.contains("and 1 more"), "{text}");
    }
}
