//! The feature gates of Kubernetes 1.36 that a kubelet reads, their defaults, and what nodelet does with them.
//!
//! A name outside this table is an error, as it is upstream. A gate that is locked (GA) may be set to its default only.

use std::collections::BTreeMap;

/// How far a feature has come; upstream refuses to turn off what is generally available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Locked,
    BetaOn,
    BetaOff,
    AlphaOff,
    DeprecatedOn,
    DeprecatedOff,
}

impl Stage {
    const fn default(self) -> bool {
        matches!(self, Self::Locked | Self::BetaOn | Self::DeprecatedOn)
    }
}

use Stage::{AlphaOff, BetaOff, BetaOn, DeprecatedOff, DeprecatedOn, Locked};

/// Sorted by name. behaviour.md 49.
const GATES: &[(&str, Stage)] = &[
    ("AllowDNSOnlyNodeCSR", DeprecatedOff),
    ("CPUCFSQuotaPeriod", Locked),
    ("CPUManagerPolicyAlphaOptions", AlphaOff),
    ("CPUManagerPolicyBetaOptions", BetaOn),
    ("CPUManagerPolicyOptions", Locked),
    ("CRIListStreaming", AlphaOff),
    ("CSIVolumeHealth", AlphaOff),
    ("ChangeContainerStatusOnKubeletRestart", DeprecatedOff),
    ("ClusterTrustBundle", BetaOff),
    ("ClusterTrustBundleProjection", BetaOff),
    ("ComponentFlagz", BetaOn),
    ("ComponentStatusz", BetaOn),
    ("ContainerCheckpoint", BetaOn),
    ("ContainerRestartRules", BetaOn),
    ("ContainerStopSignals", AlphaOff),
    ("DRAAdminAccess", Locked),
    ("DRAConsumableCapacity", BetaOn),
    ("DRADeviceTaints", BetaOn),
    ("DRAExtendedResource", BetaOn),
    ("DRANodeAllocatableResources", AlphaOff),
    ("DRAPartitionableDevices", BetaOn),
    ("DRAPrioritizedList", Locked),
    ("DisableCPUQuotaWithExclusiveCPUs", DeprecatedOn),
    ("DisableNodeKubeProxyVersion", DeprecatedOn),
    ("DynamicResourceAllocation", Locked),
    ("EnvFiles", BetaOn),
    ("EventedPLEG", AlphaOff),
    ("ExecProbeTimeout", Locked),
    ("ExtendWebSocketsToKubelet", BetaOn),
    ("GitRepoVolumeDriver", DeprecatedOff),
    ("GracefulNodeShutdown", BetaOn),
    ("GracefulNodeShutdownBasedOnPodPriority", BetaOn),
    ("HostnameOverride", BetaOn),
    ("ImageMaximumGCAge", Locked),
    ("ImageVolume", Locked),
    ("ImageVolumeWithDigest", AlphaOff),
    ("InPlacePodLevelResourcesVerticalScaling", BetaOn),
    ("InPlacePodVerticalScaling", Locked),
    ("InPlacePodVerticalScalingExclusiveCPUs", AlphaOff),
    ("InPlacePodVerticalScalingExclusiveMemory", AlphaOff),
    ("InPlacePodVerticalScalingInitContainers", BetaOn),
    ("KubeletCgroupDriverFromCRI", Locked),
    ("KubeletCrashLoopBackOffMax", BetaOn),
    ("KubeletEnsureSecretPulledImages", BetaOn),
    ("KubeletFineGrainedAuthz", Locked),
    ("KubeletInUserNamespace", AlphaOff),
    ("KubeletPSI", Locked),
    ("KubeletPodResourcesDynamicResources", Locked),
    ("KubeletPodResourcesGet", Locked),
    ("KubeletPodResourcesListUseActivePods", DeprecatedOn),
    ("KubeletRegistrationGetOnExistsOnly", DeprecatedOff),
    ("KubeletSeparateDiskGC", BetaOn),
    ("KubeletServiceAccountTokenForCredentialProviders", BetaOn),
    ("KubeletTracing", Locked),
    ("LocalStorageCapacityIsolationFSQuotaMonitoring", BetaOff),
    ("MemoryQoS", AlphaOff),
    ("MutableCSINodeAllocatableCount", Locked),
    ("NodeDeclaredFeatures", BetaOn),
    ("NodeLogQuery", Locked),
    ("NodeSwap", Locked),
    ("PLEGOnDemandRelist", BetaOn),
    ("PodAndContainerStatsFromCRI", AlphaOff),
    ("PodCertificateRequest", BetaOff),
    ("PodLevelResourceManagers", AlphaOff),
    ("PodLevelResources", BetaOn),
    ("PodLifecycleSleepAction", Locked),
    ("PodLifecycleSleepActionAllowZero", Locked),
    ("PodLogsQuerySplitStreams", AlphaOff),
    ("PodObservedGenerationTracking", Locked),
    ("PodReadyToStartContainersCondition", BetaOn),
    ("PodsAPI", AlphaOff),
    ("PreventStaticPodAPIReferences", BetaOn),
    ("ProcMountType", Locked),
    ("QOSReserved", AlphaOff),
    ("RecursiveReadOnlyMounts", Locked),
    ("ReduceDefaultCrashLoopBackOffDecay", AlphaOff),
    ("RelaxedDNSSearchValidation", Locked),
    ("RelaxedEnvironmentVariableValidation", Locked),
    ("ReloadKubeletClientCAFile", BetaOn),
    ("ReloadKubeletServerCertificateFile", BetaOn),
    ("ResourceHealthStatus", BetaOn),
    ("RestartAllContainersOnContainerExits", BetaOn),
    ("RotateKubeletServerCertificate", BetaOn),
    ("RuntimeClassInImageCriAPI", AlphaOff),
    ("SELinuxChangePolicy", Locked),
    ("SELinuxMount", BetaOff),
    ("SELinuxMountReadWriteOncePod", Locked),
    ("SidecarContainers", Locked),
    ("SupplementalGroupsPolicy", Locked),
    ("SystemdWatchdog", Locked),
    ("TaintTolerationComparisonOperators", AlphaOff),
    ("TopologyManagerPolicyAlphaOptions", AlphaOff),
    ("TopologyManagerPolicyBetaOptions", BetaOn),
    ("TopologyManagerPolicyOptions", Locked),
    ("UserNamespacesHostNetworkSupport", AlphaOff),
    ("UserNamespacesSupport", Locked),
    ("VolumeLimitScaling", AlphaOff),
];

/// These two switch whole groups; every gate that is named itself wins over them.
const ALL_ALPHA: &str = "AllAlpha";
const ALL_BETA: &str = "AllBeta";

/// Gates whose default behaviour is carried out, or whose off state is; the rest has no effect yet.
const IN_EFFECT: &[&str] = &[
    "ComponentFlagz",
    "ComponentStatusz",
    "ContainerCheckpoint",
    "ContainerStopSignals",
    "EnvFiles",
    "HostnameOverride",
    "MemoryQoS",
    "NodeDeclaredFeatures",
    "PodLevelResources",
    "PodLogsQuerySplitStreams",
    "PreventStaticPodAPIReferences",
    "QOSReserved",
];

fn stage(name: &str) -> Option<Stage> {
    GATES.binary_search_by_key(&name, |(gate, _)| gate).ok().map(|index| GATES[index].1)
}

/// Why a gate may not be set so; `None` when it may.
pub(crate) fn problem(name: &str, value: bool) -> Option<String> {
    if name == ALL_ALPHA || name == ALL_BETA {
        return None;
    }
    match stage(name) {
        None => Some(format!("unrecognized feature gate {name:?}")),
        Some(Locked) if !value => {
            Some(format!("cannot set feature gate {name} to false, the feature is locked to true"))
        }
        Some(_) => None,
    }
}

/// Whether a gate is on under these settings. A name that is not in the table is off.
#[must_use]
pub fn enabled(settings: &BTreeMap<String, bool>, name: &str) -> bool {
    let Some(stage) = stage(name) else { return false };
    if let Some(value) = settings.get(name) {
        return *value;
    }
    let group = match stage {
        AlphaOff => settings.get(ALL_ALPHA),
        BetaOn | BetaOff => settings.get(ALL_BETA),
        _ => None,
    };
    group.copied().unwrap_or(stage.default())
}

/// Names of gates that are set off their default and change nothing in this program.
pub(crate) fn without_effect(settings: &BTreeMap<String, bool>) -> Vec<&str> {
    settings
        .iter()
        .filter(|(name, value)| match stage(name) {
            Some(stage) => stage.default() != **value && !IN_EFFECT.contains(&name.as_str()),
            None => **value,
        })
        .map(|(name, _)| name.as_str())
        .collect()
}

#[cfg(test)]
mod tests;
