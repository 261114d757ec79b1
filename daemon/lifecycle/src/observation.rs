//! What was read from the runtime about one pod: the only ground on which the machine plans.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of a container as the runtime tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
    /// The runtime cannot tell.
    Unknown,
}

/// One pod sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Which sandbox of the pod this is, counted from 0.
    pub attempt: u32,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Whether containers can be started in it.
    pub ready: bool,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// Its addresses, the primary one first; empty in the node's network.
    pub ips: Vec<String>,
}

/// The identity that a container's first process runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUser {
    /// User id.
    pub uid: i64,
    /// Group id.
    pub gid: i64,
    /// Further group ids.
    pub supplemental_groups: Vec<i64>,
}

/// What the kernel gives a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActualResources {
    /// Shares of processor time, 2 to 262144; 0 where unknown.
    pub cpu_shares: i64,
    /// Microseconds of processor time in each period; 0 or less without a limit.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Bytes; 0 or less without a limit.
    pub memory_limit: i64,
}

/// One container, running or dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// The container's name in the pod's spec.
    pub name: String,
    /// The sandbox that it was made in.
    pub sandbox_id: String,
    /// How often the container had been restarted when this one was made.
    pub restart_count: u32,
    /// What it does now.
    pub state: ContainerState,
    /// Nanoseconds since the epoch; 0 where it has not happened.
    pub created_at: i64,
    /// Nanoseconds since the epoch; 0 where it has not happened.
    pub started_at: i64,
    /// Nanoseconds since the epoch; 0 where it has not happened.
    pub finished_at: i64,
    /// Of an exited container.
    pub exit_code: i32,
    /// The runtime's word for how it ended.
    pub reason: String,
    /// The runtime's message and the termination message, already put together.
    pub message: String,
    /// The image's name as the runtime shows it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// `io.kubernetes.container.hash` as it was written when the container was made.
    pub hash: Option<String>,
    /// Who it runs as, where the runtime tells.
    pub user: Option<ContainerUser>,
    /// The signal that ends it, `SIGTERM` for example, where one was asked for and the runtime tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// What it really has, where the runtime tells.
    pub resources: Option<ActualResources>,
    /// Whether a preStop handler was written beside it when it was made: it counts where the pod's spec has no such container
    /// any more, as with an orphan (behaviour.md 18.9).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pre_stop: bool,
}

/// Everything that the runtime has of one pod, read in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// In any order.
    pub sandboxes: Vec<Sandbox>,
    /// In any order.
    pub containers: Vec<Container>,
    /// Restart counts to go on from where the runtime has no container of that name any more, recovered from the
    /// names of its log files (behaviour.md 5.20).
    pub logged_restarts: BTreeMap<String, u32>,
}

impl Container {
    /// A container of which only its end is known.
    pub(crate) fn ended_with(exit_code: i32, reason: &str) -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            sandbox_id: String::new(),
            restart_count: 0,
            state: ContainerState::Exited,
            created_at: 0,
            started_at: 0,
            finished_at: 0,
            exit_code,
            reason: reason.to_owned(),
            message: String::new(),
            image: String::new(),
            image_id: String::new(),
            hash: None,
            user: None,
            stop_signal: None,
            resources: None,
            pre_stop: false,
        }
    }

    /// Whether the caller of its start went away before anything ran: containerd gives the start up then and calls that the
    /// container's end.
    fn start_was_cut(&self) -> bool {
        self.state == ContainerState::Exited
            && self.started_at <= 0
            && self.reason == "StartError"
            && self.message.contains("context canceled")
    }
}

impl Observation {
    /// Takes out the containers whose start was cut off: they say nothing about the pod, and only hold their names.
    pub(crate) fn take_cut_starts(&mut self) -> Vec<Container> {
        self.containers.extract_if(.., |c| c.start_was_cut()).collect()
    }

    /// The newest sandbox. The count says which that is; a clock that was set back says nothing.
    pub(crate) fn newest_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.iter().max_by_key(|s| (s.attempt, s.created_at))
    }

    /// The containers named `name`, the newest first.
    pub(crate) fn containers_named(&self, name: &str) -> Vec<&Container> {
        let mut found: Vec<&Container> = self.containers.iter().filter(|c| c.name == name).collect();
        found.sort_by_key(|c| std::cmp::Reverse((c.restart_count, c.created_at)));
        found
    }

    /// The newest container named `name`.
    pub(crate) fn newest_container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().filter(|c| c.name == name).max_by_key(|c| (c.restart_count, c.created_at))
    }

    /// Whether any process of the pod may still run.
    pub(crate) fn may_run(&self) -> bool {
        self.containers.iter().any(|c| matches!(c.state, ContainerState::Running | ContainerState::Unknown))
    }
}
