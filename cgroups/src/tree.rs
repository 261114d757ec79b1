//! The node's cgroups in one driver's hands: made, set, read, listed, removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use thiserror::Error;

use crate::accounting;
use crate::cpu::{CpuMax, cpu_shares_of_weight};
use crate::hierarchy::{CgroupFiles, FileError, Mount, mount_at};
use crate::memory::{Kept, Limit};
use crate::names::{Cgroup, Driver, Layout, Tier};
use crate::orphans::{PodCgroup, pods_of_tier};
use crate::removal::{Outcome, Removal, Step};
use crate::systemd::{Systemd, SystemdError};
use crate::values::{Setting, Values};

/// Controllers without which a cgroup counts as missing, as far as the machine has them (behaviour.md 21.2).
const REQUIRED: [&str; 5] = ["cpu", "cpuset", "hugetlb", "memory", "pids"];
/// How often controllers are switched on before one that does not come through is an error.
const MAKE_ATTEMPTS: u32 = 10;
const MAKE_WAIT: Duration = Duration::from_millis(20);

/// Something could not be done with the node's cgroups.
#[derive(Debug, Error)]
pub enum TreeError {
    /// A file of the hierarchy.
    #[error(transparent)]
    File(#[from] FileError),
    /// systemd.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The machine does not have the unified hierarchy.
    #[error("{} is not the unified cgroup v2 hierarchy (file system {magic:#x})", path.display())]
    NotUnified {
        /// Where it was looked for.
        path: PathBuf,
        /// What is there.
        magic: i64,
    },
    /// A controller that the machine has does not come through to a cgroup.
    #[error("the cgroup {cgroup} lacks the controllers {missing:?}, which the machine has")]
    Controllers {
        /// Which cgroup.
        cgroup: String,
        /// Which controllers.
        missing: Vec<String>,
    },
    /// Several of the values could not be written; the others are.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Values(Vec<FileError>),
}

/// What a cgroup was found to hold; none where there is no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// `cpu.weight`.
    pub cpu_weight: Option<u64>,
    /// `cpu.max`.
    pub cpu_max: Option<CpuMax>,
    /// `memory.max`.
    pub memory_max: Option<Limit>,
    /// `memory.min` and `memory.low`.
    pub memory_kept: Option<Kept>,
    /// `pids.max`.
    pub pids_max: Option<Limit>,
    /// `memory.current` in bytes: a memory limit below it is refused (behaviour.md 27.7).
    pub memory_bytes: Option<u64>,
    /// Controllers that the machine has and the cgroup lacks: [`Tree::ensure`] gets them back. A kubelet takes such a
    /// cgroup for one that is gone (behaviour.md 21.2), and the pod with it; but systemd takes controllers away that it
    /// knows no use for, `cpuset` at every reload, and no container is worse off for it.
    pub missing: Vec<String>,
}

impl Held {
    /// In the terms in which values are set, for a resize; shares by the linear way back (behaviour.md 50.10).
    pub fn values(&self) -> Values {
        Values {
            cpu_shares: self.cpu_weight.map(cpu_shares_of_weight),
            cpu_max: self.cpu_max,
            memory_max: self.memory_max,
            memory_kept: self.memory_kept,
            pids_max: self.pids_max,
            ..Values::default()
        }
    }
}

/// The cgroups below one mount, and who makes them.
#[derive(Debug)]
pub struct Tree {
    files: CgroupFiles,
    layout: Layout,
    systemd: Option<Systemd>,
    /// Of the root.
    controllers: BTreeSet<String>,
}

impl Tree {
    /// Opens the mount of the unified hierarchy (`/sys/fs/cgroup`).
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn open(mount: &Path, layout: Layout) -> Result<Self, TreeError> {
        if let Mount::Other(magic) = mount_at(mount)? {
            return Err(TreeError::NotUnified { path: mount.to_owned(), magic });
        }
        Self::of(mount, layout, Systemd::new())
    }

    /// As [`Self::open`], below any directory and with another bus: for tests.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn of(directory: &Path, layout: Layout, systemd: Systemd) -> Result<Self, TreeError> {
        let files = CgroupFiles::open(directory)?;
        let controllers = files.read("/", "cgroup.controllers")?;
        let controllers = accounting::words(&controllers).into_iter().collect();
        let systemd = (layout.driver() == Driver::Systemd).then_some(systemd);
        Ok(Self { files, layout, systemd, controllers })
    }

    /// Where the pods are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The files themselves, for accounting.
    pub fn files(&self) -> &CgroupFiles {
        &self.files
    }

    /// Makes the cgroup and those above it as far as they are missing, with all controllers, and has it hold `values`.
    /// One that is there keeps what `values` does not speak of.
    ///
    /// # Errors
    /// It cannot be made, or some of the values cannot be written.
    pub async fn ensure(&self, cgroup: &Cgroup, values: &Values) -> Result<(), TreeError> {
        if let (Some(systemd), Some(unit), Some(parent)) = (&self.systemd, cgroup.unit(), cgroup.parent()) {
            let parent = parent.unit().unwrap_or_default();
            systemd.start_slice(&unit, &parent, &values.properties()).await?;
        }
        self.make(cgroup).await?;
        self.write(cgroup, values)
    }

    /// Has a cgroup that is there hold `values`.
    ///
    /// # Errors
    /// There is no such cgroup, or some of the values cannot be written.
    pub async fn set(&self, cgroup: &Cgroup, values: &Values) -> Result<(), TreeError> {
        if let (Some(systemd), Some(unit)) = (&self.systemd, cgroup.unit()) {
            systemd.set_properties(&unit, &values.properties()).await?;
        }
        self.write(cgroup, values)
    }

    /// Has a cgroup that is there hold `values`, with all controllers; where it does already, nothing is written. One that
    /// is not there stays so: whoever removes it meanwhile is not undone.
    ///
    /// # Errors
    /// Some of the values cannot be written.
    pub async fn renew(&self, cgroup: &Cgroup, values: &Values) -> Result<(), TreeError> {
        let done = async {
            let path = cgroup.path();
            if !self.missing(&path)?.is_empty() {
                let mut above = String::new();
                for directory in cgroup.directories() {
                    self.switch_on(&above)?;
                    above = format!("{above}/{directory}");
                }
            }
            if self.holds(&path, values)? { Ok(()) } else { self.set(cgroup, values).await }
        };
        let done: Result<(), TreeError> = done.await;
        match done {
            Err(_) if !self.files.exists(&cgroup.path())? => Ok(()),
            done => done,
        }
    }

    /// Whether each file has what would be written to it. A limit that the kernel has rounded counts as another one.
    fn holds(&self, path: &str, values: &Values) -> Result<bool, FileError> {
        for setting in self.settings(values) {
            let content = self.files.read(path, &setting.file)?;
            if content.trim_ascii() != setting.content.as_bytes() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Directories and controllers, from the root down. The controllers of a cgroup are switched on in those above it;
    /// what is below it is the runtime's. systemd may switch some off again meanwhile.
    async fn make(&self, cgroup: &Cgroup) -> Result<(), TreeError> {
        let mut attempt = 0;
        loop {
            let mut path = String::new();
            for directory in cgroup.directories() {
                self.switch_on(&path)?;
                path = format!("{path}/{directory}");
                self.files.make(&path)?;
            }
            let missing = self.missing(&path)?;
            if missing.is_empty() {
                return Ok(());
            }
            attempt += 1;
            if attempt == MAKE_ATTEMPTS {
                return Err(TreeError::Controllers { cgroup: path, missing });
            }
            tokio::time::sleep(MAKE_WAIT).await;
        }
    }

    /// Required controllers that a cgroup lacks and the machine has.
    fn missing(&self, path: &str) -> Result<Vec<String>, TreeError> {
        let has = accounting::words(&self.files.read(path, "cgroup.controllers")?);
        let lacks = |name: &&str| self.controllers.contains(*name) && !has.iter().any(|h| h == name);
        Ok(REQUIRED.into_iter().filter(lacks).map(str::to_owned).collect())
    }

    /// Switches all controllers on for what is below a cgroup: at once, and where one cannot be had, each by itself.
    /// What is missing in the end is told by [`Self::make`].
    fn switch_on(&self, path: &str) -> Result<(), TreeError> {
        let words = |file| self.files.read(path, file).map(|bytes| accounting::words(&bytes));
        let on = words("cgroup.subtree_control")?;
        let mut off = words("cgroup.controllers")?;
        off.retain(|name| !on.contains(name));
        let write = |names: &str| self.files.write(path, "cgroup.subtree_control", names);
        let all: Vec<String> = off.iter().map(|name| format!("+{name}")).collect();
        if !all.is_empty() && write(&all.join(" ")).is_err() {
            for one in all {
                // One that another has switched off above meanwhile, or that cannot be had with processes about.
                let _ = write(&one);
            }
        }
        Ok(())
    }

    /// Without those of controllers that the machine does not have.
    fn settings(&self, values: &Values) -> impl Iterator<Item = Setting> {
        let has =
            |setting: &Setting| self.controllers.contains(setting.file.split('.').next().unwrap_or_default());
        values.settings().into_iter().filter(has)
    }

    /// Writes every value, whatever becomes of the others.
    fn write(&self, cgroup: &Cgroup, values: &Values) -> Result<(), TreeError> {
        let path = cgroup.path();
        let write = |setting: Setting| self.files.write(&path, &setting.file, &setting.content).err();
        let errors: Vec<FileError> = self.settings(values).filter_map(write).collect();
        if errors.is_empty() { Ok(()) } else { Err(TreeError::Values(errors)) }
    }

    /// What the cgroup holds; none where it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn held(&self, cgroup: &Cgroup) -> Result<Option<Held>, TreeError> {
        let path = cgroup.path();
        if !self.files.exists(&path)? {
            return Ok(None);
        }
        let read = |file| self.files.read_if_there(&path, file);
        let number = |file| read(file).map(|bytes| bytes.and_then(|bytes| accounting::number(&bytes)));
        let limit = |file| read(file).map(|bytes| bytes.and_then(|bytes| accounting::limit(&bytes)));
        let (min, low) = (number("memory.min")?, number("memory.low")?);
        Ok(Some(Held {
            cpu_weight: number("cpu.weight")?,
            cpu_max: read("cpu.max")?.and_then(|bytes| accounting::cpu_max(&bytes)),
            memory_max: limit("memory.max")?,
            memory_kept: min.zip(low).map(|(min_bytes, low_bytes)| Kept { min_bytes, low_bytes }),
            pids_max: limit("pids.max")?,
            memory_bytes: number("memory.current")?,
            missing: self.missing(&path)?,
        }))
    }

    /// The cgroups of all pods, in every tier.
    ///
    /// # Errors
    /// A tier cannot be read.
    pub fn pods(&self) -> Result<Vec<PodCgroup>, TreeError> {
        let mut all = Vec::new();
        for tier in Tier::ALL {
            let path = self.layout.tier(tier).path();
            if !self.files.exists(&path)? {
                continue;
            }
            let mut found = Vec::new();
            for name in self.files.children(&path)? {
                let populated = self.populated(&format!("{path}/{name}"))?;
                found.push((name, populated));
            }
            all.extend(pods_of_tier(&self.layout, tier, found));
        }
        Ok(all)
    }

    fn populated(&self, path: &str) -> Result<bool, FileError> {
        let events = self.files.read_if_there(path, "cgroup.events")?;
        Ok(events.is_some_and(|bytes| accounting::cgroup_events(&bytes).populated))
    }

    /// Carries out one step of a removal. Waiting is done by whoever drives it.
    pub async fn carry_out(&self, cgroup: &Cgroup, step: &Step) -> Outcome {
        let path = cgroup.path();
        match step {
            Step::Look => match self.look(&path) {
                Ok(seen) => seen,
                Err(error) => Outcome::Failed(error.to_string()),
            },
            Step::Kill => outcome(self.kill(&path)),
            Step::StopUnit => match (&self.systemd, cgroup.unit()) {
                (Some(systemd), Some(unit)) => match systemd.stop(&unit).await {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::Failed(error.to_string()),
                },
                _ => Outcome::Done,
            },
            Step::RemoveDirectory(below) if below.is_empty() => outcome(self.files.remove(&path)),
            Step::RemoveDirectory(below) => outcome(self.files.remove(&format!("{path}/{below}"))),
            Step::Wait(_) | Step::Done => Outcome::Done,
        }
    }

    /// Removes the cgroup and all below it, with all their processes; returns when nothing is left. `tell` hears why it
    /// takes longer, each time it has to wait for a reason.
    pub async fn remove(&self, cgroup: &Cgroup, mut tell: impl FnMut(&Removal)) {
        let mut removal = Removal::new(self.systemd.is_some());
        loop {
            let step = removal.step().clone();
            match step {
                Step::Done => return,
                Step::Wait(wait) => {
                    if removal.stuck().is_some() {
                        tell(&removal);
                    }
                    tokio::time::sleep(wait).await;
                    removal.next(Outcome::Done);
                }
                step => {
                    let outcome = self.carry_out(cgroup, &step).await;
                    removal.next(outcome);
                }
            }
        }
    }

    fn look(&self, path: &str) -> Result<Outcome, FileError> {
        if !self.files.exists(path)? {
            return Ok(Outcome::Gone);
        }
        Ok(Outcome::Here { populated: self.populated(path)?, below: self.files.below(path)? })
    }

    /// All at once where the kernel can (from 5.14 on), else one process after the other.
    fn kill(&self, path: &str) -> Result<(), FileError> {
        match self.files.write(path, "cgroup.kill", "1") {
            Err(error) if error.is_gone() => {}
            done => return done,
        }
        let mut directories = self.files.below(path)?;
        directories.push(String::new());
        for directory in directories {
            let processes = self.files.read_if_there(&format!("{path}/{directory}"), "cgroup.procs")?;
            for pid in accounting::words(&processes.unwrap_or_default()) {
                // 0 is a process of another namespace, and to kill it would kill us.
                let Some(pid) = pid.parse::<i32>().ok().filter(|pid| *pid > 1) else { continue };
                match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => {
                        let path = self.files.full_path(path).join("cgroup.procs");
                        return Err(FileError {
                            operation: "killing processes of",
                            path,
                            source: errno.into(),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

fn outcome(done: Result<(), FileError>) -> Outcome {
    match done {
        Ok(()) => Outcome::Done,
        Err(error) if error.is_busy() => Outcome::Busy,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
