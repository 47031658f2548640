//! Bytes of which most are zero: a store of such objects takes little memory, whatever their size.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::content::PIECE;

/// A page is kept if a byte of it is not zero.
const PAGE: usize = 4 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// Bytes in pages.
#[derive(Default)]
pub struct Sparse {
    len: u64,
    /// By number. Pages that are all zeros are left out.
    pages: BTreeMap<u64, Bytes>,
    /// The page that is not complete yet.
    begun: Vec<u8>,
}

impl Sparse {
    pub fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (new, rest) = bytes.split_at(bytes.len().min(PAGE - self.begun.len()));
            bytes = rest;
            if new.len() == PAGE {
                self.keep(new);
            } else {
                self.begun.extend_from_slice(new);
                if self.begun.len() == PAGE {
                    self.finish();
                }
            }
        }
    }

    /// Takes the last page in, which may be shorter than the others.
    pub fn finish(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        self.keep(&begun);
    }

    fn keep(&mut self, page: &[u8]) {
        if page != &ZEROS[..page.len()] {
            self.pages.insert(self.len / PAGE as u64, Bytes::copy_from_slice(page));
        }
        self.len += page.len() as u64;
    }

    pub const fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from a position to before `end`, at most [`PIECE`] of them.
    pub fn piece(&self, from: u64, end: u64) -> Bytes {
        let len = usize::try_from(end.min(self.len) - from).map_or(PIECE, |len| len.min(PIECE));
        let end = from + len as u64;
        let mut pages = self.pages.range(from / PAGE as u64..end.div_ceil(PAGE as u64)).peekable();
        if pages.peek().is_none() {
            return Bytes::from_static(&ZEROS[..len]);
        }
        let mut bytes = vec![0; len];
        for (number, page) in pages {
            let begin = number * PAGE as u64;
            let (skipped, at) = (from.saturating_sub(begin), begin.saturating_sub(from));
            let page = page.iter().skip(usize::try_from(skipped).unwrap());
            bytes[usize::try_from(at).unwrap()..].iter_mut().zip(page).for_each(|(to, from)| *to = *from);
        }
        bytes.into()
    }

    /// A digest of the content: the same for the same bytes.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.len.to_le_bytes());
        for (number, page) in &self.pages {
            hasher.update(number.to_le_bytes());
            hasher.update(page);
        }
        const_hex::encode(&hasher.finalize()[..16])
    }
}
