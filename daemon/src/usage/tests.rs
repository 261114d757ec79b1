use cri_client::Timeouts;
use serde_json::json;

use super::*;
use crate::pods::Running;

fn usage(shown: &Shown) -> Usage {
    Usage::new(Sources {
        config: Arc::new(Config::default()),
        root_dir: PathBuf::from("/"),
        cri: Client::new("/nowhere".into(), None, Timeouts::default()),
        shown: shown.clone(),
        client: None,
        machine: Arc::default(),
        node_name: "n1".into(),
    })
}

fn show(shown: &Shown, name: &str) {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }));
    let running = Running { id: "1".into(), container: "c".into(), restart_count: 0 };
    shown.set(pod.unwrap(), vec![running]);
}

#[tokio::test]
async fn a_reading_is_shared_by_whoever_may_have_one_of_its_age_and_is_forgotten_after_a_second() {
    let shown = Shown::default();
    let usage = usage(&shown);
    let names = async |max_age| {
        let pods = usage.pods(max_age).await;
        pods.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>()
    };
    show(&shown, "a");
    assert_eq!(names(FRESH).await, ["a"]);
    show(&shown, "b");
    assert_eq!(names(Duration::from_secs(3600)).await, ["a"]);
    assert_eq!(names(Duration::ZERO).await, ["a", "b"]);
    show(&shown, "c");
    let deadline = Instant::now() + Duration::from_secs(30);
    while usage.0.readings.lock().await.pods.is_some() {
        assert!(Instant::now() < deadline, "what was read is still kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(names(Duration::from_secs(3600)).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn without_cgroups_and_without_a_runtime_that_answers_pods_are_there_and_their_figures_are_unknown() {
    let shown = Shown::default();
    show(&shown, "a");
    let pods = usage(&shown).pods_and_disk(FRESH, DISK_FRESH).await;
    let pod = &pods[0];
    assert_eq!((pod.uid.as_str(), pod.containers[0].image.as_str()), ("a", "i"));
    assert_eq!((&pod.group, &pod.containers[0].group), (&Group::default(), &Group::default()));
    assert_eq!((&pod.network, pod.ephemeral_storage), (&None, None));
}

#[tokio::test]
async fn this_node_is_read() {
    let node = usage(&Shown::default()).node(FRESH).await;
    let memory = node.group.memory.unwrap();
    assert!(memory.working_set.unwrap() <= memory.usage.unwrap());
    assert!(node.group.cpu.unwrap().usage_core_nanos.unwrap() > 0);
    assert!(node.tasks.unwrap().tasks.unwrap() > 0);
    assert!(node.fs.unwrap().capacity.unwrap() > 0);
    assert_eq!(node.image_fs, None, "the runtime is away");
}
