//! The pods that may go, with what they use, in the terms of the crate `eviction`.

use std::collections::HashMap;

use ::eviction::{Candidate, ContainerUsage, Disk, EmptyDir, Usage};
use k8s_openapi::api::core::v1::Pod as ApiPod;

use crate::pods::Evictable;
use crate::usage::{Fs, Group, PodUsage, VolumeKind};

/// Each pod that has something running, or holds something. One that has neither would give nothing back.
pub(super) fn candidates(pods: &[Evictable], used: &[PodUsage]) -> Vec<Candidate> {
    let by_uid: HashMap<&str, &PodUsage> = used.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
    let candidate = |pod: &Evictable| {
        let uid = pod.pod.metadata.uid.as_deref().unwrap_or_default();
        let used = by_uid.get(uid);
        if used.is_none() && !pod.runs {
            return None;
        }
        Some(Candidate { usage: used.map(|used| usage(&pod.pod, used)), ..Candidate::of(&pod.pod) })
    };
    pods.iter().filter_map(candidate).collect()
}

fn usage(pod: &ApiPod, used: &PodUsage) -> Usage {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let is_empty_dir = |name: &str| volumes.iter().any(|v| v.name == name && v.empty_dir.is_some());
    let mut other_volumes = Disk::default();
    let mut empty_dirs = std::collections::BTreeMap::new();
    for volume in &used.volumes {
        let taken = disk(&volume.fs);
        if is_empty_dir(&volume.name) {
            let in_memory = volume.kind == VolumeKind::Memory;
            empty_dirs.insert(volume.name.clone(), EmptyDir { used: taken, in_memory });
        } else if volume.is_ephemeral() {
            other_volumes.bytes = other_volumes.bytes.saturating_add(taken.bytes);
            other_volumes.inodes = other_volumes.inodes.saturating_add(taken.inodes);
        }
    }
    let containers = used.containers.iter().map(|container| {
        let usage = ContainerUsage {
            memory: memory(&container.group),
            layer: container.rootfs.as_ref().map(disk),
            logs: container.logs.as_ref().map(disk),
        };
        (container.name.clone(), usage)
    });
    // What a container has logged stays on the disk while it does not run.
    let ended = used.ended_logs.iter().map(|(name, logs)| {
        (name.clone(), ContainerUsage { logs: Some(disk(logs)), ..ContainerUsage::default() })
    });
    Usage {
        memory: memory(&used.group),
        processes: used.group.processes.and_then(|of| of.tasks.or(of.processes)),
        containers: ended.chain(containers).collect(),
        empty_dirs,
        other_volumes,
    }
}

/// The working set without file pages that were used lately: the kernel gives them back before anybody has to die.
fn memory(group: &Group) -> Option<u64> {
    let memory = group.memory.as_ref()?;
    Some(memory.working_set?.saturating_sub(memory.active_file.unwrap_or(0)))
}

fn disk(fs: &Fs) -> Disk {
    Disk { bytes: fs.used.unwrap_or(0), inodes: fs.inodes_used.unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::usage::{Memory, VolumeUsage};

    fn pod(uid: &str) -> Evictable {
        let object = json!({
            "metadata": {"uid": uid, "name": uid, "namespace": "default"},
            "spec": {
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "d", "emptyDir": {"sizeLimit": "1Ki"}}, {"name": "m", "configMap": {"name": "x"}}],
            },
        });
        Evictable { pod: Arc::new(serde_json::from_value(object).unwrap()), runs: uid != "waits" }
    }

    fn memory_of(working_set: u64, active_file: u64) -> Group {
        let memory = Memory {
            time: jiff::Timestamp::UNIX_EPOCH,
            working_set: Some(working_set),
            active_file: Some(active_file),
            ..Memory::default()
        };
        Group { memory: Some(memory), ..Group::default() }
    }

    #[test]
    fn what_a_pod_uses_is_what_would_come_free() {
        let fs = |bytes| Fs { used: Some(bytes), inodes_used: Some(2), ..Fs::default() };
        let volume =
            |name: &str, bytes| VolumeUsage { name: name.to_owned(), kind: VolumeKind::Local, fs: fs(bytes) };
        let used = PodUsage {
            uid: "a".to_owned(),
            group: memory_of(900, 300),
            containers: vec![crate::usage::ContainerUsage {
                name: "c".to_owned(),
                group: memory_of(800, 100),
                rootfs: Some(fs(10)),
                logs: Some(fs(20)),
                ..Default::default()
            }],
            ended_logs: [("init".to_owned(), fs(100))].into(),
            volumes: vec![volume("d", 40), volume("m", 5)],
            ..PodUsage::default()
        };
        let found = candidates(&[pod("a"), pod("starts"), pod("waits")], &[used]);
        assert_eq!(found.iter().map(|c| c.uid.as_str()).collect::<Vec<_>>(), ["a", "starts"]);
        assert_eq!(found[1].usage, None, "nobody knows what it uses");
        let usage = found[0].usage.as_ref().unwrap();
        assert_eq!(usage.memory, Some(600));
        assert_eq!(usage.containers["c"].memory, Some(700));
        assert_eq!(usage.ephemeral_storage().bytes, 175, "logs of containers that have ended count, too");
        assert_eq!(usage.empty_dirs["d"].used.bytes, 40);
        assert!(found[0].has_local_limits());
    }
}
