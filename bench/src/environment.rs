//! Where and with what the figures were made.

use serde::Serialize;
use std::collections::BTreeMap;

/// The machine, the versions and the time.
#[derive(Debug, Serialize)]
pub(crate) struct Environment {
    at: String,
    cores: usize,
    cpu_model: String,
    memory_mb: u64,
    kernel: String,
    versions: BTreeMap<String, String>,
    arguments: Vec<String>,
}

impl Environment {
    /// This machine, now.
    pub(crate) fn here(versions: &[(String, String)]) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut versions: BTreeMap<String, String> = versions.iter().cloned().collect();
        versions.insert("bench".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Self {
            at: jiff::Timestamp::now().to_string(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu_model: field(&file("/proc/cpuinfo"), "model name").unwrap_or_default(),
            memory_mb: field(&file("/proc/meminfo"), "MemTotal")
                .and_then(|total| total.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
                / 1_024,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            versions,
            arguments: std::env::args().skip(1).collect(),
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}: {} cores ({}), {} MB, Linux {}",
            self.at, self.cores, self.cpu_model, self.memory_mb, self.kernel
        )
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| (key.trim() == name).then(|| value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(
            field("processor\t: 0\nmodel name\t: Fast: 9\n", "model name").as_deref(),
            Some("Fast: 9")
        );
        assert_eq!(field("", "model name"), None);
    }
}
