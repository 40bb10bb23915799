//! CPU and memory of processes, from `/proc`.

use anyhow::{Context, anyhow};
use std::{collections::BTreeMap, path::PathBuf};

/// Ticks of `/proc/PID/stat` in a second: the kernel's ABI fixes them at 100, whatever its own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    name: String,
    pid: u32,
}

/// What one name has used and uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// CPU seconds since the processes started.
    pub(crate) cpu_seconds: f64,
    /// Resident memory now.
    pub(crate) rss_mb: f64,
}

impl Watched {
    /// Reads `NAME=PID`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').ok_or("write NAME=PID")?;
        let pid = pid.parse().map_err(|_| format!("{pid:?} is not a process id"))?;
        Ok(Self {
            name: name.to_owned(),
            pid,
        })
    }

    /// The bench itself.
    pub(crate) fn itself() -> Self {
        Self {
            name: "bench".to_owned(),
            pid: std::process::id(),
        }
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        let read = |file: &str| {
            let path = PathBuf::from(format!("/proc/{}/{file}", self.pid));
            std::fs::read_to_string(path)
                .with_context(|| format!("{} (process {}) is gone", self.name, self.pid))
        };
        let ticks = ticks(&read("stat")?).ok_or_else(|| anyhow!("/proc/{}/stat cannot be read", self.pid))?;
        let kib = resident_kib(&read("status")?).unwrap_or(0);
        Ok(Usage {
            cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
            rss_mb: kib as f64 / 1_024.0,
        })
    }
}

/// What separates the name of a group from those in it.
const WITHIN: char = '/';

/// Whether a name is not that of one process among those of a group, which are in the group's figures already.
pub(crate) fn is_whole(name: &str) -> bool {
    !name.contains(WITHIN)
}

/// The usage of all of them by name, and by group. A process that is gone is an error: it was meant to run throughout.
pub(crate) fn usage(watched: &[Watched]) -> anyhow::Result<BTreeMap<String, Usage>> {
    let mut by_name: BTreeMap<String, Usage> = BTreeMap::new();
    for process in watched {
        let usage = process.usage()?;
        let group = process.name.split_once(WITHIN).map(|(group, _)| group);
        for name in [Some(process.name.as_str()), group].into_iter().flatten() {
            let total = by_name.entry(name.to_owned()).or_default();
            total.cpu_seconds += usage.cpu_seconds;
            total.rss_mb += usage.rss_mb;
        }
    }
    Ok(by_name)
}

/// `utime + stime`: fields 14 and 15, counted after the command, which is in brackets and may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(field(14)? + field(15)?)
}

fn resident_kib(status: &str) -> Option<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_and_memory_are_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t  2048 kB\n"), Some(2_048));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn processes_of_one_name_are_added_up() {
        let both = [Watched::itself(), Watched::itself()];
        let usage = usage(&both).unwrap();
        assert_eq!(usage.len(), 1);
        assert!(usage["bench"].rss_mb > 0.0);
        assert!(Watched::parse("kafka=12").is_ok());
    }

    #[test]
    fn processes_of_a_group_are_told_of_each_and_together() {
        let of = |name: &str| Watched {
            name: name.to_owned(),
            ..Watched::itself()
        };
        let usage = usage(&[of("quicksale/order-1"), of("quicksale/order-2"), of("kafka")]).unwrap();
        let names: Vec<&str> = usage.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["kafka", "quicksale", "quicksale/order-1", "quicksale/order-2"]
        );
        let wholes: Vec<&str> = names.into_iter().filter(|name| is_whole(name)).collect();
        assert_eq!(wholes, ["kafka", "quicksale"]);
    }

    #[test]
    fn a_process_is_named() {
        assert!(Watched::parse("kafka=java").is_err());
    }
}
