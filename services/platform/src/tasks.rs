//! The tasks of a process and the end of it.
//!
//! Every task has a name and an owner: [`Tasks`]. A task that ends while nobody asked it to takes the process down
//! with it, so that Kubernetes restarts the whole instead of leaving half a service behind. The first SIGTERM or
//! SIGINT asks everyone to finish; a second one, or the end of the grace period, aborts.

use std::{future::Future, process::ExitCode, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long tasks get to finish what they have begun. Kubernetes kills a second later; that is for the log.
pub const GRACE: Duration = Duration::from_secs(25);

/// Owns every long-running task of a process.
#[derive(Debug)]
pub struct Tasks {
    running: JoinSet<&'static str>,
    stop: CancellationToken,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self {
            running: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Cancelled when the process should end. Tasks look at it between two pieces of work.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that lasts as long as the process.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits for a signal or for a task that ends early, then winds down. The exit code tells which it was.
    pub async fn run_until_stopped(self) -> ExitCode {
        let (stop, clean) = (self.stop.clone(), signalled());
        self.run_until(clean, stop).await
    }

    async fn run_until(mut self, signal: impl Future<Output = ()>, stop: CancellationToken) -> ExitCode {
        let code = tokio::select! {
            () = signal => {
                tracing::info!("stopping: asked to");
                ExitCode::SUCCESS
            }
            ended = self.running.join_next() => {
                match ended {
                    Some(Ok(name)) => tracing::error!(task = name, "stopping: a task ended that should not"),
                    Some(Err(error)) => tracing::error!(%error, "stopping: a task failed"),
                    None => tracing::error!("stopping: there is nothing to do"),
                }
                ExitCode::FAILURE
            }
        };
        stop.cancel();
        let drained = async { while self.running.join_next().await.is_some() {} };
        tokio::select! {
            () = drained => code,
            () = tokio::time::sleep(GRACE) => {
                tracing::error!("tasks were still running at the end of the grace period");
                ExitCode::FAILURE
            }
            () = signalled() => {
                tracing::error!("asked to stop twice: aborting");
                ExitCode::FAILURE
            }
        }
    }
}

/// Resolves at SIGTERM or SIGINT. Where no handler can be installed the default action ends the process, which is
/// the right thing too.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_early_stops_the_others() {
        let mut tasks = Tasks::new();
        let stop = tasks.stop_token();
        let seen = stop.clone();
        tasks.spawn("waits", async move { seen.cancelled().await });
        tasks.spawn("dies", async {});
        let code = tasks.run_until(std::future::pending(), stop.clone()).await;
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_signal_is_a_clean_end() {
        let mut tasks = Tasks::new();
        let stop = tasks.stop_token();
        let seen = stop.clone();
        tasks.spawn("waits", async move { seen.cancelled().await });
        let code = tasks.run_until(async {}, stop).await;
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    }
}
