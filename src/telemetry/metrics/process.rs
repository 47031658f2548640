//! `process_…`: this process, as the system sees it, with the names that Prometheus' own clients use. Read at each
//! scrape; where there is no `/proc`, only those that need none.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

#[derive(Debug)]
pub(super) struct Process {
    began: SystemTime,
}

impl Process {
    /// For a process that began now.
    pub(super) fn begins() -> Self {
        Self { began: SystemTime::now() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut put = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = |seconds: i64, nanos: i64| {
            Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0)).as_secs_f64()
        };
        let cpu = ConstCounter::new(seconds(cpu.tv_sec, cpu.tv_nsec));
        put(
            "process_cpu_seconds",
            "Time of the processor that the process used, in user space and in the kernel.",
            &cpu,
        )?;
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        put("process_start_time_seconds", "When the process started, since 1970.", &ConstGauge::new(began))?;
        if let Some(most) = getrlimit(Resource::Nofile).current {
            put(
                "process_max_fds",
                "The most file descriptors that the process may have open.",
                &ConstGauge::new(most),
            )?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory itself.
            let open = (open.count() as u64).saturating_sub(1);
            put("process_open_fds", "Open file descriptors: connections and files.", &ConstGauge::new(open))?;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (field, factor, name, help) in [
            ("VmRSS:", 1024, "process_resident_memory_bytes", "Memory of the process that is in RAM."),
            ("VmSize:", 1024, "process_virtual_memory_bytes", "Addresses that the process has reserved."),
            ("Threads:", 1, "process_threads", "Threads of the process."),
        ] {
            if let Some(value) = number(&status, field) {
                put(name, help, &ConstGauge::new(value.saturating_mul(factor)))?;
            }
        }
        Ok(())
    }
}

/// The number behind a field's name in `/proc/self/status`.
fn number(status: &str, field: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "Name:\tpounce\nVmPeak:\t  9 kB\nVmRSS:\t    5120 kB\nThreads:\t7\n";
        assert_eq!(["VmRSS:", "Threads:", "VmSize:"].map(|field| number(status, field)), [Some(5120), Some(7), None]);
    }
}
