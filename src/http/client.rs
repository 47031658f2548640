//! The client of a request.

use super::client_address::ClientAddress;
use crate::auth::Identity;
use crate::registry::Pusher;

/// An authenticated client.
pub(super) struct Client {
    pub(super) address: ClientAddress,
    pub(super) identity: Identity,
}

impl Client {
    /// The user or the address that its pushes take permits and memory for.
    pub(super) fn pusher(&self) -> Pusher {
        Pusher::of(self.identity.user(), self.address.ip)
    }
}
