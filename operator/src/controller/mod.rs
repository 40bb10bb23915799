//! The reconciliation of one FlashSale.
//!
//! ```text
//! fetch ─> validate ─> plan ─> apply + push ─> prune ─> bring ─> evidence ─> phase ─> story ─> status
//! ```
//! Objects are built for the phase that the status names, then evidence decides on the next one, which is written
//! down before anything is built for it. So a reconciliation can end anywhere, and the next one goes on from what is
//! written. Nothing else remembers anything: the memory of the process holds only caches.
//!
//! - [`reconcile`] is that loop, `round` one turn of it, [`pace`] how soon the next one comes, [`story`] what it tells;
//! - [`fetch`] gathers what is [`observed`] of it and its [`pods`], [`known`] is what that comes to; [`apply`], [`prune`] and [`status`] write
//!   to it;
//! - [`validate`] and [`unreadable`] answer a spec that makes no sense;
//! - [`build`] makes the objects, [`control`] the control document, [`pin`] says what an open sale keeps, [`rollout`] brings all of it
//!   about;
//! - [`bring`] makes what lies outside of the API server, [`evidence`] reads what is there, [`conditions`] says so, with [`obstacle`],
//!   [`prepared`], [`host`] and [`entrance`]; `standing` is what of its ways in an open sale keeps;
//! - [`closing`], [`ending`], [`deletion`] and [`cleanup`] are the end of a sale, [`trail`] what is audited of it.

pub mod apply;
pub mod backends_secret;
pub mod bring;
pub mod build;
pub mod cleanup;
pub mod closing;
pub mod conditions;
pub mod context;
pub mod control;
pub mod deletion;
pub mod ending;
pub mod entrance;
pub mod error;
pub mod evidence;
pub mod fetch;
pub mod host;
pub mod known;
pub mod observed;
pub mod obstacle;
pub mod pace;
pub mod pin;
pub mod pods;
pub mod prepared;
pub mod prune;
pub mod reconcile;
pub mod rollout;
mod round;
mod standing;
pub mod status;
pub mod story;
pub mod trail;
pub mod unreadable;
pub mod validate;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    /// Words of sources that stand where a reason would.
    const NO_REASONS: [&str; 5] = ["True", "False", "MongoDB", "Kafka", "Redis"];

    /// The words that a source gives as reasons of conditions: behind whether it holds, or as what a kind of trouble is called.
    fn reasons(source: &str) -> BTreeSet<String> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let parts: Vec<&str> = code.split('"').collect();
        let is_word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_uppercase())
                && text.chars().all(|c| c.is_ascii_alphabetic())
        };
        let is_reason = |pair: &&[&str]| {
            let before = pair[0].trim_end();
            let behind = ["true,", "false,", "holds,", "=>", "finding(", "Err((", "&str ="]
                .iter()
                .any(|end| before.ends_with(end));
            behind && is_word(pair[1]) && !NO_REASONS.contains(&pair[1])
        };
        let pairs = parts.windows(2).filter(is_reason);
        pairs.map(|pair| pair[1].to_owned()).collect()
    }

    /// What is written in a folder and in those within it.
    fn sources(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let of_each = |path: std::path::PathBuf| match path.is_dir() {
            true => sources(&path),
            false => vec![std::fs::read_to_string(path).unwrap()],
        };
        entries.flat_map(of_each).collect()
    }

    /// The plugin speaks of whatever is not as it should be, but for what is so for a good reason, or for a time.
    #[test]
    fn the_plugin_knows_which_conditions_are_good() {
        use crds::status::ConditionType as C;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let plugin = std::fs::read_to_string(root.join("../plugins/kubectl-flashsale")).unwrap();
        let list = plugin
            .split("good='")
            .nth(1)
            .and_then(|rest| rest.split('\'').next());
        let said: BTreeSet<&str> = list.unwrap().split(' ').collect();
        let good = C::ALL.into_iter().filter(|kind| kind.good_when() == Some(true));
        let spoken_of = good.filter(|kind| ![C::BackendsSecure, C::HoldsLoad, C::Settled].contains(kind));
        assert_eq!(said, spoken_of.map(C::as_str).collect());
    }

    /// Whoever is woken by a reason finds it in the runbook.
    #[test]
    fn every_reason_is_in_the_runbook() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let runbook = std::fs::read_to_string(root.join("../docs/operations.md")).unwrap();
        let mut all = BTreeSet::new();
        for source in sources(&root.join("src/controller")) {
            all.extend(reasons(&source));
        }
        assert!(all.len() > 80, "{} reasons are few: {all:?}", all.len());
        let missing: Vec<_> = all
            .iter()
            .filter(|reason| !runbook.contains(&format!("`{reason}`")))
            .collect();
        assert!(
            missing.is_empty(),
            "docs/operations.md has no row for {missing:?}"
        );
    }
}
