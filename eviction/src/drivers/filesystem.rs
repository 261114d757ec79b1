//! Space and inodes of file systems, and which paths are on the same one.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::ReadError;
use crate::observation::{Layout, Left};
use crate::signal::Filesystem;

/// A file system as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Bytes that may still be used by those who have no privilege.
    pub bytes: Left,
    /// `None` where inodes are made as they are needed.
    pub inodes: Option<Left>,
    /// Which file system it is.
    pub device: u64,
}

/// Measures the file system that holds `path`.
///
/// # Errors
/// The path cannot be looked at.
pub fn measure(path: &Path) -> Result<Measured, ReadError> {
    let failed = |source: io::Error| ReadError::Io { path: path.to_owned(), source };
    let stat = nix::sys::statvfs::statvfs(path).map_err(|errno| failed(errno.into()))?;
    let device = std::fs::metadata(path).map_err(failed)?.dev();
    let block = stat.fragment_size();
    let times = |blocks: u64| blocks.saturating_mul(block);
    let inodes = Left { available: stat.files_available(), capacity: stat.files() };
    Ok(Measured {
        bytes: Left { available: times(stat.blocks_available()), capacity: times(stat.blocks()) },
        inodes: (inodes.capacity > 0).then_some(inodes),
        device,
    })
}

/// Which of them are the same: `node` is where the root directory is, the others where the runtime says that it keeps images and layers;
/// layers are with the images where it does not say.
pub fn layout(node: u64, images: Option<u64>, containers: Option<u64>) -> Layout {
    let images_are = match images {
        Some(images) if images != node => Filesystem::Image,
        _ => Filesystem::Node,
    };
    let containers_are = match containers {
        None => images_are,
        Some(device) if device == node => Filesystem::Node,
        device if device == images => Filesystem::Image,
        Some(_) => Filesystem::Container,
    };
    Layout { images: images_are, containers: containers_are }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_one_device_is_one_file_system() {
        use Filesystem::{Container, Image, Node};
        for (images, containers, expected) in [
            (None, None, (Node, Node)),
            (Some(1), None, (Node, Node)),
            (Some(1), Some(1), (Node, Node)),
            (Some(2), None, (Image, Image)),
            (Some(2), Some(2), (Image, Image)),
            (Some(2), Some(1), (Image, Node)),
            (Some(2), Some(3), (Image, Container)),
        ] {
            let Layout { images: i, containers: c } = layout(1, images, containers);
            assert_eq!((i, c), expected, "{images:?} {containers:?}");
        }
    }

    #[test]
    fn this_machines_file_systems_are_measured() {
        let root = measure(Path::new("/")).unwrap();
        assert!(root.bytes.capacity > 0 && root.bytes.available <= root.bytes.capacity);
        let proc = measure(Path::new("/proc")).unwrap();
        assert_ne!(root.device, proc.device);
        assert_eq!(proc.inodes, None);
        assert!(measure(Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent"));
    }
}
