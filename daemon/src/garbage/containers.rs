//! Rounds over the dead containers of all pods; the pods' own tasks remove what is chosen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use cri_client::v1;
use eviction::dead_containers::{self, Dead};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{Collector, Trimmed};
use crate::reclaim::Freed;

const EXITED: i32 = v1::ContainerState::ContainerExited as i32;
const POD_UID: &str = "io.kubernetes.pod.uid";
const NAME: &str = "io.kubernetes.container.name";
/// How long the pods may take to remove what is asked of them, while somebody waits.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Collector {
    pub(super) async fn containers_round(&mut self) {
        let Some(most) = self.settings.dead.most else { return };
        match self.dead().await {
            Ok(dead) => {
                self.container_failures.ended();
                let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
                let ids = dead_containers::beyond(&dead, most, self.settings.dead.min_age, now);
                self.ask_for(&dead, &ids).await;
            }
            Err(error) => {
                if self.container_failures.failed() {
                    self.parts.recorder.node_event(true, "ContainerGCFailed", error);
                }
            }
        }
    }

    pub(super) async fn reclaim_containers(&mut self) -> Result<Freed, String> {
        let dead = self.dead().await?;
        let mut ids: HashSet<String> = dead_containers::needless(&dead).into_iter().collect();
        let wanted = ids.len();
        let given_up = Instant::now() + PATIENCE;
        self.ask_for(&dead, &dead_containers::needless(&dead)).await;
        while !ids.is_empty() && Instant::now() < given_up {
            sleep(LOOK_AGAIN).await;
            let left = self.parts.cri.list_containers(HashMap::new()).await.map_err(|e| e.to_string())?;
            let left: HashSet<String> = left.into_iter().map(|c| c.id).collect();
            ids.retain(|id| left.contains(id));
        }
        let needed = dead.len() - wanted;
        let mut kept = Vec::new();
        if needed > 0 {
            kept.push(format!("{needed} are the newest of their name in pods that go on"));
        }
        if !ids.is_empty() {
            kept.push(format!("{} are not gone after {} s", ids.len(), PATIENCE.as_secs()));
        }
        Ok(Freed { removed: wanted - ids.len(), bytes: 0, kept: kept.join("; ") })
    }

    /// The dead containers of the pods that are known here; those of others go with their pods.
    async fn dead(&self) -> Result<Vec<Dead>, String> {
        let all = self.parts.cri.list_containers(HashMap::new()).await.map_err(|error| error.to_string())?;
        let mut is_over: HashMap<String, bool> = HashMap::new();
        self.parts.pods.each_pod(|pod, over| {
            is_over.extend(pod.metadata.uid.clone().map(|uid| (uid, over)));
        });
        let label = |c: &v1::Container, key: &str| c.labels.get(key).cloned().unwrap_or_default();
        let age = |c: &v1::Container| (c.metadata.as_ref().map_or(0, |m| m.attempt), c.created_at);
        let mut newest: HashMap<(String, String), (u32, i64)> = HashMap::new();
        for c in &all {
            let newest = newest.entry((label(c, POD_UID), label(c, NAME))).or_default();
            *newest = age(c).max(*newest);
        }
        let dead = all.into_iter().filter(|c| c.state == EXITED).filter_map(|c| {
            let (uid, name) = (label(&c, POD_UID), label(&c, NAME));
            let is_over = *is_over.get(&uid)?;
            let is_newest = newest.get(&(uid.clone(), name.clone())) == Some(&age(&c));
            Some(Dead { id: c.id, uid, name, created_at: c.created_at, is_newest, is_over })
        });
        Ok(dead.collect())
    }

    /// Tells the pods which of their containers are to go.
    async fn ask_for(&self, dead: &[Dead], ids: &[String]) {
        let owners: HashMap<&str, &str> = dead.iter().map(|d| (d.id.as_str(), d.uid.as_str())).collect();
        let mut by_pod: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for id in ids {
            if let Some(uid) = owners.get(id.as_str()) {
                by_pod.entry(uid).or_default().push(id.clone());
            }
        }
        for (uid, ids) in by_pod {
            tracing::info!(uid, containers = ids.len(), "dead containers of a pod are to go");
            // Without the supervisor the daemon is ending.
            drop(self.parts.trims.send(Trimmed { uid: uid.to_owned(), ids }).await);
        }
    }
}
