//! What is to be done with one object of the graph. Pure; the rules are upstream's.
//!
//! ```text
//! waits for its dependents ──none blocks──> let it go        waits to be forgotten ──> its dependents forget it, then it goes
//! owners ──one is there──> forget those that are not         ──none──> delete; in the foreground if an owner waits and it has dependents
//! ```

use std::sync::Arc;

use super::graph::{FOREGROUND, Graph, Item, Owner};
use crate::request::options::Propagation;

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerState {
    Solid,
    /// It is being deleted, and waits for its dependents.
    Waiting,
    Absent,
    /// Of a kind that this server does not have: it may be there.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Delete {
        propagation: Propagation,
        /// Dependents that wait themselves: none of them may hold this one, or a circle would wait for ever.
        unblock: Vec<Arc<str>>,
    },
    /// Forget the owners with these UIDs.
    Unlink(Vec<String>),
    /// Take this finalizer off.
    Release(&'static str),
    /// Have these forget the object, and take its finalizer off.
    Orphan(Vec<Arc<str>>),
}

pub(super) fn of(item: &Item, graph: &Graph, state_of: &dyn Fn(&Owner) -> OwnerState) -> Action {
    let dependents = || graph.dependents(&item.uid);
    if item.deleting && item.orphan {
        return Action::Orphan(dependents().map(|(key, _)| key.clone()).collect());
    }
    if item.waits_for_dependents() {
        let blocks = |dependent: &Item| dependent.owners.iter().any(|o| o.uid == item.uid && o.blocks);
        let blocked = dependents().any(|(_, dependent)| blocks(dependent));
        return if blocked { Action::Nothing } else { Action::Release(FOREGROUND) };
    }
    if item.deleting || item.owners.is_empty() {
        return Action::Nothing;
    }
    let states: Vec<(&Owner, OwnerState)> = item.owners.iter().map(|o| (o, state_of(o))).collect();
    let is_lost = |state: OwnerState| matches!(state, OwnerState::Absent | OwnerState::Waiting);
    let lost: Vec<String> =
        states.iter().filter(|(_, state)| is_lost(*state)).map(|(owner, _)| owner.uid.clone()).collect();
    if lost.is_empty() {
        return Action::Nothing;
    }
    if lost.len() < states.len() {
        return Action::Unlink(lost);
    }
    let awaited = states.iter().any(|(_, state)| *state == OwnerState::Waiting);
    if awaited && dependents().next().is_some() {
        let waits = |(_, dependent): &(&Arc<str>, &Item)| dependent.waits_for_dependents();
        let unblock = dependents().filter(waits).map(|(key, _)| key.clone()).collect();
        return Action::Delete { propagation: Propagation::Foreground, unblock };
    }
    let propagation = match (item.orphan, item.foreground) {
        (true, _) => Propagation::Orphan,
        (false, true) => Propagation::Foreground,
        (false, false) => Propagation::Background,
    };
    Action::Delete { propagation, unblock: Vec::new() }
}

#[cfg(test)]
mod tests;
