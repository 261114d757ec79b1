//! The disk of the nodes: Debian, containerd and the project's images, made to boot in three seconds.
//!
//! Made once for each set of inputs and kept in the cache (`vm/image-HASH.ext4`). Nothing is mounted and no machine is started for it.
//! It is never written: each node has a file of its own with what it changes.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::cache::{self, CacheError, empty_dir, remove_tree};
use crate::command::{self, CommandError, command};
use crate::images::{self, Archive, ImageError as ArchiveError};
use crate::progress::Progress;
use crate::tools::{self, ToolError, Tools};

use super::base::{BaseError, base, base_key};
use super::{forget_old, key};

/// Changed where the same inputs would be put together otherwise.
const RECIPE: &str = "1";
const SIZE: &str = "6G";
/// Room for the files of some thousand pods.
const INODES: &str = "200000";
/// Project quotas; no checksums, which cost time here and find nothing.
const FEATURES: &str = "quota,project,^metadata_csum,^64bit";
const LIMIT: Duration = Duration::from_secs(600);

/// Path in the node, permissions, content.
type Entry = (&'static str, u32, &'static str);

const FILES: [Entry; 9] = [
    ("usr/local/sbin/node-setup", 0o755, include_str!("files/node-setup")),
    ("etc/systemd/system/node-setup.service", 0o644, include_str!("files/node-setup.service")),
    ("etc/systemd/system/vm-agent.service", 0o644, include_str!("files/vm-agent.service")),
    ("etc/systemd/system/containerd.service", 0o644, include_str!("files/containerd.service")),
    ("etc/systemd/journald.conf.d/node.conf", 0o644, include_str!("files/journald.conf")),
    ("etc/systemd/system.conf.d/node.conf", 0o644, include_str!("files/system.conf")),
    ("etc/containerd/config.toml", 0o644, include_str!("files/containerd.toml")),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n"),
    // Of a range that is nobody's: names of the outside are not resolved.
    ("etc/resolv.conf", 0o644, "nameserver 192.0.2.53\n"),
];
const SERVICES: [&str; 3] = ["node-setup.service", "vm-agent.service", "containerd.service"];
const IMPORT: &str = include_str!("files/import-images");
/// Units that a node has no use for, one a line.
const MASKED: &str = include_str!("files/masked");
/// What makes the image large or its nodes alike.
const REMOVED: [&str; 12] = [
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "debootstrap",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "var/lib/dbus/machine-id",
    "etc/hostname",
    "etc/systemd/system/timers.target.wants",
    "etc/systemd/system/sysinit.target.wants",
];

/// Why there is no image.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is no system to begin with.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// There is no container runtime to put into it.
    #[error(transparent)]
    Tools(#[from] ToolError),
    /// The images of the containers.
    #[error(transparent)]
    Archives(#[from] ArchiveError),
    /// It cannot be put together.
    #[error("making the image of the nodes in {dir}", dir = dir.display())]
    Make {
        /// Where; it is kept.
        dir: PathBuf,
        /// What was said last.
        source: CommandError,
    },
}

/// The image with this agent, from the cache or made now.
pub(super) async fn image(place: &Path, agent: &Path, progress: &Progress) -> Result<PathBuf, ImageError> {
    let tools = tools::find_or_install(progress).await?;
    let archives = images::base(&tools).await?;
    let reading = "reading the agent (cargo build --package vm-agent makes it)";
    let agent = std::fs::read(agent).map_err(CacheError::file(reading, agent))?;
    let image = place.join(format!("image-{}.ext4", image_key(&tools, &archives, &agent)));
    if image.exists() {
        return Ok(image);
    }
    let lock = place.join("image.lock");
    let _lock = cache::lock(&lock, "making the image of the nodes", progress).await?;
    if image.exists() {
        return Ok(image);
    }
    let base = base(place, progress).await?;
    let work = place.join("image-unfinished");
    let make = make(&base, &work, &tools, &archives, &agent);
    let finished = progress.step("the image of the nodes", make).await?;
    std::fs::rename(&finished, &image).map_err(CacheError::file("moving into place", &image))?;
    remove_tree(&work)?;
    // A node that runs on an old one has it open, and goes on.
    forget_old(place, "image-")?;
    Ok(image)
}

/// All that the image is made of.
fn image_key(tools: &Tools, archives: &[Archive], agent: &[u8]) -> String {
    let mut inputs = vec![RECIPE.to_owned(), base_key(), IMPORT.to_owned(), MASKED.to_owned()];
    inputs.extend([SIZE, INODES, FEATURES, pause::IMAGE_NAME].map(str::to_owned));
    inputs.extend(REMOVED.map(str::to_owned));
    inputs.extend(FILES.iter().map(|(path, mode, content)| format!("{path} {mode:o} {content}")));
    inputs.push(format!("{} {}", tools.containerd.path.display(), tools.containerd.version));
    // Their content decides their names.
    inputs.extend(archives.iter().map(|archive| archive.path.display().to_string()));
    let mut inputs: Vec<&[u8]> = inputs.iter().map(String::as_bytes).collect();
    inputs.push(agent);
    key(&inputs)
}

async fn make(
    base: &Path,
    work: &Path,
    tools: &Tools,
    archives: &[Archive],
    agent: &[u8],
) -> Result<PathBuf, ImageError> {
    empty_dir(work)?;
    let tree = work.join("tree");
    let run = async |command: &mut tokio::process::Command| {
        let done = command::run(command, LIMIT).await;
        done.map(drop).map_err(|source| ImageError::Make { dir: work.to_path_buf(), source })
    };
    run(command(Path::new("cp")).args(["-a", "--reflink=auto"]).arg(base).arg(&tree)).await?;
    customise(&tree)?;
    write(&tree.join("usr/local/sbin/vm-agent"), 0o755, agent)?;
    run(command(Path::new("strip")).arg(tree.join("usr/local/sbin/vm-agent"))).await?;
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        let from = tools.containerd.path.with_file_name(program);
        let content = std::fs::read(&from).map_err(CacheError::file("reading", &from))?;
        write(&tree.join("usr/bin").join(program), 0o755, &content)?;
    }
    let store = work.join("archives");
    empty_dir(&store)?;
    for Archive { path, .. } in archives {
        let to = store.join(path.file_name().unwrap_or_default());
        std::fs::copy(path, &to).map_err(CacheError::file("copying", path))?;
    }
    let mut import = command(Path::new("unshare"));
    import.args(["--mount", "--propagation", "private", "sh", "-euc", IMPORT, "import-images"]);
    run(import.arg(&tree).arg(&store)).await?;
    let image = work.join("image.ext4");
    let mut format = command(Path::new("mke2fs"));
    format.args(["-q", "-t", "ext4", "-L", "node", "-m", "0", "-O", FEATURES, "-N", INODES]);
    format.args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,quotatype=prjquota", "-d"]);
    run(format.arg(&tree).arg(&image).arg(SIZE)).await?;
    Ok(image)
}

/// From a Debian to a node of the tests. Names and addresses come on the kernel's command line.
fn customise(tree: &Path) -> Result<(), CacheError> {
    for path in REMOVED {
        let path = tree.join(path);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CacheError::file("removing", &path)(error));
            }
            _ => {}
        }
    }
    for (path, mode, content) in FILES {
        write(&tree.join(path), mode, content.replace("@PAUSE@", pause::IMAGE_NAME).as_bytes())?;
    }
    for dir in
        ["etc/cni/net.d", "var/log/journal", "var/cache/apt/archives/partial", "var/lib/apt/lists/partial"]
    {
        let path = tree.join(dir);
        std::fs::create_dir_all(&path).map_err(CacheError::file("making", &path))?;
    }
    write(&tree.join("etc/machine-id"), 0o444, b"")?;
    write(&tree.join("etc/fstab"), 0o644, b"")?;
    let units = tree.join("etc/systemd/system");
    for unit in MASKED.split_whitespace() {
        link("/dev/null", &units.join(unit))?;
    }
    for unit in SERVICES {
        link(&format!("../{unit}"), &units.join("multi-user.target.wants").join(unit))?;
    }
    Ok(())
}

fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), CacheError> {
    make_parent(path)?;
    // A link of the distribution's, to a place that there is not.
    let _ = std::fs::remove_file(path);
    std::fs::write(path, content).map_err(CacheError::file("writing", path))?;
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).map_err(CacheError::file("setting the permissions of", path))
}

fn link(target: &str, path: &Path) -> Result<(), CacheError> {
    make_parent(path)?;
    let _ = std::fs::remove_file(path);
    symlink(target, path).map_err(CacheError::file("making the link", path))
}

fn make_parent(path: &Path) -> Result<(), CacheError> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(CacheError::file("making", parent))
}
