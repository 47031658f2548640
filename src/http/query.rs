//! The query of a request.

use url::form_urlencoded;

use crate::oci::{Error, ErrorCode, Tag};

/// The most tags that a manifest can be pushed to at once; the spec asks for 10.
const MAX_TAGS: usize = 100;

/// The query as the client wrote it.
pub(super) struct Query<'a>(&'a str);

/// `n` and `last`
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) n: Option<usize>,
    pub(super) last: Option<String>,
}

impl<'a> Query<'a> {
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The last value of a key, because clients append to locations that have a query already.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        form_urlencoded::parse(self.0.as_bytes())
            .filter(|(name, _)| name == key)
            .last()
            .map(|(_, value)| value.into_owned())
    }

    /// The value of a key, if it is there and not empty.
    pub(super) fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let value = self.get(key).filter(|text| !text.is_empty());
        value.as_deref().map(parse).transpose()
    }

    pub(super) fn page(&self) -> Result<Page, Error> {
        let n = self.parsed("n", |text| {
            // A number that is too large for the type is too large for a page.
            if text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Ok(text.parse().unwrap_or(usize::MAX));
            }
            text.parse().map_err(|_| Error::new(ErrorCode::PaginationNumberInvalid, "n must be a number, zero or more"))
        })?;
        let last = self.get("last");
        Ok(Page { n, last })
    }

    /// Every `tag`.
    pub(super) fn tags(&self) -> Result<Vec<Tag>, Error> {
        let tags: Vec<Tag> = form_urlencoded::parse(self.0.as_bytes())
            .filter(|(name, _)| name == "tag")
            .map(|(_, value)| parse_tag(&value))
            .take(MAX_TAGS + 1)
            .collect::<Result<_, _>>()?;
        if tags.len() > MAX_TAGS {
            let message = "a manifest can be pushed to at most 100 tags at once";
            return Err(Error::new(ErrorCode::TagInvalid, message));
        }
        Ok(tags)
    }
}

pub(super) fn parse_tag(text: &str) -> Result<Tag, Error> {
    text.parse().map_err(|error: crate::oci::TagError| Error::new(ErrorCode::TagInvalid, error.to_string()))
}
