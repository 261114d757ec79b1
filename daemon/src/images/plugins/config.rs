//! `CredentialProviderConfig` of `kubelet.config.k8s.io`: which plugins there are and which images each of them serves.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::token_attributes::{FileTokenAttributes, TokenAttributes};
use crate::config::{self, GoDuration};

const GROUP: &str = "kubelet.config.k8s.io/";
/// Of the configuration and of what is said to a plugin, each in its group.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const PLUGIN_GROUP: &str = "credentialprovider.kubelet.k8s.io/";
const MAX_BYTES: u64 = 1 << 20;
const MAX_FILES: usize = 1_000;

/// Why the plugins cannot be used. The daemon does not start then: pods would be refused images for no visible reason.
#[derive(Debug, Error)]
pub enum PluginConfigError {
    /// One flag without the other.
    #[error("--image-credential-provider-config and --image-credential-provider-bin-dir need each other")]
    Half,
    /// A file cannot be read.
    #[error("reading {path}", path = path.display())]
    Read {
        /// A file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file says something wrong.
    #[error("{path}: {message}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        message: String,
    },
    /// A plugin is not there.
    #[error("plugin {name}: {path} is no program that can be run", path = path.display())]
    Program {
        /// As configured.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    kind: String,
    api_version: String,
    #[serde(default)]
    providers: Vec<FileProvider>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileProvider {
    name: String,
    #[serde(default)]
    match_images: Vec<String>,
    default_cache_duration: Option<GoDuration>,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    token_attributes: Option<FileTokenAttributes>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

/// One plugin as configured.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) match_images: Vec<String>,
    pub(super) default_cache_duration: Duration,
    /// Of requests and responses.
    pub(super) api_version: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Of a plugin that gets tokens of service accounts.
    pub(super) tokens: Option<TokenAttributes>,
}

/// Reads a file, or all `.json`, `.yaml` and `.yml` files of a directory in the order of their names. With each plugin comes
/// its program. Whether plugins may get tokens is `tokens_allowed`.
pub(super) fn read(
    path: &Path,
    bin_dir: &Path,
    tokens_allowed: bool,
) -> Result<Vec<(PathBuf, Provider)>, PluginConfigError> {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for file in files(path)? {
        let wrong = |message: String| PluginConfigError::Content { path: file.clone(), message };
        for provider in parse(&text(&file)?, &file, tokens_allowed).map_err(wrong)? {
            if !names.insert(provider.name.clone()) {
                return Err(wrong(format!("providers: {:?} is there twice", provider.name)));
            }
            let program = bin_dir.join(&provider.name);
            let may_run =
                fs::metadata(&program).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
            if !may_run {
                return Err(PluginConfigError::Program { name: provider.name, path: program });
            }
            found.push((program, provider));
        }
    }
    if found.is_empty() {
        let message = "providers: at least one is needed".to_owned();
        return Err(PluginConfigError::Content { path: path.to_path_buf(), message });
    }
    Ok(found)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, PluginConfigError> {
    let failed = |source| PluginConfigError::Read { path: path.to_path_buf(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let known = file.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml");
        if known && !file.is_dir() {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(failed(io::Error::other("too many files")));
        }
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> Result<String, PluginConfigError> {
    let failed = |source| PluginConfigError::Read { path: path.to_path_buf(), source };
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    Ok(text)
}

fn parse(text: &str, path: &Path, tokens_allowed: bool) -> Result<Vec<Provider>, String> {
    let document = config::parse_document(text, path)?;
    let file: File =
        config::decode_document(&document).map_err(|(field, message)| format!("{field}: {message}"))?;
    if file.kind != "CredentialProviderConfig" {
        return Err(format!("kind: {:?} instead of CredentialProviderConfig", file.kind));
    }
    if !is_version(&file.api_version, GROUP) {
        return Err(format!("apiVersion: {:?} is not known; {GROUP}v1 is", file.api_version));
    }
    let check = |provider| check(provider, &file.api_version, tokens_allowed);
    let providers = file.providers.into_iter().enumerate();
    providers.map(|(index, p)| check(p).map_err(|e| format!("providers[{index}].{e}"))).collect()
}

fn is_version(text: &str, group: &str) -> bool {
    text.strip_prefix(group).is_some_and(|version| VERSIONS.contains(&version))
}

fn check(provider: FileProvider, config_version: &str, tokens_allowed: bool) -> Result<Provider, String> {
    let name = provider.name;
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', ' ', '\0']) {
        return Err(format!("name: {name:?} cannot be the name of a program"));
    }
    if !is_version(&provider.api_version, PLUGIN_GROUP) {
        return Err(format!("apiVersion: {:?} is not known; {PLUGIN_GROUP}v1 is", provider.api_version));
    }
    if provider.match_images.iter().all(String::is_empty) {
        return Err("matchImages: at least one is needed".to_owned());
    }
    let cache = provider.default_cache_duration.ok_or("defaultCacheDuration: is not set")?;
    if cache < GoDuration::ZERO {
        return Err(format!("defaultCacheDuration: {cache} is less than nothing"));
    }
    let tokens = provider.token_attributes;
    let tokens =
        tokens.map(|t| t.check(&provider.api_version, config_version, tokens_allowed)).transpose()?;
    Ok(Provider {
        name,
        match_images: provider.match_images,
        default_cache_duration: cache.to_std(),
        api_version: provider.api_version,
        args: provider.args,
        env: provider.env.into_iter().map(|v| (v.name, v.value)).collect(),
        tokens,
    })
}

#[cfg(test)]
mod tests;
