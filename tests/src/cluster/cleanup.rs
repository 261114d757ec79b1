//! Taking a cluster apart that nobody has up: after a stop, or after a run that was killed.

use std::path::Path;
use std::time::Duration;

use super::layout::Layout;
use super::record::Record;
use super::{ClusterError, node};
use crate::containerd::Containerd;
use crate::machine;
use crate::network::Network;
use crate::supervise::end_recorded;
use crate::tools::chain;

const GRACE: Duration = Duration::from_secs(10);

/// Ends every process of the cluster that a killed run left, its containers too, and frees its mounts. With nothing left it
/// does nothing. Goes on after an error, and tells all of them.
pub(super) async fn clear(layout: &Layout, record: &Record) -> Result<(), ClusterError> {
    let records = layout.records();
    for index in 0..record.nodes {
        end_recorded(&records, &format!("nodelet-{index}"), node::NODELET_GRACE).await;
    }
    for name in ["scheduler", "apiserver"] {
        end_recorded(&records, name, GRACE).await;
    }
    let mut errors = Vec::new();
    for index in 0..record.nodes {
        end_recorded(&records, &format!("containerd-{index}"), GRACE).await;
        if let Err(error) = layout.containerd(index).clear().await {
            errors.push(chain(&error));
        }
        if let Err(error) = Containerd::free_volumes(&layout.node(index).join("root")) {
            errors.push(chain(&error));
        }
    }
    finish(layout, errors)
}

fn finish(layout: &Layout, mut errors: Vec<String>) -> Result<(), ClusterError> {
    let state = Path::new("/run/nodelet").join(layout.id());
    match std::fs::remove_dir_all(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            errors.push(format!("removing {}: {error}", state.display()));
        }
        _ => {}
    }
    if errors.is_empty() { Ok(()) } else { Err(ClusterError::Leftovers { errors }) }
}

/// Gives back what the cluster took from the machine.
pub(super) async fn release(layout: &Layout, record: &mut Record) -> Result<(), ClusterError> {
    if let Some(network) = Network::of(layout.id()) {
        network.release().await?;
    }
    // Another cluster that came later relies on the setting, and did not raise it itself.
    if let Some(was) = record.inotify_instances.take_if(|_| !Network::any()) {
        machine::restore_inotify_instances(was)?;
    }
    Ok(())
}
