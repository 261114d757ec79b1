//! The task that keeps the node object's status true: registers, computes, and writes what has changed.
//! behaviour.md 32.1, 32.19, 32.20.
//!
//! The status is computed each `nodeStatusUpdateFrequency` and at once when the runtime's state turns or a pressure comes or goes. It is written when
//! anything but heartbeats differs, or when the report frequency (give or take half of it) has passed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeAddress, NodeStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::capacity::Resources;
use super::facts::changed;
use super::info::Machine;
use super::view::SeenStatus;
use super::{
    NodeReceiver, Pressures, RuntimeState, addresses, features, images, lease, registration, status, view,
};
use crate::cause::chain;
use crate::config::Config;
use crate::events::Recorder;
use crate::kubeconfig::Clients;
use crate::sources::backoff::random;

/// Tries of one round; behaviour.md 32.19.
const TRIES: u32 = 5;
const TRY_WAIT: Duration = Duration::from_millis(200);
/// Images and addresses that nobody has announced a change of are read this often.
const SLOW: Duration = Duration::from_secs(300);
const JITTER: f64 = 0.04;
/// How long a node that was there before waits for the first word of the runtime before it is shown without it.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// A stream of runtime changes must not become a stream of writes.
const SETTLE: Duration = Duration::from_millis(20);

/// What the node is made of and how it is to be shown.
#[derive(Debug, Clone)]
pub struct Settings {
    pub node_name: String,
    pub node_ips: Vec<IpAddr>,
    pub node_labels: Vec<(String, String)>,
    pub external_cloud_provider: bool,
    pub config: Arc<Config>,
    pub machine: Machine,
    pub resources: Resources,
    pub root_dir: PathBuf,
    /// Of each call for the node's sake.
    pub call_timeout: Duration,
}

/// The node's tasks: status writer, lease, and the watch of the own object.
pub struct NodeAgent {
    settings: Settings,
    runtime: watch::Receiver<RuntimeState>,
    cri: Option<cri_client::Client>,
    recorder: Recorder,
    /// Whether the machine goes down.
    down: Option<watch::Receiver<bool>>,
    /// What the node runs short of.
    pressures: Option<watch::Receiver<Pressures>>,
    images: Vec<ContainerImage>,
    images_read: Option<(Instant, u64)>,
    addresses: Vec<NodeAddress>,
    addresses_read: Option<Instant>,
    /// What of the runtime's state the last round has seen.
    turn: Turn,
    /// The object is one of an earlier daemon, and says of extended resources what that one knew: there is no device plugin here
    /// that would say it again.
    resets_extended: bool,
}

impl std::fmt::Debug for NodeAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeAgent").field("node", &self.settings.node_name).finish_non_exhaustive()
    }
}

impl NodeAgent {
    /// `cri` gives the list of images; without it none are shown.
    #[must_use]
    pub fn new(
        settings: Settings,
        runtime: watch::Receiver<RuntimeState>,
        cri: Option<cri_client::Client>,
        recorder: Recorder,
    ) -> Self {
        Self {
            settings,
            runtime,
            cri,
            recorder,
            down: None,
            pressures: None,
            images: Vec::new(),
            images_read: None,
            addresses: Vec::new(),
            addresses_read: None,
            turn: Turn::of(&RuntimeState::default()),
            resets_extended: false,
        }
    }

    /// The node is not ready while the machine goes down, as `down` says.
    pub(crate) fn until_shutdown(mut self, down: watch::Receiver<bool>) -> Self {
        self.down = Some(down);
        self
    }

    /// The node's conditions of pressure are as `pressures` says.
    pub(crate) fn under(mut self, pressures: watch::Receiver<Pressures>) -> Self {
        self.pressures = Some(pressures);
        self
    }

    /// Starts the tasks; they end at `stop`. The receiver shows the own object from the first answer on.
    pub fn start(
        self,
        clients: &Clients,
        stop: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> NodeReceiver {
        let (shown, node) = watch::channel(None);
        let name = self.settings.node_name.clone();
        self.recorder.node_event(false, "Starting", "Starting kubelet.");
        let (seen, statuses) = watch::channel(SeenStatus::default());
        tasks.spawn(view::run(
            clients.general.clone(),
            name.clone(),
            shown,
            seen,
            self.recorder.clone(),
            stop.clone(),
        ));
        tasks.spawn(lease::run(
            clients.node.clone(),
            name,
            self.settings.config.node_lease_duration_seconds,
            self.settings.call_timeout,
            node.clone(),
            stop.clone(),
        ));
        let api = Api::all(clients.node.clone());
        tasks.spawn(async move {
            let mut stop = stop;
            tokio::select! {
                // Cancel-safe: a level.
                _ = stop.wait_for(|stop| *stop) => {}
                // Cut off only when the daemon ends.
                () = self.run(api, statuses) => {}
            }
        });
        node
    }

    async fn run(mut self, api: Api<Node>, mut statuses: watch::Receiver<SeenStatus>) {
        let first = self.compute(&NodeStatus::default()).await;
        let registration::Registered { node, existed } =
            registration::register(&api, &self.settings, first).await;
        self.resets_extended = existed;
        let mut known = SeenStatus::of(node);
        self.tell_reboot(&known.status);
        let mut told = status::told_before(&known.status);
        let report = self.settings.config.node_status_report_frequency.to_std();
        let mut next_report = Instant::now() + report.mul_f64(0.5 + random());
        if existed {
            // Who watches it is to see a heartbeat of this daemon, not of the one before, but nothing that has
            // not been observed. An error is the end of the wait, too.
            next_report = Instant::now();
            let _ = timeout(FIRST_ANSWER, self.runtime.wait_for(RuntimeState::has_answered)).await;
        }
        loop {
            // Others write the status too: after a lapsed lease the node controller makes Ready unknown.
            let seen = statuses.borrow_and_update().clone();
            if seen.version > known.version {
                known = seen;
            }
            if !known.lacks.is_empty() {
                self.relabel(&api, &mut known).await;
            }
            let wanted = self.compute(&known.status).await;
            for reason in status::transitions(&told, &wanted) {
                self.recorder.node_event(
                    false,
                    reason,
                    format!("Node {} status is now: {reason}", self.settings.node_name),
                );
            }
            told.clone_from(&wanted);
            if status::changed(&known.status, &wanted) || Instant::now() >= next_report {
                match self.write(&api, &known.status, &wanted).await {
                    Ok(written) => {
                        known = written;
                        self.resets_extended = false;
                        next_report = Instant::now() + report.mul_f64(0.5 + random());
                    }
                    Err(error) => tracing::warn!(
                        node = self.settings.node_name,
                        error,
                        "the node's status could not be written; tried again"
                    ),
                }
            }
            self.wait(&known, &mut statuses).await;
        }
    }

    /// Until the next round is due, the runtime's state turns, or somebody else has written the status.
    async fn wait(&mut self, known: &SeenStatus, statuses: &mut watch::Receiver<SeenStatus>) {
        let update = self.settings.config.node_status_update_frequency.to_std();
        let due = Instant::now() + update.mul_f64(1.0 + JITTER * random());
        loop {
            tokio::select! {
                // Cancel-safe: only a time.
                () = sleep_until(due) => return,
                // Cancel-safe: a level.
                () = changed(&mut self.down) => return,
                // Cancel-safe: a level.
                () = changed(&mut self.pressures) => return,
                // Cancel-safe: a level. What only says that the runtime is still well is not worth a round.
                changed = self.runtime.changed() => match changed {
                    Ok(()) if Turn::of(&self.runtime.borrow_and_update()) == self.turn => {}
                    Ok(()) => return sleep(SETTLE).await,
                    Err(_) => return sleep_until(due).await,
                },
                // Cancel-safe: a level. Own writes come back with a version that is known.
                changed = statuses.changed() => match changed {
                    Ok(()) => {
                        let seen = statuses.borrow_and_update();
                        let differs = !seen.lacks.is_empty() || status::changed(&known.status, &seen.status);
                        if seen.version > known.version && differs {
                            return;
                        }
                    }
                    Err(_) => return sleep_until(due).await,
                },
            }
        }
    }

    async fn compute(&mut self, before: &NodeStatus) -> NodeStatus {
        let runtime = self.runtime.borrow_and_update().clone();
        self.turn = Turn::of(&runtime);
        self.read_addresses().await;
        self.read_images(&runtime).await;
        let instant = Instant::now();
        let pressures = self.pressures.as_mut().map(|pressures| *pressures.borrow_and_update());
        let shutting_down = self.down.as_mut().is_some_and(|down| *down.borrow_and_update());
        let declared = features::declared(&self.settings.config);
        let inputs = status::Inputs {
            machine: &self.settings.machine,
            resources: &self.settings.resources,
            runtime: &runtime,
            addresses: &self.addresses,
            addresses_of_cloud: self.settings.external_cloud_provider,
            resets_extended: self.resets_extended,
            images: &self.images,
            pressures: pressures.unwrap_or_default(),
            shutting_down,
            declared_features: declared.map(|names| names.into_iter().collect()),
            port: self.settings.config.port,
            now: Timestamp::now(),
            instant,
        };
        status::compute(&inputs, before)
    }

    async fn read_addresses(&mut self) {
        let now = Instant::now();
        if !self.addresses.is_empty() && self.addresses_read.is_some_and(|at| now.duration_since(at) < SLOW) {
            return;
        }
        let Settings { node_name, node_ips, external_cloud_provider, .. } = &self.settings;
        match addresses::node_addresses(node_name, node_ips, *external_cloud_provider).await {
            Ok(found) => {
                self.addresses = found;
                self.addresses_read = Some(now);
            }
            Err(error) => tracing::error!(%error, "the node's addresses are unknown"),
        }
    }

    async fn read_images(&mut self, runtime: &RuntimeState) {
        let Some(cri) = &self.cri else { return };
        let now = Instant::now();
        let fresh = self.images_read.is_some_and(|(at, generation)| {
            generation == runtime.images_generation && now.duration_since(at) < SLOW
        });
        if fresh || runtime.ready.is_err() {
            return;
        }
        match cri.list_images().await {
            Ok(found) => {
                self.images = images::shown(&found, self.settings.config.node_status_max_images);
                self.images_read = Some((now, runtime.images_generation));
            }
            Err(error) => tracing::warn!(%error, "the runtime's images could not be listed"),
        }
    }

    async fn write(
        &self,
        api: &Api<Node>,
        known: &NodeStatus,
        wanted: &NodeStatus,
    ) -> Result<SeenStatus, String> {
        let params = PatchParams::default();
        let patch = Patch::Strategic(status::patch(known, wanted));
        let mut last = String::new();
        for attempt in 0..TRIES {
            let call = api.patch_status(&self.settings.node_name, &params, &patch);
            match timeout(self.settings.call_timeout, call).await {
                Ok(Ok(node)) => return Ok(SeenStatus::of(node)),
                Ok(Err(error)) => last = chain(&error),
                Err(_) => last = format!("no answer in {:?}", self.settings.call_timeout),
            }
            if attempt + 1 < TRIES {
                sleep(TRY_WAIT * 2_u32.pow(attempt)).await;
            }
        }
        Err(last)
    }

    /// Puts back what somebody has taken away; where that fails, the next round tries it again.
    async fn relabel(&self, api: &Api<Node>, known: &mut SeenStatus) {
        let patch = Patch::Strategic(json!({"metadata": {"labels": known.lacks}}));
        let params = PatchParams::default();
        let call = api.patch(&self.settings.node_name, &params, &patch);
        let error = match timeout(self.settings.call_timeout, call).await {
            Ok(Ok(node)) => return *known = SeenStatus::of(node),
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer in {:?}", self.settings.call_timeout),
        };
        tracing::warn!(node = self.settings.node_name, error, "the node's labels could not be put back");
    }

    fn tell_reboot(&self, known: &NodeStatus) {
        let boot_id = &self.settings.machine.boot_id;
        if known.node_info.as_ref().is_some_and(|info| !info.boot_id.is_empty() && info.boot_id != *boot_id) {
            let message = format!("Node {} has been rebooted, boot id: {boot_id}", self.settings.node_name);
            self.recorder.node_event(true, "Rebooted", message);
        }
    }
}

/// What of the runtime's state is worth a round at once.
#[derive(Debug, PartialEq)]
struct Turn {
    ready: bool,
    network: bool,
    version: String,
    images: u64,
}

impl Turn {
    fn of(state: &RuntimeState) -> Self {
        Self {
            ready: state.ready.is_ok(),
            network: state.network.is_ok(),
            version: state.version.clone(),
            images: state.images_generation,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
