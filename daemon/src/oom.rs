//! Tells of each process that the kernel kills because there is no memory left (behaviour.md 31.2).
//!
//! The kernel's log says it at once, with the victim and the cgroup that had no more. Where the whole node was short of memory that is an
//! event of the node, as with a kubelet; where the victim was in a pod, one of the pod too. What a container's status says comes from the
//! runtime and, where that missed it, from `runtime::kernel_log`.

use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use lifecycle::ContainerKind;
use nix::fcntl::OFlag;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;

use crate::events::Recorder;
use crate::pods::Shown;
use crate::runtime::OomKill;
use crate::stop::stopped;

/// Where the kernel's log is.
pub(crate) const KERNEL_LOG: &str = "/dev/kmsg";

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
        error = follow(&log, |kill| tell(&kill, &recorder, &pods)) => {
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

/// Shows each kill to `tell`; gives why the log can be read no more.
async fn follow(log: &Receiver, mut tell: impl FnMut(OomKill<'_>)) -> io::Error {
    let mut record = [0; RECORD];
    loop {
        if let Err(error) = log.readable().await {
            return error;
        }
        match log.try_read(&mut record) {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(length) => {
                if let Some(kill) = record.get(..length).and_then(OomKill::of) {
                    tell(kill);
                }
            }
            // Nothing more for now; or records were overwritten before they were read, and the next ones are there.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return error,
        }
    }
}

fn tell(kill: &OomKill<'_>, recorder: &Recorder, pods: &Shown) {
    let OomKill { process, pid, victim, limit } = *kill;
    if limit.is_none() {
        let text = format!("System OOM encountered, victim process: {process}, pid: {pid}");
        recorder.node_event(true, "SystemOOM", text);
    }
    let uid = kill.pod_uid();
    let found = pods.of_container(kill.container().unwrap_or_default(), uid.as_deref());
    let Some((pod, container)) = found else {
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
