//! The node at a glance, for `nodelet status`: what this node is, whether it is well, and what was wrong lately. Made when somebody
//! asks; only since when the conditions are as they are is followed all the time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use lifecycle::{Facts, Pressure};
use podspec::Quantity;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cause::chain;
use crate::credentials::Identity;
use crate::flags::node_version;
use crate::health::Verdict;
use crate::kubeconfig::{self, Reach, go_architecture};
use crate::logging::recent::{self, Said};
use crate::node::capacity::Resources;
use crate::node::info::Machine;
use crate::node::pressure::Pressures;
use crate::node::{NodeReceiver, RuntimeState, own_conditions};
use crate::pods::Shown;
use crate::stop::stopped;

/// Certificates are a few KiB.
const CERTIFICATE_BYTES: u64 = 1024 * 1024;

/// What is sent to whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    pub(crate) now: Timestamp,
    pub(crate) node: Own,
    pub(crate) daemon: Daemon,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) resources: BTreeMap<String, Amounts>,
    pub(crate) pods: Pods,
    pub(crate) runtime: Runtime,
    pub(crate) certificates: Vec<Certificate>,
    /// Absent: the node knows of no API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_server: Option<ApiServer>,
    /// Warnings and errors, the newest last.
    pub(crate) said: Vec<Said>,
}

/// What the node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Own {
    pub(crate) name: String,
    /// Of the object, once the API server has shown it.
    pub(crate) uid: String,
    pub(crate) provider_id: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) machine_id: String,
    pub(crate) os_image: String,
    pub(crate) kernel_version: String,
    pub(crate) architecture: String,
}

/// The program, and what it was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Daemon {
    pub(crate) version: String,
    pub(crate) process: u32,
    pub(crate) started: Timestamp,
    /// Empty: none was given.
    pub(crate) config: String,
    pub(crate) config_dir: String,
    pub(crate) root_dir: PathBuf,
    /// What is wrong with it, as `/healthz/syncloop` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ill: Option<String>,
}

/// A condition of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    /// At the earliest since the daemon was started.
    pub(crate) since: Option<Timestamp>,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Of one resource, as Kubernetes writes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Amounts {
    pub(crate) capacity: String,
    pub(crate) allocatable: String,
    /// By the pods that have not ended.
    pub(crate) requested: String,
}

/// How many pods are here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pods {
    pub(crate) total: usize,
    pub(crate) running: usize,
}

/// The container runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Runtime {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) endpoint: String,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_ready: Option<String>,
    /// Why the pods' network is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network_not_ready: Option<String>,
    pub(crate) answered: Option<Timestamp>,
}

/// A certificate in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// `client` or `serving`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) until: Option<Timestamp>,
    /// Why it cannot be told until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// The API server as calls have shown it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiServer {
    pub(crate) address: String,
    /// Absent: the last call that ended was not answered.
    pub(crate) reachable_since: Option<Timestamp>,
    pub(crate) answered: Option<Timestamp>,
    pub(crate) failed: Option<Timestamp>,
    pub(crate) failure: String,
}

/// Where the parts of an overview come from; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known: Known,
    conditions: Mutex<Vec<NodeCondition>>,
}

/// What an overview is made of.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) own: Own,
    pub(crate) daemon: Daemon,
    pub(crate) endpoint: String,
    pub(crate) machine: Arc<Machine>,
    pub(crate) resources: Resources,
    pub(crate) node: Option<NodeReceiver>,
    pub(crate) host_ips: watch::Receiver<Vec<String>>,
    pub(crate) facts: watch::Receiver<Arc<Facts>>,
    pub(crate) runtime: watch::Receiver<RuntimeState>,
    pub(crate) health: watch::Receiver<Verdict>,
    pub(crate) pods: Shown,
    pub(crate) reach: Option<Reach>,
    /// With the client certificate, if there is one.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Of the servers.
    pub(crate) serving_certificate: Option<PathBuf>,
}

impl Origins {
    pub(crate) fn new(known: Known) -> Self {
        Self(Arc::new(Inner { known, conditions: Mutex::default() }))
    }

    /// Looks at the conditions whenever they may have turned, until `stop`.
    pub(crate) async fn follow(self, mut stop: watch::Receiver<bool>) {
        let Known { facts, runtime, .. } = &self.0.known;
        let (mut facts, mut runtime) = (facts.clone(), runtime.clone());
        loop {
            self.conditions();
            let changed = async {
                tokio::select! {
                    // Cancel-safe: both are levels, and are read again.
                    changed = facts.changed() => changed,
                    changed = runtime.changed() => changed,
                }
            };
            tokio::select! {
                // Cancel-safe: a level.
                () = stopped(&mut stop) => return,
                // Cancel-safe: see above.
                changed = changed => if changed.is_err() { return },
            }
        }
    }

    fn conditions(&self) -> Vec<NodeCondition> {
        let Known { machine, resources, facts, runtime, .. } = &self.0.known;
        let (facts, runtime) = (facts.borrow().clone(), runtime.borrow().clone());
        let pressures = Pressures {
            memory: facts.pressures.contains(&Pressure::Memory),
            disk: facts.pressures.contains(&Pressure::Disk),
            pid: facts.pressures.contains(&Pressure::Pid),
        };
        let mut known = self.0.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        *known = own_conditions((machine, resources), &runtime, pressures, facts.shutting_down, &known);
        known.clone()
    }

    /// The overview as it is now.
    pub(crate) async fn now(&self) -> Overview {
        let known = &self.0.known;
        let uid = known.node.as_ref().and_then(|node| node.borrow().as_ref().map(|view| view.uid.clone()));
        let pods = known.pods.pods();
        let phase = |pod: &k8s_openapi::api::core::v1::Pod| pod.status.as_ref().and_then(|s| s.phase.clone());
        let ended = |phase: Option<String>| matches!(phase.as_deref(), Some("Succeeded" | "Failed"));
        let mut requested: BTreeMap<String, Quantity> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !ended(phase(pod))) {
            for (name, amount) in podspec::pod_requests(pod) {
                let sum = requested.entry(name).or_insert(Quantity::ZERO);
                *sum = sum.plus(&amount);
            }
            let count = requested.entry("pods".to_owned()).or_insert(Quantity::ZERO);
            *count = count.plus(&Quantity::from_units(1));
        }
        let certificates =
            certificates(known.kubeconfig.as_deref(), known.serving_certificate.as_deref()).await;
        let now = Timestamp::now();
        Overview {
            now,
            node: Own {
                uid: uid.unwrap_or_default(),
                addresses: known.host_ips.borrow().clone(),
                ..known.own.clone()
            },
            daemon: Daemon {
                ill: known.health.borrow().err().map(|ill| ill.to_string()),
                ..known.daemon.clone()
            },
            conditions: self.conditions().into_iter().map(shown).collect(),
            resources: amounts(&known.resources, &requested),
            pods: Pods {
                total: pods.len(),
                running: pods.iter().filter(|pod| phase(pod).as_deref() == Some("Running")).count(),
            },
            runtime: runtime(&known.runtime.borrow(), &known.endpoint, now),
            certificates,
            api_server: known.reach.as_ref().map(api_server),
            said: recent::said(),
        }
    }
}

/// What is told of the machine and the program, which stays as it is.
pub(crate) fn own(name: &str, provider_id: &str, machine: &Machine) -> Own {
    Own {
        name: name.to_owned(),
        provider_id: provider_id.to_owned(),
        machine_id: machine.machine_id.clone(),
        os_image: machine.os_image.clone(),
        kernel_version: machine.kernel_version.clone(),
        architecture: go_architecture().to_owned(),
        ..Own::default()
    }
}

/// This process.
pub(crate) fn daemon(config: Option<&Path>, config_dir: Option<&Path>, root_dir: &Path) -> Daemon {
    let text = |path: Option<&Path>| path.map(|path| path.display().to_string()).unwrap_or_default();
    Daemon {
        version: node_version(),
        process: std::process::id(),
        started: Timestamp::now(),
        config: text(config),
        config_dir: text(config_dir),
        root_dir: root_dir.to_owned(),
        ill: None,
    }
}

fn shown(condition: NodeCondition) -> Condition {
    Condition {
        kind: condition.type_,
        status: condition.status,
        since: condition.last_transition_time.map(|time| time.0),
        reason: condition.reason.unwrap_or_default(),
        message: condition.message.unwrap_or_default(),
    }
}

fn amounts(resources: &Resources, requested: &BTreeMap<String, Quantity>) -> BTreeMap<String, Amounts> {
    let text = |amounts: &BTreeMap<String, Quantity>, name: &str| {
        amounts.get(name).map_or_else(|| "0".to_owned(), ToString::to_string)
    };
    let of = |name: &String| Amounts {
        capacity: text(&resources.capacity, name),
        allocatable: text(&resources.allocatable, name),
        requested: text(requested, name),
    };
    resources.capacity.keys().map(|name| (name.clone(), of(name))).collect()
}

fn runtime(state: &RuntimeState, endpoint: &str, now: Timestamp) -> Runtime {
    let ago = |at: Instant| Instant::now().saturating_duration_since(at);
    let before = |ago: Duration| now.checked_sub(ago).unwrap_or(now);
    Runtime {
        name: state.name.clone(),
        version: state.version.clone(),
        endpoint: endpoint.to_owned(),
        not_ready: state.ready.clone().err(),
        network_not_ready: state.network.clone().err(),
        answered: state.answered.map(ago).map(before),
    }
}

fn api_server(reach: &Reach) -> ApiServer {
    let seen = reach.seen();
    let (failed, failure) = seen.failed.unzip();
    ApiServer {
        address: seen.server,
        reachable_since: seen.since,
        answered: seen.answered,
        failed,
        failure: failure.unwrap_or_default(),
    }
}

/// The client certificate and the serving certificate, as far as the node has them.
pub(crate) async fn certificates(kubeconfig: Option<&Path>, serving: Option<&Path>) -> Vec<Certificate> {
    let mut found = Vec::new();
    if let Some(path) = kubeconfig {
        let until = match kubeconfig::read(path).await {
            Ok(access) => match access.identity {
                Some(identity) => Ok(identity.validity.not_after),
                None => Err("holds no certificate".to_owned()),
            },
            Err(error) => Err(chain(&error)),
        };
        found.push(certificate("client", path, until));
    }
    if let Some(path) = serving {
        let until = read(path).map_err(|error| error.to_string()).and_then(|text| Identity::ends(&text));
        found.push(certificate("serving", path, until));
    }
    found
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(CERTIFICATE_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

fn certificate(name: &str, path: &Path, until: Result<Timestamp, String>) -> Certificate {
    let (until, problem) = match until {
        Ok(until) => (Some(until), None),
        Err(problem) => (None, Some(problem)),
    };
    Certificate { name: name.to_owned(), path: path.to_owned(), until, problem }
}

#[cfg(test)]
pub(crate) mod tests;
