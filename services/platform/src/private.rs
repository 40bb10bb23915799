//! Files on a host that has other users: what is written here is for this user alone.

use std::{
    fmt,
    fs::{DirBuilder, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Why a file or a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// Adds what was to be done, to what.
fn because<E: fmt::Display>(what: &str, path: &Path) -> impl Fn(E) -> Unusable {
    move |error| Unusable(format!("cannot {what} {}: {error}", path.display()))
}

/// Makes a directory that nobody else can look into, or takes one that is there and this user's.
///
/// # Errors
/// Where it cannot be made, or somebody else has made it: what is in it might be theirs.
pub fn directory(path: &Path) -> Result<(), Unusable> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(because("create", path))?;
    // Not where a link leads to: who made the link could lead it elsewhere.
    let found = path.symlink_metadata().map_err(because("look at", path))?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        let path = path.display();
        return Err(Unusable(format!(
            "{path} is not a directory of yours; name another one"
        )));
    }
    if found.mode() & 0o022 != 0 {
        let path = path.display();
        return Err(Unusable(format!(
            "others may write into {path}; name another directory, or take that right from them"
        )));
    }
    Ok(())
}

/// Writes a file that nobody else can read. Whoever reads it meanwhile finds the old content or the new one, whole.
///
/// # Errors
/// Where it cannot be written.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Unusable> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(because("write", path))?;
    // One that an interrupted run has left keeps the mode it had.
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(because("write", path))?;
    file.write_all(content).map_err(because("write", path))?;
    std::fs::rename(&name, path).map_err(because("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn nobody_else_reads_what_is_kept_between_runs() {
        let outside = tempfile::tempdir().unwrap();
        let dir = outside.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        directory(&dir).unwrap();
        let made = dir.join("made");
        directory(&made).unwrap();
        let file = dir.join("file");
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        write(&file, b"new").unwrap();
        assert_eq!((mode(&made), mode(&file)), (0o700, 0o600));
        assert_eq!(mode(&dir), 0o755, "it may hold more than what is ours");
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn what_somebody_else_made_is_not_used() {
        let outside = tempfile::tempdir().unwrap();
        let link = outside.path().join("link");
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        assert!(directory(&link).is_err());
        let open = outside.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(directory(&open).is_err());
        let theirs = outside.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        // Only root can give something away.
        if std::os::unix::fs::chown(&theirs, Some(1), None).is_ok() {
            assert!(directory(&theirs).is_err());
        }
    }
}
