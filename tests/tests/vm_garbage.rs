//! What a node gives back by itself where that can be tried on a machine only: a small disk full of images, a kernel without memory.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[allow(dead_code, reason = "shared with vm_cgroups, which uses all of it")]
#[path = "vm_cgroups/agent.rs"]
mod agent;

use agent::{Agent, LIMIT, SLEEP, alone, container, use_runc};
use harness::bed;
use harness::images::{self, BUSYBOX};
use harness::vm::scenario;
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use pause::image::Image;

const IMAGES: usize = 30;
const IMAGE_BYTES: usize = 1 << 20;
/// A child is too large: it alone is killed where the kernel does not take the whole container.
const HUNGRY: &str = "sh -c 'x=a; while true; do x=$x$x; done'";

fn name(n: usize) -> String {
    format!("nodelet.dev/large-{n:02}:1")
}

/// An image of bytes that no compression makes fewer.
fn large(n: usize) -> images::Archive {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (n as u64 + 1);
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(IMAGE_BYTES)
    .collect();
    images::keep(&Image::new(&name(n)).file("blob", 0o644, bytes)).unwrap()
}

/// The events whose reason this is: what they are about, and what they say.
async fn events(agent: &Agent<'_>, reason: &str) -> Vec<(String, String)> {
    let events: kube::Api<Event> = kube::Api::all(agent.client());
    let all = events.list(&ListParams::default()).await.unwrap().items;
    let part = |part: Option<String>| part.unwrap_or_default();
    let is_it = |event: &Event| event.reason.as_deref() == Some(reason);
    let about = |event: Event| {
        let object = event.involved_object;
        (format!("{} {}", part(object.name), part(object.field_path)), part(event.message))
    };
    all.into_iter().filter(is_it).map(about).collect()
}

/// Waits for an event about `about` whose text has all of `parts`; gives the text.
async fn told(agent: &Agent<'_>, reason: &str, about: &str, parts: &[&str]) -> String {
    let look = || async {
        let seen = events(agent, reason).await;
        let fits =
            |(of, text): &&(String, String)| of.trim() == about && parts.iter().all(|p| text.contains(p));
        match seen.iter().find(fits) {
            Some((_, text)) => Look::There(text.clone()),
            None => Look::NotYet(format!("{seen:?}")),
        }
    };
    wait::until(&format!("{reason} about {about} with {parts:?}"), LIMIT, look).await.unwrap()
}

/// Percent in use of the file system of the runtime's images, and how many of the large ones are there.
async fn state(agent: &Agent<'_>) -> (u64, usize) {
    let used = agent.number("df --output=pcent /var/lib/containerd | tail -n 1 | tr -d ' %'").await;
    let images = agent.node.cri().list_images().await.unwrap();
    (used, images.iter().filter(|i| i.repo_tags.iter().any(|tag| tag.contains("/large-"))).count())
}

#[tokio::test]
async fn a_small_disk_full_of_images_gets_room_and_kills_for_want_of_memory_are_told_of() {
    scenario(bed!("garbage"), async |bed| {
        use_runc(bed.node(1), true).await;
        let agent = Agent::install_with_api(bed).await;
        let node = agent.node;
        // The runtime's files move to a file system that 30 images fill to nine tenths: packed and unpacked they are there twice.
        let moved = format!(
            "systemctl stop containerd; base=$(du -sk /var/lib/containerd | cut -f 1); \
             size=$((($base + 2 * {IMAGES} * {IMAGE_BYTES} / 1024) * 100 / 90)); \
             mkdir -p /mnt/small; mount -t tmpfs -o size=${{size}}k small /mnt/small; \
             cp -a /var/lib/containerd/. /mnt/small/; mount --bind /mnt/small /var/lib/containerd; systemctl start containerd"
        );
        node.sh(&moved).await.unwrap();
        for n in 0..IMAGES {
            node.copy_in(&large(n).path, "/tmp/image.tar", "0644").await.unwrap();
            node.sh("ctr -n k8s.io images import /tmp/image.tar >/dev/null; rm /tmp/image.tar").await.unwrap();
        }
        let (before, count) = state(&agent).await;
        assert!(before >= 80 && count == IMAGES, "{before} %, {count} images");

        agent
            .start("singleProcessOOMKill: true\nimageGCHighThresholdPercent: 75\nimageGCLowThresholdPercent: 50\n")
            .await;
        // Nothing of this image can run; it is in use all the same.
        let needs = alone("", SLEEP).replace(BUSYBOX, &name(0));
        agent.put("needs", &needs).await;

        // A child alone: the container goes on, and its pod's event says who was killed where.
        agent.put("single", &alone("limits: { memory: 32Mi }", &format!("{HUNGRY}; exec sleep 1000"))).await;
        let single = agent.running("single", "c").await;
        let (full, place) = (format!("single-{}", node.name()), "spec.containers{c}");
        let text =
            told(&agent, "OOMKilled", &format!("{full} {place}"), &["process sh (pid ", "container c"]).await;
        let scope = format!("cri-containerd-{}.scope", single.id);
        assert!(text.contains(&scope) && text.ends_with("was out of memory"), "{text}");
        assert_eq!(agent.running("single", "c").await, single);

        // An init container that lost a child has failed, although it says that all is well.
        let init = container("i", "limits: { memory: 32Mi }", &format!("{HUNGRY}; exit 0"));
        let main = container("c", "", SLEEP);
        let spec = format!("{{ terminationGracePeriodSeconds: 1, initContainers: [{init}], containers: [{main}] }}");
        agent.put("begins", &spec).await;
        let look = || async {
            let pod = agent.pods().get(&format!("begins-{}", node.name())).await;
            let status = pod.ok().and_then(|pod| pod.status).unwrap_or_default();
            let init = status.init_container_statuses.unwrap_or_default().into_iter().next().unwrap_or_default();
            let ended = init.last_state.and_then(|state| state.terminated);
            let why = ended.map(|t| (t.exit_code, t.reason.unwrap_or_default()));
            if init.restart_count > 0 && why.is_some() { Look::There(why) } else { Look::NotYet(format!("{why:?}")) }
        };
        let why = wait::until("a second run of the init container", LIMIT, look).await.unwrap();
        assert_eq!(why, Some((0, "OOMKilled".to_owned())));
        assert!(agent.containers("begins", "c").await.is_empty());
        agent.take("begins").await;

        // The node's disk has room again, and no more went than it took.
        let look = || async {
            let (used, count) = state(&agent).await;
            let text = format!("{used} %, {count} images");
            if used <= 51 { Look::There((text, count)) } else { Look::NotYet(text) }
        };
        let (text, count) = wait::until("room for images", LIMIT, look).await.unwrap();
        assert!(count >= IMAGES / 4, "{text}: more than needed went");
        let images = node.cri().list_images().await.unwrap();
        let tags: Vec<&String> = images.iter().flat_map(|image| &image.repo_tags).collect();
        for kept in [BUSYBOX, pause::image().name(), name(0).as_str()] {
            assert!(tags.iter().any(|tag| *tag == kept), "{kept} is not among {tags:?}");
        }
        assert_eq!(agent.running("single", "c").await, single);

        // The kernel is told to make room on the node at once: it takes the one that is likeliest.
        agent.put("victim", &alone("", SLEEP)).await;
        let victim = agent.running("victim", "c").await;
        node.sh("echo f >/proc/sysrq-trigger").await.unwrap();
        let text = told(&agent, "SystemOOM", node.name(), &["System OOM encountered, victim process: "]).await;
        assert!(text.contains(", pid: "), "{text}");
        let place = format!("victim-{} {place}", node.name());
        let text = told(&agent, "OOMKilled", &place, &["the node was out of memory"]).await;
        assert!(text.contains(&victim.id), "{text}");
    })
    .await;
}
