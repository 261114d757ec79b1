//! What a pod is called in its own network (behaviour.md 8.13 to 8.15).

use k8s_openapi::api::core::v1::Pod;
use thiserror::Error;

/// A kubelet cuts host names here.
const MAX_NAME: usize = 63;
/// The kernel takes no longer ones.
const MAX_FQDN: usize = 64;

/// Why a pod cannot be called as its spec says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum HostNameError {
    #[error("pod {field} {name:?} is not a valid DNS {kind}")]
    Name { field: &'static str, name: String, kind: &'static str },
    #[error(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long ({MAX_FQDN} characters is the max, {length} characters requested)"
    )]
    TooLong { fqdn: String, length: usize },
    #[error("hostname for pod {pod:?} was invalid: {name:?}")]
    Empty { pod: String, name: String },
}

/// What a pod is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostName {
    /// Without the domain.
    pub(crate) short: String,
    /// Of a pod with a subdomain.
    pub(crate) domain: Option<String>,
    /// What the kernel says it is.
    pub(crate) kernel: String,
}

/// The name of `pod` in a cluster of this domain; `overrides` is the gate `HostnameOverride`.
///
/// # Errors
/// Hostname or subdomain are no names, or the whole is too long for the kernel.
pub(crate) fn host_name(pod: &Pod, cluster_domain: &str, overrides: bool) -> Result<HostName, HostNameError> {
    let spec = pod.spec.as_ref();
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let pod_name = part(&pod.metadata.name);
    if let Some(name) = spec.and_then(|s| s.hostname_override.as_ref()).filter(|_| overrides) {
        let is_good = name.len() <= 253 && name.split('.').all(is_label);
        check(is_good, "HostnameOverride", name, "subdomain")?;
        let short = cut(&pod_name, name)?;
        return Ok(HostName { kernel: short.clone(), short, domain: None });
    }
    let wanted = spec.map(|s| part(&s.hostname)).filter(|name| !name.is_empty());
    if let Some(name) = &wanted {
        check(is_label(name), "Hostname", name, "label")?;
    }
    let short = cut(&pod_name, wanted.as_ref().unwrap_or(&pod_name))?;
    let subdomain = spec.map(|s| part(&s.subdomain)).filter(|name| !name.is_empty());
    let Some(subdomain) = subdomain else {
        return Ok(HostName { kernel: short.clone(), short, domain: None });
    };
    check(is_label(&subdomain), "Subdomain", &subdomain, "label")?;
    let domain = format!("{subdomain}.{}.svc.{cluster_domain}", part(&pod.metadata.namespace));
    let mut kernel = short.clone();
    if spec.and_then(|s| s.set_hostname_as_fqdn) == Some(true) {
        kernel = format!("{short}.{domain}");
        if kernel.len() > MAX_FQDN {
            return Err(HostNameError::TooLong { length: kernel.len(), fqdn: kernel });
        }
    }
    Ok(HostName { short, domain: Some(domain), kernel })
}

fn check(is_good: bool, field: &'static str, name: &str, kind: &'static str) -> Result<(), HostNameError> {
    if is_good { Ok(()) } else { Err(HostNameError::Name { field, name: name.to_owned(), kind }) }
}

fn is_label(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(legal)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn cut(pod: &str, name: &str) -> Result<String, HostNameError> {
    if name.len() <= MAX_NAME {
        return Ok(name.to_owned());
    }
    let cut = name[..name.floor_char_boundary(MAX_NAME)].trim_end_matches(['-', '.']);
    if cut.is_empty() {
        return Err(HostNameError::Empty { pod: pod.to_owned(), name: name.to_owned() });
    }
    Ok(cut.to_owned())
}

#[cfg(test)]
mod tests;
