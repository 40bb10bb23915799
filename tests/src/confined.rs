//! Processes with as much memory as their pods would have: a control group of their own each.

use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A control group with a bound of memory. It goes with the value, after its processes.
#[derive(Debug)]
pub struct Confined {
    dir: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Confined {
    /// A group below that of this process with so many bytes, swap included.
    ///
    /// # Errors
    /// Where no group can be made: that takes root, or a group that was delegated.
    pub fn new(name: &str, bytes: u64) -> Result<Self> {
        let (parent, version) = parent()?;
        let dir = parent.join(format!("quicksale-test-{name}"));
        let bytes = bytes.to_string();
        std::fs::create_dir(&dir)
            .with_context(|| format!("{}: control groups are made by root", dir.display()))?;
        let confined = Self { dir, version };
        let limit = match version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        confined.write(limit, &bytes)?;
        // Swap is no part of a pod's memory. The file is missing where the kernel counts no swap.
        let _no_swap_here = match version {
            Version::One => confined.write("memory.memsw.limit_in_bytes", &bytes),
            Version::Two => confined.write("memory.swap.max", "0"),
        };
        Ok(confined)
    }

    /// A command that enters the group and becomes what its further arguments say.
    pub fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ >"$0" && exec "$@""#])
            .arg(self.dir.join("cgroup.procs"));
        command
    }

    /// How many of its processes the kernel has killed for want of memory.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn killed(&self) -> Result<u64> {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = self.read(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.context("no oom_kill")?.trim().parse()?)
    }

    /// The most memory that it has used, in bytes, as far as the kernel remembers; the pages of files count.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn peak(&self) -> Result<u64> {
        let file = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        Ok(self.read(file)?.trim().parse()?)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.dir.join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.dir.join(file);
        std::fs::write(&path, value).with_context(|| path.display().to_string())
    }
}

/// The most memory that a process has used, in bytes.
///
/// # Errors
/// When it is gone.
pub fn peak(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.context("no VmHWM")?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<u64>()? * 1024)
}

impl Drop for Confined {
    fn drop(&mut self) {
        // A process that was just killed is in it for a moment more.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Where groups can be made. A group of version 2 that has processes can have no children with bounds, so there they are
/// made at the top.
fn parent() -> Result<(PathBuf, Version)> {
    let (one, two) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
    if two.join("cgroup.controllers").exists() {
        let given = std::fs::read_to_string(two.join("cgroup.subtree_control"))?;
        ensure!(
            given.split_whitespace().any(|controller| controller == "memory"),
            "{}: the control group's children have no bound of memory",
            two.display()
        );
        return Ok((two.to_owned(), Version::Two));
    }
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let own = own
        .lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .find(|(controllers, _)| controllers.split(',').any(|controller| controller == "memory"))
        .map_or("/", |(_, path)| path);
    let below = one.join(own.trim_start_matches('/'));
    Ok((if below.exists() { below } else { one.to_owned() }, Version::One))
}
