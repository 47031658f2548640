//! What a request did, for the endpoints of events. Each of these is `None` unless an endpoint wants to know it, so
//! that a registry without endpoints does nothing for them.

use std::net::SocketAddr;

use axum::http::header;

use super::{AppState, Context, LogEntry, public_url};
use crate::config::EventAction;
use crate::events::{Content, Occurrence, Requested};
use crate::oci::{Digest, Manifest, Reference, RepositoryName, Tag};
use crate::telemetry::cut_text;

type Occurred = Option<Box<Occurrence>>;

pub(super) fn manifest_pulled(
    app: &AppState,
    name: &RepositoryName,
    reference: &Reference,
    manifest: &Manifest,
) -> Occurred {
    occurred(app, name, EventAction::Pull, false, || {
        (Content::Manifest(manifest.clone()), tag(reference).into_iter().collect())
    })
}

/// `tags` are those that a manifest gets besides the one that it is pushed to.
pub(super) fn manifest_pushed(
    app: &AppState,
    (name, reference, tags): (&RepositoryName, &Reference, &[Tag]),
    manifest: &Manifest,
) -> Occurred {
    occurred(app, name, EventAction::Push, false, || {
        (Content::Manifest(manifest.clone()), tag(reference).into_iter().chain(tags.iter().cloned()).collect())
    })
}

/// `tags` were deleted, perhaps with the manifest that they named. Or the digest is a blob's.
pub(super) fn deleted(app: &AppState, name: &RepositoryName, digest: Option<Digest>, tags: Vec<Tag>) -> Occurred {
    occurred(app, name, EventAction::Delete, false, || (Content::Deleted(digest), tags))
}

/// `size` is that of the whole blob, where the answer tells it.
pub(super) fn blob_pulled(app: &AppState, name: &RepositoryName, digest: &Digest, size: Option<u64>) -> Occurred {
    occurred(app, name, EventAction::Pull, true, || (blob(app, name, digest, size, None), Vec::new()))
}

pub(super) fn blob_pushed(app: &AppState, name: &RepositoryName, digest: &Digest) -> Occurred {
    occurred(app, name, EventAction::Push, true, || (blob(app, name, digest, None, None), Vec::new()))
}

pub(super) fn blob_mounted(
    app: &AppState,
    name: &RepositoryName,
    digest: &Digest,
    from: Option<&RepositoryName>,
) -> Occurred {
    occurred(app, name, EventAction::Mount, true, || (blob(app, name, digest, None, from), Vec::new()))
}

fn occurred(
    app: &AppState,
    name: &RepositoryName,
    action: EventAction,
    of_blob: bool,
    make: impl FnOnce() -> (Content, Vec<Tag>),
) -> Occurred {
    app.events.as_ref().filter(|events| events.wants(action, of_blob))?;
    let (content, tags) = make();
    Some(Box::new(Occurrence { action, repository: name.clone(), content, tags }))
}

fn tag(reference: &Reference) -> Option<Tag> {
    match reference {
        Reference::Tag(tag) => Some(tag.clone()),
        Reference::Digest(_) => None,
    }
}

/// The size of a blob that was just stored or redirected to is in memory.
fn blob(
    app: &AppState,
    name: &RepositoryName,
    digest: &Digest,
    size: Option<u64>,
    from: Option<&RepositoryName>,
) -> Content {
    let in_memory = || app.registry.blobs.info_from_memory(name, digest).map(|info| info.size);
    Content::Blob { digest: *digest, size: size.or_else(in_memory), from: from.cloned() }
}

/// Hands the occurrence to the queues of the endpoints.
pub(super) fn publish(cx: &Context<'_>, entry: &LogEntry<'_>, occurrence: &Occurrence) {
    let Some(events) = &cx.app.events else {
        return;
    };
    let (request, client) = (cx.request, cx.client);
    let user_agent = request.headers.get(header::USER_AGENT).map_or(&b""[..], |value| value.as_bytes());
    let path = format!("{}/v2/", cx.app.prefix);
    let path = public_url::public_path(cx.app, &path);
    let base = public_url::base(cx).unwrap_or_else(|| cx.app.base.clone());
    let requested = Requested {
        id: entry.id(),
        addr: client.port.map_or_else(|| client.ip.to_string(), |port| SocketAddr::new(client.ip, port).to_string()),
        host: public_url::called_host(cx).unwrap_or_default(),
        method: request.method.as_str(),
        user_agent: String::from_utf8_lossy(cut_text(user_agent)),
        user: entry.user(),
        base: base.join(&path).map_or_else(|_| path.to_string(), String::from),
    };
    events.publish(occurrence, &requested);
}
