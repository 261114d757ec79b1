use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::events::Rates;
use crate::kubeconfig::fake;
use crate::pods::Running;
use crate::reclaim::{Freed, Request};
use crate::usage::{Fs, Group, Memory, PodUsage, VolumeKind, VolumeUsage};

const LIMIT: Duration = Duration::from_secs(20);

/// Every pod uses what the end of its name says: mebibytes of memory, and of its emptyDir `d`.
#[derive(Debug)]
struct ByName(Shown);

impl Uses for ByName {
    fn pods(&self, count: Count) -> BoxFuture<'static, Arc<Vec<PodUsage>>> {
        let used = self.0.evictable().into_iter().map(|pod| {
            let uid = pod.pod.metadata.uid.clone().unwrap_or_default();
            let bytes = uid.rsplit('-').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) << 20;
            let memory = Memory { working_set: Some(bytes), ..Memory::default() };
            let fs = Fs { used: Some(bytes), ..Fs::default() };
            let dir = VolumeUsage { name: "d".to_owned(), kind: VolumeKind::Local, fs };
            PodUsage {
                uid,
                group: Group { memory: Some(memory), ..Group::default() },
                volumes: (count != Count::Nobodys).then_some(dir).into_iter().collect(),
                ..PodUsage::default()
            }
        });
        Box::pin(std::future::ready(Arc::new(used.collect())))
    }
}

struct Node {
    dir: tempfile::TempDir,
    shown: Shown,
    metrics: Metrics,
    pressures: watch::Receiver<Pressures>,
    endings: mpsc::Receiver<Ending>,
    requests: mpsc::Receiver<Request>,
    events: fake::FakeApi,
    _runtime: watch::Sender<RuntimeState>,
    _stop: watch::Sender<bool>,
}

impl Node {
    /// A node with `left` mebibytes of memory and these pods.
    fn new(left: u64, hard: &[(&str, &str)], pods: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        set_memory(&dir, left);
        let config = Config {
            eviction_hard: hard.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            ..Config::default()
        };
        let (runtime, state) = watch::channel(RuntimeState::default());
        let place = super::super::Place {
            proc: dir.path().into(),
            cgroups: dir.path().into(),
            root_dir: dir.path().into(),
        };
        let watcher = Watcher::new(&config, place, None, state).unwrap();
        let pressures = watcher.pressures();
        let shown = Shown::default();
        for uid in pods {
            let object = json!({
                "metadata": {"uid": uid, "name": uid, "namespace": "default"},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "volumes": [{"name": "d", "emptyDir": {"sizeLimit": "50Mi"}}],
                },
            });
            let running = Running { id: format!("{uid}-c"), container: "c".to_owned(), restart_count: 0 };
            shown.set(serde_json::from_value(object).unwrap(), vec![running]);
        }
        let (client, events) = fake::api();
        let (recorder, sender) = Recorder::new(Some(client), "node1", Rates::default());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(sender.run(stopped.clone()));
        let (reclaimer, requests) = Reclaimer::new();
        let (endings_in, endings) = mpsc::channel(8);
        let metrics = Metrics::new().unwrap();
        let hands = Hands {
            shown: shown.clone(),
            usage: Arc::new(ByName(shown.clone())),
            reclaimer,
            endings: endings_in,
            recorder,
            metrics: metrics.clone(),
        };
        tokio::spawn(watcher.run(hands, stopped));
        Self { dir, shown, metrics, pressures, endings, requests, events, _runtime: runtime, _stop: stop }
    }

    async fn ending(&mut self) -> Ending {
        timeout(LIMIT, self.endings.recv()).await.expect("an end in time").expect("a task that runs")
    }

    /// The next event that is written.
    async fn event(&mut self) -> serde_json::Value {
        let call = timeout(LIMIT, self.events.next()).await.expect("an event in time");
        let event = call.body.clone();
        call.ok(&event);
        event
    }
}

fn set_memory(dir: &tempfile::TempDir, left: u64) {
    let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 1 << 20, left << 10);
    let new = dir.path().join("new");
    std::fs::write(&new, text).unwrap();
    // At once: the task may read at any time.
    std::fs::rename(new, dir.path().join("meminfo")).unwrap();
}

#[tokio::test]
async fn the_largest_pod_goes_the_next_after_its_end_and_the_rest_stays() {
    let mut node = Node::new(50, &[("memory.available", "100Mi")], &["a-10", "b-300", "c-200"]);
    assert!(node.pressures.borrow().memory, "known before anything was done");
    let first = node.ending().await;
    assert_eq!((first.uid.as_str(), first.grace, first.disrupts), ("b-300", Duration::from_secs(1), true));
    let begins = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ";
    assert!(first.message.starts_with(begins), "{}", first.message);
    let event = node.event().await;
    assert_eq!(
        (&event["reason"], &event["message"]),
        (&json!("EvictionThresholdMet"), &json!("Attempting to reclaim memory"))
    );
    let event = node.event().await;
    assert_eq!((&event["reason"], &event["message"]), (&json!("Evicted"), &json!(first.message)));
    assert_eq!(event["metadata"]["annotations"]["starved_resource"], "memory");
    assert_eq!(event["involvedObject"]["uid"], "b-300");
    assert!(node.endings.try_recv().is_err(), "one at a time");
    node.shown.remove("b-300");
    assert_eq!(node.ending().await.uid, "c-200");
    set_memory(&node.dir, 500);
    node.shown.remove("c-200");
    let text = node.metrics.text().unwrap();
    assert!(text.contains("kubelet_evictions{eviction_signal=\"memory.available\"} 2\n"), "{text}");
    assert!(
        text.contains("kubelet_eviction_stats_age_seconds_count{eviction_signal=\"memory.available\"} 2\n")
    );
    let third = timeout(Duration::from_secs(2), node.endings.recv()).await;
    assert!(third.is_err(), "nobody has to go any more: {third:?}");
    assert!(node.pressures.borrow().memory, "for the transition period");
}

#[tokio::test]
async fn what_is_the_nodes_own_goes_before_pods() {
    // More than any disk has.
    let mut node = Node::new(500, &[("nodefs.available", "4Ei")], &["a-10", "b-300"]);
    for expected in [Wanted::DeadContainers, Wanted::Images(None)] {
        let Request { wanted, answer } = timeout(LIMIT, node.requests.recv()).await.unwrap().unwrap();
        assert_eq!(wanted, expected);
        assert!(node.endings.try_recv().is_err());
        answer.send(Ok(Freed::default())).unwrap();
    }
    let ending = node.ending().await;
    assert_eq!(ending.uid, "b-300");
    assert!(ending.message.contains("b-300 uses 300Mi of 0 requested"), "{}", ending.message);
    assert!(node.pressures.borrow().disk);
}

#[tokio::test]
async fn a_collector_that_has_ended_saves_nobody() {
    let mut node = Node::new(500, &[("nodefs.available", "4Ei")], &["a-10"]);
    node.requests.close();
    while node.requests.try_recv().is_ok() {}
    assert_eq!(node.ending().await.uid, "a-10");
}

#[tokio::test(start_paused = true)]
async fn who_exceeds_a_limit_goes_whatever_the_node_has_left() {
    let mut node = Node::new(500, &[("memory.available", "100Mi")], &["a-10", "b-300"]);
    let ending = node.ending().await;
    assert_eq!((ending.uid.as_str(), ending.disrupts), ("b-300", false));
    let message = "Usage of EmptyDir volume \"d\" exceeds the limit \"50Mi\". It uses 300Mi. ";
    assert_eq!(ending.message, message);
    let text = node.metrics.text().unwrap();
    assert!(text.contains("kubelet_evictions{eviction_signal=\"emptydirfs.limit\"} 1\n"), "{text}");
    assert_eq!(*node.pressures.borrow(), Pressures::default());
}

/// Counts for ever.
#[derive(Debug)]
struct Endless(ByName);

impl Uses for Endless {
    fn pods(&self, count: Count) -> BoxFuture<'static, Arc<Vec<PodUsage>>> {
        if count == Count::Nobodys { self.0.pods(count) } else { Box::pin(std::future::pending()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_that_does_not_end_holds_up_the_choice_of_a_pod_for_half_a_minute_and_no_longer() {
    let shown = Shown::default();
    let object =
        json!({"metadata": {"uid": "a-7", "name": "a", "namespace": "default"}, "spec": {"containers": []}});
    let running = Running { id: "i".to_owned(), container: "c".to_owned(), restart_count: 0 };
    shown.set(serde_json::from_value(object).unwrap(), vec![running]);
    let usage = Arc::new(Endless(ByName(shown.clone())));
    let begun = Instant::now();
    let Input::Pods(found) = pods(shown, usage, Signal::NodefsAvailable).await else { panic!("pods") };
    assert_eq!(found.iter().map(|pod| pod.uid.as_str()).collect::<Vec<_>>(), ["a-7"]);
    assert!((COUNT_LIMIT..COUNT_LIMIT * 2).contains(&begun.elapsed()));
}
