//! The variables of the process's environment.

/// Environment variables, which tests can make up.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// The variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                // A value that is not UTF-8 is wrong, but must not count as unset.
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect()
    }

    /// These variables in the place of those with the same names.
    #[must_use]
    pub fn with<N: AsRef<str>>(self, pairs: &[(N, String)]) -> Self {
        let is_kept = |name: &str| pairs.iter().all(|(replaced, _)| replaced.as_ref() != name);
        let kept = self.0.into_iter().filter(|(name, _)| is_kept(name));
        let pairs = pairs.iter().map(|(name, value)| (name.as_ref().to_owned(), value.clone()));
        kept.chain(pairs).collect()
    }

    /// The value of a variable; an empty one counts as unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// All variables, a section before its settings.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // So that REGISTRY_STORAGE comes before REGISTRY_STORAGE_S3_BUCKET, and …_2_… before …_10_….
        pairs.sort_by_cached_key(|(name, value)| {
            let parts = name.split('_').map(|part| (part.parse::<u64>().ok(), part.to_owned()));
            (parts.collect::<Vec<_>>(), value.clone())
        });
        Self(pairs)
    }
}
