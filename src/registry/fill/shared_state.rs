//! What another process's fill of the same blob changes in a [`FilledBlob`].

#![expect(dead_code, reason = "for fills that another process goes on with")]

use tokio::sync::watch;
use uuid::Uuid;

use super::chunks::Stored;
use super::filled_blob::{FilledBlob, Place, Watermark};

impl FilledBlob {
    /// The bucket has a chunk that this process did not send.
    pub(super) fn found(&self, number: u64, stored: Stored, watermark: &watch::Sender<Watermark>) {
        let Some(chunks) = self.chunks() else {
            return;
        };
        let slice = self.layout().slice(number);
        chunks.insert(number, stored);
        let written = self.add(slice.start, slice.end).written;
        watermark.send_modify(|watermark| watermark.written = written);
        self.changed().notify_waiters();
    }

    /// The bucket does not have a chunk any more, and nor does memory.
    pub(super) fn lost(&self, number: u64, watermark: &watch::Sender<Watermark>) {
        if let Some(chunks) = self.chunks() {
            chunks.remove(number);
        }
        let slice = self.layout().slice(number);
        self.forget(slice.start, slice.end, watermark);
    }

    /// Drops the chunks in memory that are not whole, because another generation begins.
    pub(super) fn forget_unfinished(&self, watermark: &watch::Sender<Watermark>) {
        if let Place::Memory(window) = self.place() {
            for number in window.drop_unfinished() {
                let slice = self.layout().slice(number);
                self.forget(slice.start, slice.end, watermark);
            }
        }
    }

    /// The generation whose bytes memory has at a position.
    pub(super) fn generation_at(&self, position: u64) -> Option<Uuid> {
        match self.place() {
            Place::File(_) => None,
            Place::Memory(window) => window.generation(self.layout().number(position)),
        }
    }

    fn forget(&self, start: u64, end: u64, watermark: &watch::Sender<Watermark>) {
        let mut there = self.there();
        there.remove(start, end);
        let written = there.end_from(0);
        drop(there);
        watermark.send_modify(|watermark| watermark.written = written);
    }
}
