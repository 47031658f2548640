//! The names by which clients and the bucket know a repository.
//!
//! A request names its upstream in three ways: containerd's `?ns=`, which is the host that an image's reference begins
//! with, told to a mirror that may stand for several registries; a host in the repository's name; the host that the
//! client called, for clients that can do neither (`proxy.upstreams[].hostnames`). The upstream decides which names are
//! valid (`proxy.upstreams[].names`). Behind this file, a repository has the one name that it has in the bucket.

use super::query::Query;
use super::{AppState, Context, Endpoint, Rejection, public_url};
use crate::oci::{Error, RepositoryName};
use crate::registry::RequestHosts;

/// The endpoint of a request, with names as the client wrote them, but for escapes.
pub(super) fn parse_endpoint(cx: &Context<'_>) -> Result<Endpoint, Rejection> {
    let parse = |text: &str| {
        // Most names need no other grammar than the spec's, and then no host is looked for.
        text.parse().or_else(|_| with_hosts(cx, |hosts| cx.app.registry.repositories.parse_name(text, hosts)))
    };
    Endpoint::parse(&cx.request.method, cx.path(), cx.query(), &parse)
}

/// Replaces every repository name of an endpoint by the name in the bucket.
///
/// # Errors
/// - `NAME_UNKNOWN`: there is no upstream for the host.
/// - `NAME_INVALID`: the name in the bucket would be too long.
pub(super) fn resolve_names(cx: &Context<'_>, endpoint: &mut Endpoint) -> Result<(), Error> {
    with_hosts(cx, |hosts| {
        for name in names(endpoint).into_iter().flatten() {
            *name = cx.app.registry.repositories.resolve(name.clone(), hosts)?;
        }
        Ok(())
    })
}

fn with_hosts<T>(cx: &Context<'_>, use_hosts: impl FnOnce(RequestHosts<'_>) -> T) -> T {
    let ns = cx.query().and_then(|query| Query::new(Some(query)).get("ns"));
    let ns = ns.filter(|ns| !ns.is_empty() && !is_own(cx.app, ns));
    let called = if cx.app.registry.repositories.have_hostnames() { public_url::called_host(cx) } else { None };
    use_hosts(RequestHosts { ns: ns.as_deref(), called })
}

/// Whether a host, with a port or without, is `http.host`'s.
fn is_own(app: &AppState, ns: &str) -> bool {
    let Some(own) = app.base.host_str().filter(|_| app.config.http.host.is_some()) else {
        return false;
    };
    let Some((host, rest)) = ns.split_at_checked(own.len()) else {
        return false;
    };
    // Host names are not case-sensitive.
    host.eq_ignore_ascii_case(own)
        && match rest.strip_prefix(':') {
            Some(port) => port.parse().ok() == app.base.port_or_known_default(),
            None => rest.is_empty(),
        }
}

fn names(endpoint: &mut Endpoint) -> [Option<&mut RepositoryName>; 2] {
    match endpoint {
        // A signed URL has the name in the bucket.
        Endpoint::Support
        | Endpoint::Token
        | Endpoint::Catalog { .. }
        | Endpoint::Upstreams
        | Endpoint::PullSignedBlob { .. } => [None, None],
        Endpoint::PullBlob { name, .. }
        | Endpoint::PullManifest { name, .. }
        | Endpoint::BeginUpload { name, .. }
        | Endpoint::PushBlob { name, .. }
        | Endpoint::PushManifest { name, .. }
        | Endpoint::ListTags { name, .. }
        | Endpoint::DeleteManifest { name, .. }
        | Endpoint::DeleteBlob { name, .. }
        | Endpoint::ListReferrers { name, .. } => [Some(name), None],
        Endpoint::Mount { name, from, .. } => [Some(name), from.as_mut()],
        Endpoint::PushChunk(upload)
        | Endpoint::UploadStatus(upload)
        | Endpoint::CancelUpload(upload)
        | Endpoint::CloseUpload { upload, .. } => [Some(&mut upload.name), None],
    }
}
