//! Nobody gives away a right that he does not have (as upstream), unless he may `escalate` roles or `bind` them.

use super::rules::{Atom, AtomOn, Rule, quoted};
use crate::authenticate::User;

/// Most parts that the rules of one role may consist of. A role beyond it is for those only who may do everything.
const ATOMS_LIMIT: usize = 10_000;
/// Most rules that a refusal shows.
const SHOWN_LIMIT: usize = 50;

/// Refuses rules that go beyond those that the user has; the message is what follows `... is forbidden: `.
pub(crate) fn confirm(user: &User, held: &[Rule], granted: &[Rule]) -> Result<(), String> {
    let size = granted.iter().map(Rule::size).fold(0, usize::saturating_add);
    if size > ATOMS_LIMIT {
        return Err(format!("the rules consist of more than {ATOMS_LIMIT} single permissions"));
    }
    let mut missing: Vec<Rule> = Vec::new();
    for atom in granted.iter().flat_map(Rule::atoms).filter(|atom| !held.iter().any(|h| h.covers(atom))) {
        let rule = rule_of(&atom);
        let same = |other: &&mut Rule| Rule { verbs: rule.verbs.clone(), ..(**other).clone() } == rule;
        if let Some(other) = missing.iter_mut().find(same) {
            if !rule.verbs.iter().all(|v| other.verbs.contains(v)) {
                other.verbs.extend(rule.verbs);
            }
        } else if missing.len() < SHOWN_LIMIT {
            missing.push(rule);
        } else {
            break;
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = missing.iter().map(Rule::to_string).collect();
    Err(format!(
        "user \"{}\" (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        shown.join("\n")
    ))
}

fn rule_of(atom: &Atom<'_>) -> Rule {
    let one = |text: &str| vec![text.to_owned()];
    let verbs = one(atom.verb);
    match atom.on {
        AtomOn::Path(path) => Rule { verbs, paths: one(path), ..Rule::default() },
        AtomOn::Resource { group, resource, name } => Rule {
            verbs,
            groups: one(group),
            resources: one(resource),
            names: name.map(one).unwrap_or_default(),
            ..Rule::default()
        },
    }
}

#[cfg(test)]
mod tests;
