//! Where this machine gets its packages: its own apt sources, in either format.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// The newer suite that has what the machine's own lacks.
const NEWEST: &str = "sid";
/// Names under which a Debian release may be asked for.
const ALIASES: [&str; 5] = ["stable", "oldstable", "testing", "unstable", NEWEST];

/// Why there is nowhere to get packages from.
#[derive(Debug, Error)]
pub enum SourcesError {
    /// A file cannot be read.
    #[error("reading {path}", path = path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// None is a Debian mirror.
    #[error("{dir}: no entry for Debian's {wanted}, component main; packages cannot be got", dir = dir.display())]
    NoMirror {
        /// apt's directory.
        dir: PathBuf,
        /// The suite that was looked for.
        wanted: String,
    },
}

/// One entry of apt's sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// Fields of deb822 that say how to trust and reach it, continuation lines included.
    options: Vec<(String, String)>,
}

/// The mirror that this machine uses for its own release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    uri: String,
    suite: String,
    options: Vec<(String, String)>,
}

impl Mirror {
    /// Reads apt's directory (`/etc/apt`) for a machine of this release.
    pub(crate) fn of_machine(dir: &Path, codename: &str) -> Result<Self, SourcesError> {
        let mut entries = Vec::new();
        for file in files(dir)? {
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(SourcesError::Read { path: file, source }),
            };
            if file.extension().is_some_and(|extension| extension == "sources") {
                entries.extend(stanzas(&text));
            } else {
                entries.extend(text.lines().filter_map(one_line));
            }
        }
        let mut mirrors: Vec<Self> = entries.into_iter().filter_map(|entry| entry.mirror(codename)).collect();
        // Others publish for Debian's release names too; Debian's own mirrors end in its name.
        mirrors.sort_by_key(|mirror| !mirror.uri.trim_end_matches('/').ends_with("/debian"));
        let none = || SourcesError::NoMirror { dir: dir.to_path_buf(), wanted: codename.to_owned() };
        mirrors.into_iter().next().ok_or_else(none)
    }

    /// Its address.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// A field that says how to trust it.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.options.iter().find(same).map(|(_, value)| value.as_str())
    }

    /// The suite of the machine itself.
    pub(crate) fn suite(&self) -> &str {
        &self.suite
    }

    /// A deb822 file with the machine's own suite and the newest.
    pub(crate) fn sources(&self) -> String {
        let suites =
            if self.suite == NEWEST { NEWEST.to_owned() } else { format!("{NEWEST} {}", self.suite) };
        let mut text = format!("Types: deb\nURIs: {}\nSuites: {suites}\nComponents: main\n", self.uri);
        for (name, value) in &self.options {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text
    }
}

impl Entry {
    fn mirror(self, codename: &str) -> Option<Mirror> {
        let uri = self.uris.into_iter().find(|uri| !uri.starts_with("cdrom:"))?;
        let suite =
            self.suites.into_iter().find(|suite| suite == codename || ALIASES.contains(&suite.as_str()))?;
        let has_main = self.components.iter().any(|component| component == "main");
        has_main.then_some(Mirror { uri, suite, options: self.options })
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, SourcesError> {
    let parts = dir.join("sources.list.d");
    let mut files = Vec::new();
    match std::fs::read_dir(&parts) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(|source| SourcesError::Read { path: parts.clone(), source })?;
                files.push(entry.path());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(SourcesError::Read { path: parts, source }),
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "list" || e == "sources"));
    files.sort();
    files.insert(0, dir.join("sources.list"));
    Ok(files)
}

/// `deb [option=value ...] URI SUITE COMPONENT...`
fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let options = options.split_whitespace().filter_map(|option| {
        let (name, value) = option.split_once('=')?;
        let field = match name {
            "arch" => "Architectures",
            "signed-by" => "Signed-By",
            "trusted" => "Trusted",
            "check-valid-until" => "Check-Valid-Until",
            _ => return None,
        };
        Some((field.to_owned(), value.replace(',', " ")))
    });
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        options: options.collect(),
        components: words.collect(),
    })
}

/// Paragraphs of `Field: value` with continuation lines.
fn stanzas(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).chain([""]) {
        if line.trim().is_empty() {
            entries.extend(entry(std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    entries
}

fn entry(fields: Vec<(String, String)>) -> Option<Entry> {
    let mut entry = Entry::default();
    let mut is_for_packages = false;
    for (name, value) in fields {
        let words = || value.split_whitespace().map(str::to_owned).collect();
        match name.to_ascii_lowercase().as_str() {
            "enabled" if matches!(value.as_str(), "no" | "false" | "0") => return None,
            "types" => is_for_packages = value.split_whitespace().any(|kind| kind == "deb"),
            "uris" => entry.uris = words(),
            "suites" => entry.suites = words(),
            "components" => entry.components = words(),
            "signed-by" | "trusted" | "architectures" | "check-valid-until" => {
                entry.options.push((name, value))
            }
            _ => {}
        }
    }
    is_for_packages.then_some(entry)
}

#[cfg(test)]
mod tests;
