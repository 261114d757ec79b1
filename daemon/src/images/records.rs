//! What this node knows of the images that it pulled: files below `image_manager/` in the root directory, in a kubelet's form,
//! so that either can go on with the other's. behaviour.md 14.6, 14.7.
//!
//! ```text
//! begin ──> pulling/sha256-(image) ──> runtime pulls ──> pulled/sha256-(id) written ──> pulling/ file removed
//!                │                          └─ refused, and no earlier pull is in doubt ──^
//!                └─ given up, or no answer: in doubt. The file stays until a pull succeeds or the next start, so that
//!                   an image that came all the same is not taken for a preloaded one, which every pod could use.
//! ```
//!
//! A damaged file costs a pull. All of this writes to the disk and waits for it: call it where that is allowed. Reading
//! waits for nothing.

mod document;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cri_client::v1::Image;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::credential::hex;
use super::reference::{canonical, repository};
pub(super) use document::{
    PullCredentials, PullIntent, PullSecret, PullServiceAccount, PulledRecord, PulledWith,
};

/// No record of a kubelet comes near it.
const MAX_BYTES: u64 = 1 << 20;
const PREFIX: &str = "sha256-";

/// Why a record is not on the disk.
#[derive(Debug, Error)]
#[error("{action} {path}", path = path.display())]
pub(crate) struct RecordError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError { action, path, source }
}

/// What the files say about an image that is on the node.
#[derive(Debug)]
pub(super) enum Known {
    /// It was not pulled by this node's daemon.
    Nothing,
    /// A pull of this name began, and how it ended is not known.
    Begun,
    /// There was a record, and it cannot be read.
    Damaged,
    /// A pull has brought it.
    Pulled(PulledRecord),
}

/// The records of one node; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Records(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pulling: PathBuf,
    pulled: PathBuf,
    /// Whose turn it is to write; held while the disk is waited for.
    turn: Mutex<()>,
    /// The pulls of each name that are under way; held for single steps only. Taken after the turn where both are.
    under_way: Mutex<HashMap<String, UnderWay>>,
}

/// Pulls of one name.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    count: u32,
    /// Of one of them, or of an earlier one, nobody knows how it ended.
    in_doubt: bool,
}

/// A pull that is under way. Dropping it says that nobody knows how it ended.
#[derive(Debug)]
pub(super) struct Pulling {
    records: Records,
    image: String,
    left: bool,
}

impl Records {
    /// The records below this root directory.
    pub(super) fn new(root_dir: &Path) -> Result<Self, RecordError> {
        let dir = root_dir.join("image_manager");
        let (pulling, pulled) = (dir.join("pulling"), dir.join("pulled"));
        for dir in [&pulling, &pulled] {
            DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(error("making", dir))?;
        }
        Ok(Self(Arc::new(Inner { pulling, pulled, turn: Mutex::default(), under_way: Mutex::default() })))
    }

    /// A pull of an image, as a pod names it, begins.
    pub(super) fn begin(&self, image: &str) -> Result<Pulling, RecordError> {
        let _turn = self.turn();
        let earlier = self.is_begun(image);
        write(&self.0.pulling, image, &PullIntent::new(image).to_json())?;
        let mut under_way = self.under_way();
        let pulls = under_way.entry(image.to_owned()).or_default();
        pulls.in_doubt |= earlier && pulls.count == 0;
        pulls.count += 1;
        Ok(Pulling { records: self.clone(), image: image.to_owned(), left: false })
    }

    /// What is known of an image: its name as a pod gives it, and its id.
    pub(super) fn known(&self, image: &str, id: &str) -> Known {
        // In this order: a pull removes its intent after it has written its record.
        let begun = self.is_begun(image);
        match self.record(id) {
            Ok(Some(record)) => Known::Pulled(record),
            Ok(None) if begun => Known::Begun,
            Ok(None) => Known::Nothing,
            Err(error) => {
                tracing::warn!(image, %error, "the record of a pull is damaged; the image will be pulled again");
                Known::Damaged
            }
        }
    }

    /// Another secret turned out to be good for an image that is here.
    pub(super) fn learned(&self, image: &str, id: &str, with: &PulledWith) -> Result<(), RecordError> {
        let _turn = self.turn();
        self.add(image, id, with)
    }

    /// After a start, with all the images that the runtime has, listed after `since`: of an image whose pull was interrupted
    /// and that is here all the same nothing is known, and records of images that are gone go too.
    pub(super) fn settle(&self, images: &[Image], since: Timestamp) -> Result<(), RecordError> {
        let _turn = self.turn();
        for intent in self.read_all(&self.0.pulling, PullIntent::from_json)? {
            if self.under_way().contains_key(&intent.image) {
                continue;
            }
            let intended = canonical(&intent.image);
            let names = |image: &&Image| {
                let names = image.repo_tags.iter().chain(&image.repo_digests);
                names.into_iter().any(|name| canonical(name) == intended)
            };
            for image in images.iter().filter(names) {
                self.add(&intent.image, &image.id, &PulledWith::Unknown)?;
            }
            remove(&file(&self.0.pulling, &intent.image))?;
        }
        let ids: BTreeSet<&str> = images.iter().map(|image| image.id.as_str()).collect();
        for record in self.read_all(&self.0.pulled, PulledRecord::from_json)? {
            if record.last_updated_time.0 < since && !ids.contains(record.image_ref.as_str()) {
                remove(&file(&self.0.pulled, &record.image_ref))?;
            }
        }
        Ok(())
    }

    /// What cannot be looked at counts as begun: that is the safe side.
    fn is_begun(&self, image: &str) -> bool {
        fs::exists(file(&self.0.pulling, image)).unwrap_or(true)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, UnderWay>> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, id: &str) -> io::Result<Option<PulledRecord>> {
        let Some(bytes) = read(&file(&self.0.pulled, id))? else { return Ok(None) };
        let record = PulledRecord::from_json(&bytes)?;
        // Of another image only where somebody has moved files about.
        Ok(Some(record).filter(|record| record.image_ref == id))
    }

    fn add(&self, image: &str, id: &str, with: &PulledWith) -> Result<(), RecordError> {
        // A damaged record is replaced.
        let known = self.record(id).unwrap_or_default();
        let is_new = known.is_none();
        let mut record = known.unwrap_or_else(|| PulledRecord::new(id));
        if record.learn(&repository(image), with) || is_new {
            write(&self.0.pulled, id, &record.to_json())?;
        }
        Ok(())
    }

    /// Everything in a directory that can be read.
    fn read_all<T>(&self, dir: &Path, parse: fn(&[u8]) -> io::Result<T>) -> Result<Vec<T>, RecordError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).map_err(error("listing", dir))? {
            let path = entry.map_err(error("listing", dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(PREFIX) || name.ends_with(".tmp") {
                continue;
            }
            match read(&path).and_then(|bytes| bytes.map(|bytes| parse(&bytes)).transpose()) {
                Ok(record) => found.extend(record),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a record of a pull is damaged"),
            }
        }
        Ok(found)
    }
}

impl Pulling {
    /// The image came; under this id.
    pub(super) fn pulled(mut self, id: &str, with: &PulledWith) -> Result<(), RecordError> {
        let records = self.records.clone();
        let _turn = records.turn();
        records.add(&self.image, id, with)?;
        let last = self.leave(false).count == 0;
        if last { remove(&file(&records.0.pulling, &self.image)) } else { Ok(()) }
    }

    /// Nothing came. What others are in doubt about stays in doubt.
    pub(super) fn failed(mut self) -> Result<(), RecordError> {
        let records = self.records.clone();
        let _turn = records.turn();
        let left = self.leave(false);
        if left.count == 0 && !left.in_doubt {
            return remove(&file(&records.0.pulling, &self.image));
        }
        Ok(())
    }

    /// Once for each pull; what is left of the others.
    fn leave(&mut self, in_doubt: bool) -> UnderWay {
        self.left = true;
        let mut under_way = self.records.under_way();
        let Some(pulls) = under_way.get_mut(&self.image) else { return UnderWay::default() };
        pulls.count = pulls.count.saturating_sub(1);
        pulls.in_doubt |= in_doubt;
        let left = *pulls;
        if left.count == 0 {
            under_way.remove(&self.image);
        }
        left
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        if !self.left {
            self.leave(true);
        }
    }
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{PREFIX}{}", hex(&Sha256::digest(name))))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(bytes)) }
}

/// Replaces a file at once, and for good: a record that a power cut took would make an image everybody's.
fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
    let path = file(dir, name);
    let unfinished = path.with_extension("tmp");
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let mut file = options.open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(error("writing", &path))
}

fn remove(path: &Path) -> Result<(), RecordError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(error("removing", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
