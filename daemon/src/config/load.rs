//! From files and flags to one checked [`Config`]: defaults < file < drop-ins in lexical order < flags.
//!
//! Upstream falls back to lenient decoding with a warning when strict decoding fails; here every unknown field, wrong
//! type and doubled key is an error, because a misspelt limit that is silently not there is found in an incident.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::decode::{DecodeError, decode};
use super::document::{Document, MAX_DOCUMENT_BYTES, Origin, Origins, ParseError, parse};
use super::settings::{Config, default_eviction_hard};
use super::validate;

pub(crate) const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
pub(crate) const KIND: &str = "KubeletConfiguration";

/// Drop-in files beyond this number are a mistake.
const MAX_DROP_INS: usize = 1_000;

/// A field that is wrong, and where it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the field.
    pub field: String,
    pub message: String,
    /// `None` when nothing set it: the default itself does not fit.
    pub origin: Option<Origin>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}: {}", self.field, self.message),
            None => write!(f, "{} (default): {}", self.field, self.message),
        }
    }
}

/// The configuration cannot be used. The message has one line for each thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading configuration {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Parse(String),
    #[error("{}: {message}", path.display())]
    Header { path: PathBuf, message: String },
    #[error("configuration directory {} holds more than {MAX_DROP_INS} entries", path.display())]
    TooManyDropIns { path: PathBuf },
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

impl From<ParseError> for ConfigError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error.to_string())
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A usable configuration and what the user should be told about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// One sentence each, for the log at start.
    pub warnings: Vec<String>,
}

/// A field that was set on the command line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FlagValue {
    /// With its dashes, for messages.
    pub(crate) flag: String,
    /// Dotted path of the field.
    pub(crate) field: &'static str,
    pub(crate) value: Value,
    /// Added to the field's entries; otherwise the field is replaced as a whole.
    pub(crate) merges: bool,
}

/// Reads `file` and the drop-ins below `dir`, lays the explicitly given flags over them, and checks the result.
pub(crate) fn load(
    file: Option<&Path>,
    dir: Option<&Path>,
    flags: &[FlagValue],
) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    let mut merged = Document { value: Value::Object(Map::new()), origins: Origins::default() };
    if file.is_none() && dir.is_none() {
        merged.value = legacy_defaults();
    }
    let drop_ins = dir.map(|dir| drop_in_files(dir, &mut warnings)).transpose()?.unwrap_or_default();
    for path in file.map(Path::to_path_buf).into_iter().chain(drop_ins) {
        let document = read_document(&path)?;
        merge(&mut merged.value, document.value);
        merged.origins.overlay(document.origins);
    }
    for flag in flags {
        apply(flag, &mut merged);
    }
    let config = typed(&merged)?;
    let problems = validate::problems(&config);
    if !problems.is_empty() {
        return Err(invalid(problems, &merged.origins));
    }
    warnings.extend(validate::warnings(&config));
    Ok(Loaded { config, warnings })
}

/// JSON merge patch (RFC 7396): fields are merged, lists replaced, null removes.
fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    target.remove(&name);
                } else {
                    merge(target.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch,
    }
}

fn apply(flag: &FlagValue, merged: &mut Document) {
    let mut target = &mut merged.value;
    for name in flag.field.split('.') {
        if !target.is_object() {
            *target = Value::Object(Map::new());
        }
        target = &mut target[name];
    }
    if flag.merges {
        merge(target, flag.value.clone());
    } else {
        *target = flag.value.clone();
    }
    let mut origins = Origins::default();
    let origin = Origin::Flag(flag.flag.clone());
    if let (true, Some(entries)) = (flag.merges, flag.value.as_object()) {
        entries.keys().for_each(|name| origins.set(&format!("{}.{name}", flag.field), origin.clone()));
    } else {
        merged.origins.forget(flag.field);
        origins.set(flag.field, origin);
    }
    merged.origins.overlay(origins);
}

/// What a kubelet without any configuration file does. behaviour.md 36.3, 35.18.
fn legacy_defaults() -> Value {
    serde_json::json!({
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "readOnlyPort": 10255,
    })
}

fn typed(merged: &Document) -> Result<Config, ConfigError> {
    let mut value = merged.value.clone();
    follow_update_frequency(&mut value);
    let mut config: Config = decode(&value)
        .map_err(|DecodeError { field, message, .. }| invalid(vec![(field, message)], &merged.origins))?;
    config.fill_unset();
    let defaults = Config::default();
    let zero_ttl = |ttl: &mut super::GoDuration, default| {
        if ttl.is_zero() {
            *ttl = default;
        }
    };
    zero_ttl(&mut config.authentication.webhook.cache_ttl, defaults.authentication.webhook.cache_ttl);
    let webhook = &mut config.authorization.webhook;
    zero_ttl(&mut webhook.cache_authorized_ttl, defaults.authorization.webhook.cache_authorized_ttl);
    zero_ttl(&mut webhook.cache_unauthorized_ttl, defaults.authorization.webhook.cache_unauthorized_ttl);
    if config.authorization.mode.is_empty() {
        config.authorization.mode = defaults.authorization.mode;
    }
    if config.logging.format.is_empty() {
        config.logging.format = defaults.logging.format;
    }
    if config.merge_default_eviction_settings {
        for (signal, threshold) in default_eviction_hard() {
            config.eviction_hard.entry(signal).or_insert(threshold);
        }
    }
    Ok(config)
}

/// behaviour.md 45.31: who sets only the update frequency wants reports as often.
fn follow_update_frequency(value: &mut Value) {
    let is_set = |field: &str| {
        value.get(field).and_then(Value::as_str).is_some_and(|text| !matches!(text, "0" | "0s"))
    };
    if is_set("nodeStatusUpdateFrequency") && !is_set("nodeStatusReportFrequency") {
        value["nodeStatusReportFrequency"] = value["nodeStatusUpdateFrequency"].clone();
    }
}

fn invalid(problems: Vec<(String, String)>, origins: &Origins) -> ConfigError {
    let located = |(field, message): (String, String)| {
        let origin = origins.of(&field).cloned();
        Problem { field, message, origin }
    };
    ConfigError::Invalid(problems.into_iter().map(located).collect())
}

fn read_document(path: &Path) -> Result<Document, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let length = path.metadata().map_err(read)?.len();
    if length > MAX_DOCUMENT_BYTES as u64 {
        return Err(ParseError::TooLarge { path: path.display().to_string() }.into());
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let mut document = parse(&text, path)?;
    take_header(&mut document.value, path)?;
    resolve_paths(&mut document.value, path);
    Ok(document)
}

fn take_header(value: &mut Value, path: &Path) -> Result<(), ConfigError> {
    let header = |message: String| ConfigError::Header { path: path.to_path_buf(), message };
    let fields = value.as_object_mut().ok_or_else(|| header(format!("must be a {KIND} object")))?;
    for (name, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match fields.remove(name) {
            Some(Value::String(found)) if found == wanted => {}
            Some(found) => return Err(header(format!("{name}: {found} is not {wanted:?}"))),
            None => return Err(header(format!("{name}: must be {wanted:?}, but is missing"))),
        }
    }
    Ok(())
}

/// Fields that name files, relative to the directory of the file they stand in.
const PATHS: &[&str] = &[
    "/staticPodPath",
    "/tlsCertFile",
    "/tlsPrivateKeyFile",
    "/authentication/x509/clientCAFile",
    "/resolvConf",
];

fn resolve_paths(value: &mut Value, file: &Path) {
    let base = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_path_buf());
    for pointer in PATHS {
        if let Some(Value::String(path)) = value.pointer_mut(pointer)
            && !path.is_empty()
            && let Some(joined) = base.join(path.as_str()).to_str()
        {
            *path = joined.to_owned();
        }
    }
}

/// All `*.conf` files below `dir`, in lexical order of their paths.
fn drop_in_files(dir: &Path, warnings: &mut Vec<String>) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    let mut directories = vec![dir.to_path_buf()];
    let mut seen = 0_usize;
    while let Some(directory) = directories.pop() {
        let read = |source| ConfigError::Read { path: directory.clone(), source };
        for entry in std::fs::read_dir(&directory).map_err(read)? {
            let path = entry.map_err(read)?.path();
            seen += 1;
            if seen > MAX_DROP_INS {
                return Err(ConfigError::TooManyDropIns { path: dir.to_path_buf() });
            }
            // A symbolic link to a directory is not followed, so there can be no loop.
            if path.is_dir() && !path.is_symlink() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "conf") {
                files.push(path);
            } else {
                warnings.push(format!("{} is skipped: drop-in files end in .conf", path.display()));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
