//! Files that change while a process runs: Kubernetes replaces what is mounted from a ConfigMap or a Secret.

use crate::rounds::Rounds;
use std::{path::Path, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often files with keys are looked at: the kubelet takes a minute or so to bring them, which this adds little to.
pub const KEY_POLL: Duration = Duration::from_secs(1);

/// Looks at a file until `stop`, and hands on what is in it: at first, and whenever that has changed since. What `take` refuses
/// is said once, and changes nothing; the same goes for a file that cannot be read.
pub async fn follow<E: std::fmt::Display>(
    path: &Path,
    every: Duration,
    stop: CancellationToken,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) {
    let mut last: Option<Result<Vec<u8>, std::io::ErrorKind>> = None;
    let mut rounds = Rounds::every(every, &stop);
    while rounds.another().await {
        let found = std::fs::read(path).map_err(|error| error.kind());
        if last.as_ref() == Some(&found) {
            continue;
        }
        let problem = match &found {
            Ok(content) => take(content).err().map(|error| error.to_string()),
            Err(kind) => Some(kind.to_string()),
        };
        if let Some(problem) = problem {
            tracing::warn!(path = %path.display(), problem, "keeping what is in memory");
        }
        last = Some(found);
    }
}
