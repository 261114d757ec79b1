//! Real nodes in virtual machines: systemd as PID 1, unified cgroup v2, a kernel of their own.
//!
//! ```text
//! [`Ground`]  kernel + image, from the cache or built
//!     │
//! [`Bed`]     a block of addresses, a network, and nodes on it; `scenario` has one around a test
//!     ├── [`Node`] ── [`Machine`] of a [`Starter`] (User Mode Linux)
//!     │        └───── [`Agent`]: commands, files, sockets
//!     └── results: journal, console and state of each node, when the test is over
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `requirements` | what the distribution of this machine has to have |
//! | `kernel` | the kernel: configuration, build, cache |
//! | `base`, `image` | the disk of the nodes: Debian, and what makes it a node |
//! | `starter`, `uml` | how a machine is started: the trait, and User Mode Linux |
//! | `network` | wires and addresses |
//! | `claim` | which bed has which block, and what a killed run left |
//! | `agent` | this machine's side of what it and a node say to each other; the crate `vm-agent` has the other |
//! | `node` | a node and what a test does with it |
//! | `results` | what remains of a test |
//!
//! Everything ends with the [`Bed`], also in a panic. What a killed run left is ended by the next bed on this machine.

mod agent;
mod base;
mod claim;
mod image;
mod kernel;
mod network;
mod node;
mod requirements;
mod results;
mod starter;
mod uml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt as _;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::cache::{self, CacheError};
use crate::cluster::PROGRAMS_VARIABLE;
use crate::progress::Progress;
use crate::tools::chain;

pub use agent::{Agent, AgentError, Bytes, Forward};
pub use base::BaseError;
use claim::Claim;
pub use claim::ClaimError;
pub use image::ImageError;
pub use kernel::KernelError;
pub use network::{Addresses, MAX_NODES, Network, NetworkError};
pub use node::{Node, NodeError};
pub use requirements::RequirementError;
pub use starter::{Disk, Interface, Machine, Spec, StartError, Starter};
pub use uml::UserModeLinux;

/// How much of what was made of other inputs is kept: branches of one clone take turns.
const KEPT: usize = 2;
/// Enough for systemd, containerd and some dozen small pods.
const MEMORY_MIB: u32 = 1536;

/// Why there are no nodes.
#[derive(Debug, Error)]
pub enum VmError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is no kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// There is no disk.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What running machines needs cannot be installed.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// There is no block of addresses.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// There is no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A node is not as it should be.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// What nodes boot from.
#[derive(Clone, Debug)]
pub struct Ground {
    /// A program of this machine.
    pub kernel: PathBuf,
    /// The root disk, which is not written.
    pub image: PathBuf,
}

impl Ground {
    /// From the cache, or built now: the kernel takes minutes. `agent` is the program `vm-agent`, as cargo built it.
    ///
    /// # Errors
    /// Something cannot be fetched, installed or built.
    pub async fn prepare(agent: &Path, progress: &Progress) -> Result<Self, VmError> {
        let place = place()?;
        requirements::install(&requirements::RUN, progress).await?;
        let kernel = kernel::kernel(&place, progress).await?;
        let image = image::image(&place, agent, progress).await?;
        Ok(Self { kernel, image })
    }
}

/// How a bed is to be.
#[derive(Clone, Debug)]
pub struct BedOptions {
    name: String,
    agent: PathBuf,
    results: PathBuf,
    nodes: usize,
    memory_mib: u32,
    processors: u32,
    progress: Progress,
}

/// The options of a bed for a test of this name, in a test of this crate: `bed!("reboot").nodes(2)`.
#[macro_export]
macro_rules! bed {
    ($name:expr) => {
        $crate::vm::BedOptions::new(
            $name,
            &$crate::vm::agent_program(),
            &::std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm"),
        )
    };
}

/// The agent as `cargo build --package vm-agent` made it: where `NODELET_PROGRAMS` says, else beside the test that runs.
#[must_use]
pub fn agent_program() -> PathBuf {
    let dir = std::env::var_os(PROGRAMS_VARIABLE).map(PathBuf::from).or_else(|| {
        // Tests lie in `deps` below the directory with the programs.
        Some(std::env::current_exe().ok()?.parent()?.parent()?.to_path_buf())
    });
    dir.unwrap_or_default().join("vm-agent")
}

impl BedOptions {
    /// One node. What remains of the test goes to a directory of the bed's name below `results`.
    #[must_use]
    pub fn new(name: &str, agent: &Path, results: &Path) -> Self {
        Self {
            name: name.to_owned(),
            agent: agent.to_path_buf(),
            results: results.join(name),
            nodes: 1,
            memory_mib: MEMORY_MIB,
            processors: 1,
            progress: Progress::test(),
        }
    }

    /// With so many nodes, at most [`MAX_NODES`].
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        assert!((1..=MAX_NODES).contains(&nodes), "a bed has 1 to {MAX_NODES} nodes");
        self.nodes = nodes;
        self
    }

    /// With so much memory in each node, in MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// With so many processors in each node. More than one is slow, and only for tests of what depends on it.
    #[must_use]
    pub fn processors(mut self, processors: u32) -> Self {
        self.processors = processors;
        self
    }

    /// Tells this watcher what is being done.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }
}

/// Nodes that run, on a network of their own.
// Fields are dropped in this order: machines before what they stand on.
#[derive(Debug)]
pub struct Bed {
    nodes: Vec<Node>,
    network: Network,
    results: PathBuf,
    // The last holder of the claim ends what is left, and removes the directory.
    _claim: Arc<Mutex<Claim>>,
}

impl Bed {
    /// Boots all nodes and waits until each one's systemd is done.
    ///
    /// # Errors
    /// Something is missing, or a node does not boot.
    pub async fn start(options: &BedOptions) -> Result<Self, VmError> {
        let bed = Self::assemble(options).await?;
        let boots = bed.nodes.iter().map(Node::boot);
        let booted = options.progress.step("booting", futures::future::join_all(boots).map(collected)).await;
        if booted.is_err() {
            bed.keep_results().await;
        }
        booted?;
        Ok(bed)
    }

    /// All nodes, still off.
    async fn assemble(options: &BedOptions) -> Result<Self, VmError> {
        let ground = Ground::prepare(&options.agent, &options.progress).await?;
        cache::empty_dir(&options.results)?;
        let mut claim = Claim::take(&place()?.join("beds")).await?;
        let addresses = Addresses::new(claim.block());
        let network = Network::make(addresses, options.nodes).await?;
        claim.add(network.identity())?;
        let (block, dir) = (usize::from(claim.block()), claim.dir().to_path_buf());
        // A name of the bed's own: a node opens it at each boot, and the cache may have forgotten the other by then.
        let image = dir.join("image.ext4");
        std::fs::hard_link(&ground.image, &image).map_err(CacheError::file("linking", &image))?;
        let claim = Arc::new(Mutex::new(claim));
        let starter: Arc<dyn Starter> = Arc::new(UserModeLinux);
        let mut nodes = Vec::new();
        for number in 1..=options.nodes {
            let name = network::name(number);
            let dir = dir.join(&name);
            let mut arguments = addresses.arguments(number, options.nodes);
            // Quotas that limit, and no interface that nobody asked for.
            arguments.extend(["rootflags=prjquota", "dummy.numdummies=0"].map(str::to_owned));
            arguments.push(format!("systemd.hostname={name}"));
            arguments.push(format!("systemd.machine_id={}", machine_id(&options.name, &name)));
            let spec = Spec {
                kernel: ground.kernel.clone(),
                disks: vec![Disk::CopyOnWrite { image: image.clone(), changes: dir.join("changes") }],
                interfaces: addresses.interfaces(number),
                network: network.pid(),
                memory_mib: options.memory_mib,
                processors: options.processors,
                pinned: (options.processors == 1).then(|| processor(block + number - 1)),
                arguments,
                name,
                dir,
            };
            let (ip, agent) = (addresses.node(number), addresses.agent(number));
            nodes.push(Node::new(spec, ip, agent, Arc::clone(&starter), Arc::clone(&claim)).await?);
        }
        Ok(Self { nodes, network, results: options.results.clone(), _claim: claim })
    }

    /// A node by its number, from 1.
    ///
    /// # Panics
    /// There is none of this number.
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Their network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where what remains of the test goes; a test may put files there too.
    #[must_use]
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// Brings back journal, console and state of all nodes.
    pub async fn keep_results(&self) {
        futures::future::join_all(self.nodes.iter().map(|node| results::keep(node, &self.results))).await;
    }
}

/// Boots nodes, runs `test` with them and ends them, also when the test panics. Journals are in the results either way; of a test
/// that failed their ends are shown.
///
/// # Panics
/// When the nodes do not boot, and when the test does.
pub async fn scenario(options: BedOptions, test: impl AsyncFnOnce(&Bed)) {
    let results = options.results.clone();
    let bed = match Bed::start(&options).await {
        Ok(bed) => bed,
        Err(error) => panic!("starting the nodes (results in {}): {}", results.display(), chain(&error)),
    };
    let outcome = std::panic::AssertUnwindSafe(test(&bed)).catch_unwind().await;
    bed.keep_results().await;
    if let Err(panic) = outcome {
        eprintln!("{}", results::ends(&results));
        std::panic::resume_unwind(panic);
    }
}

/// The first error, if there is one.
fn collected(outcomes: Vec<Result<(), NodeError>>) -> Result<(), NodeError> {
    outcomes.into_iter().collect()
}

fn place() -> Result<PathBuf, CacheError> {
    let place = cache::cache_dir()?.join("vm");
    std::fs::create_dir_all(&place).map_err(CacheError::file("making", &place))?;
    Ok(place)
}

/// A processor for the machine of this number; nodes that run side by side get different ones, as far as there are.
fn processor(number: usize) -> usize {
    let Ok(process) = procfs::process::Process::myself() else { return 0 };
    let allowed = process.status().ok().and_then(|status| status.cpus_allowed_list).unwrap_or_default();
    let known: Vec<usize> =
        allowed.into_iter().flat_map(|(first, last)| first..=last).map(|n| n as usize).collect();
    if known.is_empty() { 0 } else { known[number % known.len()] }
}

/// The same for each boot of a node, and another one for each node.
fn machine_id(bed: &str, node: &str) -> String {
    hex(&Sha256::digest(format!("{bed}/{node}")), 16)
}

/// A name for something that is made of these inputs.
fn key(inputs: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        // With its length, so that no two lists look alike.
        hash.update((input.len() as u64).to_be_bytes());
        hash.update(input);
    }
    hex(&hash.finalize(), 8)
}

/// Removes all but the newest few of what was made of earlier inputs; its names begin with `prefix`.
fn forget_old(place: &Path, prefix: &str) -> Result<(), CacheError> {
    let entries = std::fs::read_dir(place).map_err(CacheError::file("reading", place))?;
    let mut known: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    known.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    known.sort_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    for old in known.iter().rev().skip(KEPT) {
        if old.is_dir() {
            cache::remove_tree(old)?;
        } else {
            std::fs::remove_file(old).map_err(CacheError::file("removing", old))?;
        }
    }
    Ok(())
}

fn hex(bytes: &[u8], length: usize) -> String {
    bytes.iter().take(length).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_other_inputs_has_another_name() {
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
        assert_eq!(key(&[b"ab", b"c"]), key(&[b"ab", b"c"]));
    }

    #[test]
    fn the_newest_of_each_kind_stay_in_the_cache() {
        let dir = tempfile::tempdir().expect("directory");
        let begin = std::time::SystemTime::UNIX_EPOCH;
        for (age, name) in
            ["image-new", "image-older", "image-oldest", "base-new", "kernel-old"].iter().enumerate()
        {
            let file = std::fs::File::create(dir.path().join(name)).expect("file");
            file.set_modified(begin + std::time::Duration::from_secs(1000 - age as u64)).expect("time");
        }
        forget_old(dir.path(), "image-").expect("removed");
        let left = ["image-new", "image-older", "base-new", "kernel-old"];
        assert!(left.iter().all(|name| dir.path().join(name).exists()));
        assert!(!dir.path().join("image-oldest").exists());
    }

    #[test]
    fn nodes_side_by_side_run_on_different_processors_where_there_are_two() {
        if std::thread::available_parallelism().is_ok_and(|n| n.get() >= 2) {
            assert_ne!(processor(0), processor(1));
        }
    }
}
