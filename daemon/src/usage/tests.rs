use cri_client::Timeouts;
use serde_json::json;

use super::*;
use crate::pods::Running;

fn usage(shown: &Shown) -> Usage {
    usage_of(shown, Path::new("/"), Path::new("/nowhere"))
}

fn usage_of(shown: &Shown, root_dir: &Path, runtime: &Path) -> Usage {
    Usage::new(Sources {
        config: Arc::new(Config::default()),
        root_dir: root_dir.to_owned(),
        cri: Client::new(runtime.to_owned(), None, Timeouts::default()),
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
    while usage.0.pods.lock().await.is_some() {
        assert!(Instant::now() < deadline, "what was read is still kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(names(Duration::from_secs(3600)).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn without_cgroups_and_without_a_runtime_that_answers_pods_are_there_and_their_figures_are_unknown() {
    let shown = Shown::default();
    show(&shown, "a");
    let pods = usage(&shown).pods_and_disk(FRESH, DISK_FRESH, None).await;
    let pod = &pods[0];
    assert_eq!((pod.uid.as_str(), pod.containers[0].image.as_str()), ("a", "i"));
    assert_eq!((&pod.group, &pod.containers[0].group), (&Group::default(), &Group::default()));
    assert_eq!((&pod.network, pod.ephemeral_storage), (&None, None));
}

#[tokio::test]
async fn this_node_is_read() {
    let node = usage(&Shown::default()).node_and_images(FRESH).await;
    let memory = node.group.memory.unwrap();
    assert!(memory.working_set.unwrap() <= memory.usage.unwrap());
    assert!(node.group.cpu.unwrap().usage_core_nanos.unwrap() > 0);
    assert!(node.tasks.unwrap().tasks.unwrap() > 0);
    assert!(node.fs.unwrap().capacity.unwrap() > 0);
    assert_eq!(node.image_fs, None, "the runtime is away");
}

#[tokio::test]
async fn of_pods_that_are_not_named_the_disk_is_as_it_was_counted_last() {
    let (shown, root) = (Shown::default(), tempfile::tempdir().unwrap());
    for name in ["a", "b"] {
        show(&shown, name);
        let volume = root.path().join("pods").join(name).join("volumes/kubernetes.io~empty-dir/v");
        std::fs::create_dir_all(volume).unwrap();
    }
    let usage = usage_of(&shown, root.path(), Path::new("/nowhere"));
    let volumes = async |only: Option<&BTreeSet<String>>| {
        let pods = usage.pods_and_disk(FRESH, Duration::ZERO, only).await;
        pods.iter().map(|pod| pod.volumes.len()).collect::<Vec<_>>()
    };
    let only_b = BTreeSet::from(["b".to_owned()]);
    assert_eq!(volumes(Some(&only_b)).await, [0, 1]);
    assert_eq!(volumes(None).await, [1, 1]);
    for name in ["a", "b"] {
        std::fs::remove_dir_all(root.path().join("pods").join(name)).unwrap();
    }
    assert_eq!(volumes(Some(&only_b)).await, [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_answer_keeps_only_those_waiting_who_want_its_file_systems() {
    let dir = tempfile::tempdir().unwrap();
    let silent = dir.path().join("runtime.sock");
    let _runtime = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let usage = usage_of(&Shown::default(), Path::new("/"), &silent);
    let begun = Instant::now();
    let mut whole = Box::pin(usage.node_and_images(FRESH));
    assert!(futures::poll!(&mut whole).is_pending());
    let both = tokio::select! {
        biased;
        _ = &mut whole => panic!("the runtime has answered"),
        node = async {
            assert!(usage.0.images.try_lock().is_err(), "the runtime is asked");
            usage.node(Duration::ZERO).await
        } => node,
    };
    assert!(both.fs.is_some());
    assert!(begun.elapsed() < RUNTIME_LIMIT);
    let whole = whole.await;
    assert!(begun.elapsed() >= RUNTIME_LIMIT);
    assert!((whole.fs.is_some(), whole.image_fs) == (true, None));
}

#[test]
fn the_process_behind_the_runtimes_socket_is_found_and_one_that_takes_nobody_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runtime.sock");
    let config =
        Config { container_runtime_endpoint: format!("unix://{}", path.display()), ..Config::default() };
    assert_eq!(runtime_process(&config), None);
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    nix::sys::socket::bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    assert_eq!(runtime_process(&config), Some(std::process::id()));
    // Its queue has room for one, which nobody takes out; closed connections stay in it.
    assert_eq!(runtime_process(&config), None);
}
