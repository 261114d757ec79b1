//! The end of the daemon, as every task sees it: a level that goes up once.

use tokio::sync::watch;

/// Resolves when the daemon is to end. Cancel-safe.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to say so, which is an end too. The borrowed value must not live on in the caller's select.
    let _ = stop.wait_for(|stop| *stop).await;
}
