use std::fs;

use super::super::figures::ContainerUsage;
use super::*;

fn pod(uid: &str) -> PodUsage {
    let container = ContainerUsage { name: "c".into(), id: "id".into(), ..ContainerUsage::default() };
    PodUsage { uid: uid.into(), containers: vec![container], ..PodUsage::default() }
}

fn layer(place: &Path) -> Layer {
    let place = place.to_str().unwrap().to_owned();
    Layer { time: Timestamp::UNIX_EPOCH, place, bytes: Some(1 << 20), inodes: Some(7) }
}

async fn turn(counting: &Arc<tokio::sync::Mutex<()>>) -> OwnedMutexGuard<()> {
    let turn = Arc::clone(counting).lock_owned();
    tokio::time::timeout(Duration::from_secs(30), turn).await.expect("a turn that ends")
}

#[tokio::test]
async fn whoever_has_the_turn_after_a_count_that_nobody_waits_for_any_more_finds_all_counted() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = dir.path().join("volumes");
    for at in 0..500 {
        let volume = volumes.join(format!("kubernetes.io~empty-dir/{at}"));
        fs::create_dir_all(&volume).unwrap();
        fs::write(volume.join("f"), "x").unwrap();
    }
    let place = |uid: usize| Places {
        uid: uid.to_string(),
        volumes: volumes.clone(),
        logs: dir.path().join("none"),
        claims: Vec::new(),
    };
    let (disk, counting) = (Disk::default(), Arc::default());
    let mut count = Box::pin(disk.count((0..20).map(place).collect(), turn(&counting).await));
    assert!(futures::poll!(&mut count).is_pending());
    drop(count);
    let _turn = turn(&counting).await;
    let uids: Vec<String> = (0..20).map(|uid: usize| uid.to_string()).collect();
    let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
    assert_eq!(disk.due(&uids, Duration::from_secs(60), Instant::now()), HashSet::new());
}

#[tokio::test]
async fn a_pods_disk_is_its_layers_logs_and_own_volumes_and_not_its_claims() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = dir.path().join("volumes");
    let logs = dir.path().join("logs");
    for (path, bytes) in [
        (volumes.join("kubernetes.io~empty-dir/scratch/f"), 50_000),
        (volumes.join("kubernetes.io~configmap/map/f"), 10),
        (volumes.join("kubernetes.io~local-volume/pv-1/f"), 90_000),
        (volumes.join("kubernetes.io~csi/pv-2/f"), 90_000),
        (logs.join("c/0.log"), 20_000),
        (logs.join("ended/0.log"), 30_000),
    ] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![1; bytes]).unwrap();
    }
    let claim = |name: &str, claim: &str, volume: Option<&str>| ClaimVolume {
        name: name.into(),
        claim: claim.into(),
        persistent_volume: volume.map(str::to_owned),
    };
    let claims = vec![claim("data", "claim-1", Some("pv-1")), claim("more", "claim-2", None)];
    let disk = Disk::default();
    let mut pods = vec![pod("u")];
    disk.fill(&mut pods);
    assert_eq!(
        (pods[0].ephemeral_storage, pods[0].containers[0].logs),
        (None, None),
        "nothing is counted yet"
    );
    assert_eq!(disk.due(&["u"], Duration::from_secs(60), Instant::now()), HashSet::from(["u".to_owned()]));
    disk.count(vec![Places { uid: "u".into(), volumes, logs, claims }], turn(&Arc::default()).await).await;
    assert!(disk.due(&["u"], Duration::from_secs(60), Instant::now()).is_empty());
    disk.layers(HashMap::from([("id".to_owned(), layer(dir.path()))]));
    disk.fill(&mut pods);
    let usage = &pods[0];
    let kinds: Vec<_> =
        usage.volumes.iter().map(|volume| (volume.name.as_str(), volume.kind.clone())).collect();
    let wanted = [
        ("data", VolumeKind::Claim("claim-1".into())),
        ("map", VolumeKind::Local),
        ("pv-2", VolumeKind::Other),
        ("scratch", VolumeKind::Local),
    ];
    assert_eq!(kinds, wanted);
    let container = &usage.containers[0];
    let logs = container.logs.unwrap().used.unwrap();
    assert!((20_000..60_000).contains(&logs), "{logs}");
    assert_eq!(container.rootfs.unwrap().used, Some(1 << 20));
    let whole = usage.ephemeral_storage.unwrap();
    let bytes = whole.used.unwrap();
    assert!((1_148_586..1_400_000).contains(&bytes), "{bytes}");
    // The layer's 7; a directory and a file each of two volumes and two containers' logs.
    assert_eq!((whole.inodes_used, whole.is_partial), (Some(15), false));
    assert!(whole.capacity.is_some());
    disk.due(&["other"], Duration::from_secs(60), Instant::now());
    let mut pods = vec![pod("u")];
    disk.layers(HashMap::new());
    disk.fill(&mut pods);
    assert_eq!(pods[0].ephemeral_storage, None, "a pod that is gone is forgotten");
}
