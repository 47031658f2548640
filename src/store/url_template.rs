//! Presigned URLs, kept small.
//!
//! All URLs that are signed in one second differ only in the object's path and the signature. The rest of their text is
//! kept once, so a URL takes 40 bytes (a pointer and the signature) instead of some 450: 41 MB less for 100,000 blobs.

use std::sync::{Arc, Mutex, PoisonError};

use crate::oci::Digest;

/// A presigned URL for a blob.
#[derive(Clone, Debug)]
pub struct PresignedUrl {
    template: Arc<UrlTemplate>,
    /// Unused where the template is the whole URL; an `Option` for that would take 8 bytes more.
    signature: [u8; 32],
}

/// The text that URLs share.
#[derive(Debug, PartialEq, Eq)]
struct UrlTemplate {
    /// Up to the digest in the path.
    before: Box<str>,
    /// From there to the signature; `None`: `before` is the whole URL.
    after: Option<Box<str>>,
}

/// The template that was used last.
#[derive(Debug, Default)]
pub(super) struct UrlTemplates(Mutex<Option<Arc<UrlTemplate>>>);

impl PresignedUrl {
    /// A URL that shares no text.
    pub(crate) fn whole(url: &str) -> Self {
        Self { template: Arc::new(UrlTemplate { before: url.into(), after: None }), signature: [0; 32] }
    }

    /// The URL's text. The digest is that of its blob.
    #[must_use]
    pub fn url(&self, digest: &Digest) -> String {
        let UrlTemplate { before, after } = &*self.template;
        let Some(after) = after else {
            return before.to_string();
        };
        let (text, mut hex) = (digest.text(), const_hex::Buffer::<32>::new());
        let ((group, own), signature) = (path(text.hex()), &*hex.format(&self.signature));
        let parts = [before, group, "/", own, after, signature];
        // At its exact size: it becomes a header's value without another copy.
        let mut url = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        url.extend(parts);
        url
    }
}

impl UrlTemplates {
    /// Splits a URL for the blob with this digest. One of another form is kept as it is.
    pub(super) fn compact(&self, url: &str, digest: &Digest) -> PresignedUrl {
        self.split(url, digest).unwrap_or_else(|| PresignedUrl::whole(url))
    }

    fn split(&self, url: &str, digest: &Digest) -> Option<PresignedUrl> {
        let text = digest.text();
        let (group, hex) = path(text.hex());
        let (rest, signature) = url.split_at_checked(url.len().checked_sub(64)?)?;
        let (before, after) = rest.split_once(&format!("{group}/{hex}"))?;
        let template = UrlTemplate { before: before.into(), after: Some(after.into()) };
        let mut bytes = [0; 32];
        const_hex::decode_to_slice(signature, &mut bytes).ok()?;
        let presigned = PresignedUrl { template: self.share(template), signature: bytes };
        // Upper-case hex, for one, would come back in lower case.
        (presigned.url(digest) == url).then_some(presigned)
    }

    fn share(&self, template: UrlTemplate) -> Arc<UrlTemplate> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if **last == template => Arc::clone(last),
            _ => Arc::clone(last.insert(Arc::new(template))),
        }
    }
}

/// The two parts of a blob's key that differ from other blobs': the first two digits, and all of them.
fn path(hex: &str) -> (&str, &str) {
    (hex.get(..2).unwrap_or_default(), hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::Algorithm;

    fn url(digest: &Digest, signature: &str) -> String {
        let hex = digest.hex();
        format!("https://b.example/blobs/sha256/{}/{hex}/data?X-Amz-Date=1&X-Amz-Signature={signature}", &hex[..2])
    }

    #[test]
    fn urls_of_one_second_share_a_template_and_take_40_bytes() {
        assert_eq!(size_of::<PresignedUrl>(), 40);
        let templates = UrlTemplates::default();
        let all: Vec<_> = (0..3_u8)
            .map(|number| {
                let digest = Digest::of(Algorithm::Sha256, &[number]);
                let url = url(&digest, &format!("{number:064x}"));
                let kept = templates.compact(&url, &digest);
                assert_eq!(kept.url(&digest), url);
                kept
            })
            .collect();
        assert!(all.iter().all(|it| Arc::ptr_eq(&it.template, &all[0].template)));
        assert!(all.iter().all(|it| it.template.after.is_some()));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_was(before in ".{0,40}", long: bool, hex in "[0-9a-fA-F]{0,70}", known: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::of(algorithm, before.as_bytes());
            let text = if known { url(&digest, &hex) } else { format!("{before}{hex}") };
            prop_assert_eq!(UrlTemplates::default().compact(&text, &digest).url(&digest), text);
        }
    }
}
