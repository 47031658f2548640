//! Events as JSON: the fields of distribution's `notifications/event.go`, in its order, left out where it leaves them
//! out (read in versions 2.8.2 and 3.1.1).

use std::time::SystemTime;

use serde::Serialize;
use uuid::Uuid;

use super::occurrence::{Content, Occurrence, Requested};
use super::references::{Reference, references};
use crate::config::{EventAction, EventFormat, EventSettings};
use crate::oci::{Digest, RepositoryName, Tag};

/// This process, as every event names it.
#[derive(Debug, Serialize)]
pub(super) struct Source {
    /// The host name and the port of `http.addr`.
    addr: String,
    #[serde(rename = "instanceID")]
    instance_id: Uuid,
}

impl Source {
    pub(super) fn new(port: u16, instance_id: Uuid) -> Self {
        let system = rustix::system::uname();
        Self { addr: format!("{}:{port}", system.nodename().to_string_lossy()), instance_id }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    /// distribution sends one at a time.
    events: [Event<'a>; 1],
}

#[derive(Serialize)]
struct Event<'a> {
    id: Uuid,
    timestamp: String,
    action: EventAction,
    target: Target<'a>,
    request: Request<'a>,
    actor: Actor<'a>,
    source: &'a Source,
}

/// The content. Version 1 leaves out what is empty; version 2 has media type, digest and size in every event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    repository: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_repository: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    references: &'a [Reference],
}

#[derive(Serialize)]
struct Request<'a> {
    id: Uuid,
    #[serde(skip_serializing_if = "str::is_empty")]
    addr: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    method: &'a str,
    useragent: &'a str,
}

#[derive(Serialize)]
struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// An envelope for each event of an occurrence. A manifest that is deleted with its tags is an event, and each of its
/// tags is one. So is each tag that a push gives to a manifest.
pub(super) fn envelopes(
    settings: EventSettings,
    source: &Source,
    occurrence: &Occurrence,
    requested: &Requested<'_>,
) -> Vec<Vec<u8>> {
    let Occurrence { action, repository, content, tags } = occurrence;
    let writer = Writer { format: settings.format, source, action: *action, repository, requested };
    let tags = tags.iter().map(Tag::as_str);
    match content {
        Content::Manifest(manifest) => {
            let references =
                if settings.includereferences { references(settings.format, manifest.bytes()) } else { Vec::new() };
            let (media_type, digest) = (manifest.media_type().as_str(), manifest.digest());
            let write = |tag| {
                let mut target = writer.content(media_type, &digest, Some(manifest.bytes().len() as u64), "manifests");
                (target.tag, target.references) = (tag, &references);
                writer.write(target)
            };
            let tagged: Vec<_> = tags.map(|tag| write(Some(tag))).collect();
            if tagged.is_empty() { vec![write(None)] } else { tagged }
        }
        Content::Blob { digest, size, from } => {
            let mut target = writer.content(occurrence.media_type(), digest, *size, "blobs");
            target.from_repository = from.as_ref().map(RepositoryName::as_str);
            vec![writer.write(target)]
        }
        Content::Deleted(digest) => {
            let deleted = digest.iter().map(|digest| Target { digest: Some(digest.to_string()), ..writer.empty() });
            let deleted = deleted.chain(tags.map(|tag| Target { tag: Some(tag), ..writer.empty() }));
            deleted.map(|target| writer.write(target)).collect()
        }
    }
}

struct Writer<'a> {
    format: EventFormat,
    source: &'a Source,
    action: EventAction,
    repository: &'a RepositoryName,
    requested: &'a Requested<'a>,
}

impl<'a> Writer<'a> {
    fn empty(&self) -> Target<'a> {
        let is_new = self.format == EventFormat::V2;
        Target {
            media_type: is_new.then_some(""),
            size: is_new.then_some(0),
            digest: is_new.then(String::new),
            length: None,
            repository: self.repository.as_str(),
            from_repository: None,
            url: None,
            tag: None,
            references: &[],
        }
    }

    /// `kind` is the path's: `manifests` or `blobs`.
    fn content(&self, media_type: &'a str, digest: &Digest, size: Option<u64>, kind: &str) -> Target<'a> {
        let (base, name, digest) = (&self.requested.base, self.repository.as_str(), digest.to_string());
        let (size, empty) = (size.filter(|size| *size > 0), self.empty());
        Target {
            media_type: Some(media_type),
            size: size.or(empty.size),
            length: size,
            url: Some(format!("{base}{name}/{kind}/{digest}")),
            digest: Some(digest),
            ..empty
        }
    }

    fn write(&self, target: Target<'_>) -> Vec<u8> {
        let requested = self.requested;
        let event = Event {
            id: Uuid::new_v4(),
            timestamp: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
            action: self.action,
            target,
            request: Request {
                id: requested.id,
                addr: &requested.addr,
                host: requested.host,
                method: requested.method,
                useragent: &requested.user_agent,
            },
            actor: Actor { name: requested.user },
            source: self.source,
        };
        let json = serde_json::to_vec(&Envelope { events: [event] });
        json.unwrap_or_else(|error| unreachable!("texts and numbers always serialize: {error}"))
    }
}
