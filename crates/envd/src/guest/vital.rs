//! What the kernel tells of the guest's processors, memory and disk.

use std::{fs, io, sync::Mutex, sync::PoisonError};

use serde::Serialize;

/// Memory of the guest, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// Total less what is available to new work.
    pub(crate) used: u64,
    pub(crate) cache: u64,
}

/// Reads `/proc/meminfo`; zero for what is not there.
pub(crate) fn memory() -> Memory {
    parse_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn parse_memory(text: &str) -> Memory {
    let value = |name: &str| -> u64 {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib.saturating_mul(1024))
    };
    let total = value("MemTotal");
    Memory {
        total,
        used: total.saturating_sub(value("MemAvailable")),
        cache: value("Cached").saturating_add(value("Buffers")),
    }
}

/// The answer of `GET /metrics`.
#[derive(Debug, Serialize)]
pub(crate) struct Metrics {
    /// Unix seconds.
    ts: i64,
    cpu_count: usize,
    /// Of all processors together, since the call before; 0–100.
    cpu_used_pct: f64,
    mem_total: u64,
    mem_used: u64,
    mem_cache: u64,
    disk_total: u64,
    disk_used: u64,
    mem_total_mib: u64,
    mem_used_mib: u64,
}

/// Times of all processors since boot, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// Measures the guest; processor use is between two calls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    before: Mutex<Option<Ticks>>,
}

/// How long the first measurement of processor use takes.
const FIRST_SPAN: std::time::Duration = std::time::Duration::from_millis(100);

impl Meter {
    /// Measures now. The first call takes 100 ms.
    pub(crate) async fn measure(&self) -> io::Result<Metrics> {
        let known = *self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match known {
            Some(ticks) => ticks,
            None => {
                let first = ticks()?;
                tokio::time::sleep(FIRST_SPAN).await;
                first
            }
        };
        let now = ticks()?;
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        let memory = memory();
        let disk = rustix::fs::statvfs("/")?;
        let mib = 1 << 20;
        Ok(Metrics {
            ts: jiff::Timestamp::now().as_second(),
            cpu_count: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_used_pct: used_percent(before, now),
            mem_total: memory.total,
            mem_used: memory.used,
            mem_cache: memory.cache,
            disk_total: disk.f_blocks.saturating_mul(disk.f_frsize),
            disk_used: disk
                .f_blocks
                .saturating_sub(disk.f_bfree)
                .saturating_mul(disk.f_frsize),
            mem_total_mib: memory.total / mib,
            mem_used_mib: memory.used / mib,
        })
    }
}

fn ticks() -> io::Result<Ticks> {
    let text = fs::read_to_string("/proc/stat")?;
    parse_ticks(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "read /proc/stat"))
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn parse_ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut values = [0_u64; 8];
    let mut words = line.split_ascii_whitespace();
    for value in &mut values {
        *value = words.next()?.parse().ok()?;
    }
    let all = values
        .iter()
        .fold(0_u64, |sum, value| sum.saturating_add(*value));
    Some(Ticks {
        busy: all.saturating_sub(values[3]).saturating_sub(values[4]),
        all,
    })
}

/// Two decimals.
fn used_percent(before: Ticks, now: Ticks) -> f64 {
    let all = now.all.saturating_sub(before.all);
    let busy = now.busy.saturating_sub(before.busy).min(all);
    if all == 0 {
        return 0.0;
    }
    let hundredths = u128::from(busy) * 10_000 / u128::from(all);
    f64::from(u32::try_from(hundredths).unwrap_or(10_000)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_and_absent_lines_are_zero() {
        let text =
            "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\nBuffers: 2 kB\nCached: 3 kB\n";
        assert_eq!(
            parse_memory(text),
            Memory {
                total: 1_024_000,
                used: 614_400,
                cache: 5120
            }
        );
        assert_eq!(parse_memory("MemTotal: lots\nrubbish"), Memory::default());
    }

    #[test]
    fn processor_use_is_a_share_between_two_readings() {
        let first = parse_ticks("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(first, Ticks { busy: 20, all: 100 });
        let second = Ticks { busy: 53, all: 200 };
        assert_eq!(used_percent(first, second).to_string(), "33");
        assert_eq!(used_percent(second, first).to_string(), "0");
        assert_eq!(parse_ticks("cpu  1 2"), None);
    }
}
