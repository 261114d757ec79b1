//! Images: whether one that is on the node may be used by a pod, and pulls with the credentials that fit. behaviour.md 13, 14.
//!
//! ```text
//! pod's pull secrets (API) ──secrets──────┐
//! files of `docker login` ──node_config───┼─> keyring ──> candidates, each tried in turn ──> CRI PullImage
//! programs of the node's owner ──plugins──┘                                                   │
//!    tokens of the pod's service account ──^ accounts                                         v
//! CRI ImageStatus ──> policy (pure) <── records: what earlier pulls have shown, on the disk <─┘
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `credential` | what a registry is shown; never logged |
//! | `docker_config`, `keyring`, `policy`, `reference` | pure: parsing, matching, deciding, names |
//! | `secrets`, `node_config`, `plugins` | where credentials come from |
//! | `accounts` | the service accounts of pods and their tokens, for plugins |
//! | `records` | files below `image_manager/` in the root directory |
//! | `holds` | which images starts have found, so that none of them is removed |
//! | `turns` | one read or run at a time for each key |
//!
//! When a pull is tried, how often and with which events is the pod machine's; how many at a time, the node machine's.

mod accounts;
mod credential;
mod docker_config;
mod holds;
mod keyring;
mod node_config;
mod plugins;
mod policy;
mod records;
mod reference;
mod secrets;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cri_client::{CallError, Client, v1};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use podspec::{ImageNameError, normalized_image};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::cause::chain;
use crate::clock;
use crate::config::Config;
use crate::events::Recorder;
use crate::stop::stopped;
pub(crate) use accounts::{AccountError, Accounts};
use credential::{Candidate, Source};
pub(crate) use holds::Holds;
use node_config::NodeConfig;
pub use plugins::PluginConfigError;
use plugins::Plugins;
pub(crate) use policy::check_pattern;
use policy::{Policy, Verdict, presented};
use records::{PullSecret, PullServiceAccount, PulledWith, Pulling, Records};
pub(crate) use reference::canonical;
use reference::repository;
use secrets::Secrets;
pub(crate) use turns::Turns;

/// Between two attempts to list the runtime's images after a start.
const SETTLE_AGAIN: Duration = Duration::from_secs(5);

/// What decides about images, beside the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) root_dir: PathBuf,
    /// `--image-credential-provider-config`
    pub(crate) plugin_config: Option<PathBuf>,
    /// `--image-credential-provider-bin-dir`
    pub(crate) plugin_dir: Option<PathBuf>,
}

/// Why images cannot be used at all.
#[derive(Debug, Error)]
pub enum ImagesError {
    /// The credential provider plugins.
    #[error("credential provider plugins")]
    Plugins(#[from] PluginConfigError),
    /// Records of pulls.
    #[error("{0}")]
    Records(String),
    /// The allowlist.
    #[error("preloadedImagesVerificationAllowlist: {0}")]
    Allowlist(String),
}

/// Why an image could not be looked at or pulled.
#[derive(Debug, Error)]
pub(crate) enum ImageError {
    #[error(transparent)]
    Name(#[from] ImageNameError),
    #[error(transparent)]
    Inspect(CallError),
    /// It is there, and the pod has not shown that it could pull it. A pod that may not pull is told what it would be told of
    /// one that is absent: what others run here is no business of its.
    #[error("Container image \"{0}\" is not present with pull policy of Never")]
    NotAllowed(String),
    #[error("Failed to record image pull intent for container image \"{image}\": {why}")]
    Intent { image: String, why: String },
    /// One for each credential that was tried, at least one.
    #[error("pulling")]
    Pull(Vec<CallError>),
}

/// An image that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pulled {
    pub(crate) id: String,
    pub(crate) size_bytes: u64,
}

/// Shared by all pods; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Images(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    secrets: Secrets,
    node: NodeConfig,
    plugins: Plugins,
    /// Without the gate `KubeletEnsureSecretPulledImages` nothing is recorded and every pod may use every image.
    records: Option<Records>,
    policy: Policy,
    recorder: Recorder,
    holds: Holds,
}

impl Images {
    /// Reads what the configuration names. Without a client of the API server there are no pull secrets.
    pub(crate) fn new(
        settings: &Settings,
        config: &Config,
        client: Client,
        api: Option<kube::Client>,
        recorder: Recorder,
    ) -> Result<Self, ImagesError> {
        let policy = Policy::new(
            &config.image_pull_credentials_verification_policy,
            &config.preloaded_images_verification_allowlist,
        );
        let records =
            config.gate("KubeletEnsureSecretPulledImages").then(|| Records::new(&settings.root_dir));
        let home = std::env::var_os("HOME").map(PathBuf::from);
        Ok(Self(Arc::new(Inner {
            client,
            secrets: Secrets::new(api.clone()),
            node: NodeConfig::new(&settings.root_dir, home.as_deref()),
            plugins: Plugins::read(
                settings.plugin_config.as_deref(),
                settings.plugin_dir.as_deref(),
                config.gate("KubeletServiceAccountTokenForCredentialProviders"),
                Accounts::new(api),
            )?,
            records: records.transpose().map_err(|error| ImagesError::Records(chain(&error)))?,
            policy: policy.map_err(|error| ImagesError::Allowlist(error.to_string()))?,
            recorder,
            holds: Holds::default(),
        })))
    }

    /// The id of an image that is on the node and that this pod may use; none of one that is absent.
    pub(crate) async fn inspect(&self, pod: &Pod, image: &str) -> Result<Option<String>, ImageError> {
        let name = normalized_image(image)?;
        let Some(found) = self.held(&name).await.map_err(ImageError::Inspect)? else { return Ok(None) };
        if !self.may_use(pod, image, &found.id).await {
            return Err(ImageError::NotAllowed(image.to_owned()));
        }
        Ok(Some(found.id))
    }

    /// The image of this name, which is not removed from now on without another look at who needs it.
    async fn held(&self, name: &str) -> Result<Option<v1::Image>, CallError> {
        loop {
            let found = self.0.client.image_status(name).await?;
            match &found {
                Some(image) if !self.0.holds.hold(&image.id, clock::boot()) => {
                    self.0.holds.gone(&image.id).await;
                }
                _ => return Ok(found),
            }
        }
    }

    /// Which images starts have found.
    pub(crate) fn holds(&self) -> &Holds {
        &self.0.holds
    }

    async fn may_use(&self, pod: &Pod, image: &str, id: &str) -> bool {
        let Some(records) = &self.0.records else { return true };
        let repository = repository(image);
        let known = records.known(image, id);
        let known = match self.0.policy.verdict(&repository, &known) {
            Verdict::Usable => return true,
            Verdict::ToBePulled => return false,
            Verdict::With(known) => known,
        };
        let of_pod: Vec<PulledWith> = self.candidates(pod, &repository).await.iter().map(shown_by).collect();
        let Some(shown) = presented(known, &of_pod) else { return false };
        if let PulledWith::Secret(secret) = shown
            && !known.kubernetes_secrets.contains(secret)
        {
            // For the next time, when the other one may be gone.
            let (records, image, id, with) =
                (records.clone(), image.to_owned(), id.to_owned(), shown.clone());
            on_disk(move || records.learned(&image, &id, &with)).await;
        }
        true
    }

    /// Pulls an image for a pod with each credential that fits until one is good; without one, as anybody could.
    ///
    /// A pull that is given up (its future dropped) is remembered as one of which nothing is known.
    pub(crate) async fn pull(
        &self,
        pod: &Pod,
        image: &str,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<Pulled, ImageError> {
        let name = normalized_image(image)?;
        let candidates = self.candidates(pod, &repository(&name)).await;
        let pulling = self.begin(image).await?;
        let spec = v1::ImageSpec {
            image: name.clone(),
            user_specified_image: image.to_owned(),
            annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
            ..v1::ImageSpec::default()
        };
        let (reference, used) = match self.try_each(&spec, candidates, &sandbox).await {
            Ok(pulled) => pulled,
            Err(errors) => {
                if let Some(pulling) = pulling.filter(|_| !errors.iter().any(CallError::outcome_is_unknown)) {
                    on_disk(move || pulling.failed()).await;
                }
                return Err(ImageError::Pull(errors));
            }
        };
        let found = self.held(&name).await.map_err(|error| ImageError::Pull(vec![error]))?;
        let (id, size_bytes) = found.map_or((reference, 0), |image| (image.id, image.size));
        if let Some(pulling) = pulling {
            let with = used.as_ref().map_or(PulledWith::NodeAccess, shown_by);
            let id = id.clone();
            on_disk(move || pulling.pulled(&id, &with)).await;
        }
        Ok(Pulled { id, size_bytes })
    }

    async fn try_each(
        &self,
        spec: &v1::ImageSpec,
        candidates: Vec<Candidate>,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<(String, Option<Candidate>), Vec<CallError>> {
        let mut errors = Vec::new();
        let mut candidates = candidates.into_iter();
        let mut candidate = candidates.next();
        loop {
            let auth = candidate.as_ref().map(|candidate| candidate.credential.auth_config());
            match self.0.client.pull_image(spec.clone(), auth, sandbox.clone()).await {
                Ok(reference) => return Ok((reference, candidate)),
                // Nobody is there who could say more about the next one.
                Err(error) if error.outcome_is_unknown() => return Err(vec![error]),
                Err(error) => errors.push(error),
            }
            candidate = candidates.next();
            if candidate.is_none() {
                return Err(errors);
            }
        }
    }

    /// All credentials that fit a repository: the pod's, the node's, the plugins'.
    async fn candidates(&self, pod: &Pod, repository: &str) -> Vec<Candidate> {
        let of_pod = self.0.secrets.of(pod).await;
        if !of_pod.failed.is_empty() {
            let text = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                of_pod.failed.join(", ")
            );
            self.0.recorder.pod_event(pod, None, true, "FailedToRetrieveImagePullSecret", text);
        }
        let mut found = of_pod.keyring.lookup(repository);
        found.extend(self.0.node.keyring().lookup(repository));
        found.extend(self.0.plugins.keyring(pod, repository).await.lookup(repository));
        found
    }

    async fn begin(&self, image: &str) -> Result<Option<Pulling>, ImageError> {
        let Some(records) = self.0.records.clone() else { return Ok(None) };
        let name = image.to_owned();
        let begun = spawn_blocking(move || records.begin(&name)).await;
        let why = match begun {
            Ok(Ok(pulling)) => return Ok(Some(pulling)),
            Ok(Err(error)) => chain(&error),
            Err(error) => error.to_string(),
        };
        Err(ImageError::Intent { image: image.to_owned(), why })
    }

    /// Forgets what pulls have shown about images that have been removed from the node.
    pub(crate) async fn forget_removed(&self) {
        let Some(records) = self.0.records.clone() else { return };
        let since = Timestamp::now();
        match self.0.client.list_images().await {
            Ok(images) => on_disk(move || records.settle(&images, since)).await,
            // The next start settles it.
            Err(error) => tracing::warn!(%error, "records of removed images stay"),
        }
    }

    /// Settles what an earlier daemon has left of its pulls, once the runtime has told which images there are.
    pub(crate) async fn settle(self, mut stop: watch::Receiver<bool>) {
        let Some(records) = self.0.records.clone() else { return };
        loop {
            let since = Timestamp::now();
            let listed = tokio::select! {
                // Cancel-safe: a level, and a call that changes nothing.
                () = stopped(&mut stop) => return,
                listed = self.0.client.list_images() => listed,
            };
            if let Ok(images) = listed {
                on_disk(move || records.settle(&images, since)).await;
                return;
            }
            tokio::select! {
                // Cancel-safe: a level and a timer.
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(SETTLE_AGAIN) => {}
            }
        }
    }
}

/// What a pod shows with a credential.
fn shown_by(candidate: &Candidate) -> PulledWith {
    match candidate.source.clone() {
        Source::Node => PulledWith::NodeAccess,
        Source::Secret(secret) => PulledWith::Secret(PullSecret {
            uid: secret.uid,
            namespace: secret.namespace,
            name: secret.name,
            credential_hash: candidate.credential.hash(),
        }),
        Source::Account(account) => PulledWith::Account(PullServiceAccount {
            uid: account.uid,
            namespace: account.namespace,
            name: account.name,
        }),
    }
}

/// Carries out something with records away from the thread that runs all tasks. A failure costs a pull, later.
async fn on_disk(write: impl FnOnce() -> Result<(), records::RecordError> + Send + 'static) {
    let done = spawn_blocking(move || {
        if let Err(error) = write() {
            tracing::warn!(error = chain(&error), "a record of a pull cannot be kept");
        }
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "keeping a record of a pull has failed");
    }
}

#[cfg(test)]
mod tests;
