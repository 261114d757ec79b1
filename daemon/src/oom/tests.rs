use k8s_openapi::api::core::v1::Event;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde_json::json;

use super::*;
use crate::events::Rates;
use crate::kubeconfig::fake::{FakeApi, api};
use crate::pods::Running;

const ID: &str = "98bac6e9d2cd12e1a5bd1dd3a7c6bd2fa31db2ba06d0cf4d7cc5f0ad3d16d0f1";
const SLICE: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaaaa_1.slice";

struct Setup {
    recorder: Recorder,
    pods: Shown,
    api: FakeApi,
    _stop: watch::Sender<bool>,
}

/// A pod with a sidecar that runs as [`ID`].
fn setup() -> Setup {
    let (client, api) = api();
    let (recorder, sender) = Recorder::new(Some(client), "node1", Rates::default());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sender.run(stopped));
    let pods = Shown::default();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "team", "uid": "aaaa-1"},
        "spec": {"initContainers": [{"name": "side", "restartPolicy": "Always"}], "containers": [{"name": "c"}]},
    }))
    .unwrap();
    pods.set(pod, vec![Running { id: ID.to_owned(), container: "side".to_owned(), restart_count: 0 }]);
    Setup { recorder, pods, api, _stop: stop }
}

impl Setup {
    async fn event(&mut self) -> (String, String, String, String) {
        let call = self.api.next().await;
        let event: Event = serde_json::from_value(call.body.clone()).unwrap();
        let body = call.body.clone();
        call.ok(&body);
        let about = event.involved_object;
        let about =
            [about.kind, about.name, about.field_path].into_iter().flatten().collect::<Vec<_>>().join(" ");
        (about, event.type_.unwrap(), event.reason.unwrap(), event.message.unwrap())
    }
}

#[tokio::test]
async fn row_31_2_a_node_without_memory_is_an_event_of_the_node() {
    let mut setup = setup();
    let kill = OomKill { process: "cron", pid: 71, victim: "/system.slice/cron.service", limit: None };
    tell(&kill, &setup.recorder, &setup.pods).await;
    let (about, kind, reason, message) = setup.event().await;
    assert_eq!((about.as_str(), kind.as_str(), reason.as_str()), ("Node node1", "Warning", "SystemOOM"));
    assert_eq!(message, "System OOM encountered, victim process: cron, pid: 71");
}

#[tokio::test(start_paused = true)]
async fn a_pods_process_that_is_killed_is_an_event_of_the_pod_with_process_and_cgroup() {
    let mut setup = setup();
    let victim = format!("{SLICE}/cri-containerd-{ID}.scope");
    let kill = OomKill { process: "sh", pid: 5, victim: &victim, limit: Some(SLICE) };
    tell(&kill, &setup.recorder, &setup.pods).await;
    let (about, kind, reason, message) = setup.event().await;
    assert_eq!(about, "Pod p spec.initContainers{side}");
    assert_eq!((kind.as_str(), reason.as_str()), ("Warning", "OOMKilled"));
    assert_eq!(
        message,
        format!(
            "The kernel killed process sh (pid 5) of container side in cgroup {victim}: cgroup {SLICE} was out of memory"
        )
    );

    // The container is not known yet: its cgroup names the pod.
    let other = victim.replace("98bac6", "000000");
    let kill = OomKill { victim: &other, limit: None, ..kill };
    tell(&kill, &setup.recorder, &setup.pods).await;
    assert_eq!(setup.event().await.2, "SystemOOM");
    let (about, _, _, message) = setup.event().await;
    assert_eq!(about, "Pod p");
    assert_eq!(
        message,
        format!("The kernel killed process sh (pid 5) in cgroup {other}: the node was out of memory")
    );
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_killed_before_it_was_seen_to_run_is_told_by_its_name() {
    let mut setup = setup();
    let victim = format!("{SLICE}/cri-containerd-{}.scope", ID.replace("98bac6", "000000"));
    let kill = OomKill { process: "sh", pid: 5, victim: &victim, limit: Some(SLICE) };
    let seen = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (pod, _) = setup.pods.of_container(ID, None).unwrap();
        let id = ID.replace("98bac6", "000000");
        setup.pods.set(Pod::clone(&pod), vec![Running { id, container: "c".to_owned(), restart_count: 0 }]);
    };
    tokio::join!(tell(&kill, &setup.recorder, &setup.pods), seen);
    assert_eq!(setup.event().await.0, "Pod p spec.containers{c}");
}

#[tokio::test]
async fn each_record_is_told_of_once_when_it_comes() {
    // A read gives one packet, as of the kernel's log one record.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (reader, writer) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    let log = Receiver::from_file_unchecked(std::fs::File::from(reader)).unwrap();
    let mut setup = setup();
    let (recorder, pods) = (setup.recorder.clone(), setup.pods.clone());
    let following = tokio::spawn(async move { follow(&log, &recorder, &pods).await.kind() });
    for pid in [7, 8] {
        let record = format!(
            "6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,\
             task_memcg=/a,task=sh,pid={pid},uid=0\n SUBSYSTEM=x\n"
        );
        nix::unistd::write(&writer, b"6,1,2,-;something else\n").unwrap();
        nix::unistd::write(&writer, record.as_bytes()).unwrap();
        assert!(setup.event().await.3.ends_with(&format!("pid: {pid}")));
    }
    drop(writer);
    assert_eq!(following.await.unwrap(), io::ErrorKind::UnexpectedEof);
}
