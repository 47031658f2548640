//! A flat LIST of a whole directory, in order, a page ahead of its reader.
//!
//! A survey relies on the order: all keys of a repository are together, and a blob that is not where it would be is not
//! there. So a bucket that lists in another order, or a page that repeats an earlier one, ends the survey.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::error::SurveyError;
use super::reader::Reader;
use crate::store::{Key, Listed, StoreError};

#[derive(Debug)]
pub(super) struct Pages {
    reader: Arc<Reader>,
    key: Key<'static>,
    last: Option<String>,
    ahead: Option<Ahead>,
}

/// The next page, which is on its way.
#[derive(Debug)]
struct Ahead(JoinHandle<Result<(Vec<Listed>, bool), StoreError>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pages {
    pub(super) fn new(reader: &Arc<Reader>, key: Key<'static>) -> Self {
        let mut pages = Self { reader: Arc::clone(reader), key, last: None, ahead: None };
        pages.request();
        pages
    }

    fn request(&mut self) {
        let (reader, key, after) = (Arc::clone(&self.reader), self.key, self.last.clone());
        self.ahead = Some(Ahead(tokio::spawn(async move { reader.list(key, after.as_deref()).await })));
    }

    /// The next objects, with paths below the directory; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<Listed>, SurveyError> {
        let Some(mut ahead) = self.ahead.take() else {
            return Ok(Vec::new());
        };
        let (page, more) = (&mut ahead.0).await.map_err(|_| SurveyError::Stopped)??;
        let first = self.last.iter().map(String::as_str);
        let paths = first.chain(page.iter().map(|listed| &listed.path[..]));
        if !paths.is_sorted_by(|one, next| one < next) {
            return Err(SurveyError::Order { directory: self.key.to_string() });
        }
        self.last = page.last().map(|listed| listed.path.clone());
        if more && self.last.is_some() {
            self.request();
        }
        Ok(page)
    }
}
