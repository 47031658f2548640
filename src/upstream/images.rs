//! Which images of an upstream may come in, and which tags never change.

use crate::config::{ImagePattern, Remote};
use crate::oci::{Tag, unmarked_name};

/// `allow`, `deny` and `immutable`, for names at the upstream.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// `None` is all.
    allow: Option<Vec<ImagePattern>>,
    deny: Vec<ImagePattern>,
    immutable: Vec<ImagePattern>,
}

impl Images {
    /// `has_official`: of Docker Hub, whose official images have names in full here.
    pub(super) fn new(remote: &Remote, has_official: bool) -> Self {
        let of = |patterns: &[ImagePattern]| {
            let full = patterns.iter().map(|it| if has_official { it.in_full() } else { it.clone() });
            full.collect::<Vec<_>>()
        };
        Self { allow: remote.allow.as_deref().map(of), deny: of(&remote.deny), immutable: of(&remote.immutable) }
    }

    /// Whether content of a repository may come in, by this tag or by a digest. A pattern for tags says nothing of
    /// digests: it allows those of its repositories, and denies none.
    pub(super) fn admit(&self, name: &str, tag: Option<&Tag>) -> bool {
        let tag = tag.map(Tag::as_str);
        // An upstream that does not tell upper case from lower case has one repository for all spellings.
        let unmarked = unmarked_name(name);
        let is_denied = |name: &str| self.deny.iter().any(|pattern| pattern.fits(name, tag));
        let is_allowed = |pattern: &ImagePattern| match tag {
            Some(_) => pattern.fits(name, tag),
            None => pattern.fits_repository(name),
        };
        !is_denied(name)
            && !unmarked.as_deref().is_some_and(is_denied)
            && self.allow.as_ref().is_none_or(|allow| allow.iter().any(is_allowed))
    }

    /// Whether a tag stays what it is once it is stored.
    pub(super) fn fix(&self, name: &str, tag: &Tag) -> bool {
        self.immutable.iter().any(|pattern| pattern.fits(name, Some(tag.as_str())))
    }
}
