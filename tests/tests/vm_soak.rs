//! A minute of churn on a node with systemd and cgroups leaves nothing behind; `cargo xtask soak --vm` does it for longer.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[allow(dead_code, reason = "the agent of another suite, which does more with it")]
#[path = "vm_cgroups/agent.rs"]
mod agent;

use std::net::SocketAddr;
use std::time::Duration;

use agent::Agent;
use harness::bed;
use harness::node_port::NodePort;
use harness::progress::Progress;
use harness::soak::{Plan, Soak};
use harness::vm::scenario;

const MINUTES: &str = "NODELET_SOAK_MINUTES";
const SEED: &str = "NODELET_SOAK_SEED";

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cgroup_or_anything_else_stays_of_pods_that_come_and_go_all_the_time() {
    let minutes = number(MINUTES, 1);
    let plan = Plan {
        seed: number(SEED, 7),
        // One processor starts one pod a second.
        lanes: 3,
        most: minutes * 1_000,
        time: Duration::from_secs(60 * minutes),
        kill_every: Some(Duration::from_secs(9)),
        rest: Duration::from_secs(5),
        // Longer than a connection that nobody uses is kept.
        patience: Duration::from_secs(180),
        memory_kib: 6 * 1024,
    };
    scenario(bed!("soak"), async |bed| {
        let agent = Agent::install_with_api(bed).await;
        agent.start("cgroupsPerQOS: true\ncgroupDriver: systemd\n").await;
        let kubeconfig = agent.kubeconfig().await.unwrap();
        let port = NodePort::at(kubeconfig, SocketAddr::from((agent.node.ip(), 10_250))).await.unwrap();
        let soak = Soak::of_vm(agent.node, agent.client(), port, plan, Progress::test());
        let report = soak.run().await.unwrap();
        println!("{report}");
        assert_eq!(report.leaks(), [""; 0], "{report}");
    })
    .await;
}
