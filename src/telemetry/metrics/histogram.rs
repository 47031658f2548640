//! Histograms of durations, without a lock: those of the client library take one for each observation.
//!
//! The bounds are OpenTelemetry's for `http.server.request.duration`, in seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The upper bounds, in milliseconds.
const BOUNDS_MS: [u32; 14] = [5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000];
/// The numbers of a histogram: how many observations were within each bound and beyond the one before, then those beyond
/// the last one, and the sum of all in nanoseconds.
pub(super) const NUMBERS: usize = BOUNDS_MS.len() + 2;
const SUM: usize = NUMBERS - 1;

/// Counts a duration in a histogram's numbers.
pub(super) fn observe(numbers: &[AtomicU64], took: Duration) {
    let nanos = took.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(took.subsec_nanos()));
    let bucket = BOUNDS_MS.iter().position(|bound| nanos <= u64::from(*bound) * 1_000_000);
    if let (Some(bucket), Some(sum)) = (numbers.get(bucket.unwrap_or(BOUNDS_MS.len())), numbers.get(SUM)) {
        bucket.fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Writes a histogram's numbers.
pub(super) fn encode(mut encoder: MetricEncoder<'_>, numbers: &[u64; NUMBERS]) -> Result<(), std::fmt::Error> {
    let bounds = BOUNDS_MS.iter().map(|bound| f64::from(*bound) / 1e3).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(numbers[..SUM].iter().copied()).collect();
    let count = numbers[..SUM].iter().sum();
    let sum = Duration::from_nanos(numbers[SUM]).as_secs_f64();
    encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

/// A histogram of durations. All clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram(Arc<[AtomicU64; NUMBERS]>);

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        observe(&*self.0, took);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encode(encoder, &std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed)))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl prometheus_client::metrics::TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_duration_is_within_its_bound_and_all_above() {
        let (histogram, mut registry) = (Histogram::default(), Registry::default());
        registry.register("d_seconds", "Durations", histogram.clone());
        for millis in [0, 5, 6, 9_999, 10_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        histogram.observe(Duration::MAX);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "d_seconds_bucket{le=\"0.005\"} 2",
            "d_seconds_bucket{le=\"0.01\"} 3",
            "d_seconds_bucket{le=\"7.5\"} 3",
            "d_seconds_bucket{le=\"10.0\"} 4",
            "d_seconds_bucket{le=\"+Inf\"} 6",
            "d_seconds_count 6",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }
}
