//! What a rotation does to the files of one log. Pure: the names that there are in, what to remove, rename and compress out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use streams::logs::{Form, Rotated, next_suffix};

/// The steps; the new name comes first. All are names in the log's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The log's next name.
    pub(super) rename_to: Option<String>,
    /// What is of no use first, then what is too much, the oldest first.
    pub(super) remove: Vec<String>,
    /// The newest rotated file is not among them: the runtime may still write to it, and collectors read it.
    pub(super) compress: Vec<String>,
}

/// A full log is rotated, so that with the next one there are at most `most` files, two or more. What is being compressed has its
/// plain name in `busy`.
pub(super) fn rotation(
    log: &str,
    files: &[String],
    most: usize,
    now: Timestamp,
    busy: &BTreeSet<String>,
) -> Plan {
    let beside: Vec<Rotated<'_>> = files.iter().filter_map(|file| Rotated::of(log, file)).collect();
    let suffix = next_suffix(now, beside.iter().map(|r| r.suffix));
    let mut plan = tidy(log, &beside, most.saturating_sub(2), busy);
    plan.rename_to = Some(Rotated { suffix: &suffix, form: Form::Plain }.name(log));
    plan
}

/// What an earlier daemon has left half done, by any kill: nothing of it is needed, and what waits to be compressed is named.
pub(super) fn recovery(log: &str, files: &[String], most: usize, busy: &BTreeSet<String>) -> Plan {
    let beside: Vec<Rotated<'_>> = files.iter().filter_map(|file| Rotated::of(log, file)).collect();
    let mut plan = tidy(log, &beside, most.saturating_sub(1), busy);
    let newest = beside.iter().filter(|r| r.form != Form::Unfinished).map(|r| r.suffix).max();
    if let Some(suffix) = newest {
        let newest = Rotated { suffix, form: Form::Plain }.name(log);
        plan.compress.retain(|name| *name != newest);
    }
    plan
}

fn tidy(log: &str, beside: &[Rotated<'_>], keep: usize, busy: &BTreeSet<String>) -> Plan {
    let mut plan = Plan::default();
    let mut kept: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for rotated in beside {
        let plain = Rotated { form: Form::Plain, ..*rotated }.name(log);
        match rotated.form {
            Form::Unfinished if !busy.contains(&plain) => plan.remove.push(rotated.name(log)),
            Form::Unfinished => {}
            Form::Plain => kept.entry(rotated.suffix).or_default().0 = true,
            Form::Compressed => kept.entry(rotated.suffix).or_default().1 = true,
        }
    }
    let excess = kept.len().saturating_sub(keep);
    for (index, (suffix, (plain, compressed))) in kept.into_iter().enumerate() {
        let name = |form| Rotated { suffix, form }.name(log);
        let is_busy = busy.contains(&name(Form::Plain));
        if index < excess {
            // The plain one first: who compresses it removes what took its place where the plain one is gone by then.
            plan.remove.extend(plain.then(|| name(Form::Plain)));
            plan.remove.extend((compressed || is_busy).then(|| name(Form::Compressed)));
        } else if is_busy {
            // Who compresses it sees to both.
        } else if plain && compressed {
            // The compressed one is whole: it has its name only since it is.
            plan.remove.push(name(Form::Plain));
        } else if plain {
            plan.compress.push(name(Form::Plain));
        }
    }
    plan
}

#[cfg(test)]
mod tests;
