//! Which UID a pod's full name belongs to: one at a time, first come, first served (behaviour.md 1.12).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug, Default)]
struct Turn {
    /// More than one only where pods of that name were found running.
    owners: BTreeSet<String>,
    waiting: VecDeque<String>,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    turns: BTreeMap<String, Turn>,
}

impl Names {
    /// Whether the name is `uid`'s now; it waits for it otherwise.
    pub(super) fn ask(&mut self, name: &str, uid: &str) -> bool {
        let turn = self.turns.entry(name.to_owned()).or_default();
        if turn.owners.contains(uid) || turn.owners.is_empty() {
            turn.owners.insert(uid.to_owned());
            return true;
        }
        if !turn.waiting.iter().any(|u| u == uid) {
            turn.waiting.push_back(uid.to_owned());
        }
        false
    }

    /// The name is `uid`'s, because it runs under it already.
    pub(super) fn take(&mut self, name: &str, uid: &str) {
        let turn = self.turns.entry(name.to_owned()).or_default();
        turn.waiting.retain(|u| u != uid);
        turn.owners.insert(uid.to_owned());
    }

    /// `uid` needs no name any more; tells who comes next.
    pub(super) fn release(&mut self, uid: &str) -> Vec<String> {
        let mut next = Vec::new();
        self.turns.retain(|_, turn| {
            turn.waiting.retain(|u| u != uid);
            if turn.owners.remove(uid)
                && turn.owners.is_empty()
                && let Some(first) = turn.waiting.pop_front()
            {
                turn.owners.insert(first.clone());
                next.push(first);
            }
            !turn.owners.is_empty()
        });
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_found_in_use_twice_is_free_when_both_have_ended() {
        let mut names = Names::default();
        names.take("ns/web", "a");
        names.take("ns/web", "b");
        assert!(!names.ask("ns/web", "c"));
        assert!(names.release("a").is_empty());
        assert_eq!(names.release("b"), ["c"]);
        assert!(names.ask("ns/web", "c"));
    }

    #[test]
    fn who_goes_away_while_waiting_is_passed_over() {
        let mut names = Names::default();
        assert!(names.ask("ns/web", "a"));
        assert!(!names.ask("ns/web", "b") && !names.ask("ns/web", "c"));
        assert!(names.release("b").is_empty());
        assert_eq!(names.release("a"), ["c"]);
        assert!(names.release("c").is_empty());
        assert!(names.ask("ns/web", "d"));
    }
}
