//! The flags with what they are set to, for `/flagz` (behaviour.md 35.16).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::Flags;
use super::table::MIRRORS;
use crate::config::Config;

/// Every flag that has an effect; one that mirrors a field of the configuration shows what is in effect.
pub(crate) fn shown(flags: &Flags, config: &Config) -> BTreeMap<String, String> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    let labels: Vec<String> = flags.node_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let ips: Vec<String> = flags.node_ips.iter().map(ToString::to_string).collect();
    let mut shown: BTreeMap<String, String> = [
        ("config", path(&flags.config)),
        ("config-dir", path(&flags.config_dir)),
        ("kubeconfig", path(&flags.kubeconfig)),
        ("bootstrap-kubeconfig", path(&flags.bootstrap_kubeconfig)),
        ("cert-dir", flags.cert_dir.display().to_string()),
        ("root-dir", flags.root_dir.display().to_string()),
        ("hostname-override", flags.hostname_override.clone().unwrap_or_default()),
        ("node-ip", ips.join(",")),
        ("node-labels", labels.join(",")),
        ("cloud-provider", if flags.external_cloud_provider { "external" } else { "" }.to_owned()),
        ("image-credential-provider-config", path(&flags.image_credential_provider_config)),
        ("image-credential-provider-bin-dir", path(&flags.image_credential_provider_bin_dir)),
        ("lock-file", path(&flags.lock_file)),
        ("exit-on-lock-contention", flags.exit_on_lock_contention.to_string()),
        ("experimental-allocatable-ignore-eviction", flags.allocatable_ignores_eviction.to_string()),
        (
            "eviction-memory-stall",
            flags.eviction_memory_stall.map(|limit| limit.to_string()).unwrap_or_default(),
        ),
        ("maximum-dead-containers", flags.dead_in_all.to_string()),
        ("maximum-dead-containers-per-container", flags.dead_per_container.to_string()),
        ("minimum-container-ttl-duration", flags.dead_min_age.as_secs().to_string() + "s"),
        ("v", config.logging.verbosity.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let fields = config.to_configz();
    for mirror in MIRRORS {
        let field = mirror.field.split('.').try_fold(&fields["kubeletconfig"], |value, name| value.get(name));
        shown.insert(mirror.flag.to_owned(), field.map(text).unwrap_or_default());
    }
    shown
}

/// As Go's flags are written.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}={}", text(value)));
            fields.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}
