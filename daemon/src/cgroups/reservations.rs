//! The cgroups of `systemReserved` and `kubeReserved`, where `enforceNodeAllocatable` names them (behaviour.md 23.2, 23.3).
//! They are somebody else's: they have to be there, and are never made here.

use ::cgroups::{Cgroup, Enforcement, NameError, Tree, Values, reserved_values};

use super::{Limits, PodCgroupError};
use crate::config::Config;

/// One reservation that is enforced.
#[derive(Debug)]
pub(super) struct Reservation {
    setting: &'static str,
    /// As it is told: `System Reserved`, `Kube Reserved Compressible`.
    what: String,
    /// As it is configured.
    path: String,
    cgroup: Cgroup,
    values: Values,
}

/// What became of one.
#[derive(Debug)]
pub struct Told {
    /// Whether it is held to its amounts.
    pub is_enforced: bool,
    /// In a kubelet's words.
    pub message: String,
}

/// Those that the settings want to be enforced.
pub(super) fn reservations(
    tree: &Tree,
    config: &Config,
    limits: &Limits,
) -> Result<Vec<Reservation>, NameError> {
    let policy = &limits.policy;
    let settings = [
        (
            "systemReservedCgroup",
            "System Reserved",
            &config.system_reserved_cgroup,
            policy.enforced.system,
            &policy.system_reserved,
        ),
        (
            "kubeReservedCgroup",
            "Kube Reserved",
            &config.kube_reserved_cgroup,
            policy.enforced.kube,
            &policy.kube_reserved,
        ),
    ];
    let mut all = Vec::new();
    for (setting, what, path, enforcement, amounts) in settings {
        let Some(enforcement) = enforcement else { continue };
        let compressible = if enforcement == Enforcement::Compressible { " Compressible" } else { "" };
        all.push(Reservation {
            setting,
            what: format!("{what}{compressible}"),
            path: path.clone(),
            cgroup: Cgroup::parse(tree.layout().driver(), path)?,
            values: reserved_values(amounts, enforcement, policy.memory_qos.is_some()),
        });
    }
    Ok(all)
}

impl Reservation {
    /// Holds its cgroup to it.
    pub(super) async fn enforce(&self, tree: &Tree) -> Told {
        let Self { what, path, .. } = self;
        match self.write(tree).await {
            Ok(()) => {
                let what = what.to_lowercase();
                let what = what.trim_end_matches(" compressible");
                Told { is_enforced: true, message: format!("Updated limits on {what} cgroup {path}") }
            }
            Err(error) => {
                let error = crate::cause::chain(&error);
                let message = format!("Failed to enforce {what} Cgroup Limits on {path:?}: {error}");
                Told { is_enforced: false, message }
            }
        }
    }

    async fn write(&self, tree: &Tree) -> Result<(), PodCgroupError> {
        let Self { setting, cgroup, values, .. } = self;
        if tree.held(cgroup)?.is_none() {
            return Err(PodCgroupError::NoSuchCgroup { setting, cgroup: cgroup.to_string() });
        }
        Ok(tree.renew(cgroup, values).await?)
    }
}
