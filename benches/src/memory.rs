//! Peak memory of this process, where the system tells it.

use std::fs;

/// Peak of the memory in use since [`start`](Self::start), as Linux counts it.
#[derive(Debug)]
pub struct PeakMemory(());

impl PeakMemory {
    /// Sets the peak back to what is in use now; None where that is not possible.
    pub fn start() -> Option<Self> {
        fs::write("/proc/self/clear_refs", "5").ok()?;
        Some(Self(()))
    }

    /// MiB in use at the peak, everything counted.
    pub fn mebibytes(&self) -> Option<f64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes / 1024.0)
    }
}
