//! How a machine comes into a cluster and leaves it: `nodelet join` and `nodelet leave`, in the manner of kubeadm.
//!
//! ```text
//! join    address, token, hash ──discovery──> cluster-info that is genuine ──settings──> files of `place` ──unit──> the daemon
//!         waits until the daemon has a certificate, and takes the token away
//! leave   API server ──drain──> no pods that could be elsewhere ──unit──> no daemon ──runtime──> no pods ──place──> no files
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `token`, `pin`, `jws` | a bootstrap token, the hash of an authority's key, a signature of `cluster-info` |
//! | `call` | one call of an API server, bounded |
//! | `discovery` | which cluster is behind an address, and that it is the right one |
//! | `settings` | the daemon's configuration and flags, from the cluster's |
//! | `place` | which files a node has from its cluster, in either package |
//! | `unit` | the daemon as systemd sees it |
//! | `join`, `leave` | the steps |
//! | `drain` | which pods are in the way, and their eviction |
//! | `runtime` | the end of pods that stay, through CRI |
//! | `command` | the two command lines |
//!
//! Both may be ended at any point and given again: each step looks at what is there. Nothing of this runs in the daemon.

mod call;
mod command;
mod discovery;
mod drain;
mod join;
mod jws;
mod leave;
mod pin;
mod place;
mod runtime;
mod settings;
mod token;
mod unit;

pub use command::{join_command, leave_command, main_join, main_leave};

/// Where each step is told in a line.
type Tell<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Words of the daemon's command line as the package that is installed has them, as far as the files are there: for who looks at a
/// node whose daemon does not run.
pub(crate) fn usual_words() -> Vec<String> {
    let place = place::Place::new(std::path::Path::new("/"), None);
    let kubeconfig = format!("--kubeconfig={}", place.kubeconfig().display());
    let words = place.configuration_words().into_iter().chain([kubeconfig]);
    let exists =
        |word: &String| word.split_once('=').is_some_and(|(_, path)| std::path::Path::new(path).exists());
    words.filter(exists).collect()
}
