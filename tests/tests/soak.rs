//! Two minutes of churn on a real containerd leave nothing behind; `cargo xtask soak` does it for longer.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use harness::cluster::{ClusterOptions, scenario};
use harness::progress::Progress;
use harness::soak::{Plan, Soak};

const PLAN: Plan = Plan {
    seed: 7,
    lanes: 4,
    most: 2_000,
    time: Duration::from_secs(90),
    kill_every: Some(Duration::from_secs(8)),
    rest: Duration::from_secs(5),
    // Longer than a connection that nobody uses is kept.
    patience: Duration::from_secs(150),
    // Of a debug program, whose tables and pools are filled by more than the warm-up.
    memory_kib: 6 * 1024,
};

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_come_and_go_all_the_time_leave_nothing_behind() {
    scenario(ClusterOptions::for_test("soak").unwrap(), async |cluster| {
        let soak = Soak::of(cluster, PLAN, Progress::test()).await.unwrap();
        let report = soak.run().await.unwrap();
        println!("{report}");
        assert_eq!(report.leaks(), [""; 0], "{report}");
    })
    .await;
}
