//! The names of repositories at an upstream.

use std::borrow::Cow;

use crate::oci::{RepositoryName, original_name};

/// How the names of an upstream's repositories differ there from those here.
#[derive(Debug)]
pub(super) struct RemoteNames {
    /// The prefix there, without its slash.
    pub(super) prefix: Option<String>,
    /// The prefix here, without its slash.
    pub(super) component: Option<String>,
    /// Docker Hub keeps its official repositories under `library/`, which its clients omit.
    pub(super) is_docker_hub: bool,
    /// Names here may be escaped.
    pub(super) is_relaxed: bool,
}

impl RemoteNames {
    /// The name here in full: of Docker Hub's official repositories, with `library/`.
    pub(super) fn full(&self, name: &RepositoryName) -> RepositoryName {
        let own = self.own(name);
        if !self.is_official(own) {
            return name.clone();
        }
        let component = self.component.as_ref().map(|component| format!("{component}/"));
        let full = format!("{}library/{own}", component.unwrap_or_default());
        // Only a name that is almost too long becomes too long.
        full.parse().unwrap_or_else(|_| name.clone())
    }

    /// The name there.
    pub(super) fn remote<'a>(&self, name: &'a RepositoryName) -> Cow<'a, str> {
        let own = self.own(name);
        let original = if self.is_relaxed { original_name(own) } else { own.into() };
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{original}").into(),
            None if self.is_official(own) => format!("library/{original}").into(),
            None => original,
        }
    }

    /// Whether it is one of Docker Hub's official repositories, without the `library/`.
    fn is_official(&self, own: &str) -> bool {
        self.has_official() && !own.contains('/')
    }

    /// Whether it has official images.
    pub(super) const fn has_official(&self) -> bool {
        self.is_docker_hub && self.prefix.is_none()
    }

    /// The name without the prefix here.
    pub(super) fn own<'a>(&self, name: &'a RepositoryName) -> &'a str {
        let without = |component: &String| name.as_str().strip_prefix(component)?.strip_prefix('/');
        let own = self.component.as_ref().and_then(without);
        own.unwrap_or(name.as_str())
    }
}
