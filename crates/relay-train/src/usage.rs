//! What this process uses of the machine, where the system tells it.

use std::fs;

/// Memory in use, in MiB, as Linux counts it: pages that are in memory, those shared with other processes included.
pub(crate) fn resident_mebibytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

/// Seconds that all threads of this process have computed since it began.
#[cfg(unix)]
pub(crate) fn processor_seconds() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// Not known here.
#[cfg(not(unix))]
pub(crate) fn processor_seconds() -> Option<f64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_grow_with_what_is_done() {
        let (memory, time) = (resident_mebibytes().unwrap(), processor_seconds().unwrap());
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(resident_mebibytes().unwrap() > memory + 50.0);
        drop(held);
        assert!(processor_seconds().unwrap() > time);
    }
}
