//! Memory that pods have left behind is given back to the system, when they have come or gone and it is quiet again; with it the code that
//! they needed, as the kernel takes none of that out of a process by itself while there is room.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::stop::stopped;

/// Nothing has begun or ceased to run for so long.
const QUIET: Duration = Duration::from_secs(5);
/// Where it never is quiet, memory is given back this often.
const LONGEST: Duration = Duration::from_secs(60);
/// Some of it is free only later: events, of which the API server takes so many a second.
const ONCE_MORE: Duration = Duration::from_secs(60);

/// Until `stop`; `changed` tells that containers have begun to run, or run no more.
pub(crate) async fn keep_small(mut changed: watch::Receiver<()>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        // Cancel-safe: a level.
        () = stopped(&mut stop) => {}
        // Cancel-safe: what is lost is how quiet it was.
        () = give_back_when_quiet(&mut changed) => {}
    }
}

/// Until nobody can change anything any more.
async fn give_back_when_quiet(changed: &mut watch::Receiver<()>) {
    loop {
        quiet(changed).await;
        give_back().await;
        let change = match timeout(ONCE_MORE, changed.changed()).await {
            Ok(change) => change,
            Err(_) => {
                give_back().await;
                changed.changed().await
            }
        };
        if change.is_err() {
            return;
        }
    }
}

async fn give_back() {
    // It has no outcome, and no step that can panic.
    let given = || {
        heap::give_back();
        heap::unmap_code();
    };
    let _ = tokio::task::spawn_blocking(given).await;
}

/// Waits until nothing has changed for a while, but not for ever.
async fn quiet(changed: &mut watch::Receiver<()>) {
    let end = Instant::now() + LONGEST;
    while let Ok(change) = timeout_at(end.min(Instant::now() + QUIET), changed.changed()).await {
        if change.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_quiet_some_seconds_after_the_last_change_and_taken_for_it_after_a_minute() {
        let (change, mut changed) = watch::channel(());
        let began = Instant::now();
        let changes = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                change.send_replace(());
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = quiet(&mut changed) => {}
            () = changes => {}
        }
        assert_eq!(began.elapsed(), Duration::from_secs(2 * 3) + QUIET);

        let began = Instant::now();
        let changes = async {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                change.send_replace(());
            }
        };
        tokio::select! {
            () = quiet(&mut changed) => {}
            () = changes => {}
        }
        assert_eq!(began.elapsed(), LONGEST);
    }
}
