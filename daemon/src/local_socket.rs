//! Sockets of the daemon's own, below its root directory, for root on this machine and nobody else.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::UnixListener;

/// Opens a socket that only its owner can connect to, in a directory that only its owner can enter. One that an earlier daemon has
/// left is replaced.
///
/// # Errors
/// The path is too long for a socket, or cannot be written.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
