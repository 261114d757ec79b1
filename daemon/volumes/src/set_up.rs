//! The making of a pod's volumes below `pods/<uid>/volumes` (behaviour.md 20.3). What is there already stays.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::atomic::{self, WriteError};
use crate::empty_dir::Medium;
use crate::host_path::{self, HostPathError};
use crate::mounts;
use crate::ownership::{self, Ownership};
use crate::payload::Payload;
use crate::pod_dirs::{PodDirs, PodDirsError, checked};
use crate::remove::RemoveError;
use crate::sub_path::{self, SubPathError};
use crate::teardown;

/// Which kind of volume files belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// `configMap`: on the disk.
    ConfigMap,
    /// `secret`: in memory, as all that follow.
    Secret,
    /// `downwardAPI`.
    DownwardApi,
    /// `projected`.
    Projected,
}

impl Files {
    fn directory(self) -> &'static str {
        match self {
            Self::ConfigMap => "kubernetes.io~configmap",
            Self::Secret => "kubernetes.io~secret",
            Self::DownwardApi => "kubernetes.io~downward-api",
            Self::Projected => "kubernetes.io~projected",
        }
    }
}

/// What a volume is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// `emptyDir`.
    EmptyDir(Medium),
    /// `hostPath`, also of a persistent volume.
    HostPath {
        /// The path on the node.
        path: String,
        /// One of the API's types.
        kind: String,
        /// Whether nobody may write to it.
        read_only: bool,
    },
    /// Files that are written here; `None` where it cannot be known now what is to be in them: what was written before stays.
    Files(Files, Option<Payload>),
    /// A persistent volume of the kind `local`, a directory of the node.
    Local {
        /// The path on the node.
        path: String,
        /// Whether nobody may write to it.
        read_only: bool,
    },
}

/// One volume of a pod, with all that others had to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The name of its directory: the volume's in the pod, or the persistent volume's.
    pub name: String,
    /// What it is made of.
    pub content: Content,
}

impl Volume {
    /// Whether containers cannot write to it, whatever they ask for (behaviour.md 20.35).
    pub fn is_read_only(&self) -> bool {
        matches!(
            self.content,
            Content::Files(..)
                | Content::Local { read_only: true, .. }
                | Content::HostPath { read_only: true, .. }
        )
    }
}

/// What holds for all volumes of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Who is to own the files, where the pod says so.
    pub ownership: Option<Ownership>,
    /// How much memory files that are kept there may take, in bytes; 0 where nothing limits it.
    pub memory_bytes: u64,
}

/// Why a volume is not there.
#[derive(Debug, Error)]
pub enum SetUpError {
    /// A name cannot be part of a path.
    #[error(transparent)]
    Name(#[from] PodDirsError),
    /// See [`HostPathError`].
    #[error(transparent)]
    HostPath(#[from] HostPathError),
    /// The files cannot be written.
    #[error("{0}: {reason}", reason = .0.reason())]
    Write(WriteError),
    /// A local volume's directory is not there.
    #[error("path {0:?} does not exist")]
    NoLocalPath(String),
    /// What a local volume stands for is no directory.
    #[error("path {0:?} is not a directory: local volumes of block devices are not carried out")]
    NoLocalDirectory(String),
    /// Nothing was written before that could stay.
    #[error("nothing is known of its content")]
    NothingWritten,
    /// The file system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SetUpError {
    let path = path.to_owned();
    move |source| SetUpError::Io { action, path, source }
}

/// Who may enter the directories around volumes.
const AROUND: u32 = 0o750;
/// Anybody may write to an empty directory, and the files' own modes count in the others.
const ANYBODY: u32 = 0o777;

impl PodDirs {
    /// Where the files of a volume are.
    ///
    /// # Errors
    /// A name cannot be part of a path.
    pub fn volume_path(&self, uid: &str, volume: &Volume) -> Result<PathBuf, PodDirsError> {
        let directory = match &volume.content {
            Content::HostPath { path, .. } => return Ok(PathBuf::from(path)),
            Content::EmptyDir(_) => "kubernetes.io~empty-dir",
            Content::Files(files, _) => files.directory(),
            Content::Local { .. } => "kubernetes.io~local-volume",
        };
        Ok(self.pod(uid)?.join("volumes").join(directory).join(checked(&volume.name)?))
    }

    /// Whether files were written to the volume before.
    pub fn is_written(&self, uid: &str, volume: &Volume) -> bool {
        self.volume_path(uid, volume).is_ok_and(|path| atomic::is_written(&path))
    }

    /// Makes a volume, or brings its files up to date.
    ///
    /// # Errors
    /// It is not there, or not as it should be; what was there before still is.
    pub fn set_up(&self, uid: &str, volume: &Volume, setting: &Setting) -> Result<(), SetUpError> {
        let path = self.volume_path(uid, volume)?;
        match &volume.content {
            Content::EmptyDir(medium) => self.empty_dir(uid, &volume.name, &path, medium, setting),
            Content::HostPath { path, kind, .. } => Ok(host_path::check(path, kind)?),
            Content::Files(_, None) if atomic::is_written(&path) => Ok(()),
            Content::Files(_, None) => Err(SetUpError::NothingWritten),
            Content::Files(files, Some(payload)) => {
                make_dir(&path, ANYBODY)?;
                if *files != Files::ConfigMap {
                    mount_memory(&path, setting.memory_bytes)?;
                }
                let give = |_: &Path| match setting.ownership {
                    // The policy is none for files that are made here (behaviour.md 20.11).
                    Some(o) => ownership::give(&path, Ownership { only_on_mismatch: false, ..o }, true),
                    None => Ok(()),
                };
                atomic::write(&path, payload, &give).map(drop).map_err(SetUpError::Write)
            }
            Content::Local { path: source, read_only } => local(&path, source, *read_only, setting),
        }
    }

    fn empty_dir(
        &self,
        uid: &str,
        name: &str,
        path: &Path,
        medium: &Medium,
        setting: &Setting,
    ) -> Result<(), SetUpError> {
        // A kubelet's mark that the directory was given its owners once: later ones are the containers' own.
        let mark = self.pod(uid)?.join("plugins/kubernetes.io~empty-dir").join(checked(name)?);
        let ready = mark.join("ready");
        let mounted = || mounts::is_mount_point(path).map_err(failed("looking at", path));
        let there = match medium {
            Medium::Disk => path.is_dir(),
            Medium::Memory { .. } | Medium::HugePages { .. } => mounted()?,
        };
        if there && ready.exists() {
            return Ok(());
        }
        make_dir(path, ANYBODY)?;
        match medium {
            Medium::Disk => {}
            Medium::Memory { size } => mount_memory(path, *size)?,
            Medium::HugePages { page } if !mounted()? => {
                mounts::mount_nodev("hugetlbfs", path, &format!("pagesize={page}"))
                    .map_err(failed("mounting hugetlbfs at", path))?;
            }
            Medium::HugePages { .. } => {}
        }
        set_mode(path, ANYBODY)?;
        if let Some(ownership) = setting.ownership {
            let ownership = Ownership { only_on_mismatch: false, ..ownership };
            ownership::give(path, ownership, false).map_err(failed("giving the owners to", path))?;
        }
        make_dir(&mark, AROUND)?;
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&ready)
            .map(drop)
            .map_err(failed("making", &ready))
    }

    /// The place that shows the part `sub_path` of a volume to a container; the `index`-th mount of it.
    ///
    /// # Errors
    /// The part leads out of the volume, or cannot be mounted.
    pub fn sub_path(
        &self,
        uid: &str,
        (volume, at): (&str, &Path),
        (container, index): (&str, usize),
        sub_path: &str,
    ) -> Result<PathBuf, SubPathError> {
        let name = |e: PodDirsError| SubPathError::Io {
            action: "naming",
            path: at.to_owned(),
            source: io::Error::other(e.to_string()),
        };
        let around =
            self.pod(uid).map_err(name)?.join("volume-subpaths").join(checked(volume).map_err(name)?);
        let around = around.join(checked(container).map_err(name)?);
        DirBuilder::new()
            .recursive(true)
            .mode(AROUND)
            .create(&around)
            .map_err(|source| SubPathError::Io { action: "making", path: around.clone(), source })?;
        let place = around.join(index.to_string());
        sub_path::bind(at, sub_path, &place)?;
        Ok(place)
    }

    /// Unmounts the volumes of a pod of which nothing runs any more, and removes them; goes on after each error. Can be repeated,
    /// and begun by another daemon for a pod that nobody knows.
    ///
    /// # Errors
    /// What is left and why.
    pub fn tear_down(&self, uid: &str) -> Result<(), RemoveError> {
        let pod = self.pod(uid).map_err(|e| RemoveError::of(e.to_string()))?;
        teardown::tear_down(&pod)
    }

    /// Makes what is mounted below a volume known inside and outside of containers (behaviour.md 20.20). A path of the node
    /// stays as its administrator has made it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn share(&self, uid: &str, volume: &Volume) -> Result<(), SetUpError> {
        if matches!(volume.content, Content::HostPath { .. }) {
            return Ok(());
        }
        let path = self.volume_path(uid, volume)?;
        mounts::share(&path).map_err(failed("sharing the mounts of", &path))
    }
}

fn local(path: &Path, source: &str, read_only: bool, setting: &Setting) -> Result<(), SetUpError> {
    let found = fs::metadata(source).map_err(|_| SetUpError::NoLocalPath(source.to_owned()))?;
    if !found.is_dir() {
        return Err(SetUpError::NoLocalDirectory(source.to_owned()));
    }
    if mounts::is_mount_point(path).map_err(failed("looking at", path))? {
        return Ok(());
    }
    make_dir(path, AROUND)?;
    let tail = path.parent().and_then(Path::file_name).zip(path.file_name());
    let tail = tail.map(|(plugin, name)| Path::new(plugin).join(name)).unwrap_or_default();
    let others = mounts::places(|place| place.ends_with(&tail))
        .map_err(|e| failed("reading the mount table for", path)(io::Error::other(e.to_string())))?;
    if let Some(ownership) = setting.ownership
        && others.is_empty()
        && !read_only
    {
        // Before anybody can use it, and only by its first user: a group of its own would take it from the others.
        ownership::give(Path::new(source), ownership, false).map_err(failed("giving the owners to", path))?;
    }
    mounts::bind(Path::new(source), path, read_only).map_err(failed("mounting", path))
}

/// A file system in memory, where none is yet.
fn mount_memory(path: &Path, size: u64) -> Result<(), SetUpError> {
    if mounts::is_mount_point(path).map_err(failed("looking at", path))? {
        return Ok(());
    }
    let mut options = Vec::new();
    if size > 0 {
        options.push(format!("size={size}"));
    }
    if mounts::knows_noswap() {
        options.push("noswap".to_owned());
    }
    mounts::mount_nodev("tmpfs", path, &options.join(",")).map_err(failed("mounting tmpfs at", path))
}

fn make_dir(path: &Path, mode: u32) -> Result<(), SetUpError> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(AROUND).create(parent).map_err(failed("making", parent))?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => set_mode(path, mode),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(failed("making", path)(e)),
    }
}

/// The umask does not count; bits beyond the permissions stay.
fn set_mode(path: &Path, mode: u32) -> Result<(), SetUpError> {
    let now = fs::metadata(path).map_err(failed("looking at", path))?.permissions().mode() & 0o7777;
    if now & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(now & !0o777 | mode)).map_err(failed("changing", path))
}

#[cfg(test)]
mod tests;
