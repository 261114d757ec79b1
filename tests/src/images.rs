//! The images of a cluster, as OCI archives in the cache. Nothing is pulled from anywhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pause::image::{Image, ImageError as BuildError};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::cache::{self, CacheError};
use crate::command::{self, CommandError, command};
use crate::tools::Tools;

/// What the busybox image is called.
pub const BUSYBOX: &str = "nodelet.dev/busybox:1";
const LIST_LIMIT: Duration = Duration::from_secs(30);
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Why an image is not there.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Its description is wrong.
    #[error("building an image")]
    Build(#[from] BuildError),
    /// busybox does not tell which programs it is.
    #[error("asking busybox which programs it is")]
    Applets(#[from] CommandError),
}

/// An image in the cache.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The image's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// The images that a cluster begins with: pause and busybox.
///
/// # Errors
/// They cannot be built or kept.
pub async fn base(tools: &Tools) -> Result<Vec<Archive>, ImageError> {
    Ok(vec![keep(&pause::image())?, keep(&busybox(&tools.busybox.path, BUSYBOX).await?)?])
}

/// busybox under another image name, for what depends on the name.
///
/// # Errors
/// It cannot be built or kept.
pub async fn busybox_as(tools: &Tools, name: &str) -> Result<Archive, ImageError> {
    keep(&busybox(&tools.busybox.path, name).await?)
}

/// busybox under another image name and with other content: nothing of it is on a node before it is pulled.
///
/// # Errors
/// It cannot be built or kept.
pub async fn variant(tools: &Tools, name: &str) -> Result<Archive, ImageError> {
    let image = busybox(&tools.busybox.path, name).await?;
    keep(&image.file("etc/variant", 0o644, format!("{name}\n").into_bytes()))
}

/// Puts an image into the cache, under a name that its content decides.
///
/// # Errors
/// It cannot be built or kept.
pub fn keep(image: &Image) -> Result<Archive, ImageError> {
    let bytes = image.archive()?;
    let hash: String = Sha256::digest(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let plain: String =
        image.name().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let dir = cache::cache_dir()?.join("images");
    std::fs::create_dir_all(&dir).map_err(CacheError::file("making", &dir))?;
    let path = dir.join(format!("{plain}-{hash}.tar"));
    if !path.exists() {
        let unfinished = dir.join(format!(".{plain}-{hash}-{}", std::process::id()));
        std::fs::write(&unfinished, &bytes).map_err(CacheError::file("writing", &unfinished))?;
        std::fs::rename(&unfinished, &path).map_err(CacheError::file("moving into place", &path))?;
    }
    Ok(Archive { name: image.name().to_owned(), path })
}

/// busybox under all its names, a user to run as, and a place to write.
async fn busybox(program: &Path, name: &str) -> Result<Image, ImageError> {
    let bytes = std::fs::read(program).map_err(CacheError::file("reading", program))?;
    let applets = command::run(command(program).arg("--list"), LIST_LIMIT).await?;
    let base = Image::new(name)
        .file("bin/busybox", 0o755, bytes)
        .file("etc/passwd", 0o644, PASSWD.into())
        .file("etc/group", 0o644, GROUP.into())
        .directory("tmp")
        .directory("root")
        .directory("var")
        .command(["/bin/sh"]);
    let names = applets.stdout.lines().map(str::trim).filter(|name| !name.is_empty() && *name != "busybox");
    Ok(names.fold(base, |image, name| image.link(&format!("bin/{name}"), "busybox")))
}
