//! `/v2/_pounce/upstreams`: the upstreams from which a client may pull, for `pounce clients`.
//!
//! It tells what the client's own pulls would tell: an upstream is in the list only if the rules let the client pull
//! something of it. Where an upstream is, and with which credentials pounce asks it, is not said.

use serde::{Deserialize, Serialize};

use super::{Answer, AppState, headers};
use crate::auth::Identity;
use crate::config::{ServerName, UpstreamHost};

/// The body of the answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct UpstreamList {
    /// The default upstream first.
    pub(crate) upstreams: Vec<ListedUpstream>,
}

/// An upstream as clients name it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ListedUpstream {
    /// The hosts of references to its images, and in `?ns=`.
    pub(crate) hosts: Vec<UpstreamHost>,
    /// The names of pounce that stand for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hostnames: Vec<ServerName>,
    /// Its repositories have plain names here.
    #[serde(default)]
    pub(crate) default: bool,
    /// Clients that do not log in may pull something of it, from where the request came.
    #[serde(default)]
    pub(crate) anonymous: bool,
    /// Only Ollama uses it.
    #[serde(default)]
    pub(crate) ollama: bool,
}

pub(super) fn list(app: &AppState, identity: &Identity) -> Answer {
    let routes = app.registry.repositories.routes();
    let seen = routes.names().filter(|names| app.access().may_pull_from(identity, names.component));
    let upstreams = seen.map(|names| ListedUpstream {
        hosts: names.hosts.to_vec(),
        hostnames: names.hostnames.to_vec(),
        default: names.component.is_none(),
        anonymous: app.access().may_pull_from(&identity.without_login(), names.component),
        ollama: names.is_for_ollama,
    });
    headers::serialized(&UpstreamList { upstreams: upstreams.collect() }).into()
}
