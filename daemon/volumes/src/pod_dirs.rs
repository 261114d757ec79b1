//! `pods/<uid>` below the root directory and what a pod needs in it before its containers start.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::remove::{self, RemoveError};

/// A termination message is at most so long (behaviour.md 17.1).
const MAX_MESSAGE_BYTES: u64 = 4096;
/// Of a file that variables are read from.
const MAX_VARIABLES_BYTES: u64 = 1 << 20;

/// Why something in a pod's directories could not be done.
#[derive(Debug, Error)]
pub enum PodDirsError {
    /// The name cannot be part of a path.
    #[error("{name:?} cannot be the name of a directory")]
    Name {
        /// A UID or a container's name.
        name: String,
    },
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

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PodDirsError {
    let path = path.to_owned();
    move |source| PodDirsError::Io { action, path, source }
}

/// The directories of all pods below one root directory.
#[derive(Clone, Debug)]
pub struct PodDirs {
    root: PathBuf,
}

impl PodDirs {
    /// The directories below `root`, an absolute path without links in it; makes the parts that all pods share.
    pub fn new(root: &Path) -> Result<Self, PodDirsError> {
        let root = root.to_owned();
        make_dir(&root, 0o750)?;
        for (name, mode) in
            [("pods", 0o750), ("plugins", 0o750), ("plugins_registry", 0o750), ("checkpoints", 0o700)]
        {
            make_dir(&root.join(name), mode)?;
        }
        Ok(Self { root })
    }

    pub(crate) fn pod(&self, uid: &str) -> Result<PathBuf, PodDirsError> {
        Ok(self.root.join("pods").join(checked(uid)?))
    }

    /// Makes the directories of a pod; those that are there stay.
    pub fn prepare(&self, uid: &str) -> Result<(), PodDirsError> {
        let pod = self.pod(uid)?;
        for dir in [pod.clone(), pod.join("volumes"), pod.join("plugins"), pod.join("containers")] {
            make_dir(&dir, 0o750)?;
        }
        Ok(())
    }

    /// Makes an empty file, 0666, for the termination message of a container's start `token` (eight hex digits); its path.
    pub fn termination_log(&self, uid: &str, container: &str, token: u32) -> Result<PathBuf, PodDirsError> {
        let dir = self.pod(uid)?.join("containers").join(checked(container)?);
        make_dir(&dir, 0o750)?;
        let path = dir.join(format!("{token:08x}"));
        let failed = || io_error("making", &path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(&path)
            .map_err(failed())?;
        // The umask does not count: any user of the container may write.
        file.set_permissions(Permissions::from_mode(0o666)).map_err(failed())?;
        Ok(path)
    }

    /// The end of a termination message file below this root; `None` where there is nothing in it, or it is not ours.
    pub fn termination_message(&self, path: &Path) -> Result<Option<String>, PodDirsError> {
        if !path.starts_with(self.root.join("pods")) || path.components().any(|c| c.as_os_str() == "..") {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC);
        let mut file = match options.open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("reading", path)(e)),
        };
        let bytes = tail(&mut file).map_err(io_error("reading", path))?;
        Ok((!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Writes the pod's hosts file, 0644; its path. Running containers see the change: the file keeps its inode, because
    /// it is bind-mounted into them.
    pub fn write_hosts(&self, uid: &str, text: &str) -> Result<PathBuf, PodDirsError> {
        let path = self.pod(uid)?.join("etc-hosts");
        let failed = || io_error("writing", &path);
        if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(path);
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(&path)
            .map_err(failed())?;
        file.set_permissions(Permissions::from_mode(0o644)).map_err(failed())?;
        file.write_all(text.as_bytes()).map_err(failed())?;
        Ok(path)
    }

    /// What is in a file below an emptyDir of the pod; `None` where there is none. Links lead nowhere out of the volume.
    pub fn file_in_empty_dir(
        &self,
        uid: &str,
        volume: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, PodDirsError> {
        use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
        let dir = self.pod(uid)?.join("volumes/kubernetes.io~empty-dir").join(checked(volume)?);
        let whole = dir.join(path.trim_start_matches('/'));
        let failed = || io_error("reading", &whole);
        let root = match OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(&dir)
        {
            Ok(root) => root,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed()(e)),
        };
        let how = OpenHow::new()
            // Whatever a container has put there, opening it does not wait.
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file = match openat2(&root, path, how) {
            Ok(file) => File::from(file),
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => return Ok(None),
            Err(e) => return Err(failed()(e.into())),
        };
        let meta = file.metadata().map_err(failed())?;
        if !meta.is_file() || meta.len() > MAX_VARIABLES_BYTES {
            let why = format!("it is no file, or longer than {MAX_VARIABLES_BYTES} bytes");
            return Err(failed()(io::Error::other(why)));
        }
        let mut bytes = Vec::new();
        file.take(MAX_VARIABLES_BYTES).read_to_end(&mut bytes).map_err(failed())?;
        Ok(Some(bytes))
    }

    /// Removes the directories of a pod, once nothing is mounted below them. What is gone is removed.
    pub fn remove(&self, uid: &str) -> Result<(), RemoveError> {
        let path = self.pod(uid).map_err(|e| RemoveError::of(e.to_string()))?;
        remove::remove_tree(&path)
    }

    /// The UIDs of the pods that have directories here.
    pub fn uids(&self) -> Result<Vec<String>, PodDirsError> {
        let dir = self.root.join("pods");
        let entries = fs::read_dir(&dir).map_err(io_error("listing", &dir))?;
        let mut uids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("listing", &dir))?;
            uids.extend(entry.file_name().into_string());
        }
        uids.sort_unstable();
        Ok(uids)
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), PodDirsError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.parent().is_some_and(|p| !p.exists()) => {
            fs::DirBuilder::new().mode(mode).recursive(true).create(path).map_err(io_error("making", path))
        }
        Err(e) => Err(io_error("making", path)(e)),
    }
}

pub(crate) fn checked(name: &str) -> Result<&str, PodDirsError> {
    let bad =
        name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) || name.len() > 255;
    if bad { Err(PodDirsError::Name { name: name.to_owned() }) } else { Ok(name) }
}

fn tail(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_MESSAGE_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_MESSAGE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs() -> (tempfile::TempDir, PodDirs) {
        let root = tempfile::tempdir().expect("a directory");
        let dirs = PodDirs::new(root.path()).expect("made");
        (root, dirs)
    }

    #[test]
    fn a_pods_directories_are_made_with_the_kubelets_modes_and_removed_again() {
        let (root, dirs) = dirs();
        dirs.prepare("u-1").expect("prepared");
        dirs.prepare("u-1").expect("prepared twice");
        let mode = |p: &str| fs::metadata(root.path().join(p)).expect(p).permissions().mode() & 0o777;
        assert_eq!(mode("pods/u-1/volumes"), 0o750);
        let log = dirs.termination_log("u-1", "c", 0xab).expect("made");
        assert!(log.ends_with("pods/u-1/containers/c/000000ab"));
        assert_eq!(fs::metadata(&log).expect("there").permissions().mode() & 0o777, 0o666);
        assert_eq!(dirs.uids().expect("listed"), ["u-1"]);
        dirs.remove("u-1").expect("removed");
        dirs.remove("u-1").expect("removed twice");
        assert!(dirs.uids().expect("listed").is_empty());
    }

    #[test]
    fn names_that_lead_out_of_the_directory_are_refused() {
        let (_root, dirs) = dirs();
        for name in ["", ".", "..", "a/b", "a\0b"] {
            assert!(dirs.prepare(name).is_err(), "{name:?}");
            assert!(dirs.termination_log("u", name, 1).is_err(), "{name:?}");
        }
    }

    #[test]
    fn only_the_last_four_kibibytes_of_a_message_count_and_links_are_not_followed() {
        let (root, dirs) = dirs();
        dirs.prepare("u").expect("prepared");
        let log = dirs.termination_log("u", "c", 1).expect("made");
        assert_eq!(dirs.termination_message(&log).expect("read"), None);
        fs::write(&log, [vec![b'a'; 5000], b"end".to_vec()].concat()).expect("written");
        let message = dirs.termination_message(&log).expect("read").expect("a message");
        assert_eq!(message.len(), 4096);
        assert!(message.ends_with("aend"));
        let secret = root.path().join("secret");
        fs::write(&secret, "s").expect("written");
        fs::remove_file(&log).expect("removed");
        std::os::unix::fs::symlink(&secret, &log).expect("linked");
        assert!(dirs.termination_message(&log).is_err());
        assert_eq!(dirs.termination_message(&secret).expect("not ours"), None);
    }

    #[test]
    fn a_hosts_file_keeps_its_inode_when_it_changes() {
        use std::os::unix::fs::MetadataExt;
        let (_root, dirs) = dirs();
        dirs.prepare("u").expect("prepared");
        let path = dirs.write_hosts("u", "one\n").expect("written");
        let inode = fs::metadata(&path).expect("there").ino();
        dirs.write_hosts("u", "two\n").expect("written");
        assert_eq!(fs::metadata(&path).expect("there").ino(), inode);
        assert_eq!(fs::read_to_string(&path).expect("read"), "two\n");
    }

    #[test]
    fn a_file_of_a_container_is_read_and_no_link_leads_out_of_its_volume() {
        let (root, dirs) = dirs();
        dirs.prepare("u").expect("prepared");
        let volume = root.path().join("pods/u/volumes/kubernetes.io~empty-dir/v");
        let read = |path: &str| dirs.file_in_empty_dir("u", "v", path).map_err(|e| e.to_string());
        assert_eq!(read("a"), Ok(None), "no volume yet");
        fs::create_dir_all(volume.join("sub")).expect("made");
        fs::write(volume.join("sub/a"), "A='1'").expect("written");
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, volume.join(name)).expect("linked");
        };
        fs::write(root.path().join("secret"), "s").expect("written");
        link("sub/a", "inside");
        link("/sub/a", "absolute");
        link(root.path().join("secret").to_str().expect("text"), "outside");
        link("../../../../../secret", "up");
        for path in ["sub/a", "inside", "absolute", "../sub/a", "/sub/a"] {
            assert_eq!(read(path), Ok(Some(b"A='1'".to_vec())), "{path}");
        }
        for path in ["b", "outside", "up", "../../../../../secret", "sub/a/b"] {
            assert_eq!(read(path), Ok(None), "{path}");
        }
        for path in ["sub", "."] {
            assert!(read(path).is_err(), "{path}");
        }
        fs::write(volume.join("long"), vec![b'a'; (1 << 20) + 1]).expect("written");
        assert!(read("long").is_err());
        assert!(dirs.file_in_empty_dir("u", "../plugins", "a").is_err());
    }
}
