//! What the logs of containers take of the disk (behaviour.md 38.9), looked up when it is asked for.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use prometheus::{Encoder as _, IntGaugeVec, Opts, Registry, TextEncoder};

/// In the unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// The series of every container of these pods that has logs below `pod_logs`, rotated ones included. Blocks on the disk.
///
/// # Errors
/// A series cannot be written.
pub(crate) fn text(pods: &[Pod], pod_logs: &Path) -> Result<String, prometheus::Error> {
    let opts = Opts::new(
        "kubelet_container_log_filesystem_used_bytes",
        "Bytes used by the container's logs on the filesystem.",
    );
    let used = IntGaugeVec::new(opts, &["uid", "namespace", "pod", "container"])?;
    for pod in pods {
        let part = |s: &Option<String>| s.clone().unwrap_or_default();
        let meta = &pod.metadata;
        let (uid, namespace, name) = (part(&meta.uid), part(&meta.namespace), part(&meta.name));
        let Ok(containers) = fs::read_dir(pod_logs.join(podspec::log_dir_name(pod))) else { continue };
        for container in containers.flatten() {
            // What goes meanwhile takes nothing.
            if let (Ok(bytes), Ok(container)) =
                (usage(&container.path()), container.file_name().into_string())
            {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                used.with_label_values(&[&uid, &namespace, &name, &container]).set(bytes);
            }
        }
    }
    let registry = Registry::new();
    registry.register(Box::new(used))?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

/// What a directory and its files take, in bytes.
fn usage(dir: &Path) -> io::Result<u64> {
    let mut blocks = fs::symlink_metadata(dir)?.blocks();
    for file in fs::read_dir(dir)? {
        blocks += file?.metadata().map_or(0, |m| m.blocks());
    }
    Ok(blocks * BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_that_has_logs_has_a_series_with_what_all_its_files_take() {
        let dir = tempfile::tempdir().unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "p", "namespace": "ns", "uid": "u" }
        }))
        .unwrap();
        assert_eq!(text(std::slice::from_ref(&pod), dir.path()).unwrap(), "");
        let logs = dir.path().join("ns_p_u/c");
        fs::create_dir_all(&logs).unwrap();
        let empty = usage(&logs).unwrap();
        for name in ["0.log", "0.log.20261126-000001.gz"] {
            fs::write(logs.join(name), [b'x'; 100_000]).unwrap();
        }
        let bytes = usage(&logs).unwrap();
        assert!(bytes >= empty + 200_000, "{bytes} {empty}");
        let series = format!(
            "kubelet_container_log_filesystem_used_bytes{{container=\"c\",namespace=\"ns\",pod=\"p\",uid=\"u\"}} {bytes}\n"
        );
        assert!(text(&[pod], dir.path()).unwrap().ends_with(&series));
    }
}
