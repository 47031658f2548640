//! Where an upstream has its own clients fetch a blob (`proxy.onmiss: redirect`).

use super::Blobs;
use crate::oci::{Digest, Error, RepositoryName};
use crate::registry::cache::Location;
use crate::registry::failure::of_upstream;
use crate::registry::flights::FlightKey;
use crate::registry::presence::blob_unknown;
use crate::upstream::Upstream;

impl Blobs {
    /// Asks the upstream, once for all requests that want to know.
    pub(super) async fn location(
        &self,
        upstream: &Upstream,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Location, Error> {
        let (locations, key) = (&self.cache.locations, (name.clone(), *digest));
        if let Some(location) = locations.get(&key) {
            return Ok(location);
        }
        let ask = async {
            if let Some(location) = locations.get(&key) {
                return Ok(location);
            }
            let location = match upstream.blob_location(name, digest).await {
                Ok(Some(url)) => Location::Elsewhere(url.as_str().into()),
                Ok(None) => Location::Upstream,
                // A fill that is under way may have the blob.
                Err(error) if error.is_outage() => return Ok(Location::Upstream),
                Err(error) => return Err(of_upstream(error, blob_unknown(name, digest))),
            };
            locations.insert(key.clone(), location.clone());
            Ok(location)
        };
        self.flights.coalesce(FlightKey::Location(name.clone(), *digest), ask).await
    }
}
