//! Links to containers' logs that lead nowhere are removed (behaviour.md 38.2).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::stop::stopped;

/// As often as a kubelet.
const EVERY: Duration = Duration::from_secs(60);

/// Looks at the links in `dir` each minute, until `stop`.
pub(crate) async fn keep(dir: PathBuf, mut stop: watch::Receiver<bool>) {
    let mut lost = BTreeSet::new();
    loop {
        tokio::select! {
            // Cancel-safe, both: a level, and a point in time.
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let (dir, before) = (dir.clone(), std::mem::take(&mut lost));
        // A thread that broke off has only left links for the next minute.
        lost = tokio::task::spawn_blocking(move || sweep(&dir, &before)).await.unwrap_or_default();
    }
}

/// Removes those that led nowhere `before` and still do, and gives the others that lead nowhere now: a log that is being rotated is
/// away for a moment, and its container may run.
fn sweep(dir: &Path, before: &BTreeSet<OsString>) -> BTreeSet<OsString> {
    let mut lost = BTreeSet::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::debug!(dir = %dir.display(), %error, "links to logs cannot be looked at");
            return lost;
        }
    };
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if !is_link || path.extension().is_none_or(|end| end != "log") || fs::exists(&path).unwrap_or(true) {
            continue;
        }
        if !before.contains(&name) {
            lost.insert(name);
        } else if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(link = %path.display(), %error, "a link that leads nowhere stays");
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_leads_nowhere_for_two_looks_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("target"), "").unwrap();
        fs::write(at("file.log"), "").unwrap();
        symlink(at("target"), at("good.log")).unwrap();
        for lost in ["gone.log", "rotated.log", "other"] {
            symlink(at(&format!("of-{lost}")), at(lost)).unwrap();
        }
        let first = sweep(dir.path(), &BTreeSet::new());
        assert_eq!(first, ["gone.log", "rotated.log"].map(OsString::from).into());
        fs::write(at("of-rotated.log"), "").unwrap();
        assert!(sweep(dir.path(), &first).is_empty());
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["file.log", "good.log", "of-rotated.log", "other", "rotated.log", "target"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_leads_nowhere_is_gone_after_two_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("a.log");
        symlink("/nowhere/at/all", &link).unwrap();
        let (stop, stopped) = watch::channel(false);
        let keeper = tokio::spawn(keep(dir.path().to_owned(), stopped));
        tokio::time::timeout(EVERY * 3, async {
            while fs::symlink_metadata(&link).is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .await
        .expect("it is removed");
        stop.send(true).unwrap();
        keeper.await.unwrap();
    }
}
