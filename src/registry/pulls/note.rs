//! The notes in the bucket: where each is, and what it says.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::oci::{Digest, RepositoryName};

/// The version of what a note says.
const VERSION: u32 = 1;
/// A day in seconds.
pub(super) const DAY: u64 = 24 * 60 * 60;

/// Manifests by their repositories.
pub(super) type Manifests = HashMap<RepositoryName, HashSet<Digest>>;

/// Where a note is: the day and the hour in which it was begun, and a random id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `2026-11-29`
    pub(super) day: String,
    pub(super) hour: u8,
    pub(super) id: Uuid,
}

impl Place {
    /// A new one, of this time.
    pub(super) fn of(time: SystemTime) -> Self {
        // 2026-11-29T19:05:07Z
        let text = humantime::format_rfc3339_seconds(within_range(time)).to_string();
        Self { day: text[..10].to_owned(), hour: text[11..13].parse().unwrap_or_default(), id: Uuid::new_v4() }
    }

    pub(super) fn is_same_hour(&self, other: &Self) -> bool {
        (&self.day, self.hour) == (&other.day, other.hour)
    }

    /// Reads the path below `pounce/pulled/`; `None` for anything else that is there.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let (day, name) = path.split_once('/')?;
        let (hour, id) = name.split_once('-')?;
        let place = Self { day: day.to_owned(), hour: hour.parse().ok()?, id: id.parse().ok()? };
        let is_own = place.number_of_day().is_some() && format!("{:02}-{}", place.hour, place.id) == name;
        (is_own && place.hour < 24).then_some(place)
    }

    /// Its day, counted from 1970 on.
    pub(super) fn number_of_day(&self) -> Option<u64> {
        let begin = humantime::parse_rfc3339(&format!("{}T00:00:00Z", self.day)).ok()?;
        Some(number_of_day(begin)).filter(|_| self.day.len() == 10)
    }
}

/// The day of a time, counted from 1970 on.
pub(super) fn number_of_day(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / DAY
}

/// The begin of a day.
pub(super) fn begin_of_day(number: u64) -> SystemTime {
    within_range(SystemTime::UNIX_EPOCH + Duration::from_secs(number.min(u64::from(u32::MAX)) * DAY))
}

/// Times after 9999 have no text.
fn within_range(time: SystemTime) -> SystemTime {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    time.clamp(SystemTime::UNIX_EPOCH, last)
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    since: Option<String>,
    whole: bool,
    pulls: HashMap<&'a str, Vec<String>>,
}

#[derive(Deserialize)]
struct Read<'a> {
    version: u32,
    since: Option<String>,
    whole: bool,
    #[serde(borrow)]
    pulls: HashMap<Cow<'a, str>, Vec<Cow<'a, str>>>,
}

/// What a note says.
#[derive(Debug)]
pub(super) struct Note {
    /// Since when the process served clients and recorded what they pulled, if it did.
    pub(super) since: Option<SystemTime>,
    /// There was no other pull.
    pub(super) is_whole: bool,
}

/// The text of a note.
pub(super) fn compose(since: Option<SystemTime>, is_whole: bool, manifests: &Manifests) -> Bytes {
    let pulls =
        manifests.iter().map(|(name, digests)| (name.as_str(), digests.iter().map(Digest::to_string).collect()));
    let since = since.map(|since| humantime::format_rfc3339_seconds(within_range(since)).to_string());
    let written = Written { version: VERSION, since, whole: is_whole, pulls: pulls.collect() };
    // It is plain data.
    serde_json::to_vec(&written).unwrap_or_default().into()
}

/// Reads a note, and hands each pull to `pulled`. `None`: it is corrupt, or of a later version; `pulled` may have got some
/// of it.
pub(super) fn parse(text: &[u8], mut pulled: impl FnMut(&str, &Digest)) -> Option<Note> {
    let read: Read<'_> = serde_json::from_slice(text).ok()?;
    let since = read.since.map(|since| humantime::parse_rfc3339(&since)).transpose().ok()?;
    if read.version != VERSION {
        return None;
    }
    for (name, digests) in &read.pulls {
        for digest in digests {
            pulled(name, &digest.parse().ok()?);
        }
    }
    Some(Note { since, is_whole: read.whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let time = humantime::parse_rfc3339("2026-11-29T09:05:07Z").unwrap();
        let place = Place::of(time);
        let path = crate::store::Key::PullNote(&place.day, place.hour, &place.id).to_string();
        assert_eq!(path, format!("pounce/pulled/2026-11-29/09-{}", place.id));
        assert_eq!(Place::parse(path.strip_prefix("pounce/pulled/").unwrap()), Some(place.clone()));
        assert_eq!(begin_of_day(place.number_of_day().unwrap()), time - Duration::from_secs(9 * 3600 + 5 * 60 + 7));
        let id = place.id;
        for path in [
            "",
            "2026-11-29",
            "2026-11-29/",
            &format!("2026-11-29/9-{id}"),
            &format!("2026-11-29/24-{id}"),
            &format!("2026-11-29/+9-{id}"),
            &format!("2026-11-31/09-{id}"),
            &format!("2026-1-29/09-{id}"),
            &format!("x/09-{id}"),
            &format!("2026-11-29/09-{id}/x"),
            &format!("2026-11-29/09-{}", id.simple()),
            &format!("2026-11-29/09-{}", id.to_string().to_uppercase()),
        ] {
            assert_eq!(Place::parse(path), None, "{path}");
        }
    }

    #[test]
    fn times_beyond_all_calendars_do_no_harm() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(Place::of(far).day, "9999-12-31");
        assert_eq!(Place::of(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).day, "1970-01-01");
        begin_of_day(u64::MAX);
    }

    #[test]
    fn what_is_no_note_is_not_read() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let good = format!(r#"{{"version":1,"since":null,"whole":true,"pulls":{{"a/b":["{digest}"]}}}}"#);
        let mut pulled = Vec::new();
        let note = parse(good.as_bytes(), |name, digest| pulled.push(format!("{name}@{digest}"))).unwrap();
        assert!(note.is_whole && note.since.is_none());
        assert_eq!(pulled, [format!("a/b@{digest}")]);
        for bad in [
            String::new(),
            "{}".to_owned(),
            good.replace("\"version\":1", "\"version\":2"),
            good.replace("null", "\"yesterday\""),
            good.replace("sha256:", "md5:"),
            good[..good.len() - 1].to_owned(),
            "\0".repeat(1000),
        ] {
            assert!(parse(bad.as_bytes(), |_, _| {}).is_none(), "{bad}");
        }
    }
}
