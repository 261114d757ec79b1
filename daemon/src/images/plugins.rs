//! Credentials from programs that the node's owner has put there (exec credential provider plugins). behaviour.md 14.4.
//!
//! ```text
//! image ──matchImages──> plugin ──tokenAttributes──> account, annotations, token ──┐
//!                           └──none──> the node's own ────────────────────────────┤
//!                                                                                 v
//!                                        cache (Image, Registry, Global; the account) ──> credentials
//!                                           └──not there──> exec: request on stdin, response on stdout, a minute at most
//! ```
//!
//! A plugin that fails gives no credentials: the pull goes on without them, and the log says why. So it does where a token
//! cannot be had. A plugin that asks for an account, or for annotations, is passed over for pods that have none.

mod config;
mod exec;
mod token_attributes;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::accounts::{AccountError, Accounts, account_of};
use super::credential::{AccountName, Hidden, Source, hex};
use super::docker_config::DockerConfig;
use super::keyring::{self, Keyring};
use super::turns::Turns;
use crate::cause::chain;
pub use config::PluginConfigError;
use config::Provider;
use exec::{CacheKeyType, Identity, Plugin, Response};
use token_attributes::{CacheType, TokenAttributes};

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
    accounts: Accounts,
    running: Semaphore,
}

/// One plugin and what it has said.
#[derive(Debug)]
struct Cached {
    plugin: Plugin,
    match_images: Vec<String>,
    default_cache: Duration,
    tokens: Option<TokenAttributes>,
    responses: Mutex<HashMap<Kept, (Instant, Arc<DockerConfig>)>>,
    turns: Turns<(String, Option<AccountKey>)>,
}

/// What a response is good for, and for whom: the pods of an account, or all.
type Kept = (CacheKey, Option<AccountKey>);

/// What a response is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum CacheKey {
    Image(String),
    Registry(String),
    Global,
}

/// For whom a response is good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AccountKey {
    account: AccountName,
    /// Those that the plugin was told.
    annotations: BTreeMap<String, String>,
    /// The hash of the token, where that has to be the same.
    token: Option<String>,
}

impl AccountKey {
    fn new(identity: &Identity, cache_type: CacheType) -> Self {
        let hash = |token: &Hidden| hex(&Sha256::digest(token.reveal()));
        Self {
            account: identity.account.name.clone(),
            annotations: identity.account.annotations.clone(),
            token: (cache_type == CacheType::Token).then(|| hash(&identity.token)),
        }
    }
}

impl Plugins {
    /// The plugins of a configuration, a file or a directory of files; each must be a program in `bin_dir`. Without both there
    /// are none. `tokens_allowed` is the feature gate for tokens of service accounts.
    pub(super) fn read(
        config: Option<&Path>,
        bin_dir: Option<&Path>,
        tokens_allowed: bool,
        accounts: Accounts,
    ) -> Result<Self, PluginConfigError> {
        let providers = match (config, bin_dir) {
            (None, None) => Vec::new(),
            (Some(config), Some(bin_dir)) => config::read(config, bin_dir, tokens_allowed)?,
            _ => return Err(PluginConfigError::Half),
        };
        Ok(Self::new(providers, accounts))
    }

    fn new(providers: Vec<(PathBuf, Provider)>, accounts: Accounts) -> Self {
        let providers = providers.into_iter().map(|(program, provider)| Cached {
            match_images: provider.match_images,
            default_cache: provider.default_cache_duration,
            tokens: provider.tokens,
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
        Self { providers: providers.collect(), accounts, running: Semaphore::new(AT_ONCE) }
    }

    /// What the plugins that serve this repository (its full name, without tag) give for it to a pod.
    pub(super) async fn keyring(&self, pod: &Pod, repository: &str) -> Keyring {
        let mut keyring = Keyring::default();
        for provider in &self.providers {
            if !provider.match_images.iter().any(|pattern| keyring::matches(pattern, repository)) {
                continue;
            }
            let identity = match provider.identity(pod, &self.accounts).await {
                Ok(Some(identity)) => identity,
                Ok(None) => continue,
                Err(error) => {
                    provider.tell_no_identity(pod, &error);
                    continue;
                }
            };
            let config = provider.credentials(repository, identity.as_ref(), &self.running).await;
            let source = identity.map_or(Source::Node, |identity| Source::Account(identity.account.name));
            keyring.add(DockerConfig::clone(&config), &source);
        }
        keyring
    }
}

impl Cached {
    /// In whose name the plugin is to be run for a pod, nobody's where it wants none; nothing where it is not to be run.
    async fn identity(
        &self,
        pod: &Pod,
        accounts: &Accounts,
    ) -> Result<Option<Option<Identity>>, AccountError> {
        let Some(wanted) = &self.tokens else { return Ok(Some(None)) };
        let Some(name) = account_of(pod) else {
            return Ok((!wanted.require_account).then_some(None));
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let (required, optional) = (&wanted.required_annotations, &wanted.optional_annotations);
        let account = accounts.account(namespace, name, required, optional).await?;
        let token = accounts.token(&account.name, pod, &wanted.audience).await?;
        Ok(Some(Some(Identity { account, token })))
    }

    fn tell_no_identity(&self, pod: &Pod, error: &AccountError) {
        let plugin = &self.plugin.name;
        let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
        let pod = format_args!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        let text = "a credential provider plugin is passed over";
        match error {
            // With an annotation an account says that it wants the plugin; most do not.
            AccountError::NoAnnotation { .. } => tracing::debug!(plugin, %pod, %error, "{text}"),
            _ => tracing::warn!(plugin, %pod, error = chain(error), "{text}"),
        }
    }

    async fn credentials(
        &self,
        repository: &str,
        identity: Option<&Identity>,
        running: &Semaphore,
    ) -> Arc<DockerConfig> {
        let key =
            self.tokens.as_ref().zip(identity).map(|(t, identity)| AccountKey::new(identity, t.cache_type));
        let _turn = self.turns.take((repository.to_owned(), key.clone())).await;
        if let Some(config) = self.kept(repository, key.as_ref()) {
            return config;
        }
        let answer = {
            let _permit = running.acquire().await;
            self.plugin.run(repository, identity).await
        };
        let plugin = &self.plugin.name;
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(plugin, repository, error, "a credential provider plugin failed");
                return Arc::default();
            }
        };
        if self.gives_token_away(&response, identity) {
            tracing::warn!(
                plugin,
                repository,
                "a credential provider plugin gives the token of the service account as password, which is for one pod only: \
                 cacheType must be Token for that"
            );
            return Arc::default();
        }
        let config = Arc::new(response.credentials);
        let good_for = response.cache_duration.unwrap_or(self.default_cache).min(LONGEST);
        if !good_for.is_zero() {
            let of = match response.cache_key_type {
                CacheKeyType::Image => CacheKey::Image(repository.to_owned()),
                CacheKeyType::Registry => CacheKey::Registry(registry(repository)),
                CacheKeyType::Global => CacheKey::Global,
            };
            self.keep((of, key), good_for, Arc::clone(&config));
        }
        config
    }

    /// Whether other pods of the account would get this pod's token.
    fn gives_token_away(&self, response: &Response, identity: Option<&Identity>) -> bool {
        let for_all = self.tokens.as_ref().is_some_and(|t| t.cache_type != CacheType::Token);
        let is_token = |password: &Hidden| identity.is_some_and(|identity| identity.token == *password);
        for_all && response.credentials.values().any(|credential| is_token(&credential.password))
    }

    fn kept(&self, repository: &str, key: Option<&AccountKey>) -> Option<Arc<DockerConfig>> {
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = [
            CacheKey::Image(repository.to_owned()),
            CacheKey::Registry(registry(repository)),
            CacheKey::Global,
        ];
        let now = Instant::now();
        let fresh = |of| responses.get(&(of, key.cloned())).filter(|(until, _)| now < *until);
        keys.into_iter().find_map(fresh).map(|(_, config)| Arc::clone(config))
    }

    fn keep(&self, key: Kept, good_for: Duration, config: Arc<DockerConfig>) {
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
