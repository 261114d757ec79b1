//! What a directory takes of its file system, counted file by file: bounded, slowly, and with the lowest priority.
//!
//! Whose directory it is may write there meanwhile, and put there what he likes: links are not followed, other file systems are not
//! entered, a hard link counts once, and each directory is opened from the one above. Where the directory has a project quota with
//! a limit, nothing is counted: the kernel knows.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::figures::Fs;
use super::machine::file_system;

/// In the unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;
/// Files that are looked at without a pause; then the counting rests for as long as it says in [`PAUSE`].
const STRIDE: u64 = 500;
/// 500 files take about a millisecond: a tenth of a processor at most, 50,000 files a second.
const PAUSE: Duration = Duration::from_millis(9);
/// More than this is not counted: what is there until then takes room enough to be noticed.
const MAX_FILES: u64 = 1_000_000;
/// Of files with several names so many are remembered; further ones count once for each name.
const MAX_LINKED: usize = 100_000;
/// Directories below one another.
const MAX_DEPTH: usize = 64;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Blocks on the disk.
    pub(super) bytes: u64,
    pub(super) inodes: u64,
    /// It ended at a bound.
    pub(super) is_partial: bool,
}

/// What `directory` takes; figures of the file system beside it.
///
/// # Errors
/// It cannot be opened.
#[expect(clippy::disallowed_methods, reason = "a thread that may block")]
pub(super) fn usage(directory: &Path) -> io::Result<Fs> {
    let fs = file_system(directory)?;
    if let Some(quota) = quota(directory, fs) {
        return Ok(quota);
    }
    let counted = count(directory, || std::thread::sleep(PAUSE))?;
    let part = fs.part(Timestamp::now(), Some(counted.bytes), Some(counted.inodes));
    Ok(Fs { is_partial: counted.is_partial, ..part })
}

/// With a project quota that has a limit the kernel shows a directory as if it were a smaller file system, with what the project uses.
fn quota(directory: &Path, fs: Fs) -> Option<Fs> {
    use std::os::unix::fs::MetadataExt as _;
    let above = directory.parent()?;
    let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|meta| meta.dev());
    if device(directory)? != device(above)? {
        // A file system of its own.
        return Some(fs);
    }
    let whole = file_system(above).ok()?;
    (fs.capacity < whole.capacity).then_some(fs)
}

/// Counts; `rest` is called now and then.
///
/// # Errors
/// The directory cannot be opened; what goes away below it meanwhile is left out.
pub(super) fn count(directory: &Path, rest: impl FnMut()) -> io::Result<Counted> {
    let failed = |errno: Errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("counting {}: {error}", directory.display()))
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = open(directory, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&top).map_err(failed)?;
    let mut walk =
        Walk { counted: Counted::default(), device: stat.st_dev, linked: HashSet::new(), looked: 0, rest };
    walk.take(&stat);
    walk.below(top, 0);
    Ok(walk.counted)
}

struct Walk<R> {
    counted: Counted,
    device: u64,
    linked: HashSet<u64>,
    looked: u64,
    rest: R,
}

impl<R: FnMut()> Walk<R> {
    fn take(&mut self, stat: &FileStat) {
        let is_directory = stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
        if !is_directory && stat.st_nlink > 1 {
            if self.linked.len() >= MAX_LINKED {
                self.counted.is_partial = true;
            } else if !self.linked.insert(stat.st_ino) {
                return;
            }
        }
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        self.counted.bytes = self.counted.bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
        self.counted.inodes += 1;
    }

    /// Depth first: one open directory a level.
    fn below(&mut self, fd: OwnedFd, depth: usize) {
        let Ok(mut directory) = Dir::from_fd(fd) else { return };
        // Names first: a listing that is read while others write to the directory may not end.
        let mut names = Vec::new();
        for entry in directory.iter().flatten() {
            let name = entry.file_name();
            if name.to_bytes() != b"." && name.to_bytes() != b".." {
                names.push((name.to_owned(), entry.file_type()));
            }
            if self.looked + names.len() as u64 >= MAX_FILES {
                self.counted.is_partial = true;
                break;
            }
        }
        for (name, kind) in names {
            if self.looked >= MAX_FILES {
                self.counted.is_partial = true;
                return;
            }
            self.looked += 1;
            if self.looked.is_multiple_of(STRIDE) {
                (self.rest)();
            }
            let Ok(stat) = fstatat(&directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            if stat.st_dev != self.device {
                continue;
            }
            self.take(&stat);
            let is_directory = stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
            if !is_directory || !matches!(kind, None | Some(Type::Directory)) {
                continue;
            }
            if depth >= MAX_DEPTH {
                self.counted.is_partial = true;
                continue;
            }
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if let Ok(fd) = openat(&directory, name.as_c_str(), flags, Mode::empty()) {
                self.below(fd, depth + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn blocks(path: &Path) -> u64 {
        fs::symlink_metadata(path).unwrap().blocks() * BLOCK_BYTES
    }

    #[test]
    fn every_file_counts_once_with_its_blocks_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("big"), vec![1; 1 << 20]).unwrap();
        fs::write(top.join("a/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(top.join("a/file"), top.join("a/b/again")).unwrap();
        symlink(&outside, top.join("out")).unwrap();
        symlink("..", top.join("a/up")).unwrap();
        let files = ["", "a", "a/b", "a/file", "out", "a/up"];
        let bytes = files.iter().map(|file| blocks(&top.join(file))).sum();
        let counted = count(&top, || {}).unwrap();
        assert_eq!(counted, Counted { bytes, inodes: 6, is_partial: false });
        let usage = usage(&top).unwrap();
        assert_eq!((usage.used, usage.inodes_used), (Some(bytes), Some(6)));
        assert_eq!(usage.capacity, file_system(dir.path()).unwrap().capacity);
    }

    #[test]
    fn a_hole_takes_nothing_and_a_link_is_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("hole")).unwrap();
        file.set_len(1 << 30).unwrap();
        assert!(count(dir.path(), || {}).unwrap().bytes < 1 << 20);
        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();
        assert!(count(&link, || {}).is_err());
    }

    #[test]
    fn counting_rests_after_each_stride() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..1100 {
            fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        let mut rests = 0;
        assert_eq!(count(dir.path(), || rests += 1).unwrap().inodes, 1101);
        assert_eq!(rests, 2);
    }

    #[test]
    fn what_is_too_deep_is_left_out_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let deep: String = "d/".repeat(MAX_DEPTH + 5);
        fs::create_dir_all(dir.path().join(deep)).unwrap();
        let counted = count(dir.path(), || {}).unwrap();
        assert!(counted.is_partial);
        assert_eq!(counted.inodes, MAX_DEPTH as u64 + 2);
    }
}
