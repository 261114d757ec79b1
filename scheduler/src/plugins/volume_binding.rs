//! VolumeBinding: a pod runs where its volumes are, or where volumes for its claims are free.

use super::{Candidate, Filter, Reason, Target};

pub(super) const FILTER: Filter = Filter { name: "VolumeBinding", filter, resolvable: |_, _| false };

fn filter(pod: Candidate<'_>, target: Target<'_>) -> Vec<Reason> {
    match pod.volumes.on(target.node) {
        Ok(_) => Vec::new(),
        Err(objection) => vec![objection.text().into()],
    }
}
