//! `hostPath`: a file or directory of the node (behaviour.md 20.18).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

use thiserror::Error;

/// Why a path of the node is not what was asked for, in a kubelet's words.
#[derive(Debug, Error)]
pub enum HostPathError {
    /// It leads upwards.
    #[error("invalid HostPath `{0}`: must not contain '..'")]
    Upwards(String),
    /// It is of another kind, or not there.
    #[error("hostPath type check failed: {path} is not {what}")]
    Kind {
        /// The path.
        path: String,
        /// What it should be.
        what: &'static str,
    },
    /// No such type.
    #[error("{0} is an invalid volume type")]
    UnknownType(String),
    /// It could not be made.
    #[error("making {path}: {source}")]
    Make {
        /// The path.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Sees to it that `path` is what `kind` says, and makes it where the type asks for that.
///
/// # Errors
/// It is not, and is not to be made.
pub(crate) fn check(path: &str, kind: &str) -> Result<(), HostPathError> {
    let at = Path::new(path);
    if at.components().any(|part| part == Component::ParentDir) {
        return Err(HostPathError::Upwards(path.to_owned()));
    }
    let failed = |source| HostPathError::Make { path: path.to_owned(), source };
    let found = fs::metadata(at).ok();
    let (fits, what) = match kind {
        "" => (true, ""),
        "DirectoryOrCreate" if found.is_none() => {
            DirBuilder::new().recursive(true).mode(0o755).create(at).map_err(failed)?;
            (true, "")
        }
        "FileOrCreate" if found.is_none() => {
            let made =
                OpenOptions::new().write(true).create_new(true).mode(0o644).open(at).map_err(failed)?;
            made.set_permissions(fs::Permissions::from_mode(0o644)).map_err(failed)?;
            (true, "")
        }
        "Directory" | "DirectoryOrCreate" => (found.is_some_and(|f| f.is_dir()), "a directory"),
        "File" | "FileOrCreate" => (found.is_some_and(|f| !f.is_dir()), "a file"),
        "Socket" => (found.is_some_and(|f| f.file_type().is_socket()), "a socket file"),
        "CharDevice" => (found.is_some_and(|f| f.file_type().is_char_device()), "a character device"),
        "BlockDevice" => (found.is_some_and(|f| f.file_type().is_block_device()), "a block device"),
        other => return Err(HostPathError::UnknownType(other.to_owned())),
    };
    if fits { Ok(()) } else { Err(HostPathError::Kind { path: path.to_owned(), what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_20_18_each_type_takes_its_kind_alone_and_says_what_it_wanted() {
        let root = tempfile::tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name).display().to_string();
        fs::create_dir(path("dir")).expect("made");
        fs::write(path("file"), "").expect("written");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("bound");
        std::os::unix::fs::symlink(path("dir"), path("link")).expect("linked");
        let null = "/dev/null".to_owned();
        for (kind, fits, what) in [
            ("Directory", vec![path("dir"), path("link")], "a directory"),
            ("File", vec![path("file"), path("socket")], "a file"),
            ("Socket", vec![path("socket")], "a socket file"),
            ("CharDevice", vec![null.clone()], "a character device"),
            ("BlockDevice", vec![], "a block device"),
        ] {
            for at in [path("dir"), path("file"), path("socket"), null.clone(), path("gone"), path("link")] {
                let result = check(&at, kind);
                // A device is as little a directory as a file is.
                if fits.contains(&at) || (kind == "File" && at == null) {
                    result.unwrap_or_else(|e| panic!("{kind} {at}: {e}"));
                } else {
                    let error = result.expect_err(&format!("{kind} {at}")).to_string();
                    assert_eq!(error, format!("hostPath type check failed: {at} is not {what}"));
                }
                check(&at, "").expect("anything goes without a type");
            }
        }
        assert!(!root.path().join("gone").exists());
        assert_eq!(check("/x", "Paper").expect_err("no type").to_string(), "Paper is an invalid volume type");
        assert_eq!(
            check("/a/../b", "").expect_err("upwards").to_string(),
            "invalid HostPath `/a/../b`: must not contain '..'"
        );
    }

    #[test]
    fn row_20_18_what_may_be_made_is_made_with_its_mode_and_nothing_else_is() {
        let root = tempfile::tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        check(&text("a/b/c"), "DirectoryOrCreate").expect("made");
        assert!(path("a/b/c").is_dir());
        check(&text("a/file"), "FileOrCreate").expect("made");
        assert_eq!(fs::metadata(path("a/file")).expect("there").permissions().mode() & 0o777, 0o644);
        check(&text("a/file"), "FileOrCreate").expect("there already");
        assert!(check(&text("no/parent/file"), "FileOrCreate").is_err());
        assert!(check(&text("a"), "FileOrCreate").is_err());
        assert!(check(&text("a/file"), "DirectoryOrCreate").is_err());
    }
}
