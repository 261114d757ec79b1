//! Links in the directory of all containers' logs (behaviour.md 38.2).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A link whose log file is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DanglingLink {
    /// Where it is.
    pub path: PathBuf,
    /// The container whose log it pointed to: the link may go if that container does not run.
    pub container_id: String,
}

/// The links in `dir` that point to nothing. A log file is missing for a moment while it is rotated, so the caller leaves
/// links of running containers alone.
///
/// # Errors
/// The directory cannot be listed; one that is missing has no links.
pub fn dangling_links(dir: &Path) -> io::Result<Vec<DanglingLink>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut dangling = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let Some(container_id) = container_of(&path) else { continue };
        if entry.file_type()?.is_symlink() && !fs::exists(&path)? {
            dangling.push(DanglingLink { path, container_id });
        }
    }
    Ok(dangling)
}

/// `abc` of `web_default_c-abc.log`; names that a kubelet would not make have none.
fn container_of(link: &Path) -> Option<String> {
    let (_, id) = link.file_name()?.to_str()?.strip_suffix(".log")?.rsplit_once('-')?;
    Some(id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_links_without_a_file_are_dangling() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("0.log");
        fs::write(&log, "").expect("written");
        symlink(&log, dir.path().join("web-1_default_c-abc.log")).expect("linked");
        symlink(dir.path().join("gone"), dir.path().join("web-1_default_c-def.log")).expect("linked");
        symlink(dir.path().join("gone"), dir.path().join("README")).expect("linked");
        let dangling = dangling_links(dir.path()).expect("listed");
        assert_eq!(dangling.iter().map(|l| l.container_id.as_str()).collect::<Vec<_>>(), ["def"]);
        assert!(dangling_links(&dir.path().join("none")).expect("nothing").is_empty());
    }
}
