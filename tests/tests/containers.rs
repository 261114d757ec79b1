//! Every kind of container and every way to its end, with a real containerd.
//!
//! The containers of a pod share /dev/shm, and a container that is started again finds there what the one before it wrote:
//! that is how these pods remember.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(90);

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn status<'a>(pod: &'a Pod, container: &str) -> &'a ContainerStatus {
    let status = pod.status.as_ref().unwrap();
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.into_iter().find(|s| s.name == container).unwrap()
}

fn restarts(pod: &Pod, container: &str) -> i32 {
    let status = pod.status.as_ref();
    let lists = status.map(|s| s.container_statuses.iter().chain(&s.init_container_statuses));
    let found = lists.into_iter().flatten().flatten().find(|s| s.name == container);
    found.map_or(-1, |s| s.restart_count)
}

/// A pod of busybox containers; `parts` are fields of its spec in YAML, two spaces deep.
async fn run(cluster: &Cluster, name: &str, parts: &str) {
    let manifest = format!("apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n{parts}");
    cluster.apply(&manifest.replace("BOX", harness::images::BUSYBOX)).await.unwrap();
}

async fn until(cluster: &Cluster, name: &str, what: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
    cluster.wait_for_pod(name, what, LIMIT, holds).await.unwrap()
}

async fn logs(cluster: &Cluster, pod: &str, container: &str) -> String {
    cluster.kubectl_ok(&["logs", pod, "-c", container]).await.unwrap()
}

async fn event(cluster: &Cluster, pod: &str, text: &str) -> String {
    let look = || async {
        let shown = cluster.kubectl_ok(&["events", &format!("--for=pod/{pod}")]).await.unwrap();
        if shown.contains(text) { Look::There(shown) } else { Look::NotYet(shown) }
    };
    wait::until(&format!("an event of pod {pod} with {text:?}"), LIMIT, look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn inits_and_sidecars_come_up_in_order_and_sidecars_end_in_reverse() {
    scenario(ClusterOptions::for_test("containers-order").unwrap(), async |cluster| {
        run(
            cluster,
            "order",
            r#"
  restartPolicy: Never
  initContainers:
  - { name: first, image: BOX, command: [sh, -c, "echo first >> /dev/shm/order"] }
  - name: below
    image: BOX
    restartPolicy: Always
    command: [sh, -c, "trap 'echo below-ends >> /dev/shm/order; cat /dev/shm/order; exit 3' TERM; echo below >> /dev/shm/order; while :; do sleep 0.1; done"]
  - { name: second, image: BOX, command: [sh, -c, "echo second >> /dev/shm/order"] }
  - name: above
    image: BOX
    restartPolicy: Always
    command: [sh, -c, "trap 'echo above-ends >> /dev/shm/order; exit 4' TERM; echo above >> /dev/shm/order; while :; do sleep 0.1; done"]
  containers:
  - { name: main, image: BOX, command: [sh, -c, "while ! grep -q above /dev/shm/order; do sleep 0.1; done; echo main >> /dev/shm/order"] }
"#,
        )
        .await;
        let pod = until(cluster, "order", "to succeed, whatever its sidecars say", |pod| phase(pod) == "Succeeded").await;
        let told = logs(cluster, "order", "below").await;
        assert_eq!(told, "first\nbelow\nsecond\nabove\nmain\nabove-ends\nbelow-ends\n");
        let code = |name: &str| status(&pod, name).state.clone().unwrap().terminated.unwrap().exit_code;
        assert_eq!((code("first"), code("below"), code("above"), code("main")), (0, 3, 4, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_start_again_by_their_own_policies_and_rules() {
    scenario(ClusterOptions::for_test("containers-rules").unwrap(), async |cluster| {
        // A sidecar runs on for as long as the pod does, also where nothing else is ever started again.
        run(
            cluster,
            "sidecar",
            r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: helper, image: BOX, restartPolicy: Always, command: [sh, -c, "[ -e /dev/shm/again ] && exec sleep 1000; touch /dev/shm/again; sleep 1; exit 5"] }
  containers:
  - { name: main, image: BOX, command: [sleep, "1000"] }
"#,
        )
        .await;
        run(
            cluster,
            "rule",
            r#"
  restartPolicy: Never
  containers:
  - name: main
    image: BOX
    restartPolicy: Never
    restartPolicyRules: [{ action: Restart, exitCodes: { operator: In, values: [42] } }]
    command: [sh, -c, "[ -e /dev/shm/again ] && exit 0; touch /dev/shm/again; exit 42"]
"#,
        )
        .await;
        run(
            cluster,
            "all",
            r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
  - { name: init, image: BOX, command: [sh, -c, "echo init >> /dev/shm/inits; cat /dev/shm/inits"] }
  containers:
  - name: source
    image: BOX
    restartPolicy: Never
    restartPolicyRules: [{ action: RestartAllContainers, exitCodes: { operator: In, values: [7] } }]
    command: [sh, -c, "[ -e /dev/shm/again ] && exec sleep 1000; touch /dev/shm/again; sleep 2; exit 7"]
  - { name: other, image: BOX, command: [sleep, "1000"] }
"#,
        )
        .await;
        let pod = until(cluster, "sidecar", "its sidecar to run again", |pod| {
            restarts(pod, "helper") == 1 && status(pod, "helper").ready
        })
        .await;
        assert_eq!((phase(&pod), restarts(&pod, "main")), ("Running", 0));
        let pod = until(cluster, "rule", "to succeed", |pod| phase(pod) == "Succeeded").await;
        assert_eq!(restarts(&pod, "main"), 1);
        let pod = until(cluster, "all", "all its containers to run again", |pod| {
            ["source", "other"].iter().all(|c| restarts(pod, c) == 1 && status(pod, c).ready)
        })
        .await;
        assert_eq!(restarts(&pod, "init"), 1);
        assert_eq!(logs(cluster, "all", "init").await, "init\ninit\n", "in the same sandbox");
        let before = status(&pod, "source").last_state.clone().unwrap().terminated.unwrap();
        assert_eq!(before.exit_code, 7);
        let conditions = pod.status.unwrap().conditions.unwrap();
        assert!(!conditions.iter().any(|c| c.type_ == "AllContainersRestarting"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_after_the_start_and_before_the_end() {
    scenario(ClusterOptions::for_test("containers-hooks").unwrap(), async |cluster| {
        run(
            cluster,
            "hooks",
            r#"
  containers:
  - name: first
    image: BOX
    command: [sh, -c, "trap 'echo term >> /dev/shm/order; exit 0' TERM; while :; do sleep 0.1; done"]
    lifecycle:
      postStart: { exec: { command: [sh, -c, "sleep 1; echo post >> /dev/shm/order"] } }
      preStop: { exec: { command: [sh, -c, "echo pre >> /dev/shm/order"] } }
  - { name: second, image: BOX, command: [sh, -c, "echo second >> /dev/shm/order; cat /dev/shm/order; exec sleep 1000"] }
"#,
        )
        .await;
        run(
            cluster,
            "bad",
            r#"
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: BOX
    command: [sleep, "1000"]
    lifecycle: { postStart: { exec: { command: [sh, -c, "exit 9"] } } }
"#,
        )
        .await;
        cluster.wait_ready("hooks", LIMIT).await.unwrap();
        // Another image: the container is stopped with its hook, and started again.
        let other = harness::images::busybox_as(cluster.tools(), "nodelet.dev/box-two:1").await.unwrap();
        cluster.node(0).runtime().import(cluster.tools(), &[other]).await.unwrap();
        cluster.kubectl_ok(&["set", "image", "pod/hooks", "first=nodelet.dev/box-two:1"]).await.unwrap();
        let pod = until(cluster, "hooks", "the new image to run", |pod| {
            restarts(pod, "first") == 1 && status(pod, "first").ready
        })
        .await;
        assert_eq!(status(&pod, "first").image, "nodelet.dev/box-two:1");
        assert_eq!(restarts(&pod, "second"), 0);
        event(cluster, "hooks", "Container first definition changed, will be restarted").await;
        cluster.kubectl_ok(&["set", "image", "pod/hooks", "second=nodelet.dev/box-two:1"]).await.unwrap();
        until(cluster, "hooks", "the second to run with it too", |pod| {
            restarts(pod, "second") == 1 && status(pod, "second").ready
        })
        .await;
        // The second container waits for the first one's hook; the end of the first one begins with its other hook.
        let told = logs(cluster, "hooks", "second").await;
        assert_eq!(told, "post\nsecond\npre\nterm\npost\nsecond\n");

        let pod = until(cluster, "bad", "to fail", |pod| phase(pod) == "Failed").await;
        assert!(status(&pod, "main").state.as_ref().unwrap().terminated.is_some());
        event(cluster, "bad", "FailedPostStartHook").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_period_holds_and_a_second_delete_only_shortens_it() {
    scenario(ClusterOptions::for_test("containers-grace").unwrap(), async |cluster| {
        let deaf = r#"
  terminationGracePeriodSeconds: 60
  containers:
  - name: main
    image: BOX
    command: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"]
    lifecycle: { preStop: { sleep: { seconds: 50 } } }
"#;
        run(cluster, "patient", deaf).await;
        run(cluster, "hurried", deaf).await;
        run(cluster, "killed", deaf).await;
        for name in ["patient", "hurried", "killed"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        let delete = async |name: &str, grace: &str| {
            let grace = format!("--grace-period={grace}");
            cluster.kubectl_ok(&["delete", "pod", name, &grace, "--wait=false"]).await.unwrap();
        };
        let begun = Instant::now();
        delete("patient", "5").await;
        delete("hurried", "60").await;
        delete("killed", "60").await;
        event(cluster, "hurried", "Stopping container main").await;
        delete("hurried", "1").await;
        cluster.kubectl_ok(&["delete", "pod", "killed", "--force", "--grace-period=0"]).await.unwrap();
        cluster.wait_gone("patient", LIMIT).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(5), "no SIGKILL before the end of the grace period");
        cluster.wait_gone("hurried", Duration::from_secs(40)).await.unwrap();
        let look = || async {
            let left = cluster.node(0).cri().list_pod_sandboxes([].into()).await.unwrap();
            if left.is_empty() { Look::There(()) } else { Look::NotYet(format!("{left:?}")) }
        };
        wait::until("nothing to be left", Duration::from_secs(40), look).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_too_long_at_work_fails_and_a_daemon_that_is_killed_goes_on_with_its_end() {
    scenario(ClusterOptions::for_test("containers-deadline").unwrap(), async |cluster| {
        run(
            cluster,
            "late",
            r#"
  activeDeadlineSeconds: 3
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: BOX, command: [sleep, "1000"] }
"#,
        )
        .await;
        run(
            cluster,
            "deaf",
            r#"
  terminationGracePeriodSeconds: 6
  containers:
  - { name: main, image: BOX, command: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"] }
"#,
        )
        .await;
        cluster.wait_ready("deaf", LIMIT).await.unwrap();
        let pod = until(cluster, "late", "to fail", |pod| phase(pod) == "Failed").await;
        let told = pod.status.unwrap();
        assert_eq!(told.reason.as_deref(), Some("DeadlineExceeded"));
        assert_eq!(
            told.message.as_deref(),
            Some("Pod was active on the node longer than the specified deadline")
        );
        let begun = Instant::now();
        cluster.kubectl_ok(&["delete", "pod", "deaf", "--wait=false"]).await.unwrap();
        event(cluster, "deaf", "Stopping container main").await;
        cluster.node(0).kill().await.unwrap();
        cluster.node(0).start().await.unwrap();
        cluster.wait_gone("deaf", LIMIT).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(6), "the grace period holds");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_mounted_as_a_volume() {
    scenario(ClusterOptions::for_test("containers-image-volume").unwrap(), async |cluster| {
        run(
            cluster,
            "reader",
            r#"
  restartPolicy: Never
  volumes:
  - { name: data, image: { reference: BOX, pullPolicy: Never } }
  containers:
  - name: main
    image: BOX
    command: [sh, -c, "ls /data/bin/busybox && ! touch /data/new 2>/dev/null"]
    volumeMounts: [{ name: data, mountPath: /data }]
"#,
        )
        .await;
        let pod = until(cluster, "reader", "to succeed", |pod| phase(pod) == "Succeeded").await;
        assert_eq!(logs(cluster, "reader", "main").await.lines().next(), Some("/data/bin/busybox"));
        assert_eq!(status(&pod, "main").volume_mounts.as_ref().unwrap()[0].mount_path, "/data");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_gets_other_resources_without_a_restart_and_with_one_where_it_needs_it() {
    scenario(ClusterOptions::for_test("containers-resize").unwrap(), async |cluster| {
        let resources = "resources: { requests: { cpu: 100m, memory: 64Mi }, limits: { cpu: 200m, memory: 64Mi } }";
        run(
            cluster,
            "grows",
            &format!(
                r#"
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: BOX
    command: [sleep, "1000"]
    {resources}
  - name: restarts
    image: BOX
    command: [sleep, "1000"]
    {resources}
    resizePolicy: [{{ resourceName: memory, restartPolicy: RestartContainer }}]
"#
            ),
        )
        .await;
        let before = cluster.wait_ready("grows", LIMIT).await.unwrap();
        let patch = r#"{"spec":{"containers":[
            {"name":"main","resources":{"requests":{"memory":"96Mi"},"limits":{"cpu":"300m","memory":"128Mi"}}},
            {"name":"restarts","resources":{"requests":{"memory":"96Mi"},"limits":{"memory":"128Mi"}}}]}}"#;
        cluster.kubectl_ok(&["patch", "pod", "grows", "--subresource", "resize", "-p", patch]).await.unwrap();
        let limit = |pod: &Pod, container: &str, resource: &str| {
            let limits = status(pod, container).resources.clone().unwrap_or_default().limits.unwrap_or_default();
            limits.get(resource).map_or(String::new(), |q| q.0.clone())
        };
        let after = until(cluster, "grows", "to have what it asks for", |pod| {
            let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
            limit(pod, "main", "memory") == "128Mi"
                && limit(pod, "restarts", "memory") == "128Mi"
                && status(pod, "restarts").ready
                && !conditions.iter().any(|c| c.type_.starts_with("PodResize"))
        })
        .await;
        assert_eq!(limit(&after, "main", "cpu"), "300m");
        assert_eq!(status(&after, "main").container_id, status(&before, "main").container_id);
        assert_eq!((restarts(&after, "main"), restarts(&after, "restarts")), (0, 1));
        let id = status(&after, "main").container_id.clone().unwrap();
        let id = id.rsplit('/').next().unwrap();
        let told = cluster.node(0).cri().container_status(id).await.unwrap();
        let linux = told.resources.unwrap().linux.unwrap();
        assert_eq!((linux.memory_limit_in_bytes, linux.cpu_quota), (128 << 20, 30_000));
        event(cluster, "grows", "ResizeCompleted").await;
    })
    .await;
}
