use serde_json::json;

use super::*;

const BOOT: &str = "boot-1";

fn pod(uid: &str, cpu: &str) -> Arc<ApiPod> {
    let object = json!({
        "metadata": { "name": uid, "namespace": "ns", "uid": uid },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] },
    });
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

fn now(boot_seconds: u64, wall_seconds: i64) -> Now {
    let wall = jiff::Timestamp::from_second(wall_seconds).expect("a time");
    Now { boot: Duration::from_secs(boot_seconds), wall }
}

fn open(dir: &Path, boot: &str) -> Ledger {
    Ledger::open(dir, boot.to_owned()).expect("a ledger")
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_what_was_forgotten_is_not() {
    let dir = tempfile::tempdir().expect("directory");
    let ledger = open(dir.path(), BOOT);
    ledger.assigned(&pod("a", "1"));
    ledger.assigned(&pod("b", "1"));
    ledger.write().await.expect("written");
    ledger.forget("a");
    ledger.write().await.expect("written");
    let names: Vec<_> =
        open(dir.path(), BOOT).pods().iter().filter_map(|p| p.metadata.name.clone()).collect();
    assert_eq!(names, ["b"]);
}

#[tokio::test]
async fn any_damage_costs_the_record_and_nothing_else() {
    let whole = file::encode(&Record {
        pod: pod("a", "1"),
        status: None,
        kept: Kept::default(),
        removed: false,
        boot_id: BOOT.into(),
        version: 0,
    });
    assert!(file::decode(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(file::decode(&whole[..end]).is_err(), "a prefix of {end} bytes");
    }
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(file::decode(&damaged).is_err(), "bit {bit} flipped");
    }
    let dir = tempfile::tempdir().expect("directory");
    let ledger = open(dir.path(), BOOT);
    ledger.assigned(&pod("a", "1"));
    ledger.assigned(&pod("b", "1"));
    ledger.write().await.expect("written");
    std::fs::write(dir.path().join("nodelet/pods/a"), &whole[..40]).expect("damaged");
    assert_eq!(open(dir.path(), BOOT).pods().len(), 1);
    assert_eq!(open(dir.path(), BOOT).pods().len(), 1, "and the daemon starts again");
}

#[tokio::test]
async fn a_deadline_is_the_same_instant_in_this_boot_and_the_civil_one_after_a_reboot() {
    let dir = tempfile::tempdir().expect("directory");
    let ledger = open(dir.path(), BOOT);
    ledger.assigned(&pod("a", "1"));
    let deadline = Deadline {
        boot: Duration::from_secs(130),
        wall: jiff::Timestamp::from_second(1_000_030).expect("a time"),
        grace: Duration::from_secs(30),
    };
    ledger.keep("a", Kept { ends_at: Some(deadline), ..Kept::default() });
    ledger.write().await.expect("written");
    let ends = |boot: &str, now: Now| {
        open(dir.path(), boot).kept(&pod("a", "1"), now).ends_at.expect("a deadline").boot
    };
    let seconds = Duration::from_secs;
    assert_eq!(ends(BOOT, now(110, 5)), seconds(130), "the civil clock does not count");
    assert_eq!(ends("boot-2", now(3, 1_000_020)), seconds(13), "ten seconds are left");
    assert_eq!(ends("boot-2", now(3, 1_000_090)), seconds(3), "it has passed");
    assert_eq!(ends("boot-2", now(3, 20)), seconds(33), "a clock that went back makes it no longer");
}

#[tokio::test]
async fn resources_that_changed_meanwhile_have_not_been_allowed() {
    let dir = tempfile::tempdir().expect("directory");
    let ledger = open(dir.path(), BOOT);
    ledger.assigned(&pod("a", "1"));
    ledger.write().await.expect("written");
    let kept = open(dir.path(), BOOT).kept(&pod("a", "2"), now(1, 1));
    let allowed = kept.allocated["c"].requests.clone().expect("requests");
    assert_eq!(allowed["cpu"].0, "1");
}

#[tokio::test]
async fn a_daemon_that_begins_without_an_api_server_goes_on_from_what_was_told_last() {
    let dir = tempfile::tempdir().expect("directory");
    let ledger = open(dir.path(), BOOT);
    ledger.assigned(&pod("a", "1"));
    let status = PodStatus { phase: Some("Running".to_owned()), ..PodStatus::default() };
    ledger.told("a", &Arc::new(status));
    // News of the API say nothing about what this node has told.
    ledger.assigned(&pod("a", "1"));
    ledger.write().await.expect("written");
    let pods = open(dir.path(), BOOT).pods();
    assert_eq!(pods[0].status.as_ref().and_then(|s| s.phase.as_deref()), Some("Running"));
}

#[tokio::test]
async fn a_write_that_was_overtaken_changes_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let ledger = open(dir.path(), BOOT);
    ledger.assigned(&pod("a", "1"));
    ledger.assigned(&pod("b", "1"));
    let old = |uid: &str| {
        let record = ledger.with(|state| state.records.get(uid).cloned());
        file::Change { uid: uid.to_owned(), record, synced: true }
    };
    let overtaken = [old("a"), old("b")];
    let deadline = Deadline { boot: Duration::from_secs(9), wall: now(9, 9).wall, grace: Duration::ZERO };
    ledger.keep("a", Kept { ends_at: Some(deadline), ..Kept::default() });
    ledger.removed("b");
    let guard: &file::Guard<'_> = &|change, act| ledger.guard(change, act);
    file::write_all(&dir.path().join("nodelet/pods"), &overtaken, guard).expect("written");
    // As a daemon finds it that begins before the next batch.
    let later = open(dir.path(), BOOT);
    assert_eq!(later.kept(&pod("a", "1"), now(1, 1)).ends_at, Some(deadline));
    let names =
        |pods: Vec<Arc<ApiPod>>| -> Vec<_> { pods.iter().filter_map(|p| p.metadata.name.clone()).collect() };
    assert_eq!(
        (names(later.pods()), names(later.removed_pods())),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(std::fs::read_dir(dir.path().join("nodelet/pods")).expect("a directory").count(), 2);
}
