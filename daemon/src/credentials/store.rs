//! The files of a certificate, as a kubelet names them. behaviour.md 34.1, 34.2.
//!
//! ```text
//! DIR/kubelet-client.key.tmp             a key whose certificate is on its way
//! DIR/kubelet-client-DATE.pem            certificate and key, together and therefore never at odds
//! DIR/kubelet-client-current.pem  ->     the one in use; swapped by a rename
//! ```

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::KeyPair;

use super::identity::Identity;

/// Name of the client certificate's files.
pub(crate) const CLIENT: &str = "kubelet-client";
/// Name of the serving certificate's files.
pub(crate) const SERVER: &str = "kubelet-server";
/// Largest file that is read.
const FILE_BYTES: u64 = 1024 * 1024;
/// Certificates that stay, the one in use among them.
const KEPT: usize = 3;

/// A file of the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{doing} {path}", path = path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{path}: {reason}", path = path.display())]
    Content { path: PathBuf, reason: String },
}

/// One certificate's files.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    dir: PathBuf,
    name: &'static str,
}

impl Store {
    /// `name` is [`CLIENT`] or [`SERVER`].
    pub(crate) fn new(dir: &Path, name: &'static str) -> Self {
        Self { dir: dir.to_owned(), name }
    }

    /// Where the certificate in use is, with its key.
    pub(crate) fn current(&self) -> PathBuf {
        self.dir.join(format!("{}-current.pem", self.name))
    }

    fn key_file(&self) -> PathBuf {
        self.dir.join(format!("{}.key.tmp", self.name))
    }

    /// The certificate in use, if there is one.
    ///
    /// # Errors
    /// The file is there and cannot be used.
    pub(crate) fn load(&self) -> Result<Option<Identity>, StoreError> {
        let path = self.current();
        let Some(content) = read(&path)? else { return Ok(None) };
        Identity::read(&content, &content).map(Some).map_err(|reason| StoreError::Content { path, reason })
    }

    /// The key that waits for its certificate; a new one where none waits that can be used.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub(crate) fn key(&self) -> Result<KeyPair, StoreError> {
        let path = self.key_file();
        if let Some(key) = self.waiting_key() {
            return Ok(key);
        }
        let key = KeyPair::generate()
            .map_err(|error| StoreError::Content { path: path.clone(), reason: error.to_string() })?;
        self.make_dir()?;
        write_secret(&path, key.serialize_pem().as_bytes()).map_err(|source| StoreError::File {
            doing: "writing",
            path,
            source,
        })?;
        Ok(key)
    }

    /// The key that waits for its certificate, if there is one that can be used.
    pub(super) fn waiting_key(&self) -> Option<KeyPair> {
        let content = read(&self.key_file()).ok().flatten()?;
        KeyPair::from_pem(&String::from_utf8_lossy(&content)).ok()
    }

    /// Forgets the key that waits, so that the next request is a new one.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(crate) fn forget_key(&self) -> Result<(), StoreError> {
        let path = self.key_file();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::File { doing: "removing", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Puts a certificate into use: whole or not at all, and on the disk before it is used.
    ///
    /// # Errors
    /// A file cannot be written; the certificate before it stays in use.
    pub(crate) fn put(&self, identity: &Identity, now: Timestamp) -> Result<(), StoreError> {
        self.make_dir()?;
        let date = now.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let path = self.dir.join(format!("{}-{date}.pem", self.name));
        let content = format!("{}{}", identity.chain_pem(), identity.key_pem());
        write_secret(&path, content.as_bytes()).map_err(|source| StoreError::File {
            doing: "writing",
            path: path.clone(),
            source,
        })?;
        let link = self.dir.join(format!("{}-updated.pem", self.name));
        let current = self.current();
        let swap = || {
            match fs::remove_file(&link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::os::unix::fs::symlink(&path, &link)?;
            fs::rename(&link, &current)?;
            fs::File::open(&self.dir)?.sync_all()
        };
        swap().map_err(|source| StoreError::File {
            doing: "pointing to the certificate with",
            path: current,
            source,
        })?;
        self.clear_away(&path);
        self.forget_key()
    }

    fn make_dir(&self) -> Result<(), StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|source| StoreError::File { doing: "making", path: self.dir.clone(), source })
    }

    /// Removes all but the newest certificates. What stays behind by an error costs a little room.
    fn clear_away(&self, in_use: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let prefix = format!("{}-", self.name);
        let mut dated: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let middle = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".pem"));
                middle.is_some_and(|date| date.starts_with(|first: char| first.is_ascii_digit()))
            })
            .map(|entry| entry.path())
            .filter(|path| path != in_use)
            .collect();
        // The date is the order.
        dated.sort();
        let surplus = (dated.len() + 1).saturating_sub(KEPT);
        for path in dated.iter().take(surplus) {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "removing an old certificate");
            }
        }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let read = || {
        let mut content = Vec::new();
        fs::File::open(path)?.take(FILE_BYTES + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    match read() {
        Ok(content) if content.len() as u64 > FILE_BYTES => Err(StoreError::Content {
            path: path.to_owned(),
            reason: format!("larger than {FILE_BYTES} bytes"),
        }),
        Ok(content) => Ok(Some(content)),
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::File { doing: "reading", path: path.to_owned(), source }),
    }
}

/// Whole or not at all, on the disk, and readable by the owner only.
///
/// # Errors
/// The file or its directory cannot be written.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Not one that somebody else has made with other rights, nor a link of theirs.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
