//! How many passwords may be hashed at once: as many as there are cores, if the process's memory limit has room for the
//! memory that each of them takes.

use std::path::Path;

/// Where the kernel says how much memory a container may use: control groups version 2, then version 1.
const LIMIT_FILES: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];
/// What the process needs beside password hashes.
const RESERVE: u64 = 96 * 1024 * 1024;
/// A limit above this is none: version 1 says "unlimited" by a huge number.
const NO_LIMIT: u64 = 1 << 50;

/// Hashes that fit into a memory limit at once, `each` bytes for one; at least 1, and no more than there are cores.
pub fn places(cores: usize, limit: Option<u64>, each: u64) -> usize {
    let by_memory = limit.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVE) / each.max(1));
    usize::try_from(by_memory).unwrap_or(usize::MAX).min(cores).max(1)
}

/// The memory limit of this process's container, if it has one.
pub fn limit() -> Option<u64> {
    LIMIT_FILES
        .iter()
        .find_map(|file| std::fs::read_to_string(Path::new(file)).ok())
        .and_then(|text| parse(&text))
}

fn parse(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn hashes_fit_into_the_memory_limit() {
        let each = 21 * MIB;
        assert_eq!(places(2, Some(256 * MIB), each), 2);
        assert_eq!(places(64, Some(256 * MIB), each), 7);
        assert_eq!(places(64, None, each), 64);
        assert_eq!(places(64, Some(64 * MIB), each), 1);
        assert_eq!(places(0, None, each), 1);
        for limit in [97, 128, 256, 512, 4_096] {
            let used = RESERVE + places(1_000, Some(limit * MIB), each) as u64 * each;
            assert!(used <= limit * MIB || limit * MIB < RESERVE + each, "{limit} MiB");
        }
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        assert_eq!(parse("268435456\n"), Some(256 * MIB));
        assert_eq!(parse("max\n"), None);
        assert_eq!(parse("9223372036854771712\n"), None);
    }
}
