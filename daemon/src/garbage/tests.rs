use std::collections::HashMap;

use cri_client::fake::{Effect, FakeRuntime, Rule, Script, Server};
use cri_client::{Timeouts, v1};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::events::Rates;
use crate::images;
use crate::kubeconfig::fake::{FakeApi, api};
use crate::pods::Running;
use crate::reclaim::{Freed, Reclaimer};

const CAPACITY: u64 = 100_000;
const EACH: u64 = 2_000;
const BUSY: &str = "quay.test/busy:1";

struct Setup {
    runtime: FakeRuntime,
    cri: Client,
    collector: Collector,
    images: Images,
    pods: Shown,
    metrics: Metrics,
    reclaimer: Reclaimer,
    trims: mpsc::Receiver<Trimmed>,
    state: watch::Receiver<RuntimeState>,
    api: FakeApi,
    root: tempfile::TempDir,
    _server: Server,
    _stop: watch::Sender<bool>,
}

/// A node whose image file system holds [`CAPACITY`] bytes, of which each image takes [`EACH`]: `images` of them without use, and one
/// that sandboxes are made of.
fn setup(images: usize) -> Setup {
    let root = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::new();
    let server = runtime.serve(&root.path().join("cri.sock")).unwrap();
    let cri = Client::new(root.path().join("cri.sock"), None, Timeouts::default());
    runtime.set_image_store("/images", "quay.test/pause:1");
    runtime.put_image(image("quay.test/pause:1"));
    for n in 0..images {
        runtime.put_image(image(&format!("quay.test/unused-{n:02}:1")));
    }
    let (client, api) = api();
    let (recorder, sender) = Recorder::new(Some(client), "node1", Rates::default());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sender.run(stopped));
    let settings = images::Settings { root_dir: root.path().into(), plugin_config: None, plugin_dir: None };
    let config = Config::default();
    let images = Images::new(&settings, &config, cri.clone(), None, recorder.clone()).unwrap();
    let (trims_in, trims) = mpsc::channel(TRIM_QUEUE);
    let (runtime_state, state) = watch::channel(RuntimeState::default());
    let (pods, metrics) = (Shown::default(), Metrics::new().unwrap());
    let (reclaimer, requests) = Reclaimer::new();
    let parts = Parts {
        cri: cri.clone(),
        images: images.clone(),
        pods: pods.clone(),
        recorder,
        metrics: metrics.clone(),
        runtime: runtime_state,
        trims: trims_in,
    };
    let settings = Settings::new(&config, DeadLimits::default(), root.path().join("containers"));
    let mut collector = Collector::new(parts, settings, requests);
    let store = runtime.clone();
    collector.measure = Arc::new(move |place| {
        assert_eq!(place, std::path::Path::new("/images"));
        Ok((CAPACITY, CAPACITY.saturating_sub(EACH * store.image_ids().len() as u64)))
    });
    Setup {
        runtime,
        cri,
        collector,
        images,
        pods,
        metrics,
        reclaimer,
        trims,
        state,
        api,
        root,
        _server: server,
        _stop: stop,
    }
}

fn image(name: &str) -> v1::Image {
    v1::Image {
        id: format!("sha256:{name}"),
        repo_tags: vec![name.to_owned()],
        size: EACH,
        ..v1::Image::default()
    }
}

fn pod(uid: &str, image: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": uid, "namespace": "team", "uid": uid},
        "spec": {
            "containers": [{"name": "c", "image": image}],
            "volumes": [{"name": "v", "image": {"reference": "quay.test/volume"}}],
        },
    }))
    .unwrap()
}

impl Setup {
    /// Runs a sandbox, and in it containers `c` of the pod that have these states: `-` runs, else it has ended.
    async fn containers(&self, uid: &str, image: &str, states: &str) -> Vec<String> {
        let labels = [("name", uid), ("namespace", "team"), ("uid", uid)];
        let mut labels: HashMap<String, String> =
            labels.map(|(key, value)| (format!("io.kubernetes.pod.{key}"), value.to_owned())).into();
        let sandbox = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: uid.to_owned(),
                uid: uid.to_owned(),
                namespace: "team".to_owned(),
                attempt: 0,
            }),
            labels: labels.clone(),
            ..Default::default()
        };
        labels.insert("io.kubernetes.container.name".to_owned(), "c".to_owned());
        let id = self.cri.run_pod_sandbox(sandbox.clone(), String::new()).await.unwrap();
        let mut made = Vec::new();
        for (attempt, state) in states.chars().enumerate() {
            let container = v1::ContainerConfig {
                metadata: Some(v1::ContainerMetadata {
                    name: "c".to_owned(),
                    attempt: u32::try_from(attempt).unwrap(),
                }),
                image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
                labels: labels.clone(),
                ..Default::default()
            };
            let container = self.cri.create_container(&id, container, sandbox.clone()).await.unwrap();
            self.cri.start_container(&container).await.unwrap();
            if state != '-' {
                assert!(self.runtime.exit(uid, "c", 1));
            }
            made.push(container);
        }
        made
    }

    fn has(&self, name: &str) -> bool {
        self.runtime.image_ids().contains(&format!("sha256:{name}"))
    }

    /// Reason and text of the next event.
    async fn event(&mut self) -> (String, String) {
        let call = self.api.next().await;
        let part = |body: &Value, name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let told = (part(&call.body, "reason"), part(&call.body, "message"));
        let body = call.body.clone();
        call.ok(&body);
        told
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics.text().unwrap().lines().any(|l| l == line)
    }
}

#[tokio::test]
async fn row_15_a_full_file_system_loses_unused_images_down_to_the_lower_threshold_and_no_others() {
    let mut setup = setup(42);
    setup.runtime.put_image(image(BUSY));
    setup.runtime.put_image(image("quay.test/volume:latest"));
    setup.runtime.put_image(v1::Image { pinned: true, ..image("quay.test/pinned:1") });
    setup.containers("dead", BUSY, "x").await;
    // A pod that has no container yet, and a volume.
    setup.pods.set(pod("starting", "quay.test/unused-00:1"), Vec::new());
    setup.collector.look(&[]).await.unwrap();
    let before = setup.state.borrow().images_generation;
    setup.collector.images_round().await;
    // 46 images are 92 %; 40 of them are 80 %.
    assert_eq!(setup.runtime.image_ids().len(), 40);
    for name in
        [BUSY, "quay.test/volume:latest", "quay.test/pinned:1", "quay.test/pause:1", "quay.test/unused-00:1"]
    {
        assert!(setup.has(name), "{name}");
    }
    assert!(!setup.has("quay.test/unused-01:1") && setup.has("quay.test/unused-41:1"), "in their order");
    assert!(setup.counted("kubelet_image_garbage_collected_total{reason=\"space\"} 6"));
    assert_eq!(setup.state.borrow().images_generation, before + 1);

    // Below the upper threshold nothing happens.
    setup.collector.images_round().await;
    assert_eq!(setup.runtime.image_ids().len(), 40);
    assert!(setup.api.is_idle(), "no event");
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_asked_for_its_image_does_not_keep_the_others() {
    let mut setup = setup(44);
    setup.runtime.put_image(image(BUSY));
    setup.containers("up", BUSY, "-").await;
    setup.collector.look(&[]).await.unwrap();
    setup.runtime.add_rule(Rule::next("PodSandboxStatus", 1, Effect::refused("it hangs")));
    setup.collector.images_round().await;
    assert_eq!(setup.runtime.image_ids().len(), 40, "46 images are 92 %, 40 are 80 %");
    assert!(setup.has(BUSY));
    assert!(setup.api.is_idle(), "no failure");
}

#[tokio::test]
async fn row_15_4_where_nothing_can_go_the_events_say_why_and_ever_more_rarely() {
    let mut setup = setup(0);
    let images: Vec<String> = (0..44).map(|n| format!("quay.test/busy-{n}:1")).collect();
    for name in &images {
        setup.runtime.put_image(image(name));
        setup.pods.set(pod(&format!("of-{name}"), name), Vec::new());
    }
    setup.runtime.put_image(v1::Image { pinned: true, ..image("quay.test/pinned:1") });
    setup.collector.look(&[]).await.unwrap();
    setup.runtime.put_image(image("quay.test/new:1"));
    for _ in 0..3 {
        setup.collector.images_round().await;
    }
    // The pause image goes: no sandbox is there.
    let text = "Insufficient free disk space on the node's image filesystem (94% of 97.7 KiB used): 13.7 KiB were to be freed by \
                removing unused images, and 2.0 KiB could be.";
    let (reason, said) = setup.event().await;
    assert_eq!(reason, "FreeDiskSpaceFailed");
    assert!(said.starts_with(text), "{said}");
    assert!(
        said.ends_with(
            "Images kept: 44 in use (85.9 KiB), 1 pinned (2.0 KiB), 1 younger than 120 s (2.0 KiB)."
        ),
        "{said}"
    );
    let mut later = Vec::new();
    for _ in 0..2 {
        later.push(setup.event().await.0);
    }
    assert_eq!(later, ["FreeDiskSpaceFailed", "ImageGCFailed"], "the second time, too");
    assert!(setup.api.is_idle(), "and not the third");
}

#[tokio::test]
async fn row_15_4_a_file_system_without_capacity_is_told_of() {
    let mut setup = setup(0);
    setup.collector.measure = Arc::new(|_| Ok((0, 0)));
    setup.collector.images_round().await;
    assert_eq!(
        setup.event().await,
        ("InvalidDiskCapacity".to_owned(), "invalid capacity 0 on image filesystem".to_owned())
    );
}

#[tokio::test]
async fn row_15_1_one_failure_of_the_runtime_is_no_event_and_the_second_in_a_row_is() {
    let mut setup = setup(0);
    let away = |times| Rule::next("ListImages", times, Effect::refused("the store is locked"));
    setup.collector.measure = Arc::new(|_| Ok((100, 1)));
    setup.runtime.add_rule(away(1));
    setup.collector.images_round().await;
    setup.runtime.add_rule(away(1));
    setup.collector.images_round().await;
    let (reason, text) = setup.event().await;
    assert_eq!(reason, "ImageGCFailed");
    assert!(text.contains("the store is locked"), "{text}");
}

#[tokio::test]
async fn row_15_3_an_old_image_goes_although_there_is_room() {
    let mut setup = setup(1);
    setup.collector.settings.images.max_age = Some(Duration::ZERO);
    setup.containers("p", BUSY, "-").await;
    setup.runtime.put_image(image(BUSY));
    setup.collector.look(&[]).await.unwrap();
    // Boot time goes on between two looks.
    tokio::time::sleep(Duration::from_millis(2)).await;
    setup.collector.images_round().await;
    assert!(setup.has(BUSY) && setup.has("quay.test/pause:1") && !setup.has("quay.test/unused-00:1"));
    assert!(setup.counted("kubelet_image_garbage_collected_total{reason=\"age\"} 1"));
}

#[tokio::test]
async fn a_start_that_finds_an_image_which_is_being_removed_waits_and_looks_again() {
    let mut setup = setup(1);
    setup.runtime.set_script(Script {
        rules: vec![Rule::next("RemoveImage", 1, Effect::Delay(300))],
        absent_images: vec!["quay.test/unused-00:1".to_owned()],
        ..Script::default()
    });
    setup.containers("p", "quay.test/other:1", "-").await;
    setup.collector.look(&[]).await.unwrap();
    let (runtime, images) = (setup.runtime.clone(), setup.images.clone());
    let begun = || runtime.calls().iter().any(|call| call.call == "RemoveImage");
    let start = async {
        while !begun() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        images.inspect(&pod("p", "quay.test/unused-00:1"), "quay.test/unused-00:1").await.unwrap()
    };
    let (freed, found) = tokio::join!(setup.collector.reclaim_images(None), start);
    assert_eq!((freed.unwrap().removed, found), (1, None));
}

#[tokio::test]
async fn who_needs_room_is_told_how_many_images_went_and_what_was_kept() {
    let mut setup = setup(5);
    setup.containers("p", BUSY, "-").await;
    setup.runtime.put_image(image(BUSY));
    setup.collector.look(&[]).await.unwrap();
    let freed = setup.collector.reclaim_images(Some(EACH + 1)).await.unwrap();
    assert_eq!(freed, Freed { removed: 2, bytes: 2 * EACH, kept: "2 in use (3.9 KiB)".to_owned() });
    let freed = setup.collector.reclaim_images(None).await.unwrap();
    assert_eq!((freed.removed, setup.runtime.image_ids().len()), (3, 2));
}

#[tokio::test]
async fn row_29_9_dead_containers_that_nobody_needs_go_by_the_tasks_of_their_pods() {
    let mut setup = setup(0);
    let on = setup.containers("on", BUSY, "xx-").await;
    let crashed = setup.containers("crashed", BUSY, "xx").await;
    let over = setup.containers("over", BUSY, "x").await;
    setup.containers("nobodys", BUSY, "x").await;
    for uid in ["on", "crashed", "over"] {
        setup.pods.set(
            pod(uid, BUSY),
            vec![Running { id: "1".to_owned(), container: "c".to_owned(), restart_count: 0 }],
        );
    }
    setup.pods.set_over("over");
    let stop = watch::channel(false);
    let task = tokio::spawn(setup.collector.run(stop.1));
    let reclaimer = setup.reclaimer.clone();
    let asked = tokio::spawn(async move { reclaimer.reclaim(Wanted::DeadContainers).await });
    let mut told = Vec::new();
    for _ in 0..3 {
        let trimmed = setup.trims.recv().await.unwrap();
        for id in &trimmed.ids {
            setup.cri.remove_container(id).await.unwrap();
        }
        told.push((trimmed.uid, trimmed.ids));
    }
    told.sort();
    let expected = [
        ("crashed".to_owned(), vec![crashed[0].clone()]),
        ("on".to_owned(), vec![on[0].clone(), on[1].clone()]),
        ("over".to_owned(), vec![over[0].clone()]),
    ];
    assert_eq!(told, expected);
    let freed = asked.await.unwrap().unwrap();
    let kept = "1 are the newest of their name in pods that go on".to_owned();
    assert_eq!(freed, Freed { removed: 4, bytes: 0, kept });
    drop(stop.0);
    task.await.unwrap();
}

#[tokio::test]
async fn row_40_2_beyond_the_limit_for_all_the_oldest_go() {
    let mut setup = setup(0);
    let first = setup.containers("first", BUSY, "x").await;
    setup.containers("second", BUSY, "x").await;
    for uid in ["first", "second"] {
        setup.pods.set(pod(uid, BUSY), Vec::new());
        setup.pods.set_over(uid);
    }
    setup.collector.settings.dead.most = Some(2);
    setup.collector.containers_round().await;
    assert!(setup.trims.try_recv().is_err(), "no more than the limit");
    setup.collector.settings.dead.most = Some(1);
    setup.collector.containers_round().await;
    assert_eq!(setup.trims.recv().await.unwrap(), Trimmed { uid: "first".to_owned(), ids: first });
}

#[tokio::test]
async fn row_40_1_a_round_that_fails_is_an_event() {
    let mut setup = setup(0);
    setup.collector.settings.dead.most = Some(2);
    setup.runtime.add_rule(Rule::next("ListContainers", 1, Effect::refused("no")));
    setup.collector.containers_round().await;
    assert_eq!(setup.event().await.0, "ContainerGCFailed");
}

#[tokio::test]
async fn row_38_2_links_that_lead_nowhere_go_but_for_those_of_containers_that_run() {
    let setup = setup(0);
    let ids = setup.containers("p", BUSY, "x-").await;
    let links = setup.root.path().join("containers");
    std::fs::create_dir_all(&links).unwrap();
    let mut collector = setup.collector;
    collector.settings.pod_logs = setup.root.path().join("pods");
    let link = |id: &str| links.join(format!("p_team_c-{id}.log"));
    for id in &ids {
        std::os::unix::fs::symlink(setup.root.path().join("pods/x/c/0.log"), link(id)).unwrap();
    }
    collector.links_round().await;
    assert!(std::fs::symlink_metadata(link(&ids[0])).is_err());
    assert!(std::fs::symlink_metadata(link(&ids[1])).is_ok());
}
