//! A list of keys, page by page.

use crate::store::{Key, Listed, Store, StoreError};

/// How many keys a page has: as many as S3 lists at once.
const PAGE: i32 = 1000;

/// The keys below a directory, in order.
pub(super) struct KeyPages<'a> {
    store: &'a Store,
    directory: Key<'a>,
    after: Option<String>,
    more: bool,
}

impl<'a> KeyPages<'a> {
    pub(super) fn new(store: &'a Store, directory: Key<'a>) -> Self {
        Self { store, directory, after: None, more: true }
    }

    /// The next page; `None` after the last one.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Listed>>, StoreError> {
        if !self.more {
            return Ok(None);
        }
        let (page, more) = self.store.objects(self.directory, self.after.as_deref(), PAGE).await?;
        self.after = page.last().map(|last| last.path.clone());
        // A bucket that says that there is more behind nothing would be asked for ever.
        self.more = more && self.after.is_some();
        Ok(Some(page))
    }
}
