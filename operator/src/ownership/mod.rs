//! Whose the topics, the database and the keys of a sale are. It is written into the backends themselves, because
//! nothing else that two operators, two clusters or two Secrets share can say it.
//!
//! Before anything of a sale is made in a backend, its mark is put there; where the mark of another sale stands already,
//! the later one is refused with a sentence. Before anything is deleted, the mark is looked at again: what carries
//! another's is left alone, whatever Secret leads there.

pub mod database;
pub mod keys;
pub mod topics;

use crds::names::TAKE_OVER_ANNOTATION;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

/// A sale as the backends know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The cluster: the uid of its namespace `kube-system`, unless the chart names it.
    pub cluster: String,
    /// The FlashSale's namespace.
    pub namespace: String,
    /// The FlashSale's name.
    pub name: String,
    /// The FlashSale's uid.
    pub uid: String,
}

impl Owner {
    /// Whether the other is this sale, or one of the same name before it: a cluster has one of a name at a time.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.cluster, &self.namespace, &self.name) == (&other.cluster, &other.namespace, &other.name)
    }

    /// A name for the place, as long for every sale: 16 hex digits of SHA-256 over length-prefixed parts.
    pub fn mark(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.cluster, &self.namespace, &self.name] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize()[..8])
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name, self.namespace)
    }
}

/// Says which sale of this cluster a mark belongs to, if it is one's.
pub type Known = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A sale that asks for its place in the backends.
#[derive(Clone)]
pub struct Claimant {
    /// The sale.
    pub owner: Owner,
    /// Whether it has begun to use the backends: what carries no mark then is its own, made before there were marks.
    pub has_begun: bool,
    /// Whether it may take over what carries no mark.
    pub takes_over: bool,
    /// Names other sales of this cluster.
    pub known: Known,
}

impl Claimant {
    /// Whether what carries no mark is, or becomes, its own.
    fn adopts(&self) -> bool {
        self.has_begun || self.takes_over
    }
}

/// What a look at the marks says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is the claimant's.
    Granted,
    /// It is not, for this reason.
    Refused(String),
    /// Nobody knows yet, for this reason: the next look tells.
    NotYet(String),
}

/// The sentence for what is there and carries no mark.
fn unmarked(what: &str) -> Claim {
    Claim::Refused(format!(
        "{what} there already and carries no mark of a sale; remove it, or annotate the FlashSale with \
         {TAKE_OVER_ANNOTATION}=true to use it and own it from then on"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_cluster_a_namespace_and_a_name() {
        let owner = |cluster: &str, namespace: &str, name: &str, uid: &str| Owner {
            cluster: cluster.into(),
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
        };
        let first = owner("c", "shop", "lab", "1");
        let again = owner("c", "shop", "lab", "2");
        assert!(first.is_same_place(&again) && first.mark() == again.mark());
        for other in [
            owner("d", "shop", "lab", "1"),
            owner("c", "sho", "plab", "1"),
            owner("c", "shop", "lap", "1"),
        ] {
            assert!(
                !first.is_same_place(&other) && first.mark() != other.mark(),
                "{other:?}"
            );
        }
    }
}
