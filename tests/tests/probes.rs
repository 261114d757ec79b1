//! Probes of every kind, with a real containerd and a real kubectl.
//!
//! The containers of a pod share /dev/shm, and a container that is started again finds there what the one before it wrote: that
//! is how these pods are told what to answer.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "probes/servers.rs"]
mod servers;

use std::sync::atomic::Ordering;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(90);

/// A pod with one container, `main`; `parts` are its fields in YAML, four spaces deep.
async fn run(cluster: &Cluster, name: &str, pod: &str, parts: &str) {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n{pod}\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
         - name: main\n    image: {}\n{parts}",
        harness::images::BUSYBOX
    );
    cluster.apply(&manifest).await.unwrap();
}

fn main_of(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|s| s.name == "main")
}

fn condition<'a>(pod: &'a Pod, name: &str) -> &'a PodCondition {
    pod.status.as_ref().unwrap().conditions.as_ref().unwrap().iter().find(|c| c.type_ == name).unwrap()
}

fn runs(pod: &Pod) -> bool {
    main_of(pod).is_some_and(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
}

async fn until(cluster: &Cluster, name: &str, what: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
    cluster.wait_for_pod(name, what, LIMIT, holds).await.unwrap()
}

async fn event(cluster: &Cluster, pod: &str, text: &str) -> String {
    let look = || async {
        let shown = cluster.kubectl_ok(&["events", &format!("--for=pod/{pod}")]).await.unwrap();
        if shown.contains(text) { Look::There(shown) } else { Look::NotYet(shown) }
    };
    wait::until(&format!("an event of pod {pod} with {text:?}"), LIMIT, look).await.unwrap()
}

/// Runs a shell command in the pod's container and tells what it wrote.
async fn shell(cluster: &Cluster, pod: &Pod, command: &str) -> String {
    let id = main_of(pod).unwrap().container_id.clone().unwrap();
    let id = id.rsplit('/').next().unwrap();
    let words = ["sh", "-c", command].map(str::to_owned).to_vec();
    let done = cluster.node(0).cri().exec_sync(id, words, Some(Duration::from_secs(20))).await.unwrap();
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_its_probe_and_a_probe_that_cannot_be_made_says_why() {
    scenario(ClusterOptions::for_test("probes-readiness").unwrap(), async |cluster| {
        run(
            cluster,
            "web",
            "spec:",
            r#"
    command: [httpd, -f, -p, "8080", -h, /dev/shm]
    ports: [{ name: web, containerPort: 8080 }]
    readinessProbe: { httpGet: { path: /ready, port: web }, periodSeconds: 1, failureThreshold: 1 }
    livenessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, failureThreshold: 5 }
"#,
        )
        .await;
        run(
            cluster,
            "lost",
            "spec:",
            r#"
    command: [sleep, "1000"]
    readinessProbe: { httpGet: { port: nowhere }, periodSeconds: 1, failureThreshold: 1 }
"#,
        )
        .await;
        event(cluster, "web", "Readiness probe failed: HTTP probe failed with statuscode: 404").await;
        let pod = until(cluster, "web", "running and not ready", |pod| runs(pod) && !main_of(pod).unwrap().ready).await;
        assert_eq!(condition(&pod, "Ready").status, "False");
        shell(cluster, &pod, "touch /dev/shm/ready").await;
        let pod = cluster.wait_ready("web", LIMIT).await.unwrap();
        assert_eq!(condition(&pod, "ContainersReady").status, "True");
        shell(cluster, &pod, "rm /dev/shm/ready").await;
        let pod = until(cluster, "web", "not ready again", |pod| !main_of(pod).unwrap().ready).await;
        for name in ["Ready", "ContainersReady"] {
            let condition = condition(&pod, name);
            let told = (condition.status.as_str(), condition.reason.as_deref(), condition.message.as_deref());
            let message = Some("containers with unready status: [main]");
            assert_eq!(told, ("False", Some("ContainersNotReady"), message));
        }
        assert_eq!((main_of(&pod).unwrap().restart_count, main_of(&pod).unwrap().started), (0, Some(true)));
        let why = "Readiness probe errored and resulted in unknown state: invalid port: \"nowhere\" is no port of the container";
        event(cluster, "lost", why).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_probe_holds_the_others_back_and_a_failed_liveness_probe_restarts() {
    scenario(ClusterOptions::for_test("probes-startup").unwrap(), async |cluster| {
        run(
            cluster,
            "slow",
            "spec:",
            r#"
    command: [sleep, "1000"]
    startupProbe: { exec: { command: [cat, /dev/shm/up] }, periodSeconds: 1, failureThreshold: 100 }
    livenessProbe: { exec: { command: [sh, -c, "echo >> /dev/shm/asked; cat /dev/shm/up"] }, periodSeconds: 1, failureThreshold: 1 }
    readinessProbe: { exec: { command: [cat, /dev/shm/up] }, periodSeconds: 1, initialDelaySeconds: 1 }
"#,
        )
        .await;
        run(
            cluster,
            "never",
            "spec:",
            r#"
    command: [sleep, "1000"]
    startupProbe: { exec: { command: ["false"] }, periodSeconds: 1, failureThreshold: 2 }
"#,
        )
        .await;
        event(cluster, "slow", "Startup probe failed: cat: can't open '/dev/shm/up'").await;
        let restarted = until(cluster, "never", "restarted", |pod| {
            main_of(pod).is_some_and(|c| c.restart_count > 0)
        });
        restarted.await;
        event(cluster, "never", "Container main failed startup probe, will be restarted").await;
        // By now several startup probes have failed, and nothing else has been asked.
        let pod = until(cluster, "slow", "running", runs).await;
        let main = main_of(&pod).unwrap();
        assert_eq!((main.started, main.ready, main.restart_count), (Some(false), false, 0));
        assert_eq!(shell(cluster, &pod, "ls /dev/shm").await, "");
        shell(cluster, &pod, "echo yes > /dev/shm/up").await;
        let pod = cluster.wait_ready("slow", LIMIT).await.unwrap();
        assert_eq!(main_of(&pod).unwrap().started, Some(true));
        let look = || async {
            let asked = shell(cluster, &pod, "ls /dev/shm").await;
            if asked.contains("asked") { Look::There(()) } else { Look::NotYet(asked) }
        };
        wait::until("a liveness probe", LIMIT, look).await.unwrap();
        shell(cluster, &pod, "rm /dev/shm/up").await;
        let pod = until(cluster, "slow", "restarted", |pod| main_of(pod).is_some_and(|c| c.restart_count == 1)).await;
        assert!(!main_of(&pod).unwrap().ready, "its startup probe has not passed yet");
        event(cluster, "slow", "Liveness probe failed: cat: can't open '/dev/shm/up'").await;
        event(cluster, "slow", "Container main failed liveness probe, will be restarted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_fails_and_is_ended() {
    scenario(ClusterOptions::for_test("probes-exec").unwrap(), async |cluster| {
        run(
            cluster,
            "late",
            "spec:",
            r#"
    command: [sleep, "1000"]
    env: [{ name: LONG, value: "987" }]
    readinessProbe: { exec: { command: [sleep, $(LONG)] }, periodSeconds: 600, timeoutSeconds: 1 }
"#,
        )
        .await;
        let told = "Readiness probe failed: command timed out: \"sleep 987\" timed out after 1s";
        event(cluster, "late", told).await;
        let pod = until(cluster, "late", "running", runs).await;
        assert!(!main_of(&pod).unwrap().ready);
        let look = || async {
            let left = shell(cluster, &pod, "ps").await;
            if left.contains("sleep 987") { Look::NotYet(left) } else { Look::There(()) }
        };
        wait::until("the command to be gone", LIMIT, look).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_servers_health_is_asked_for_and_short_periods_are_kept() {
    scenario(ClusterOptions::for_test("probes-grpc").unwrap(), async |cluster| {
        // The servers are here: a pod in the node's network has the node's address.
        let ip = cluster.node(0).ip();
        let health = servers::Health::listen(ip).await;
        let web = servers::Web::listen(ip).await;
        let (grpc, http) = (health.port, web.port);
        run(
            cluster,
            "asked",
            "spec:\n  hostNetwork: true",
            &format!(
                r#"
    command: [sleep, "1000"]
    readinessProbe: {{ grpc: {{ port: {grpc}, service: db }}, periodSeconds: 1, failureThreshold: 1 }}
"#
            ),
        )
        .await;
        run(
            cluster,
            "often",
            "  annotations: { nodelet.dev/probe-periods: \"main/readiness=100ms\" }\nspec:\n  hostNetwork: true",
            &format!(
                r#"
    command: [sleep, "1000"]
    readinessProbe: {{ httpGet: {{ port: {http}, path: /often }}, periodSeconds: 600 }}
"#
            ),
        )
        .await;
        event(cluster, "asked", "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")").await;
        health.status.store(servers::SERVING, Ordering::SeqCst);
        cluster.wait_ready("asked", LIMIT).await.unwrap();
        assert_eq!(*health.asked.lock().unwrap(), ["db"]);
        health.status.store(servers::NOT_SERVING, Ordering::SeqCst);
        until(cluster, "asked", "not ready again", |pod| !main_of(pod).unwrap().ready).await;

        cluster.wait_ready("often", LIMIT).await.unwrap();
        // At a second each this would take longer than the limit; at a tenth it takes five.
        let (begun, before) = (Instant::now(), web.requests.load(Ordering::SeqCst));
        while web.requests.load(Ordering::SeqCst) < before + 50 {
            assert!(begun.elapsed() < Duration::from_secs(40), "probes do not keep to a period of 100 ms");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ready_stays_so_over_a_restart_of_the_daemon_and_nothing_is_written() {
    scenario(ClusterOptions::for_test("probes-restart").unwrap(), async |cluster| {
        let ip = cluster.node(0).ip();
        let web = servers::Web::listen(ip).await;
        let port = web.port;
        run(
            cluster,
            "ready",
            "spec:\n  hostNetwork: true",
            &format!(
                r#"
    command: [sleep, "1000"]
    startupProbe: {{ exec: {{ command: ["true"] }}, periodSeconds: 1 }}
    readinessProbe: {{ httpGet: {{ port: {port}, path: /ready }}, periodSeconds: 1 }}
    livenessProbe: {{ httpGet: {{ port: {port}, path: /live }}, periodSeconds: 1 }}
"#
            ),
        )
        .await;
        let before = cluster.wait_ready("ready", LIMIT).await.unwrap();
        for kills in 0..2 {
            if kills == 0 {
                cluster.node(0).kill().await.unwrap();
            } else {
                cluster.node(0).restart().await.unwrap();
            }
            let seen = web.requests.load(Ordering::SeqCst);
            let look = || async {
                let more = web.requests.load(Ordering::SeqCst) - seen;
                if more >= 6 { Look::There(()) } else { Look::NotYet(format!("{more} requests")) }
            };
            wait::until("the new daemon to probe", LIMIT, look).await.unwrap();
        }
        let after = until(cluster, "ready", "there", |_| true).await;
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
        // New evidence counts.
        web.status.store(503, Ordering::SeqCst);
        let pod =
            until(cluster, "ready", "restarted", |pod| main_of(pod).is_some_and(|c| c.restart_count > 0))
                .await;
        assert!(!main_of(&pod).unwrap().ready);
    })
    .await;
}
