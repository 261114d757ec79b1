//! What the node, its pods and their containers use (behaviour.md 28, 44): read when somebody asks, and by nobody else.
//!
//! ```text
//!  eviction, top, status, /stats, /metrics --how old may it be?--> Usage --+-- tree, group <- the pods' cgroups
//!                                                                          +-- runtime    <- CRI, where there are none
//!                                                                          +-- machine, network <- /proc, statfs
//!                                                                          '-- disk, count <- directories, CRI
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `figures` | what there is to be known |
//! | `known` | the pods and containers that figures are of |
//! | `tree`, `group` | cgroups, as figures |
//! | `machine`, `network` | the node, and networks, from `/proc` |
//! | `runtime` | what the runtime says |
//! | `rate` | processor time as a rate |
//! | `disk`, `count`, `claims` | what pods take of the disk |
//! | `measure` | what a scrape costs |
//! | `summary`, `cadvisor`, `resource`, `series` | figures as a kubelet's answers |
//!
//! A question says how old its answer may be; what is younger than a second is answered again, and then forgotten. Only readings that
//! rates need, and what was counted on the disk, are kept between questions. One reading of a kind at a time; whoever asks meanwhile
//! shares it.

mod bounded;
pub(crate) mod cadvisor;
mod claims;
mod count;
mod disk;
mod figures;
mod group;
mod known;
mod machine;
pub mod measure;
mod network;
mod rate;
pub(crate) mod resource;
mod runtime;
pub(crate) mod series;
pub(crate) mod summary;
mod tree;
pub(crate) mod volume_stats;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError};
use std::time::Duration;

use cgroups::Sampler;
use cri_client::Client;
use k8s_openapi::api::core::v1::Pod;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout};

pub(crate) use self::figures::*;

use self::claims::{Bound, Claims};
use self::disk::{Disk, Places};
use self::rate::Rates;
use self::tree::Reader;
use crate::cause::chain;
use crate::cgroups::PodCgroups;
use crate::config::Config;
use crate::node::info::Machine;
use crate::pods::{RunningPod, Shown};

/// What was read is answered again for so long at most.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Disk use that is shown may be so old, as a kubelet's may.
pub(crate) const DISK_FRESH: Duration = Duration::from_secs(60);
/// How long the runtime may take for its figures.
const RUNTIME_LIMIT: Duration = Duration::from_secs(10);
const PROC: &str = "/proc";

/// What figures are taken from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) config: Arc<Config>,
    pub(crate) root_dir: PathBuf,
    pub(crate) cri: Client,
    pub(crate) shown: Shown,
    /// Says what claims are bound to.
    pub(crate) client: Option<kube::Client>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) node_name: String,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client has nothing to show.
        f.debug_struct("Sources").field("root_dir", &self.root_dir).finish_non_exhaustive()
    }
}

/// Answers what is in use; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Usage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sources: Sources,
    cgroups: OnceLock<PodCgroups>,
    // Each has a lock of its own: the runtime may keep one of them waiting.
    node: Reading<Arc<NodeUsage>>,
    pods: Reading<Arc<Vec<PodUsage>>>,
    images: Reading<Images>,
    /// Of the root directory. The table of mounts is long, and this does not change.
    fs_device: OnceLock<Option<String>>,
    node_rates: StdMutex<Rates>,
    pod_rates: Arc<StdMutex<Rates>>,
    disk: Disk,
    bound: Bound,
    /// Held while the disk is counted, also by whoever counts for a question that is gone.
    counting: Arc<Mutex<()>>,
}

/// What was read last, and when.
type Reading<T> = Mutex<Option<(Instant, T)>>;

/// The file systems of images and of writable layers, as far as the runtime tells.
#[derive(Clone, Copy, Debug, Default)]
struct Images {
    image_fs: Option<Fs>,
    container_fs: Option<Fs>,
}

impl Usage {
    /// Nothing is read yet.
    pub(crate) fn new(sources: Sources) -> Self {
        Self(Arc::new(Inner {
            sources,
            cgroups: OnceLock::new(),
            node: Mutex::default(),
            pods: Mutex::default(),
            images: Mutex::default(),
            fs_device: OnceLock::new(),
            node_rates: StdMutex::default(),
            pod_rates: Arc::default(),
            disk: Disk::default(),
            bound: Bound::default(),
            counting: Arc::default(),
        }))
    }

    /// What figures are taken from.
    pub(crate) fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Whether any pod that was looked at uses a claim.
    pub(crate) fn has_claims(&self) -> bool {
        self.0.sources.shown.running_pods().iter().any(|known| claims::has_any(&known.pod))
    }

    /// From now on pods' figures are read from these.
    pub(crate) fn set_cgroups(&self, cgroups: PodCgroups) {
        // They are opened once.
        let _ = self.0.cgroups.set(cgroups);
    }

    /// The node, as it was no longer than `max_age` ago, without the file systems that only the runtime knows: nobody waits for it.
    pub(crate) async fn node(&self, max_age: Duration) -> Arc<NodeUsage> {
        let read = async { Arc::new(self.read_node().await) };
        self.fresh(|inner| &inner.node, max_age, read).await
    }

    /// The same with the file systems of images and of writable layers, for which the runtime is asked.
    pub(crate) async fn node_and_images(&self, max_age: Duration) -> NodeUsage {
        let images = self.fresh(|inner| &inner.images, max_age, self.read_images());
        let (node, images) = tokio::join!(self.node(max_age), images);
        NodeUsage { image_fs: images.image_fs, container_fs: images.container_fs, ..NodeUsage::clone(&node) }
    }

    /// Every pod that has something running, by namespace and name, as it was no longer than `max_age` ago; what they take of the disk
    /// as it was counted last, if it was.
    pub(crate) async fn pods(&self, max_age: Duration) -> Arc<Vec<PodUsage>> {
        let read = async { Arc::new(self.read_pods().await) };
        let read = self.fresh(|inner| &inner.pods, max_age, read).await;
        let mut pods = Vec::clone(&read);
        self.0.disk.fill(&mut pods);
        Arc::new(pods)
    }

    /// The same, and what they take of the disk counted no longer than `disk_age` ago: of the pods with the UIDs in `only`, or of all;
    /// of others as it was counted last. That can take seconds: directories are read slowly. When this is dropped, what was begun is
    /// still counted.
    pub(crate) async fn pods_and_disk(
        &self,
        max_age: Duration,
        disk_age: Duration,
        only: Option<&BTreeSet<String>>,
    ) -> Arc<Vec<PodUsage>> {
        self.count_disk(disk_age, only).await;
        self.pods(max_age).await
    }

    /// What was read no longer than `max_age` ago, or what `read` reads now. Whoever asks meanwhile waits for it.
    async fn fresh<T: Clone + Send + 'static>(
        &self,
        reading: fn(&Inner) -> &Reading<T>,
        max_age: Duration,
        read: impl Future<Output = T>,
    ) -> T {
        let mut kept = reading(&self.0).lock().await;
        if let Some((at, value)) = &*kept
            && at.elapsed() <= max_age
        {
            return value.clone();
        }
        let value = read.await;
        *kept = Some((Instant::now(), value.clone()));
        self.forget_later(reading);
        value
    }

    async fn read_pods(&self) -> Vec<PodUsage> {
        let running = self.0.sources.shown.running_pods();
        let mut pods = known::pods(&running);
        let rates = Arc::clone(&self.0.pod_rates);
        if let Some(cgroups) = self.0.cgroups.get().cloned() {
            let read = blocking(move || {
                read_tree(&mut pods, &running, &cgroups, &rates);
                pods
            });
            return read.await.unwrap_or_default();
        }
        let cri = &self.0.sources.cri;
        let sandboxes = timeout(RUNTIME_LIMIT, cri.list_pod_sandbox_stats()).await;
        if let Ok(Ok(Some(stats))) = sandboxes {
            let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
            rates.begin();
            runtime::pods(&mut pods, &stats, &mut rates);
            rates.end();
        } else if let Some(stats) = self.ask("containers", cri.list_container_stats()).await {
            let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
            rates.begin();
            runtime::containers(&mut pods, &stats, &mut rates);
            rates.end();
        }
        pods
    }

    async fn read_node(&self) -> NodeUsage {
        let this = self.clone();
        let read = blocking(move || {
            let Inner { sources, cgroups, node_rates, fs_device, .. } = &*this.0;
            let device = || machine::device(Path::new(PROC), &sources.root_dir);
            let fs_device = fs_device.get_or_init(device).clone();
            NodeUsage { fs_device, ..read_node(sources, cgroups.get(), node_rates) }
        });
        read.await.unwrap_or_default()
    }

    async fn read_images(&self) -> Images {
        let info = async { self.0.sources.cri.image_fs_info().await.map(Some) };
        let Some(info) = self.ask("file systems", info).await else { return Images::default() };
        let first = |systems: &[cri_client::v1::FilesystemUsage]| {
            let (place, fs) = systems.iter().find_map(runtime::file_system)?;
            let whole = machine::file_system(Path::new(&place)).unwrap_or_default();
            Some(whole.part(fs.time, fs.used, fs.inodes_used))
        };
        Images { image_fs: first(&info.image_filesystems), container_fs: first(&info.container_filesystems) }
    }

    /// What the runtime answers; none where it has no such call, or fails, which is told.
    async fn ask<T>(
        &self,
        about: &'static str,
        call: impl Future<Output = Result<Option<T>, cri_client::CallError>>,
    ) -> Option<T> {
        match timeout(RUNTIME_LIMIT, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "the runtime does not tell what is used: {about}");
                None
            }
            Err(_) => {
                tracing::warn!("the runtime has not told within {RUNTIME_LIMIT:?} what is used: {about}");
                None
            }
        }
    }

    async fn count_disk(&self, disk_age: Duration, only: Option<&BTreeSet<String>>) {
        let turn = Arc::clone(&self.0.counting).lock_owned().await;
        let running = self.0.sources.shown.running_pods();
        let uids: Vec<&str> = running.iter().map(|known| uid(&known.pod)).collect();
        self.0.bound.keep(&uids);
        // Asked with the turn: another question may just have had it counted.
        let mut due = self.0.disk.due(&uids, disk_age, Instant::now());
        due.retain(|uid| only.is_none_or(|only| only.contains(uid)));
        if due.is_empty() {
            return;
        }
        let due = running.into_iter().filter(|known| due.contains(uid(&known.pod))).collect();
        let this = self.clone();
        // A task, so that a question that gives up before the runtime has answered does not leave everything to the next one.
        let counting = tokio::spawn(async move { this.count_pods(due, turn).await });
        // It is not ended by anybody, and its panic tells of itself.
        let _ = counting.await;
    }

    async fn count_pods(&self, pods: Vec<RunningPod>, turn: OwnedMutexGuard<()>) {
        let sources = &self.0.sources;
        if let Some(layers) = self.ask("containers", sources.cri.list_container_stats()).await {
            self.0.disk.layers(runtime::layers(&layers));
        }
        let mut claims: Vec<Claims> = pods.iter().map(|known| Claims::of(&known.pod)).collect();
        self.0.bound.resolve(sources.client.as_ref(), &mut claims).await;
        let place = |(known, claims): (&RunningPod, Claims)| Places {
            uid: uid(&known.pod).to_owned(),
            volumes: sources.root_dir.join("pods").join(uid(&known.pod)).join("volumes"),
            logs: Path::new(&sources.config.pod_logs_dir).join(podspec::log_dir_name(&known.pod)),
            claims: claims.volumes,
        };
        self.0.disk.count(pods.iter().zip(claims).map(place).collect(), turn).await;
    }

    /// What was read is some 2 KiB a container: it goes when nobody may be answered with it any more.
    fn forget_later<T: Send + 'static>(&self, reading: fn(&Inner) -> &Reading<T>) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(FRESH).await;
            let mut kept = reading(&this.0).lock().await;
            if kept.as_ref().is_some_and(|(at, _)| at.elapsed() >= FRESH) {
                *kept = None;
            }
        });
    }
}

/// On the pool for calls that block; none where that has broken off, which is told by its panic.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn read_tree(pods: &mut [PodUsage], running: &[RunningPod], cgroups: &PodCgroups, rates: &StdMutex<Rates>) {
    let specs: HashMap<&str, &Pod> = running.iter().map(|known| (uid(&known.pod), &*known.pod)).collect();
    let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
    rates.begin();
    let mut reader = Reader {
        tree: cgroups.tree(),
        proc: Path::new(PROC),
        rates: &mut rates,
        sampler: Sampler::default(),
    };
    reader.pods(pods, &specs);
    rates.end();
}

fn read_node(sources: &Sources, cgroups: Option<&PodCgroups>, rates: &StdMutex<Rates>) -> NodeUsage {
    let proc = Path::new(PROC);
    let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
    rates.begin();
    let mut node = NodeUsage {
        start_time: machine::start_time(proc),
        group: machine::group(proc, &mut rates),
        network: network::of_node(proc).ok(),
        fs: machine::file_system(&sources.root_dir).ok(),
        tasks: machine::tasks(proc),
        ..NodeUsage::default()
    };
    if let Some(cgroups) = cgroups {
        let mut reader =
            Reader { tree: cgroups.tree(), proc, rates: &mut rates, sampler: Sampler::default() };
        if let (Some(devices), Some(io)) = (reader.disks(), &mut node.group.io) {
            io.devices = Some(devices);
        }
        node.tiers = reader.tiers();
        let pods = node.tiers.first().cloned();
        let config = &sources.config;
        let kubelet = tree::own_cgroup(proc, &config.kubelet_cgroups, Some(std::process::id()));
        let runtime = tree::own_cgroup(proc, "", runtime_process(config));
        node.system.extend(reader.system("kubelet", kubelet));
        node.system.extend(reader.system("runtime", runtime));
        if !config.system_cgroups.is_empty() {
            node.system.extend(reader.system("misc", Some(config.system_cgroups.clone())));
        }
        node.system.extend(pods.map(|group| SystemUsage { name: "pods", start_time: None, group }));
    }
    rates.end();
    node
}

/// The process behind the runtime's socket; PID 1 only keeps it for a runtime that is started later. A runtime that takes no more
/// connections is not waited for.
fn runtime_process(config: &Config) -> Option<u32> {
    let path = cri_client::socket_path(&config.container_runtime_endpoint).ok()?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    connect(socket.as_raw_fd(), &UnixAddr::new(&path).ok()?).ok()?;
    let process = getsockopt(&socket, PeerCredentials).ok()?.pid();
    u32::try_from(process).ok().filter(|process| *process > 1)
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
