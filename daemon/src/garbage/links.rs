//! Links to the logs of containers that are gone (behaviour.md 38.2).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use cri_client::v1;

use super::Collector;

const RUNNING: i32 = v1::ContainerState::ContainerRunning as i32;

impl Collector {
    /// Removes the links that lead nowhere, but for those of containers that run: their logs may just be rotated.
    pub(super) async fn links_round(&self) {
        let (dir, logs) = (self.settings.container_logs.clone(), self.settings.pod_logs.clone());
        let looked = tokio::task::spawn_blocking(move || dangling(&dir, &logs)).await;
        let Ok(links) = looked else { return };
        if links.is_empty() {
            return;
        }
        let running: HashSet<String> = match self.parts.cri.list_containers(HashMap::new()).await {
            Ok(all) => all.into_iter().filter(|c| c.state == RUNNING).map(|c| c.id).collect(),
            Err(error) => {
                tracing::debug!(%error, "links to logs that are gone stay until the runtime answers");
                return;
            }
        };
        for link in links.into_iter().filter(|link| !running.contains(container(link))) {
            match fs::remove_file(&link) {
                Ok(()) => tracing::info!(link = %link.display(), "a link to a log that is gone is removed"),
                // Its pod was quicker.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(link = %link.display(), %error, "a link to a log that is gone stays")
                }
            }
        }
    }
}

/// The links in `dir` into the pods' logs whose file is not there.
fn dangling(dir: &Path, pod_logs: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let links = entries.flatten().map(|entry| entry.path());
    links
        .filter(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(pod_logs)))
        .filter(|link| fs::metadata(link).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound))
        .collect()
}

/// The id in a link's name: `<pod>_<namespace>_<container>-<id>.log`.
fn container(link: &Path) -> &str {
    let name = link.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once('-').map_or("", |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_links_into_the_pods_logs_that_lead_nowhere_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let (links, logs) = (dir.path().join("containers"), dir.path().join("pods"));
        fs::create_dir_all(&links).unwrap();
        fs::create_dir_all(logs.join("ns_p_u/c")).unwrap();
        fs::write(logs.join("ns_p_u/c/0.log"), "").unwrap();
        symlink(logs.join("ns_p_u/c/0.log"), links.join("p_ns_c-1.log")).unwrap();
        symlink(logs.join("ns_p_u/c/1.log"), links.join("p_ns_c-2.log")).unwrap();
        symlink("/nowhere/0.log", links.join("p_ns_c-3.log")).unwrap();
        fs::write(links.join("p_ns_c-4.log"), "").unwrap();
        let found = dangling(&links, &logs);
        assert_eq!(found, [links.join("p_ns_c-2.log")]);
        assert_eq!(container(&found[0]), "2");
        assert_eq!(dangling(&dir.path().join("none"), &logs), Vec::<PathBuf>::new());
    }
}
