//! How many passwords may be hashed at once: as many as there are cores, if the process's memory limit has room for the
//! memory that each of them takes.

use std::path::{Path, PathBuf};

/// Where the kernel says which control groups a process is in.
const OWN_GROUPS: &str = "/proc/self/cgroup";
/// Where it says how much memory a group may use, and the name of the file: version 2, then version 1.
const LIMITS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup", "memory.max"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
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

/// The memory limit of this process's container, if it has one: the smallest of its groups from its own up. A container
/// mostly sees its own group as the top.
pub fn limit() -> Option<u64> {
    let groups = std::fs::read_to_string(OWN_GROUPS).unwrap_or_default();
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    limit_files(&groups)
        .iter()
        .filter_map(|file| parse(&read(file)?))
        .min()
}

/// The files that may bound a process in these groups.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    // A line is `number:controllers:path`, and for version 2 `0::path`.
    let path_of = |version: usize| {
        let mut lines = groups
            .lines()
            .filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let found = lines.find(|(controllers, _)| match version {
            0 => controllers.is_empty(),
            _ => controllers.split(',').any(|controller| controller == "memory"),
        });
        found.map_or("", |(_, path)| path.trim_start_matches('/'))
    };
    let files = LIMITS.iter().enumerate().flat_map(|(version, (mount, file))| {
        let own = Path::new(path_of(version));
        own.ancestors()
            .map(|group| Path::new(mount).join(group).join(file))
            .collect::<Vec<_>>()
    });
    files.collect()
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
    fn a_process_is_bound_by_every_group_that_it_is_in() {
        let shown = |groups| -> Vec<String> {
            let files = limit_files(groups);
            files.iter().map(|file| file.display().to_string()).collect()
        };
        let top = [
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ];
        assert_eq!(shown("0::/\n"), top);
        assert_eq!(shown(""), top);
        assert_eq!(
            shown("5:cpu:/x\n4:hugetlb,memory:/a/b\n0::/c\n"),
            [
                "/sys/fs/cgroup/c/memory.max",
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        assert_eq!(parse("268435456\n"), Some(256 * MIB));
        assert_eq!(parse("max\n"), None);
        assert_eq!(parse("9223372036854771712\n"), None);
    }
}
