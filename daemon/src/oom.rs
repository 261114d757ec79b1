//! Tells of each process that the kernel kills because there is no memory left (behaviour.md 31.2).
//!
//! The kernel's log says it at once, with the victim and the cgroup that had no more. Where the whole node was short of memory that is an
//! event of the node, as with a kubelet; where the victim was in a pod, one of the pod too. What a container's status says comes from the
//! runtime and, where that missed it, from `runtime::kernel_log`.

use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use lifecycle::ContainerKind;
use nix::fcntl::OFlag;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::events::Recorder;
use crate::pods::Shown;
use crate::runtime::OomKill;
use crate::stop::stopped;

/// Where the kernel's log is.
pub(crate) const KERNEL_LOG: &str = "/dev/kmsg";

/// How long a container that has just begun may be unknown.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// The kernel makes no longer records than this (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8 << 10;

/// Follows the log at `path` from its end on, until `stop`. Where it cannot be read that is said once.
pub(crate) async fn run(path: &Path, recorder: Recorder, pods: Shown, mut stop: watch::Receiver<bool>) {
    let log = match open(path) {
        Ok(log) => log,
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "the kernel's log cannot be followed: no events will tell of processes that it kills");
            return;
        }
    };
    tokio::select! {
        // Cancel-safe: a level.
        () = stopped(&mut stop) => {}
        // Cut off only when the daemon ends.
        error = follow(&log, &recorder, &pods) => {
            let path = path.display();
            tracing::warn!(%path, %error, "the kernel's log is not followed any more");
        }
    }
}

/// The log, as something that tells when there is more to read: no pipe, but read and waited for as one.
fn open(path: &Path) -> io::Result<Receiver> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // What an earlier daemon has told of is not told again.
    log.seek(SeekFrom::End(0))?;
    Receiver::from_file_unchecked(log)
}

/// Tells of each kill; gives why the log can be read no more.
async fn follow(log: &Receiver, recorder: &Recorder, pods: &Shown) -> io::Error {
    let mut record = [0; RECORD];
    loop {
        match next(log, &mut record).await {
            Ok(length) => {
                if let Some(kill) = record.get(..length).and_then(OomKill::of) {
                    tell(&kill, recorder, pods).await;
                }
            }
            Err(error) => return error,
        }
    }
}

/// Reads the next record into `record`; gives its length.
async fn next(log: &Receiver, record: &mut [u8]) -> io::Result<usize> {
    loop {
        log.readable().await?;
        match log.try_read(record) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => return Ok(length),
            // Nothing more for now; or records were overwritten before they were read, and the next ones are there.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn tell(kill: &OomKill<'_>, recorder: &Recorder, pods: &Shown) {
    let OomKill { process, pid, victim, limit } = *kill;
    if limit.is_none() {
        let text = format!("System OOM encountered, victim process: {process}, pid: {pid}");
        recorder.node_event(true, "SystemOOM", text);
    }
    let Some((pod, container)) = found(kill, pods).await else {
        tracing::warn!(
            process,
            pid,
            cgroup = victim,
            "the kernel has killed a process that is no pod's for want of memory"
        );
        return;
    };
    let of = container.as_ref().map(|name| format!(" of container {name}")).unwrap_or_default();
    let short = limit.map_or("the node".to_owned(), |limit| format!("cgroup {limit}"));
    let text = format!(
        "The kernel killed process {process} (pid {pid}){of} in cgroup {victim}: {short} was out of memory"
    );
    let place = container.map(|name| kind(&pod, &name).field_path(&name));
    recorder.pod_event(&pod, place.as_deref(), true, "OOMKilled", text);
}

/// The pod and the container that the victim was in. A container may be killed before anybody has seen it run.
async fn found(kill: &OomKill<'_>, pods: &Shown) -> Option<(Arc<Pod>, Option<String>)> {
    let (uid, id) = (kill.pod_uid(), kill.container());
    let look = || pods.of_container(id.unwrap_or_default(), uid.as_deref());
    let mut changed = pods.running_changed();
    let known = async {
        loop {
            let found = look();
            let is_new = id.is_some() && matches!(found, Some((_, None)));
            if !is_new || changed.changed().await.is_err() {
                return found;
            }
        }
    };
    timeout(KNOWN_WITHIN, known).await.unwrap_or_else(|_| look())
}

fn kind(pod: &Pod, name: &str) -> ContainerKind {
    let Some(spec) = &pod.spec else { return ContainerKind::Regular };
    let found = podspec::containers(spec).find(|(_, c)| c.name == name).map(|(kind, _)| kind);
    match found {
        Some(podspec::ContainerKind::Init) => ContainerKind::Init,
        Some(podspec::ContainerKind::Sidecar) => ContainerKind::Sidecar,
        Some(podspec::ContainerKind::Regular) => ContainerKind::Regular,
        None if spec.ephemeral_containers.iter().flatten().any(|e| e.name == name) => {
            ContainerKind::Ephemeral
        }
        None => ContainerKind::Regular,
    }
}

#[cfg(test)]
mod tests;
