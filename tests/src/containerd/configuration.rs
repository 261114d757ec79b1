//! containerd's configuration, version 3.

use std::path::Path;

use crate::machine;
use crate::tools::Tools;

/// What no test uses and what would reach for places outside of the node's own directories.
const OFF: [&str; 8] = [
    "io.containerd.nri.v1.nri",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
];

/// The file for a containerd of these directories. Paths are written as TOML's literal strings, which know no escapes; the
/// cluster's directory holds no quote.
pub(super) fn text(dir: &Path, state: &Path, tools: &Tools) -> String {
    let root = dir.join("root");
    let snapshotter = if machine::carries_overlay(dir) { "overlayfs" } else { "native" };
    let off = OFF.map(|plugin| format!("'{plugin}'")).join(", ");
    format!(
        "version = 3
root = '{root}'
state = '{state}'
disabled_plugins = [{off}]

[grpc]
address = '{state}/containerd.sock'

[ttrpc]
address = '{state}/containerd.sock.ttrpc'

[plugins.'io.containerd.internal.v1.opt']
path = '{root}/opt'

[plugins.'io.containerd.cri.v1.images']
snapshotter = '{snapshotter}'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{pause}'

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = '{dir}/hosts'

[plugins.'io.containerd.cri.v1.runtime']
disable_apparmor = true
enable_cdi = false
netns_mounts_under_state_dir = true
restrict_oom_score_adj = {restricted}

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '{runc}'
Root = '{state}/runc'
SystemdCgroup = false

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{cni}']
conf_dir = '{dir}/cni'
",
        root = root.display(),
        state = state.display(),
        dir = dir.display(),
        pause = pause::IMAGE_NAME,
        restricted = !machine::may_lower_oom_score(),
        runc = tools.runc.path.display(),
        cni = tools.cni.path.display(),
    )
}
