//! The control document in a running service: held in memory, replaced by a newer one from the operator's push or
//! from the mounted file, never by an older one.

use crate::{clock::Clock, mounted};
use arc_swap::ArcSwap;
use sale::control::{Admission, ControlDocument};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tokio_util::sync::CancellationToken;

/// How often the mounted file is looked at. The push is what makes a change quick; the file is what a service
/// starts from when neither the operator nor the API server answers.
const FILE_POLL: Duration = Duration::from_millis(500);

/// The newest control document that this process has seen.
#[derive(Debug, Clone)]
pub struct Control {
    current: Arc<ArcSwap<ControlDocument>>,
    under_way: Arc<RwLock<()>>,
    /// The version that nothing older is under way of.
    alone: Arc<AtomicU64>,
    clock: Clock,
}

/// Work that was decided by the document in force when it began, and is under way for as long as this lives.
#[derive(Debug)]
pub struct UnderWay {
    _guard: OwnedRwLockReadGuard<()>,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("the control document {path} cannot be used: {problem}")]
pub struct ControlFileError {
    path: String,
    problem: String,
}

impl Control {
    /// Starts from a document.
    pub fn new(document: ControlDocument, clock: Clock) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(document)),
            under_way: Arc::default(),
            alone: Arc::default(),
            clock,
        }
    }

    /// Starts from the mounted file.
    ///
    /// # Errors
    /// [`ControlFileError`].
    pub fn read(path: &Path, clock: Clock) -> Result<Self, ControlFileError> {
        Ok(Self::new(read_document(path)?, clock))
    }

    /// The document in force.
    pub fn current(&self) -> Arc<ControlDocument> {
        self.current.load_full()
    }

    /// Whether an order may be placed now.
    pub fn admission(&self) -> Admission {
        self.current.load().admission(self.clock.now())
    }

    /// Begins work that takes a while and whose decisions may not outlive their document. Ask for [`admission`] after
    /// this, not before.
    ///
    /// [`admission`]: Self::admission
    pub async fn begin(&self) -> UnderWay {
        UnderWay {
            _guard: Arc::clone(&self.under_way).read_owned().await,
        }
    }

    /// Waits until nothing is under way that began under an older document than the one in force now.
    pub async fn earlier_work_is_done(&self) {
        let version = self.current.load().version;
        if self.alone.load(Ordering::Acquire) < version {
            drop(self.under_way.write().await);
            self.alone.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// The clock that the decisions are made by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Takes a document if it is of this sale and newer than the one in force, and returns the version now in force.
    pub fn offer(&self, document: ControlDocument) -> u64 {
        let document = Arc::new(document);
        let before = self.current.rcu(|current| {
            if document.sale == current.sale && document.version > current.version {
                Arc::clone(&document)
            } else {
                Arc::clone(current)
            }
        });
        let now = self.current.load();
        if now.version != before.version {
            tracing::info!(
                from = before.version,
                to = now.version,
                "control document changed"
            );
        }
        now.version
    }

    /// Looks at the mounted file until the process ends.
    pub async fn follow_file(self, path: PathBuf, stop: CancellationToken) {
        mounted::follow(&path, FILE_POLL, stop, |text| {
            let document = parse(&path, text)?;
            self.offer(document);
            Ok::<_, ControlFileError>(())
        })
        .await;
    }
}

fn read_document(path: &Path) -> Result<ControlDocument, ControlFileError> {
    let text = std::fs::read(path).map_err(|error| unusable(path, &error))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &[u8]) -> Result<ControlDocument, ControlFileError> {
    serde_json::from_slice(text).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, problem: &dyn std::fmt::Display) -> ControlFileError {
    ControlFileError {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use sale::SaleId;

    #[test]
    fn only_a_newer_document_of_the_same_sale_is_taken() {
        let sale = SaleId {
            namespace: "shop".into(),
            name: "laptops".into(),
        };
        let mut document = ControlDocument::open_now(sale, Timestamp::UNIX_EPOCH);
        document.version = 5;
        let control = Control::new(document.clone(), Clock::System);
        let offer = |version, name: &str| {
            let mut other = document.clone();
            other.version = version;
            other.sale.name = name.into();
            other.halted = true;
            control.offer(other)
        };
        assert_eq!(offer(4, "laptops"), 5);
        assert_eq!(offer(9, "phones"), 5);
        assert_eq!(control.admission(), Admission::Open);
        assert_eq!(offer(6, "laptops"), 6);
        assert_eq!(control.admission(), Admission::Halted);
    }

    #[tokio::test]
    async fn work_that_began_under_an_older_document_is_waited_for() {
        let sale = SaleId {
            namespace: "shop".into(),
            name: "laptops".into(),
        };
        let document = ControlDocument::open_now(sale, Timestamp::UNIX_EPOCH);
        let control = Control::new(document.clone(), Clock::System);
        let work = control.begin().await;
        assert_eq!(control.admission(), Admission::Open);
        control.offer(ControlDocument {
            version: document.version + 1,
            closed: true,
            ..document
        });
        {
            let mut done = std::pin::pin!(control.earlier_work_is_done());
            assert!(futures::poll!(&mut done).is_pending());
            drop(work);
            done.await;
        }
        let _later = control.begin().await;
        assert_eq!(control.admission(), Admission::Closed);
    }
}
