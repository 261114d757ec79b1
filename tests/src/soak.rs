//! Whether anything leaks: a node is churned, emptied, and compared with what it was.
//!
//! ```text
//! warm-up ─> A: churn, the daemon is killed now and then ─> warm-up ─> B: churn of one and the same daemon
//!        begin ────────────── node compared ──────────┘  begin ────── node and process compared ────┘
//! ```
//!
//! A process is compared with itself after a warm-up: tables have grown, connections are made, code is loaded.

use std::fmt;
use std::time::Duration;

use cri_client::Client;
use http::Method;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::churn::{Churn, ChurnError, Tally};
use crate::cluster::{Cluster, Node};
use crate::leaks::{Bounds, Comparison, Holdings, LookError, Peak, Places, Shell, Table, settled};
use crate::network::Network;
use crate::node_port::{NodePort, PortError};
use crate::progress::Progress;
use crate::supervise::SuperviseError;
use crate::tools::chain;
use crate::vm;
use crate::wait::{self, Look, WaitError};

/// The daemon's own count of its asynchronous tasks.
const TASKS: &str = "nodelet_tasks ";
/// How long a daemon that was killed may take to answer again.
const RETURN_LIMIT: Duration = Duration::from_secs(60);
/// The first of each daemon: not of the time that is asked for.
const SHORTEST_WARM_UP: Duration = Duration::from_secs(10);
/// While pods come and go.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
const VM_BRIDGE: &str = "cni0";

/// Why there is no verdict.
#[derive(Debug, Error)]
pub enum SoakError {
    /// A pod stays, or the API server refuses.
    #[error(transparent)]
    Churn(#[from] ChurnError),
    /// It cannot be seen what the node holds.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The daemon cannot be killed.
    #[error("killing the daemon")]
    Kill(#[from] SuperviseError),
    /// The daemon does not answer again.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The node's port cannot be asked.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Where the daemon is.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// A node of a cluster on this machine.
    Here(&'a Node),
    /// A virtual machine, in which systemd starts it as `nodelet.service`.
    Vm(&'a vm::Node),
}

impl<'a> Host<'a> {
    fn shell(self) -> Shell<'a> {
        match self {
            Self::Here(_) => Shell::Here,
            Self::Vm(node) => Shell::In(node),
        }
    }

    fn cri(self) -> &'a Client {
        match self {
            Self::Here(node) => node.cri(),
            Self::Vm(node) => node.cri(),
        }
    }

    /// Kills the daemon as a crash would; somebody starts it again.
    async fn kill(self) -> Result<(), SoakError> {
        match self {
            Self::Here(node) => Ok(node.kill().await?),
            Self::Vm(_) => {
                // systemd gives up on a unit that fails too often.
                let kill = "systemctl reset-failed nodelet.service; systemctl kill --kill-whom=main -s KILL nodelet.service";
                self.shell().run(kill).await?;
                Ok(())
            }
        }
    }

    /// `bridge` is the pods', where it has no fixed name.
    fn places(self, bridge: &str) -> Places {
        match self {
            Self::Here(node) => {
                let path = |name: &str| node.dir().join(name).display().to_string();
                let runtime_state = node.runtime().state().display().to_string();
                Places {
                    daemon: format!("echo {}", node.nodelet().pid().unwrap_or(0)),
                    root: path("root"),
                    pod_logs: path("pods"),
                    log_links: path("containers"),
                    namespaces: vec![format!("{runtime_state}/leases")],
                    runtime_state,
                    bridge: bridge.to_owned(),
                    cgroups: None,
                }
            }
            Self::Vm(_) => Places {
                daemon: "systemctl show --value --property MainPID nodelet.service".to_owned(),
                root: "/var/lib/kubelet".to_owned(),
                pod_logs: "/var/log/pods".to_owned(),
                log_links: "/var/log/containers".to_owned(),
                runtime_state: "/run/containerd".to_owned(),
                namespaces: vec!["/run/netns".to_owned(), "/var/lib/cni/networks".to_owned()],
                bridge: bridge.to_owned(),
                cgroups: Some("/sys/fs/cgroup/kubepods.slice".to_owned()),
            },
        }
    }
}

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of everything that is drawn.
    pub seed: u64,
    /// Pods at a time.
    pub lanes: u64,
    /// Pods in each part, at most.
    pub most: u64,
    /// Of both parts, without what is waited for in between.
    pub time: Duration,
    /// How often the daemon is killed in the first part; without it there is no such part.
    pub kill_every: Option<Duration>,
    /// How long a process is left alone before its figures count.
    pub rest: Duration,
    /// How long it may take until everything has gone again.
    pub patience: Duration,
    /// Growth of the memory that no file backs, in KiB, that is no leak.
    pub memory_kib: u64,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    seed: u64,
    kills: u64,
    tally: Tally,
    /// Title and looks of each part.
    parts: Vec<(&'static str, Comparison)>,
    /// What was seen while pods came and went.
    peak: Peak,
    has_cgroups: bool,
}

impl Report {
    /// One line each; nothing where all is well. What cannot be seen at all is told as well: nothing could be said about it.
    #[must_use]
    pub fn leaks(&self) -> Vec<String> {
        let leaks = |(title, part): &(&str, Comparison)| {
            part.leaks().into_iter().map(|leak| format!("{title}: {leak}")).collect::<Vec<_>>()
        };
        let unseen = self.peak.unseen(self.has_cgroups).into_iter();
        self.parts.iter().flat_map(leaks).chain(unseen.map(|kind| format!("{kind}: never seen"))).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; the daemon was killed {} times", self.tally, self.kills)?;
        for (title, part) in &self.parts {
            write!(f, "\n{title}\n{}", Table(part, &self.peak))?;
        }
        let leaks = self.leaks();
        writeln!(f)?;
        for leak in &leaks {
            writeln!(f, "LEAK  {leak}")?;
        }
        match leaks.len() {
            0 => writeln!(f, "no leak; seed {}", self.seed),
            count => writeln!(f, "{count} leaks; seed {}", self.seed),
        }
    }
}

/// A node to soak.
#[derive(Debug)]
pub struct Soak<'a> {
    host: Host<'a>,
    /// Of the pods.
    bridge: String,
    churn: Churn,
    plan: Plan,
    progress: Progress,
}

impl<'a> Soak<'a> {
    /// The first node of a cluster on this machine.
    ///
    /// # Errors
    /// Its port cannot be asked.
    pub async fn of(cluster: &'a Cluster, plan: Plan, progress: Progress) -> Result<Self, SoakError> {
        let node = cluster.node(0);
        let churn = Churn {
            client: cluster.client().clone(),
            node: node.name().to_owned(),
            port: NodePort::of(cluster, node).await?,
            manifests: Some(node.manifests()),
            seed: plan.seed,
            lanes: plan.lanes,
            most: plan.most,
        };
        let bridge = Network::of(cluster.layout().id()).map(|network| network.bridge()).unwrap_or_default();
        Ok(Self { host: Host::Here(node), bridge, churn, plan, progress })
    }

    /// A virtual machine.
    #[must_use]
    pub fn of_vm(
        node: &'a vm::Node,
        client: kube::Client,
        port: NodePort,
        plan: Plan,
        progress: Progress,
    ) -> Self {
        let churn = Churn {
            client,
            node: node.name().to_owned(),
            port,
            manifests: None,
            seed: plan.seed,
            lanes: plan.lanes,
            most: plan.most,
        };
        Self { host: Host::Vm(node), bridge: VM_BRIDGE.to_owned(), churn, plan, progress }
    }

    /// Does it all.
    ///
    /// # Errors
    /// There is no verdict.
    pub async fn run(&self) -> Result<Report, SoakError> {
        let Plan { seed, time, kill_every, memory_kib, .. } = self.plan;
        let has_cgroups = matches!(self.host, Host::Vm(_));
        let (tally, peak) = (Tally::default(), Peak::default());
        let mut report = Report { seed, kills: 0, tally, parts: Vec::new(), peak, has_cgroups };
        let empty = self.look().await?;
        let warm_up = SHORTEST_WARM_UP.max(time / 8);
        let mut begin = self.warm_up(&empty, warm_up, &mut report).await?;
        let mut left = time;
        if let Some(every) = kill_every {
            let churned = async {
                let until = Instant::now() + time / 3;
                tokio::join!(self.churn.run(time / 3), self.kill(every, until))
            };
            let done = Box::pin(self.progress.loud_step("churning and killing", async {
                let (tally, kills) = Box::pin(churned).await;
                Ok::<_, SoakError>((tally?, kills?))
            }));
            let (tally, kills) = done.await?;
            report.tally += tally;
            report.kills = kills;
            self.answers().await?;
            let bounds = Bounds { anonymous_kib: 0, same_process: false, files: true };
            let compared = settled(&begin, bounds, self.plan.patience, || self.look()).await?;
            report.parts.push(("over kills of the daemon", compared));
            begin = self.warm_up(&empty, warm_up, &mut report).await?;
            left = time - time / 3;
        }
        let churned = self.watched(&mut report.peak, Box::pin(self.churn.run(left)));
        report.tally += Box::pin(self.progress.step("churning", churned)).await?;
        let bounds = Bounds { anonymous_kib: memory_kib, same_process: true, files: true };
        sleep(self.plan.rest).await;
        let compared = settled(&begin, bounds, self.plan.patience, || self.look()).await?;
        report.parts.push(("one daemon", compared));
        Ok(report)
    }

    /// A short churn, and what there is after it.
    async fn warm_up(
        &self,
        empty: &Holdings,
        time: Duration,
        report: &mut Report,
    ) -> Result<Holdings, SoakError> {
        report.tally += self.progress.step("warming up", self.churn.run(time)).await?;
        sleep(self.plan.rest).await;
        let bounds = Bounds { anonymous_kib: 0, same_process: false, files: false };
        settled(empty, bounds, self.plan.patience, || self.look()).await?;
        Ok(self.look().await?.on_the_node_of(empty))
    }

    /// Looks now and then what there is while `work` is done.
    async fn watched<T>(&self, peak: &mut Peak, work: impl Future<Output = T>) -> T {
        let looking = async {
            loop {
                sleep(LOOK_PERIOD).await;
                // One that fails shows nothing.
                if let Ok(seen) = self.look().await {
                    peak.note(&seen);
                }
            }
        };
        tokio::select! {
            // Not taken up again, neither of them.
            done = work => done,
            never = looking => match never {},
        }
    }

    async fn look(&self) -> Result<Holdings, LookError> {
        let tasks = match self.churn.port.ask(Method::GET, "/metrics").await {
            Ok((_, text)) => text.lines().find_map(|line| line.strip_prefix(TASKS)?.parse().ok()),
            Err(_) => None,
        };
        Holdings::look(self.host.shell(), &self.host.places(&self.bridge), self.host.cri(), tasks).await
    }

    /// Kills the daemon, again and again; tells how often.
    async fn kill(&self, every: Duration, until: Instant) -> Result<u64, SoakError> {
        let mut kills = 0;
        while Instant::now() + every < until {
            sleep(every).await;
            self.host.kill().await?;
            kills += 1;
        }
        Ok(kills)
    }

    /// Waits until the daemon answers.
    async fn answers(&self) -> Result<(), WaitError> {
        let look = || async {
            match self.look().await {
                Ok(_) => Look::There(()),
                Err(error) => Look::NotYet(chain(&error)),
            }
        };
        wait::until("the daemon to run again", RETURN_LIMIT, look).await
    }
}
