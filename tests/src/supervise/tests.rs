use super::*;

fn sleeper(dir: &Path, script: &str) -> Component {
    let launch = Launch {
        name: "sleeper".to_owned(),
        program: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".into(), script.into()],
        log: dir.join("sleeper.log"),
    };
    Component::start(launch, dir, &Progress::silent()).expect("started")
}

#[tokio::test]
async fn a_component_that_is_killed_runs_again_within_a_second() {
    let dir = tempfile::tempdir().expect("directory");
    let component = sleeper(dir.path(), "exec sleep 600");
    let first = component.pid().expect("running");
    let again = tokio::time::timeout(Duration::from_secs(1), component.crash()).await;
    again.expect("within a second").expect("kept");
    assert_ne!(component.pid(), Some(first));
    assert_eq!(component.restarts(), 1);
    component.stop(Duration::from_secs(5)).await.expect("stopped");
}

#[tokio::test]
async fn a_component_that_was_stopped_stays_so_until_it_is_resumed() {
    let dir = tempfile::tempdir().expect("directory");
    let component = sleeper(dir.path(), "exec sleep 600");
    component.stop(Duration::from_secs(5)).await.expect("stopped");
    assert_eq!(component.state(), State::Held);
    assert!(!dir.path().join("sleeper.json").exists(), "its record is gone");
    component.resume().await.expect("resumed");
    assert!(component.pid().is_some());
    component.stop(Duration::from_secs(5)).await.expect("stopped");
}

#[tokio::test]
async fn a_component_that_ignores_sigterm_is_killed_after_its_grace() {
    let dir = tempfile::tempdir().expect("directory");
    let component = sleeper(dir.path(), "trap '' TERM; echo ready; while :; do sleep 1; done");
    let log = dir.path().join("sleeper.log");
    let look = || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.contains("ready") { crate::wait::Look::There(()) } else { crate::wait::Look::NotYet(text) }
    };
    crate::wait::until("the trap to be set", Duration::from_secs(10), look).await.expect("ready");
    let pid = component.pid().expect("running");
    component.stop(Duration::from_millis(300)).await.expect("stopped");
    assert_eq!(Identity::of(pid), None, "nothing is left");
}

#[tokio::test]
async fn what_a_killed_run_left_is_ended_by_the_next() {
    let dir = tempfile::tempdir().expect("directory");
    let component = sleeper(dir.path(), "exec sleep 600");
    let left = Identity::of(component.pid().expect("running")).expect("alive");
    end_recorded(dir.path(), "sleeper", Duration::from_secs(5)).await;
    assert!(!left.is_alive());
    component.stop(Duration::from_secs(5)).await.expect("stopped");
}
