//! One rule of a role: what it allows, and what of another rule it covers.

use std::fmt;

use serde_json::Value;

use super::{Attributes, On};
use crate::kinds::field::quote;
use crate::kinds::values::items;

const ALL: &str = "*";

/// A rule, either about resources or about paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`.
    pub(crate) resources: Vec<String>,
    /// Empty for all.
    pub(crate) names: Vec<String>,
    /// Paths; a `*` at the end stands for whatever follows.
    pub(crate) paths: Vec<String>,
}

fn texts(rule: &Value, field: &str) -> Vec<String> {
    items(rule, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == ALL || item == wanted)
}

fn path_covers(pattern: &str, path: &str) -> bool {
    pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

impl Rule {
    pub(crate) fn of(rule: &Value) -> Self {
        Self {
            verbs: texts(rule, "verbs"),
            groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            names: texts(rule, "resourceNames"),
            paths: texts(rule, "nonResourceURLs"),
        }
    }

    /// All rules of a role.
    pub(crate) fn all_of(role: &Value) -> Vec<Self> {
        items(role, "rules").iter().map(Self::of).collect()
    }

    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        match attributes.on {
            On::Path(path) => self.paths.iter().any(|pattern| path_covers(pattern, path)),
            On::Resource { group, resource, subresource, name, .. } => {
                has(&self.groups, group)
                    && self.resources.iter().any(|r| resource_covers(r, resource, subresource))
                    && (self.names.is_empty() || self.names.iter().any(|n| n == name))
            }
        }
    }

    /// Whether this rule allows all that a rule of one verb, group, resource and name, or of one verb and path, allows.
    pub(crate) fn covers(&self, atom: &Atom<'_>) -> bool {
        if !has(&self.verbs, atom.verb) {
            return false;
        }
        match atom.on {
            AtomOn::Path(path) => self.paths.iter().any(|pattern| path_covers(pattern, path)),
            AtomOn::Resource { group, resource, name } => {
                let (plain, subresource) = match resource.split_once('/') {
                    Some((plain, subresource)) => (plain, Some(subresource)),
                    None => (resource, None),
                };
                has(&self.groups, group)
                    && self.resources.iter().any(|r| resource_covers(r, plain, subresource))
                    && match name {
                        Some(name) => self.names.is_empty() || self.names.iter().any(|n| n == name),
                        None => self.names.is_empty(),
                    }
            }
        }
    }

    /// How many atoms the rule consists of.
    pub(crate) fn size(&self) -> usize {
        let resources =
            self.groups.len().saturating_mul(self.resources.len()).saturating_mul(self.names.len().max(1));
        self.verbs.len().saturating_mul(resources.saturating_add(self.paths.len()))
    }

    /// The rule's smallest parts.
    pub(crate) fn atoms(&self) -> impl Iterator<Item = Atom<'_>> {
        let names = || {
            let all = self.names.is_empty().then_some(None);
            all.into_iter().chain(self.names.iter().map(|n| Some(n.as_str())))
        };
        self.verbs.iter().flat_map(move |verb| {
            let paths = self.paths.iter().map(|path| AtomOn::Path(path));
            let resources = self.groups.iter().flat_map(move |group| {
                self.resources.iter().flat_map(move |resource| {
                    names().map(move |name| AtomOn::Resource { group, resource, name })
                })
            });
            resources.chain(paths).map(move |on| Atom { verb, on })
        })
    }
}

fn resource_covers(pattern: &str, resource: &str, subresource: Option<&str>) -> bool {
    if pattern == ALL {
        return true;
    }
    match (pattern.split_once('/'), subresource) {
        (None, None) => pattern == resource,
        (Some((plain, sub)), Some(wanted)) => sub == wanted && (plain == ALL || plain == resource),
        _ => false,
    }
}

/// One verb on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Atom<'a> {
    pub(crate) verb: &'a str,
    pub(crate) on: AtomOn<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomOn<'a> {
    Path(&'a str),
    Resource {
        group: &'a str,
        /// `pods` or `pods/log`.
        resource: &'a str,
        /// `None` for all.
        name: Option<&'a str>,
    },
}

/// A rule as upstream's messages show it: `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.names),
            ("NonResourceURLs", &self.paths),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<String> = lists
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{}", quoted(list)))
            .collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// A list as Go prints it with `%q`.
pub(crate) fn quoted(list: &[String]) -> String {
    let texts: Vec<String> = list.iter().map(|text| quote(text)).collect();
    format!("[{}]", texts.join(" "))
}

#[cfg(test)]
mod tests;
