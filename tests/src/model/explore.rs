//! Goes through every state that can be reached, breadth first, so that the first way found to a bad one is a shortest one.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
};

/// States at the most: a model that grows beyond that is not small any more.
const MOST_STATES: usize = 3_000_000;

/// Something that moves in steps.
pub(super) trait Model: Hash + Debug {
    /// A step.
    type Step: Clone + Debug;

    /// The steps that may come next.
    fn steps(&self) -> Vec<Self::Step>;

    /// What a step leads to.
    fn after(&self, step: &Self::Step) -> Self;

    /// What is wrong with this state, if anything.
    fn wrong(&self) -> Option<String>;
}

/// How many states there are, or a shortest way to a bad one.
pub(super) fn explore<M: Model>(first: M) -> Result<usize, String> {
    // States are told apart by a hash of 64 bits: of some million, two have the same one once in a million runs.
    let mut seen = HashSet::from([print(&first)]);
    // The step to each state, and where the state before it stands.
    let mut came_by: Vec<Option<(usize, M::Step)>> = vec![None];
    let mut waiting = VecDeque::from([(0, first)]);
    while let Some((at, state)) = waiting.pop_front() {
        if let Some(wrong) = state.wrong() {
            return Err(format!("{wrong}, after {:#?}\nin {state:#?}", way(&came_by, at)));
        }
        for step in state.steps() {
            let next = state.after(&step);
            if seen.insert(print(&next)) {
                assert!(came_by.len() < MOST_STATES, "the model is too large");
                waiting.push_back((came_by.len(), next));
                came_by.push(Some((at, step)));
            }
        }
    }
    Ok(came_by.len())
}

fn print<M: Hash>(state: &M) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// The steps to a state.
fn way<S: Clone>(came_by: &[Option<(usize, S)>], mut at: usize) -> Vec<S> {
    let mut steps = Vec::new();
    while let Some(Some((before, step))) = came_by.get(at) {
        steps.push(step.clone());
        at = *before;
    }
    steps.reverse();
    steps
}
