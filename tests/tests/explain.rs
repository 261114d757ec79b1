//! `nodelet explain` against the running daemon, and without it.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use harness::cluster::{ClusterOptions, Programs, scenario};
use harness::wait::{self, Look};

const LIMIT: Duration = Duration::from_secs(60);

fn explain(root: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(Programs::from_environment().unwrap().nodelet);
    command.arg("explain").args(more).arg("--root-dir").arg(root);
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_why_a_pod_waits_and_what_happened_and_a_saved_recording_tells_the_same() {
    scenario(ClusterOptions::for_test("explain").unwrap(), async |cluster| {
        let manifest = r#"
apiVersion: v1
kind: Pod
metadata: { name: crash }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: "nodelet.dev/busybox:1", command: [sh, -c, "exit 3"] }
"#;
        cluster.apply(manifest).await.unwrap();
        let root = cluster.node(0).dir().join("root");
        let saved = root.join("saved.json");
        let save = saved.to_str().unwrap();
        let look = || async {
            let out = explain(&root, &["default/crash", "--save", save]);
            let text = String::from_utf8(out.stdout).unwrap();
            if text.contains("back-off 10s") { Look::There(text) } else { Look::NotYet(text) }
        };
        let told = wait::until("the back-off to be told", LIMIT, look).await.unwrap();
        for part in [
            "it is to run",
            "container main: CrashLoopBackOff",
            "s from now)",
            "create main#0",
            "main#0 exited 3",
        ] {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
        let again = explain(&root, &["--replay", save]);
        assert_eq!(String::from_utf8(again.stdout).unwrap(), told);
        let unknown = explain(&root, &["default/nope"]);
        assert_eq!(unknown.status.code(), Some(1));
        assert!(String::from_utf8(unknown.stderr).unwrap().contains("knows no pod default/nope"));
    })
    .await;
}
