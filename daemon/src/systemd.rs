//! The daemon as a citizen of a machine that systemd runs (behaviour.md 42).
//!
//! ```text
//! NOTIFY_SOCKET <── READY, STATUS, STOPPING (this file), WATCHDOG (watchdog) <── the daemon is well (health)
//! logind ──PrepareForShutdown──> logind ──> inhibitor (pure) ──> shutting down: admission, the node's status, event
//!        <──Inhibit, release────                ^
//!                                               '── all pods have ended: the node task
//! ```
//!
//! Without systemd nothing here does anything. Nothing is kept over a restart: logind says whether the machine goes down.

mod inhibitor;
pub(crate) mod logind;
pub(crate) mod watchdog;

use sd_notify::NotifyState;

/// Names of the variables by which systemd talks to this process, and which are nothing for its children.
pub(crate) const PRIVATE_VARIABLES: [&str; 4] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"];

/// The daemon runs.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("Running")]);
}

/// The daemon ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("Ending; the pods go on running")]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Without the variable, which is without systemd, this is nothing.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told of the daemon's state");
    }
}
