//! containerd's `?ns=`: the host that an image's reference begins with, as containerd tells it to a mirror that may
//! stand for several. From here on, a repository has the one name that it has in the bucket.

use super::Site;
use super::endpoint::Endpoint;
use super::query::Query;
use crate::oci::{Error, RepositoryName};

/// Gives every repository that an endpoint names its own name.
///
/// # Errors
/// `NAME_UNKNOWN`: there is no upstream for the host.
pub(super) fn settle(site: &Site, endpoint: &mut Endpoint, query: Option<&str>) -> Result<(), Error> {
    let ns = query.and_then(|query| Query::new(Some(query)).get("ns"));
    // pounce itself, under its own name.
    let ns = ns.filter(|ns| !ns.is_empty() && !is_own(site, ns));
    for name in names(endpoint).into_iter().flatten() {
        *name = site.registry.repositories.resolve(name.clone(), ns.as_deref())?;
    }
    Ok(())
}

/// Whether a host, with a port or without, is `http.host`'s.
fn is_own(site: &Site, ns: &str) -> bool {
    let Some(own) = site.base.host_str().filter(|_| site.fixed_base) else {
        return false;
    };
    let Some((host, rest)) = ns.split_at_checked(own.len()) else {
        return false;
    };
    // Names of hosts are the same in any case.
    host.eq_ignore_ascii_case(own)
        && match rest.strip_prefix(':') {
            Some(port) => port.parse().ok() == site.base.port_or_known_default(),
            None => rest.is_empty(),
        }
}

fn names(endpoint: &mut Endpoint) -> [Option<&mut RepositoryName>; 2] {
    match endpoint {
        Endpoint::Support | Endpoint::Token | Endpoint::Catalog { .. } => [None, None],
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
