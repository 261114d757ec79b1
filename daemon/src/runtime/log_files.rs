//! Names of container log files, and what can be read from them (behaviour.md 5.20, 10.12, 38.2).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const POD_LOGS: &str = "/var/log/pods";
const CONTAINER_LOGS: &str = "/var/log/containers";

/// The directory of the links to all containers' logs: beside the pods' logs where these are not in their usual place, so that nodes
/// on one machine keep apart.
pub(crate) fn links_dir(pod_logs: &str) -> PathBuf {
    if pod_logs == POD_LOGS {
        return PathBuf::from(CONTAINER_LOGS);
    }
    Path::new(pod_logs).parent().unwrap_or(Path::new("/")).join("containers")
}

/// File names may be so long; longer ones are cut before their suffix.
const MAX_NAME: usize = 255;

/// For each container that has logs, the restart count that comes after the highest in the names of its files.
pub(super) fn logged_restarts(pod_log_dir: &Path) -> io::Result<BTreeMap<String, u32>> {
    let mut restarts = BTreeMap::new();
    let containers = match fs::read_dir(pod_log_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(restarts),
        Err(e) => return Err(e),
    };
    for container in containers {
        let container = container?;
        let Ok(name) = container.file_name().into_string() else { continue };
        if !container.file_type()?.is_dir() {
            continue;
        }
        let mut highest = None;
        for log in fs::read_dir(container.path())? {
            let Ok(log) = log?.file_name().into_string() else { continue };
            highest = highest.max(restart_count_of(&log));
        }
        if let Some(highest) = highest {
            restarts.insert(name, highest.saturating_add(1));
        }
    }
    Ok(restarts)
}

/// `3` of `3.log`, `3.log.20261123-101010` and `3.log.20261123-101010.gz`.
fn restart_count_of(file: &str) -> Option<u32> {
    let (count, rest) = file.split_once('.')?;
    let is_log = rest == "log" || rest.starts_with("log.");
    if is_log { count.parse().ok() } else { None }
}

/// The link below the directory of all containers' logs that points to a container's log.
pub(crate) fn link(dir: &Path, pod: &str, namespace: &str, container: &str, id: &str) -> PathBuf {
    let suffix = format!("-{id}.log");
    let mut name = format!("{pod}_{namespace}_{container}");
    name.truncate(name.floor_char_boundary(MAX_NAME.saturating_sub(suffix.len())));
    dir.join(name + &suffix)
}

/// The pods that have a directory of logs: UID, namespace and name.
pub(super) fn pods(pod_logs: &Path) -> io::Result<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(pod_logs)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        // Neither a namespace nor a pod's name has an underscore in it.
        let mut parts = name.splitn(3, '_');
        if let (Some(namespace), Some(pod), Some(uid)) = (parts.next(), parts.next(), parts.next())
            && !uid.is_empty()
        {
            found.push((uid.to_owned(), namespace.to_owned(), pod.to_owned()));
        }
    }
    Ok(found)
}

/// Removes the links into a pod's directory of logs that is about to go; one that stays dangles and does no harm. Only those that
/// bear the pod's name are looked at: each pod that goes would read the links of all others.
pub(super) fn remove_links(container_logs: &Path, pod_log_dir: &Path, pod: &str, namespace: &str) {
    let Ok(links) = fs::read_dir(container_logs) else { return };
    let mut begin = format!("{pod}_{namespace}_");
    // A name that is too long is cut further back.
    begin.truncate(begin.floor_char_boundary(MAX_NAME / 2));
    for entry in links.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(&begin)) {
            continue;
        }
        let link = entry.path();
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(pod_log_dir)) {
            // Somebody else was faster.
            let _ = fs::remove_file(&link);
        }
    }
}

/// Removes every file of one restart of a container; goes on after an error and tells the first.
pub(super) fn remove_logs(pod_log_dir: &Path, container: &str, restart_count: u32) -> io::Result<()> {
    let dir = pod_log_dir.join(container);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut failed = None;
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if restart_count_of(&name) == Some(restart_count)
            && let Err(e) = fs::remove_file(entry.path())
        {
            failed.get_or_insert(e);
        }
    }
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_restart_count_is_read_from_the_names_of_all_log_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let web = dir.path().join("web");
        fs::create_dir(&web).expect("made");
        for name in ["0.log", "2.log.20261123-101010.gz", "1.log", "x.log", "9.txt"] {
            fs::write(web.join(name), "").expect("written");
        }
        fs::create_dir(dir.path().join("empty")).expect("made");
        let restarts = logged_restarts(dir.path()).expect("read");
        assert_eq!(restarts, BTreeMap::from([("web".to_owned(), 3)]));
        assert!(logged_restarts(&dir.path().join("none")).expect("nothing").is_empty());
    }

    #[test]
    fn only_the_logs_of_that_restart_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let web = dir.path().join("web");
        fs::create_dir(&web).expect("made");
        for name in ["1.log", "1.log.20261123-101010", "10.log"] {
            fs::write(web.join(name), "").expect("written");
        }
        remove_logs(dir.path(), "web", 1).expect("removed");
        let left: Vec<_> =
            fs::read_dir(&web).expect("listed").map(|e| e.expect("entry").file_name()).collect();
        assert_eq!(left, ["10.log"]);
    }

    #[test]
    fn a_link_that_would_be_too_long_is_cut_before_the_containers_id() {
        let link = link(Path::new("/l"), &"p".repeat(300), "ns", "c", "abc");
        let name = link.file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(name.len(), 255);
        assert!(name.ends_with("p-abc.log"));
    }

    #[test]
    fn the_links_of_a_pod_go_with_it_however_long_their_names_and_those_of_others_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = "p".repeat(250);
        let own = [link(dir.path(), "web", "ns", "c", "1"), link(dir.path(), &long, "ns", "c", "2")];
        let others = [link(dir.path(), "web", "ns", "c", "3"), link(dir.path(), "web-2", "ns", "c", "4")];
        for link in &own {
            std::os::unix::fs::symlink("/logs/own/c/0.log", link).expect("linked");
        }
        for link in &others {
            std::os::unix::fs::symlink("/logs/other/c/0.log", link).expect("linked");
        }
        for pod in ["web", &long] {
            remove_links(dir.path(), Path::new("/logs/own"), pod, "ns");
        }
        assert!(own.iter().all(|link| fs::symlink_metadata(link).is_err()));
        assert!(others.iter().all(|link| fs::symlink_metadata(link).is_ok()));
    }
}
