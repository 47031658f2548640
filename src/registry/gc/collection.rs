//! What the rounds of a process share, and the settings that they go by.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::retention::Retention;
use crate::config::{ByteSize, Config, GcTiming};
use crate::registry::pulls::Pulls;
use crate::registry::runtime::Background;
use crate::store::Store;
use crate::telemetry::Metrics;

/// Collects garbage.
#[derive(Debug)]
pub struct GarbageCollection {
    pub(in crate::registry) store: Store,
    pub(in crate::registry) pulls: Arc<Pulls>,
    pub(in crate::registry) background: Arc<Background>,
    pub(in crate::registry) metrics: Arc<Metrics>,
    pub(in crate::registry) settings: Settings,
    /// The log said why the bucket cannot be collected from.
    pub(in crate::registry) is_refused: AtomicBool,
    /// The log said that the credentials do not tell when the last round was.
    pub(in crate::registry) is_denied: AtomicBool,
}

/// The settings that rounds go by.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Settings {
    pub(in crate::registry) retention: Retention,
    /// `storage.maintenance.gc.delay`
    pub(in crate::registry) delay: Duration,
    /// `storage.maxsize`, in bytes.
    pub(in crate::registry) max_size: Option<u64>,
    /// `storage.maintenance.readonly.enabled`
    pub(in crate::registry) is_read_only: bool,
    pub(in crate::registry) timing: GcTiming,
    /// Where temporary files are made; `None`: where the system has them.
    pub(in crate::registry) directory: Option<PathBuf>,
}

impl Settings {
    pub(in crate::registry) fn new(config: &Config) -> Self {
        let storage = &config.storage;
        Self {
            retention: Retention::new(config),
            delay: storage.deletion_delay(),
            max_size: storage.maxsize.map(ByteSize::bytes),
            is_read_only: storage.maintenance.readonly.enabled,
            timing: storage.gc_timing,
            directory: config.proxy.spool.directory.clone(),
        }
    }
}
