//! What the process takes, under the names that Prometheus' own clients use. Read at each scrape; nothing where there is no `/proc`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// See the module.
#[derive(Debug)]
pub(super) struct Process;

/// What one look finds.
#[cfg(target_os = "linux")]
struct Taken {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_files: u64,
    most_files: u64,
    started: f64,
}

#[cfg(target_os = "linux")]
impl Taken {
    /// `None` where `/proc` cannot be read.
    fn look() -> Option<Self> {
        use procfs::process::LimitValue;

        let process = procfs::process::Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks = procfs::ticks_per_second();
        let most_files = match process.limits().ok()?.max_open_files.soft_limit {
            LimitValue::Value(most) => most,
            LimitValue::Unlimited => u64::MAX,
        };
        Some(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks as f64,
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            open_files: process.fd_count().ok()? as u64,
            most_files,
            started: procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks as f64,
        })
    }
}

impl Collector for Process {
    #[cfg(target_os = "linux")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(taken) = Taken::look() else { return Ok(()) };
        let help = "Processor time of user and system";
        one(
            &mut encoder,
            "process_cpu_seconds",
            help,
            &ConstCounter::new(taken.cpu_seconds),
        )?;
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory",
                taken.resident_bytes as f64,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory",
                taken.virtual_bytes as f64,
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                taken.open_files as f64,
            ),
            (
                "process_max_fds",
                "File descriptors that may be open",
                taken.most_files as f64,
            ),
            (
                "process_start_time_seconds",
                "When the process began, seconds since 1970",
                taken.started,
            ),
        ];
        for (name, help, value) in gauges {
            one(&mut encoder, name, help, &ConstGauge::new(value))?;
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
