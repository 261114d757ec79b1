//! Which kernel parameters a pod may set (behaviour.md 2.2).

use std::fmt;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use podspec::dotted_sysctl;

use super::facts::Facts;
use super::refusal::Refusal;

/// Parameters that touch nobody but the pod, and the kernel (major, minor) from which on that is so.
const SAFE: &[(&str, (u32, u32))] = &[
    ("kernel.shm_rmid_forced", (0, 0)),
    ("net.ipv4.ip_local_port_range", (0, 0)),
    ("net.ipv4.tcp_syncookies", (0, 0)),
    ("net.ipv4.ping_group_range", (0, 0)),
    ("net.ipv4.ip_unprivileged_port_start", (0, 0)),
    ("net.ipv4.ip_local_reserved_ports", (3, 16)),
    ("net.ipv4.tcp_keepalive_time", (4, 5)),
    ("net.ipv4.tcp_fin_timeout", (4, 6)),
    ("net.ipv4.tcp_keepalive_intvl", (4, 5)),
    ("net.ipv4.tcp_keepalive_probes", (4, 5)),
    ("net.ipv4.tcp_rmem", (4, 15)),
    ("net.ipv4.tcp_wmem", (4, 15)),
];

/// The kernel's namespace that a parameter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipc => "ipc",
            Self::Net => "net",
        })
    }
}

pub(super) fn check(pod: &ApiPod, facts: &Facts) -> Option<Refusal> {
    let spec = pod.spec.as_ref()?;
    let sysctls = spec.security_context.as_ref()?.sysctls.as_deref()?;
    sysctls.iter().find_map(|sysctl| {
        let name = dotted_sysctl(&sysctl.name);
        if !is_safe(&name, &facts.kernel_version) && !is_allowed(&name, &facts.allowed_unsafe_sysctls) {
            return Some(forbidden(format!("{name:?} not allowlisted")));
        }
        // What is shared with the node is not the pod's to change.
        let namespace = namespace(&name)?;
        let shared = match namespace {
            Namespace::Ipc => spec.host_ipc,
            Namespace::Net => spec.host_network,
        };
        let shared = shared.unwrap_or(false);
        shared.then(|| forbidden(format!("{name:?} not allowed with host {namespace} enabled")))
    })
}

fn forbidden(why: String) -> Refusal {
    Refusal::new("SysctlForbidden", format!("forbidden sysctl: {why}"))
}

fn is_safe(name: &str, kernel_version: &str) -> bool {
    let kernel = version(kernel_version);
    SAFE.iter().any(|(safe, since)| *safe == name && kernel.unwrap_or_default() >= *since)
}

/// A pattern of parameters that the whole node has allows nothing: a pod cannot set them for itself.
fn is_allowed(name: &str, patterns: &[String]) -> bool {
    patterns.iter().map(|p| dotted_sysctl(p)).filter(|p| namespace(p).is_some()).any(|pattern| match pattern
        .strip_suffix('*')
    {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    })
}

fn namespace(name: &str) -> Option<Namespace> {
    if name.starts_with("net.") {
        return Some(Namespace::Net);
    }
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    (name == "kernel.sem" || ipc.iter().any(|p| name.starts_with(p))).then_some(Namespace::Ipc)
}

/// Major and minor of `6.12.9-amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests;
