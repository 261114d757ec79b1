//! Credentials from programs that the node's owner has put there (exec credential provider plugins). behaviour.md 14.4.
//!
//! ```text
//! image ──matchImages──> plugin ──cache (Image, Registry, Global)──> credentials
//!                              └──not there──> exec: request on stdin, response on stdout, a minute at most
//! ```
//!
//! A plugin that fails gives no credentials: the pull goes on without them, and the log says why. Service account tokens
//! (`tokenAttributes`) are not given to plugins; a configuration that asks for them is refused.

mod config;
mod exec;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::docker_config::DockerConfig;
use super::keyring::{self, Keyring};
use super::turns::Turns;
use crate::cause::chain;
pub use config::PluginConfigError;
use config::Provider;
use exec::{CacheKeyType, Plugin};

/// How many plugins run at the same time; others wait.
const AT_ONCE: usize = 4;
/// Responses that are kept of one plugin.
const KEPT: usize = 1_000;
/// Whoever keeps a credential longer than that will not be missed.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// All plugins of the node.
#[derive(Debug)]
pub(super) struct Plugins {
    providers: Vec<Cached>,
    running: Semaphore,
}

/// One plugin and what it has said.
#[derive(Debug)]
struct Cached {
    plugin: Plugin,
    match_images: Vec<String>,
    default_cache: Duration,
    responses: Mutex<HashMap<CacheKey, (Instant, Arc<DockerConfig>)>>,
    turns: Turns<String>,
}

/// What a response is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum CacheKey {
    Image(String),
    Registry(String),
    Global,
}

impl Plugins {
    /// The plugins of a configuration, a file or a directory of files; each must be a program in `bin_dir`. Without both there
    /// are none.
    pub(super) fn read(config: Option<&Path>, bin_dir: Option<&Path>) -> Result<Self, PluginConfigError> {
        let providers = match (config, bin_dir) {
            (None, None) => Vec::new(),
            (Some(config), Some(bin_dir)) => config::read(config, bin_dir)?,
            _ => return Err(PluginConfigError::Half),
        };
        Ok(Self::new(providers))
    }

    fn new(providers: Vec<(PathBuf, Provider)>) -> Self {
        let providers = providers.into_iter().map(|(program, provider)| Cached {
            match_images: provider.match_images,
            default_cache: provider.default_cache_duration,
            plugin: Plugin {
                name: provider.name,
                program,
                api_version: provider.api_version,
                arguments: provider.args,
                environment: provider.env,
            },
            responses: Mutex::default(),
            turns: Turns::default(),
        });
        Self { providers: providers.collect(), running: Semaphore::new(AT_ONCE) }
    }

    /// What the plugins that serve this repository (its full name, without tag) give for it.
    pub(super) async fn keyring(&self, repository: &str) -> Keyring {
        let mut keyring = Keyring::default();
        for provider in &self.providers {
            if provider.match_images.iter().any(|pattern| keyring::matches(pattern, repository)) {
                let config = provider.credentials(repository, &self.running).await;
                keyring.add(DockerConfig::clone(&config), None);
            }
        }
        keyring
    }
}

impl Cached {
    async fn credentials(&self, repository: &str, running: &Semaphore) -> Arc<DockerConfig> {
        let _turn = self.turns.take(repository.to_owned()).await;
        if let Some(config) = self.kept(repository) {
            return config;
        }
        let answer = {
            let _permit = running.acquire().await;
            self.plugin.run(repository).await
        };
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                let plugin = &self.plugin.name;
                tracing::warn!(
                    plugin,
                    repository,
                    error = chain(&error),
                    "a credential provider plugin failed"
                );
                return Arc::default();
            }
        };
        let config = Arc::new(response.credentials);
        let good_for = response.cache_duration.unwrap_or(self.default_cache).min(LONGEST);
        if !good_for.is_zero() {
            let key = match response.cache_key_type {
                CacheKeyType::Image => CacheKey::Image(repository.to_owned()),
                CacheKeyType::Registry => CacheKey::Registry(registry(repository)),
                CacheKeyType::Global => CacheKey::Global,
            };
            self.keep(key, good_for, Arc::clone(&config));
        }
        config
    }

    fn kept(&self, repository: &str) -> Option<Arc<DockerConfig>> {
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = [
            CacheKey::Image(repository.to_owned()),
            CacheKey::Registry(registry(repository)),
            CacheKey::Global,
        ];
        let now = Instant::now();
        let fresh = |key| responses.get(key).filter(|(until, _)| now < *until);
        keys.iter().find_map(fresh).map(|(_, config)| Arc::clone(config))
    }

    fn keep(&self, key: CacheKey, good_for: Duration, config: Arc<DockerConfig>) {
        let now = Instant::now();
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        responses.retain(|_, (until, _)| now < *until);
        if responses.len() < KEPT {
            responses.insert(key, (now + good_for, config));
        }
    }
}

fn registry(repository: &str) -> String {
    repository.split('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
