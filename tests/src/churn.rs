//! Pods that come and go all the time, each with a short life in which much is done to it: crashes, probes, volumes that change, exec
//! sessions and log followers that break off, ends of every kind.
//!
//! ```text
//! lane 0   make a pod -> deeds -> end it one way or another -> gone -> make a pod ...     each lane has one pod at a time
//! lane 1   ...
//! ```
//!
//! What is done follows from the seed; when it is done, from the machine. Everything has been taken away again when it returns.

mod pods;
mod random;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures::AsyncReadExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use serde_json::json;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::node_port::NodePort;
use random::Random;

/// How long a pod may take to do what it is expected to; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(200);
/// Pods are waited for to run that long at most: many never do for more than a moment.
const PATIENCE: Duration = Duration::from_secs(10);
/// Names of pods that a lane takes in turn: the same name comes again with another UID.
const NAMES: u64 = 3;
/// Label of everything that is made here.
const LABEL: &str = "soak";

/// Why it cannot go on.
#[derive(Debug, Error)]
pub enum ChurnError {
    /// The API server refuses what it is to take.
    #[error("{doing}")]
    Api {
        /// What was being done.
        doing: String,
        /// What it answered.
        source: Box<kube::Error>,
    },
    /// A pod that was ended is there for five minutes.
    #[error("pod {pod} does not go; its last status: {status}")]
    Stays {
        /// Its name.
        pod: String,
        /// As JSON.
        status: String,
    },
    /// A manifest cannot be written or removed.
    #[error("{path}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Who is churned, and how much.
#[derive(Clone)]
pub struct Churn {
    /// As an administrator.
    pub client: kube::Client,
    /// The node's name.
    pub node: String,
    /// Its port 10250.
    pub port: NodePort,
    /// Where manifests of static pods are put; none where there is no such place on this machine.
    pub manifests: Option<PathBuf>,
    /// Everything that is drawn follows from it.
    pub seed: u64,
    /// Pods at a time, static ones not counted.
    pub lanes: u64,
    /// Pods in all, after which nothing more is made.
    pub most: u64,
}

/// What has been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pods made.
    pub pods: u64,
    /// Pods of manifests made.
    pub static_pods: u64,
    /// Pods that were seen running.
    pub ran: u64,
    /// Restarts of containers that their last statuses told of.
    pub restarts: u64,
    /// Exec sessions broken off.
    pub execs: u64,
    /// Followers of logs broken off.
    pub logs: u64,
    /// Changes of config maps and secrets.
    pub changes: u64,
    /// Deletions with grace.
    pub deletions: u64,
    /// Deletions without.
    pub forced: u64,
    /// Evictions.
    pub evictions: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.pods += other.pods;
        self.static_pods += other.static_pods;
        self.ran += other.ran;
        self.restarts += other.restarts;
        self.execs += other.execs;
        self.logs += other.logs;
        self.changes += other.changes;
        self.deletions += other.deletions;
        self.forced += other.forced;
        self.evictions += other.evictions;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, static_pods, ran, restarts, execs, logs, changes, deletions, forced, evictions } =
            self;
        write!(
            f,
            "{pods} pods and {static_pods} static ones ({ran} seen running, {restarts} restarts), {execs} exec sessions and {logs} \
             followers broken off, {changes} changes of objects, {deletions} deletions, {forced} without grace, {evictions} evictions"
        )
    }
}

impl fmt::Debug for Churn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client has nothing to show.
        f.debug_struct("Churn").field("node", &self.node).field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Churn {
    /// Churns for this long, and waits until the last pod has gone.
    ///
    /// # Errors
    /// The API server refuses, or a pod stays.
    pub async fn run(&self, time: Duration) -> Result<Tally, ChurnError> {
        let end = Instant::now() + time;
        let each = self.most / self.lanes.max(1);
        let lanes = (0..self.lanes).map(|lane| Box::pin(self.lane(lane, end, each)));
        let (lanes, statics) =
            tokio::join!(futures::future::join_all(lanes), Box::pin(self.static_pods(end)));
        let mut all = statics?;
        for lane in lanes {
            all += lane?;
        }
        Ok(all)
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    fn objects(&self) -> (Api<ConfigMap>, Api<Secret>) {
        (Api::default_namespaced(self.client.clone()), Api::default_namespaced(self.client.clone()))
    }

    /// One pod after the other.
    async fn lane(&self, lane: u64, end: Instant, most: u64) -> Result<Tally, ChurnError> {
        let mut random = Random::new(self.seed, lane);
        let mut tally = Tally::default();
        let objects = format!("soak-{lane}");
        self.make_objects(&objects).await?;
        while Instant::now() < end && tally.pods < most {
            let name = format!("soak-{lane}-{}", tally.pods % NAMES);
            let planned = pods::pod(&mut random, &self.node, &objects);
            let pod = json!({
                "metadata": { "name": name, "labels": { LABEL: lane.to_string() } },
                "spec": planned.spec,
            });
            let pod: Pod = serde_json::from_value(pod)
                .map_err(|error| self.refused("making a pod", kube::Error::SerdeError(error)))?;
            self.pods()
                .create(&PostParams::default(), &pod)
                .await
                .map_err(|e| self.refused("making a pod", e))?;
            tally.pods += 1;
            if planned.starts && random.percent(80) && self.runs(&name).await {
                tally.ran += 1;
                if planned.crashes {
                    sleep(random.millis(1_000, 8_000)).await;
                }
                for _ in 0..random.below(4) {
                    self.deed(&mut random, &name, &objects, &mut tally).await?;
                }
            } else {
                sleep(random.millis(0, 800)).await;
            }
            self.end(&mut random, &name, &mut tally).await?;
        }
        self.remove_objects(&objects).await?;
        Ok(tally)
    }

    /// Whether its main container has run, within some patience.
    async fn runs(&self, name: &str) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let status = self.pods().get(name).await.ok().and_then(|pod| pod.status).unwrap_or_default();
            if matches!(status.phase.as_deref(), Some("Running" | "Succeeded" | "Failed")) {
                return true;
            }
            sleep(PAUSE).await;
        }
        false
    }

    /// Something is done to a pod. Whatever the daemon or a container that has just ended answers will do.
    async fn deed(
        &self,
        random: &mut Random,
        name: &str,
        objects: &str,
        tally: &mut Tally,
    ) -> Result<(), ChurnError> {
        match random.below(8) {
            0..3 => {
                self.break_exec(random, name).await;
                tally.execs += 1;
            }
            3..5 => {
                self.break_log(random, name).await;
                tally.logs += 1;
            }
            5 | 6 => {
                self.change_objects(objects, random).await?;
                tally.changes += 1;
            }
            _ => sleep(random.millis(100, 2_500)).await,
        }
        Ok(())
    }

    /// A session is begun, and its connection is closed in the middle of it.
    async fn break_exec(&self, random: &mut Random, name: &str) {
        let path = match random.below(3) {
            0 => format!("/exec/default/{name}/main?command=cat&input=1&output=1"),
            1 => format!("/exec/default/{name}/main?command=sleep&command=5&output=1&error=1"),
            _ => format!("/exec/default/{name}/main?command=yes&output=1"),
        };
        let stay = random.millis(0, 700);
        let session = async {
            let Ok(mut socket) = self.port.socket(&path, "v5.channel.k8s.io").await else { return };
            // A client that goes away in the middle answers no more.
            drop(socket.send(0, b"hello\n").await);
            let reading = async { while socket.next().await.is_ok() {} };
            drop(timeout(stay, reading).await);
        };
        drop(timeout(LIMIT, session).await);
    }

    async fn break_log(&self, random: &mut Random, name: &str) {
        let parameters =
            LogParams { container: Some("main".to_owned()), follow: true, ..LogParams::default() };
        let stay = random.millis(0, 1_000);
        let pods = self.pods();
        let following = async {
            let Ok(mut stream) = pods.log_stream(name, &parameters).await else { return };
            let mut buffer = [0; 4096];
            let reading = async { while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
            drop(timeout(stay, reading).await);
        };
        drop(timeout(LIMIT, following).await);
    }

    /// A config map and a secret of this name.
    async fn make_objects(&self, name: &str) -> Result<(), ChurnError> {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let map = ConfigMap {
            metadata: metadata.clone(),
            data: Some([("word".to_owned(), "first".to_owned())].into()),
            ..ConfigMap::default()
        };
        let word = ByteString(b"first".to_vec());
        let secret = Secret { metadata, data: Some([("word".to_owned(), word)].into()), ..Secret::default() };
        let (maps, secrets) = self.objects();
        let error = |e| self.refused("making a config map and a secret", e);
        maps.create(&PostParams::default(), &map).await.map_err(error)?;
        secrets.create(&PostParams::default(), &secret).await.map_err(error)?;
        Ok(())
    }

    /// They get other content.
    async fn change_objects(&self, name: &str, random: &mut Random) -> Result<(), ChurnError> {
        let word = format!("{:x}", random.below(u64::MAX));
        let map = json!({ "data": { "word": word } });
        let secret = json!({ "data": { "word": ByteString(word.into_bytes()) } });
        let (maps, secrets) = self.objects();
        let error = |e| self.refused("changing a config map and a secret", e);
        maps.patch(name, &PatchParams::default(), &Patch::Merge(&map)).await.map_err(error)?;
        secrets.patch(name, &PatchParams::default(), &Patch::Merge(&secret)).await.map_err(error)?;
        Ok(())
    }

    async fn remove_objects(&self, name: &str) -> Result<(), ChurnError> {
        let (maps, secrets) = self.objects();
        let error = |e| self.refused("removing a config map and a secret", e);
        maps.delete(name, &DeleteParams::default()).await.map_err(error)?;
        secrets.delete(name, &DeleteParams::default()).await.map_err(error)?;
        Ok(())
    }

    /// Ends a pod in one of the ways that there are, and waits until it has gone.
    async fn end(&self, random: &mut Random, name: &str, tally: &mut Tally) -> Result<(), ChurnError> {
        if let Ok(pod) = self.pods().get(name).await {
            let statuses = pod.status.and_then(|s| s.container_statuses).unwrap_or_default();
            tally.restarts += statuses.iter().map(|s| u64::from(s.restart_count.unsigned_abs())).sum::<u64>();
        }
        let with = |seconds| DeleteParams { grace_period_seconds: Some(seconds), ..DeleteParams::default() };
        match random.below(10) {
            0..4 => {
                self.delete(name, &DeleteParams::default()).await?;
                tally.deletions += 1;
            }
            4 => {
                self.delete(name, &with(30)).await?;
                sleep(random.millis(0, 500)).await;
                self.delete(name, &with(1)).await?;
                tally.deletions += 2;
            }
            5 | 6 => {
                self.delete(name, &with(0)).await?;
                tally.forced += 1;
            }
            _ => {
                self.evict(name).await?;
                tally.evictions += 1;
            }
        }
        self.gone(name).await
    }

    async fn delete(&self, name: &str, parameters: &DeleteParams) -> Result<(), ChurnError> {
        let done = self.pods().delete(name, parameters).await.map(drop);
        self.unless_gone(done, &format!("deleting pod {name}"))
    }

    async fn evict(&self, name: &str) -> Result<(), ChurnError> {
        let done = self.pods().evict(name, &EvictParams::default()).await.map(drop);
        self.unless_gone(done, &format!("evicting pod {name}"))
    }

    fn unless_gone(&self, done: kube::Result<()>, doing: &str) -> Result<(), ChurnError> {
        match done {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(self.refused(doing, error)),
            Ok(()) => Ok(()),
        }
    }

    async fn gone(&self, name: &str) -> Result<(), ChurnError> {
        let end = Instant::now() + LIMIT;
        loop {
            match self.pods().get_opt(name).await.map_err(|e| self.refused("looking for a pod", e))? {
                None => return Ok(()),
                Some(pod) if Instant::now() >= end => {
                    let status = serde_json::to_string(&pod.status).unwrap_or_default();
                    return Err(ChurnError::Stays { pod: name.to_owned(), status });
                }
                Some(_) => sleep(PAUSE).await,
            }
        }
    }

    /// One manifest after the other appears, changes and goes.
    async fn static_pods(&self, end: Instant) -> Result<Tally, ChurnError> {
        let mut random = Random::new(self.seed, u64::MAX);
        let mut tally = Tally::default();
        let Some(dir) = &self.manifests else { return Ok(tally) };
        let path = dir.join("soak.json");
        let failed = |source| ChurnError::Manifest { path: path.clone(), source };
        while Instant::now() < end {
            let name = format!("soak-static-{}", tally.static_pods % NAMES);
            // From one moment to the next, as a careful operator writes it.
            let new = dir.join(".soak.json");
            std::fs::write(&new, pods::static_pod(&mut random, &name).to_string()).map_err(failed)?;
            std::fs::rename(&new, &path).map_err(failed)?;
            tally.static_pods += 1;
            sleep(random.millis(200, 6_000)).await;
            if random.percent(50) {
                std::fs::remove_file(&path).map_err(failed)?;
                sleep(random.millis(0, 2_000)).await;
            }
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let ours = ListParams::default().fields(&format!("spec.nodeName={}", self.node));
        let end = Instant::now() + LIMIT;
        loop {
            let all = self.pods().list(&ours).await.map_err(|e| self.refused("listing pods", e))?;
            let mirror = all
                .items
                .into_iter()
                .find(|pod| pod.metadata.name.as_ref().is_some_and(|n| n.starts_with("soak-static-")));
            let Some(mirror) = mirror else { return Ok(tally) };
            if Instant::now() >= end {
                let status = serde_json::to_string(&mirror.status).unwrap_or_default();
                return Err(ChurnError::Stays { pod: mirror.metadata.name.unwrap_or_default(), status });
            }
            sleep(PAUSE).await;
        }
    }

    fn refused(&self, doing: &str, source: kube::Error) -> ChurnError {
        ChurnError::Api { doing: format!("{doing} on node {}", self.node), source: Box::new(source) }
    }
}
