//! The daemon's configuration and flags on a node of a cluster: the cluster's `KubeletConfiguration`, and what is this node's own. Pure.

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::place::{Place, Service};
use crate::flags::Flags;

const DEFAULT_RUNTIME: &str = "unix:///run/containerd/containerd.sock";

/// What is not the cluster's to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// Where it is not the host's.
    pub(super) node_name: Option<String>,
    pub(super) node_ip: Option<String>,
    pub(super) node_labels: Option<String>,
    pub(super) taints: Option<String>,
    /// Where it is not the usual one.
    pub(super) runtime: Option<String>,
}

/// The cluster's word or the node's own cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("{flag}: {value:?} has a character that cannot stand in an environment file of systemd")]
    Word { flag: &'static str, value: String },
    #[error("the config map kubelet-config of the cluster: {0}")]
    Cluster(String),
    /// The daemon would refuse to start with it.
    #[error("{0}")]
    Refused(String),
}

/// The daemon's flags beside those that name its configuration.
///
/// # Errors
/// A value would not come through systemd as it is.
pub(super) fn words(place: &Place, own: &Own) -> Result<Vec<String>, SettingsError> {
    let mut words = Vec::new();
    if place.service == Service::Nodelet {
        // kubelet.service has these from kubeadm's drop-in.
        words.push(format!("--bootstrap-kubeconfig={}", place.bootstrap().display()));
        words.push(format!("--kubeconfig={}", place.kubeconfig().display()));
    }
    for (flag, value) in [
        ("--hostname-override", &own.node_name),
        ("--register-with-taints", &own.taints),
        ("--node-labels", &own.node_labels),
        ("--node-ip", &own.node_ip),
    ] {
        let Some(value) = value else { continue };
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '$' | '`' | '#' | ';');
        if !value.chars().all(plain) {
            return Err(SettingsError::Word { flag, value: value.clone() });
        }
        words.push(format!("{flag}={value}"));
    }
    Ok(words)
}

/// The environment file with these flags.
pub(super) fn environment(service: Service, words: &[String]) -> String {
    let (comment, name) = match service {
        Service::Nodelet => {
            ("# Written by nodelet join, removed by nodelet leave.\n", "NODELET_CLUSTER_ARGS")
        }
        // kubeadm writes none either.
        Service::Kubelet => ("", "KUBELET_KUBEADM_ARGS"),
    };
    format!("{comment}{name}=\"{}\"\n", words.join(" "))
}

/// The configuration file: of kubelet.service the whole configuration, of nodelet.service what is merged over the machine's. `cluster`
/// is the text of the cluster's config map, where it has one.
///
/// # Errors
/// The cluster's text is no configuration.
pub(super) fn configuration(
    place: &Place,
    cluster: Option<&str>,
    own: &Own,
) -> Result<String, SettingsError> {
    let wrong = |why: String| SettingsError::Cluster(why);
    let mut value = match cluster {
        Some(text) => crate::config::parse_document(text, Path::new("data.kubelet")).map_err(wrong)?.value,
        None => json!({ "rotateCertificates": true }),
    };
    let Some(fields) = value.as_object_mut() else { return Err(wrong("is no object".to_owned())) };
    if place.service == Service::Nodelet {
        // What the cluster leaves open stays as the machine has it.
        without_unset(fields);
    }
    fields.insert("apiVersion".to_owned(), "kubelet.config.k8s.io/v1beta1".into());
    fields.insert("kind".to_owned(), "KubeletConfiguration".into());
    let authority = place.authority().display().to_string();
    let x509 = child(child(fields, "authentication")?, "x509")?;
    x509.insert("clientCAFile".to_owned(), authority.into());
    if let Some(runtime) = runtime(place.service, own) {
        fields.insert("containerRuntimeEndpoint".to_owned(), runtime.into());
    }
    let text = serde_saphyr::to_string(&value).map_err(|error| wrong(error.to_string()))?;
    Ok(match place.service {
        Service::Nodelet => format!("# Written by nodelet join, removed by nodelet leave.\n{text}"),
        Service::Kubelet => text,
    })
}

/// kubeadm's instance-config.yaml.
pub(super) fn instance(own: &Own) -> String {
    let runtime = runtime(Service::Kubelet, own).unwrap_or_default();
    // A JSON string is a YAML string.
    format!("containerRuntimeEndpoint: {}\n", Value::from(runtime))
}

/// kubeadm always names one.
fn runtime(service: Service, own: &Own) -> Option<String> {
    match service {
        Service::Nodelet => own.runtime.clone(),
        Service::Kubelet => Some(own.runtime.clone().unwrap_or_else(|| DEFAULT_RUNTIME.to_owned())),
    }
}

fn child<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Map<String, Value>, SettingsError> {
    let child = fields.entry(name).or_insert_with(|| json!({}));
    child.as_object_mut().ok_or_else(|| SettingsError::Cluster(format!("{name} is no object")))
}

/// kubeadm writes what is not set as empty values and durations of nothing; merged over a file these would unset it.
fn without_unset(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| {
        if let Value::Object(inner) = value {
            without_unset(inner);
            return !inner.is_empty();
        }
        !matches!(value.as_str(), Some("" | "0s" | "0")) && !value.is_null()
    });
}

/// Whether the daemon would start with what has been written.
///
/// # Errors
/// Its words.
pub(super) fn check(place: &Place, words: &[String]) -> Result<(), SettingsError> {
    let arguments = std::iter::once("nodelet".to_owned()).chain(place.configuration_words());
    let arguments = arguments.chain(words.iter().cloned()).map(OsString::from);
    let flags = Flags::parse(arguments).map_err(|error| SettingsError::Refused(error.to_string()))?;
    flags.load_config().map(drop).map_err(|error| SettingsError::Refused(error.to_string()))
}

#[cfg(test)]
mod tests;
