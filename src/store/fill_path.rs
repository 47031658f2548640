//! The names below `pounce/fills/`, where fills keep a blob until it is stored.
//!
//! ```text
//! pounce/fills/<algorithm>/<hex>/<upstream>/lease                      which process fills, and which chunks there are
//! pounce/fills/<algorithm>/<hex>/<upstream>/wants-<process>            chunks that another process's clients wait for
//! pounce/fills/<algorithm>/<hex>/<upstream>/<generation>/<offset>      a chunk
//! pounce/fills/<algorithm>/<hex>/<upstream>/<generation>/head-<end>    the beginning of a chunk, or a part of it
//! ```
//!
//! An upstream is 16 hex digits ([`UpstreamId`]), a generation and a process are UUIDs, an offset is 16 hex digits. A
//! head has the name of its end, because a longer one with the same beginning may come later: one name has one content
//! for ever.

use std::fmt;

use uuid::Uuid;

use crate::oci::{Algorithm, Digest};

/// An upstream in a key: 64 bits of the SHA-256 of its URL. A blob is filled separately from each upstream, because one
/// that sends wrong bytes must not fail the clients of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(u64);

impl UpstreamId {
    /// The id of the upstream at this URL. All replicas must spell it alike: it is the canonical one.
    #[must_use]
    pub fn of_url(url: &str) -> Self {
        let hashed = Digest::of(Algorithm::Sha256, url.as_bytes());
        let start = hashed.value().first_chunk().copied();
        Self(u64::from_be_bytes(start.unwrap_or_default()))
    }
}

impl fmt::Display for UpstreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An object of the fills of one blob from one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillObject {
    /// [`Key::FillLease`](super::Key::FillLease)
    Lease,
    /// [`Key::FillWant`](super::Key::FillWant): the process.
    Want(Uuid),
    /// [`Key::FillChunk`](super::Key::FillChunk): the generation and the offset.
    Chunk(Uuid, u64),
    /// [`Key::FillHead`](super::Key::FillHead): the generation and the offset behind it.
    Head(Uuid, u64),
}

impl FillObject {
    /// Reads a path below [`Key::FillLeases`](super::Key::FillLeases); `None` for one that no fill writes.
    #[must_use]
    pub fn parse_below_all(path: &str) -> Option<(Digest, UpstreamId, Self)> {
        let mut parts = path.splitn(4, '/');
        let (algorithm, hex, upstream) = (parts.next()?, parts.next()?, parts.next()?);
        let digest = format!("{algorithm}:{hex}").parse().ok()?;
        Some((digest, UpstreamId(number(upstream)?), Self::parse(parts.next()?)?))
    }

    /// Reads a path below [`Key::Fill`](super::Key::Fill); `None` for one that no fill writes.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if path == "lease" {
            return Some(Self::Lease);
        }
        if let Some(process) = path.strip_prefix("wants-") {
            return id(process).map(Self::Want);
        }
        let (generation, name) = path.split_once('/')?;
        let generation = id(generation)?;
        match name.strip_prefix("head-") {
            Some(end) => number(end).map(|end| Self::Head(generation, end)),
            None => number(name).map(|offset| Self::Chunk(generation, offset)),
        }
    }
}

/// 16 hex digits, in lower case.
fn number(text: &str) -> Option<u64> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = text.len() == 16 && text.bytes().all(is_hex);
    is_number.then(|| u64::from_str_radix(text, 16).ok())?
}

/// A UUID, spelled as keys spell it.
fn id(text: &str) -> Option<Uuid> {
    let id: Uuid = text.parse().ok()?;
    (id.to_string() == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::key::Key;

    #[test]
    fn the_keys_of_fills_are_read_as_they_are_written() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        let upstream = UpstreamId::of_url("https://registry-1.docker.io");
        assert_ne!(upstream, UpstreamId::of_url("https://ghcr.io"));
        let own = Uuid::from_u128(7);
        let below = |key: Key<'_>| key.to_string()["pounce/fills/".len()..].to_owned();
        let directory = format!("sha256/{hex}/{upstream}/");
        assert_eq!(Key::FillLeases.to_string(), "pounce/fills/");
        assert_eq!(below(Key::Fill(&digest, upstream)), directory);
        assert_eq!(below(Key::FillChunks(&digest, upstream, &own)), format!("{directory}{own}/"));
        let offset = 16 << 20;
        for (key, name, object) in [
            (Key::FillLease(&digest, upstream), "lease".to_owned(), FillObject::Lease),
            (Key::FillWant(&digest, upstream, &own), format!("wants-{own}"), FillObject::Want(own)),
            (
                Key::FillChunk(&digest, upstream, &own, offset),
                format!("{own}/0000000001000000"),
                FillObject::Chunk(own, offset),
            ),
            (
                Key::FillHead(&digest, upstream, &own, offset),
                format!("{own}/head-0000000001000000"),
                FillObject::Head(own, offset),
            ),
        ] {
            assert_eq!(below(key), format!("{directory}{name}"));
            assert_eq!(FillObject::parse_below_all(&below(key)), Some((digest, upstream, object)));
        }
        for other in ["", "lease/", "wants-", "wants-1", "1/2", "0", "head-0", "lease2"] {
            assert_eq!(FillObject::parse(other), None, "{other}");
        }
        for name in ["", "1", "head-", "+000000001000000", "000000000100000A", "00000000010000000", "head-0/0"] {
            assert_eq!(FillObject::parse(&format!("{own}/{name}")), None, "{name}");
        }
        for other in
            ["", "sha256", "sha256/e3/0/lease", &format!("sha256/{hex}/lease"), &format!("sha256/{hex}/0/lease")]
        {
            assert_eq!(FillObject::parse_below_all(other), None, "{other}");
        }
    }
}
