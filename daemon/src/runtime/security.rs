//! What the runtime is told about the rights of a pod and of its containers (behaviour.md 7.9, 9).

use std::path::{Path, PathBuf};

use cri_client::v1;
use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, PodSpec, SELinuxOptions, SeccompProfile, SecurityContext,
};
use thiserror::Error;
use v1::security_profile::ProfileType;

/// Why a container may not be made as it is wished, in a kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum SecurityError {
    #[error("container's runAsUser breaks non-root policy (pod: {pod:?}, container: {container})")]
    RootByUser { pod: String, container: String },
    #[error("container has runAsNonRoot and image will run as root (pod: {pod:?}, container: {container})")]
    RootByImage { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: {pod:?}, container: {container})"
    )]
    NamedUser { user: String, pod: String, container: String },
    #[error("localhostProfile must be set if seccompProfile type is Localhost.")]
    NoSeccompProfile,
    #[error("missing localhost apparmor profile name")]
    NoAppArmorProfile,
    #[error("unknown apparmor profile type: {0}")]
    AppArmorType(String),
}

/// Whom an image runs as, if nobody says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageUser {
    /// Root where the image says nothing.
    Id(i64),
    /// A name that only the image's own files resolve.
    Name(String),
}

impl ImageUser {
    pub(crate) fn of(image: &v1::Image) -> Self {
        match &image.uid {
            Some(uid) => Self::Id(uid.value),
            None if !image.username.is_empty() => Self::Name(image.username.clone()),
            None => Self::Id(0),
        }
    }
}

/// What the node's configuration and the machine say about security.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Where the profiles of `Localhost` are.
    pub(crate) seccomp_root: PathBuf,
    /// `seccompDefault`: without a profile containers get the runtime's.
    pub(crate) seccomp_default: bool,
    /// Whether the kernel enforces SELinux labels.
    pub(crate) selinux: bool,
    /// Paths of this machine that are hidden beside those of every machine.
    pub(crate) masked_paths: Vec<String>,
}

impl Settings {
    /// Of the machine whose root is `root`.
    pub(crate) fn new(root: &Path, root_dir: &Path, seccomp_default: bool) -> Self {
        let cpus = std::fs::read_dir(root.join("sys/devices/system/cpu")).into_iter().flatten().flatten();
        let named = cpus.filter_map(|cpu| cpu.file_name().into_string().ok());
        let is_cpu = |name: &String| name.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok());
        let throttle =
            named.filter(is_cpu).map(|cpu| format!("/sys/devices/system/cpu/{cpu}/thermal_throttle"));
        let mut masked_paths: Vec<String> =
            throttle.filter(|path| root.join(path.trim_start_matches('/')).exists()).collect();
        masked_paths.sort_unstable();
        Self {
            seccomp_root: root_dir.join("seccomp"),
            seccomp_default,
            selinux: root.join("sys/fs/selinux/enforce").exists(),
            masked_paths,
        }
    }
}

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The rights of a container whose image runs as `image_user`; `namespaces` are those of its pod.
///
/// # Errors
/// A container that must not run as root would, or nobody can tell; a profile has no name.
pub(crate) fn of_container(
    pod: &Pod,
    container: &Container,
    namespaces: v1::NamespaceOption,
    image_user: &ImageUser,
    settings: &Settings,
) -> Result<v1::LinuxContainerSecurityContext, SecurityError> {
    let empty = PodSecurityContext::default();
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let shared = of_pod.unwrap_or(&empty);
    let none = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&none);
    let user = own.run_as_user.or(shared.run_as_user);
    if own.run_as_non_root.or(shared.run_as_non_root) == Some(true) {
        check_non_root(pod, container, user, image_user)?;
    }
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths =
        |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    let mut masked_paths: Vec<String> = paths(&MASKED);
    if !unmasked {
        masked_paths.extend_from_slice(&settings.masked_paths);
    }
    let (apparmor, apparmor_profile) = app_armor(pod, container)?;
    let (run_as_user, run_as_username) = match (user, image_user) {
        (Some(id), _) => (Some(id), String::new()),
        (None, ImageUser::Id(id)) => (Some(*id), String::new()),
        (None, ImageUser::Name(name)) => (None, name.clone()),
    };
    let se_linux = own.se_linux_options.as_ref().or(shared.se_linux_options.as_ref());
    let profile = own.seccomp_profile.as_ref().or(shared.seccomp_profile.as_ref());
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|wanted| v1::Capability {
            add_capabilities: wanted.add.clone().unwrap_or_default(),
            drop_capabilities: wanted.drop.clone().unwrap_or_default(),
            ..Default::default()
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(namespaces),
        selinux_options: se_linux.map(selinux),
        run_as_user: run_as_user.map(|value| v1::Int64Value { value }),
        run_as_group: own.run_as_group.or(shared.run_as_group).map(|value| v1::Int64Value { value }),
        run_as_username,
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(shared),
        supplemental_groups_policy: groups_policy(shared),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths,
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(profile, settings)?),
        apparmor,
        apparmor_profile,
        ..Default::default()
    })
}

/// The rights of a pod's sandbox.
pub(crate) fn of_sandbox(pod: &Pod, namespaces: v1::NamespaceOption) -> v1::LinuxSandboxSecurityContext {
    let empty = PodSecurityContext::default();
    let spec = pod.spec.as_ref();
    let shared = spec.and_then(|s| s.security_context.as_ref()).unwrap_or(&empty);
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces),
        selinux_options: shared.se_linux_options.as_ref().map(selinux),
        run_as_user: shared.run_as_user.map(|value| v1::Int64Value { value }),
        run_as_group: shared.run_as_group.map(|value| v1::Int64Value { value }),
        supplemental_groups: groups(shared),
        supplemental_groups_policy: groups_policy(shared),
        privileged: spec.is_some_and(has_privileged),
        seccomp: Some(v1::SecurityProfile::default()),
        ..Default::default()
    }
}

/// Which namespaces the pod shares with the node, and which its containers share with each other (behaviour.md 7.9).
pub(crate) fn namespaces(spec: &PodSpec, users: v1::UserNamespace) -> v1::NamespaceOption {
    use v1::NamespaceMode::{Container, Node, Pod};
    let of_pod = |shared: Option<bool>| if shared == Some(true) { Node } else { Pod } as i32;
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => Node,
        (_, Some(true)) => Pod,
        _ => Container,
    };
    v1::NamespaceOption {
        network: of_pod(spec.host_network),
        pid: pid as i32,
        ipc: of_pod(spec.host_ipc),
        target_id: String::new(),
        userns_options: Some(users),
    }
}

fn check_non_root(
    pod: &Pod,
    container: &Container,
    user: Option<i64>,
    image_user: &ImageUser,
) -> Result<(), SecurityError> {
    let pod = podspec::long_pod_name(pod);
    let container = container.name.clone();
    match (user, image_user) {
        (Some(0), _) => Err(SecurityError::RootByUser { pod, container }),
        (Some(_), _) => Ok(()),
        (None, ImageUser::Id(0)) => Err(SecurityError::RootByImage { pod, container }),
        (None, ImageUser::Id(_)) => Ok(()),
        (None, ImageUser::Name(user)) => Err(SecurityError::NamedUser { user: user.clone(), pod, container }),
    }
}

/// fsGroup, then the groups that are listed; what volumes ask for comes between them once there are such volumes.
fn groups(shared: &PodSecurityContext) -> Vec<i64> {
    shared.fs_group.into_iter().chain(shared.supplemental_groups.iter().flatten().copied()).collect()
}

fn groups_policy(shared: &PodSecurityContext) -> i32 {
    let policy = match shared.supplemental_groups_policy.as_deref() {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict,
        _ => v1::SupplementalGroupsPolicy::Merge,
    };
    policy as i32
}

fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    v1::SeLinuxOption {
        user: part(&options.user),
        role: part(&options.role),
        r#type: part(&options.type_),
        level: part(&options.level),
    }
}

/// behaviour.md 9.12.
fn seccomp(
    profile: Option<&SeccompProfile>,
    settings: &Settings,
) -> Result<v1::SecurityProfile, SecurityError> {
    let of =
        |kind: ProfileType| v1::SecurityProfile { profile_type: kind as i32, localhost_ref: String::new() };
    let Some(profile) = profile else {
        return Ok(of(if settings.seccomp_default {
            ProfileType::RuntimeDefault
        } else {
            ProfileType::Unconfined
        }));
    };
    match profile.type_.as_str() {
        "RuntimeDefault" => Ok(of(ProfileType::RuntimeDefault)),
        "Localhost" => {
            let name = profile.localhost_profile.as_deref().filter(|name| !name.is_empty());
            let path = settings.seccomp_root.join(name.ok_or(SecurityError::NoSeccompProfile)?);
            let localhost_ref = path.to_string_lossy().into_owned();
            Ok(v1::SecurityProfile { localhost_ref, ..of(ProfileType::Localhost) })
        }
        _ => Ok(of(ProfileType::Unconfined)),
    }
}

/// Both spellings: runtimes may know only the older one (behaviour.md 9.13).
fn app_armor(
    pod: &Pod,
    container: &Container,
) -> Result<(Option<v1::SecurityProfile>, String), SecurityError> {
    let Some(profile) = podspec::app_armor_profile(pod, container) else { return Ok((None, String::new())) };
    let name = profile.localhost_profile.as_deref().unwrap_or_default();
    let (kind, older) = match profile.type_.as_str() {
        "RuntimeDefault" => (ProfileType::RuntimeDefault, "runtime/default".to_owned()),
        "Unconfined" => (ProfileType::Unconfined, "unconfined".to_owned()),
        "Localhost" if name.is_empty() => return Err(SecurityError::NoAppArmorProfile),
        "Localhost" => (ProfileType::Localhost, format!("localhost/{name}")),
        other => return Err(SecurityError::AppArmorType(other.to_owned())),
    };
    let localhost_ref = if kind == ProfileType::Localhost { name.to_owned() } else { String::new() };
    Ok((Some(v1::SecurityProfile { profile_type: kind as i32, localhost_ref }), older))
}

fn has_privileged(spec: &PodSpec) -> bool {
    let is = |context: &Option<SecurityContext>| context.as_ref().is_some_and(|c| c.privileged == Some(true));
    podspec::containers(spec).any(|(_, c)| is(&c.security_context))
        || spec.ephemeral_containers.iter().flatten().any(|c| is(&c.security_context))
}

#[cfg(test)]
mod tests;
