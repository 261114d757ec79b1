//! What volumes add to the start of a pod, beside the bare writes of their files.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{median, start};

const NAMESPACE: &str = "default";
/// Of each kind.
const OBJECTS: usize = 10;

/// Medians over the same number of pods, taken in turns.
#[derive(Debug)]
pub(super) struct Volumes {
    pub(super) pods: usize,
    /// A pod without volumes.
    pub(super) plain: Duration,
    /// A pod with ten config maps and ten secrets that no other pod on the node refers to.
    pub(super) first: Duration,
    /// The same while another pod refers to them, too.
    pub(super) shared: Duration,
    /// Directories, tmpfs, files and links of these twenty volumes, made one after the other.
    pub(super) writes: Duration,
}

/// `scratch` is a directory on the file system that holds the volumes.
pub(super) async fn measure(client: &Client, node: &str, scratch: &Path, pods: usize) -> Result<Volumes> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    for i in 0..OBJECTS {
        let meta = json!({"name": format!("bench-{i}")});
        let map = serde_json::from_value(json!({"metadata": meta, "data": {"key": "value"}}))?;
        maps.create(&PostParams::default(), &map).await.context("making a config map")?;
        let secret = serde_json::from_value(json!({"metadata": meta, "stringData": {"key": "value"}}))?;
        secrets.create(&PostParams::default(), &secret).await.context("making a secret")?;
    }
    let measured = with_objects(client, node, scratch, pods).await;
    for i in 0..OBJECTS {
        maps.delete(&format!("bench-{i}"), &DeleteParams::default()).await?;
        secrets.delete(&format!("bench-{i}"), &DeleteParams::default()).await?;
    }
    measured
}

async fn with_objects(client: &Client, node: &str, scratch: &Path, pods: usize) -> Result<Volumes> {
    let (mut plain, mut first, mut shared, mut writes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for i in 0..pods {
        let name = format!("bench-plain-{i}");
        plain.push(start::one_pod(client, &name, &start::pod(&name, node)).await?.0);
        let name = format!("bench-first-{i}");
        first.push(start::one_pod(client, &name, &pod(&name, node)?).await?.0);
        writes.push(bare(&scratch.join(format!("bench-writes-{i}")))?);
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &pod("bench-keeper", node)?).await?;
    // The first of them may still find what the keeper's own start is about to read.
    for i in 0..=pods {
        let name = format!("bench-shared-{i}");
        let took = start::one_pod(client, &name, &pod(&name, node)?).await?.0;
        if i > 0 {
            shared.push(took);
        }
    }
    api.delete("bench-keeper", &DeleteParams::default().grace_period(0)).await?;
    Ok(Volumes {
        pods,
        plain: median(&mut plain),
        first: median(&mut first),
        shared: median(&mut shared),
        writes: median(&mut writes),
    })
}

/// The pod of [`start`] with all volumes.
fn pod(name: &str, node: &str) -> Result<Pod> {
    let mut pod = serde_json::to_value(start::pod(name, node))?;
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for i in 0..OBJECTS {
        let object = format!("bench-{i}");
        volumes.push(json!({"name": format!("m{i}"), "configMap": {"name": object}}));
        volumes.push(json!({"name": format!("s{i}"), "secret": {"secretName": object}}));
        for kind in ["m", "s"] {
            mounts.push(json!({"name": format!("{kind}{i}"), "mountPath": format!("/{kind}{i}")}));
        }
    }
    pod["spec"]["volumes"] = Value::Array(volumes);
    pod["spec"]["containers"][0]["volumeMounts"] = Value::Array(mounts);
    Ok(serde_json::from_value(pod)?)
}

/// What nobody can do without, for all volumes; taken away again outside of the measured time.
fn bare(dir: &Path) -> Result<Duration> {
    let tmpfs = |i: usize| dir.join(format!("s{i}"));
    let begin = Instant::now();
    for i in 0..OBJECTS {
        write(&dir.join(format!("m{i}")), None)?;
        write(&tmpfs(i), Some("tmpfs"))?;
    }
    let took = begin.elapsed();
    for i in 0..OBJECTS {
        umount2(&tmpfs(i), MntFlags::UMOUNT_NOFOLLOW).context("unmounting a tmpfs")?;
    }
    std::fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    Ok(took)
}

fn write(dir: &Path, kind: Option<&str>) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    if kind.is_some() {
        mount(kind, dir, kind, MsFlags::empty(), Some("size=1048576")).context("mounting a tmpfs")?;
    }
    let data = dir.join("..2026_01_01_00_00_00.0");
    std::fs::create_dir(&data)?;
    std::fs::write(data.join("key"), "value")?;
    std::fs::set_permissions(data.join("key"), std::fs::Permissions::from_mode(0o644))?;
    symlink("..2026_01_01_00_00_00.0", dir.join("..data_tmp"))?;
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data"))?;
    symlink("..data/key", dir.join("key"))?;
    Ok(())
}
