//! How many files and connections the system lets a process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of descriptors to as many as the process may ask for: many systems begin with 1,024. How many of
/// the `wanted` connections of clients fit then; the other half is for files, the bucket and upstreams.
pub(crate) fn connections(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let fits = wanted.min(limit / 2).max(16);
    if fits < wanted {
        tracing::info!(
            descriptors = limit,
            connections = fits,
            "the limit of descriptors (ulimit -n) allows fewer connections than http.limits"
        );
    }
    fits
}
