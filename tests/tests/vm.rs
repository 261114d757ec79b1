//! The virtual machines of the tests themselves: what a test may rely on when it uses them.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::os::unix::process::ExitStatusExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::FutureExt as _;
use harness::bed;
use harness::cluster::Programs;
use harness::vm::{AgentError, scenario};
use harness::wait::{self, Look};
use sha2::{Digest as _, Sha256};

const LIMIT: Duration = Duration::from_secs(60);

/// Bytes that look random and are the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn commands_and_files_pass_whole_in_both_directions() {
    scenario(bed!("agent"), async |bed| {
        let node = bed.node(1);
        // Words, not a line for a shell.
        let said = node.run(&["printf", "%s|", "a b", "$HOME", "*", "'", ""]).await.unwrap();
        assert_eq!(said.stdout, "a b|$HOME|*|'||");
        let said = node.output(&["sh", "-c", "echo out; echo err >&2; exit 7"]).await.unwrap();
        assert_eq!(
            (said.stdout.as_str(), said.stderr.as_str(), said.status.code()),
            ("out\n", "err\n", Some(7))
        );
        let said = node.output(&["sh", "-c", "kill -9 $$"]).await.unwrap();
        assert_eq!((said.status.code(), said.status.signal()), (None, Some(9)));
        let error = node.run(&["/no/such/program"]).await.unwrap_err().to_string();
        assert!(error.contains("node1") && error.contains("No such file"), "{error}");
        let error = node.sh("echo said; false; echo not said").await.unwrap_err().to_string();
        assert!(error.contains("exit status: 1") && error.ends_with("said"), "{error}");

        // More than all buffers between here and there hold, to a command that reads and writes at the same time.
        let bytes = noise(24 * 1024 * 1024);
        let there = node.agent().run(&["tee", "/var/tmp/noise"], &bytes, LIMIT).await.unwrap();
        assert!(there.stdout == bytes, "{} of {} bytes came back", there.stdout.len(), bytes.len());
        assert!(node.sh("sha256sum /var/tmp/noise").await.unwrap().starts_with(&sha256(&bytes)));
        assert!(node.read("/var/tmp/noise").await.unwrap() == bytes);
        // To one that reads none of it.
        assert!(node.agent().run(&["true"], &bytes, LIMIT).await.unwrap().status.success());

        node.write("/opt/some/place/file", "0640", b"content").await.unwrap();
        assert_eq!(node.read("/opt/some/place/file").await.unwrap(), b"content");
        assert_eq!(node.sh("stat -c %a /opt/some/place/file").await.unwrap(), "640\n");

        // What a command leaves in the background does not keep it from ending, and a limit ends all of it.
        node.sh("setsid sleep 3601 & echo started").await.unwrap();
        node.sh("pgrep -x sleep -a | grep -q 3601").await.unwrap();
        let late =
            node.agent().run(&["sh", "-c", "sleep 3602 & sleep 3602"], &[], Duration::from_secs(1)).await;
        assert!(matches!(late, Err(AgentError::Deadline { .. })), "{late:?}");
        let look = || async {
            let left = node.output(&["pgrep", "-af", "sleep 3602"]).await.unwrap().stdout;
            if left.is_empty() { Look::There(()) } else { Look::NotYet(left) }
        };
        wait::until("the late command to be gone", LIMIT, look).await.unwrap();

        let many = (0..24).map(|n| async move { node.sh(&format!("echo {n}")).await.unwrap() });
        let said: Vec<String> = futures::future::join_all(many).await;
        assert!(said.iter().enumerate().all(|(n, said)| *said == format!("{n}\n")), "{said:?}");
    })
    .await;
}

#[tokio::test]
async fn a_package_is_installed_offline_and_the_fresh_daemon_runs() {
    let dir = tempfile::tempdir().unwrap();
    let fine = package(dir.path(), "probe-fine", "libc6 (>= 2.30), systemd");
    let unmet = package(dir.path(), "probe-unmet", "no-such-package");
    scenario(bed!("packages"), async |bed| {
        let node = bed.node(1);
        node.install_deb(&fine).await.unwrap();
        assert_eq!(node.sh("systemctl is-active probe-fine").await.unwrap(), "active\n");
        let error = node.install_deb(&unmet).await.unwrap_err().to_string();
        assert!(error.contains("no-such-package"), "{error}");

        let programs = Programs::from_environment().unwrap();
        node.install_programs(&[&programs.nodelet]).await.unwrap();
        let said = node.run(&["nodelet", "--version"]).await.unwrap().stdout;
        assert!(said.starts_with("nodelet ") && said.contains("(Kubernetes v1.36."), "{said}");
    })
    .await;
}

/// A package with a service that is started at its installation.
fn package(dir: &Path, name: &str, depends: &str) -> std::path::PathBuf {
    let tree = dir.join(name);
    let write = |path: &str, mode: &str, content: &str| {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        assert!(Command::new("chmod").arg(mode).arg(&path).status().unwrap().success());
    };
    let control = format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: tests <tests@nodelet.invalid>\n\
         Depends: {depends}\nDescription: a package of the tests\n"
    );
    write("DEBIAN/control", "0644", &control);
    write(
        "DEBIAN/postinst",
        "0755",
        &format!("#!/bin/sh\nset -e\nsystemctl daemon-reload\nsystemctl start {name}\n"),
    );
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";
    write(&format!("usr/lib/systemd/system/{name}.service"), "0644", unit);
    let file = dir.join(format!("{name}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--build"]).arg(&tree).arg(&file);
    assert!(build.output().unwrap().status.success());
    file
}

#[tokio::test]
async fn what_was_written_outlives_a_reboot_and_what_was_not_ends_with_the_power() {
    scenario(bed!("reboot"), async |bed| {
        let node = bed.node(1);
        let boots = async || {
            let said = node.sh("journalctl --list-boots --no-pager --quiet | wc -l").await.unwrap();
            said.trim().parse::<u32>().unwrap()
        };
        assert_eq!(boots().await, 1);
        node.sh("logger -t probe before the reboot; touch /run/volatile; swapon /dev/ubdb").await.unwrap();
        node.reboot().await.unwrap();
        assert_eq!(boots().await, 2);
        assert!(node.journal().await.unwrap().contains("before the reboot"));
        assert!(node.output(&["test", "-e", "/run/volatile"]).await.unwrap().status.code() == Some(1));
        // In order: the last words of the boot before are there.
        let last = node.sh("journalctl -b -1 --no-pager --quiet | tail -n 5").await.unwrap();
        assert!(last.contains("Journal stopped") || last.contains("Shutting down"), "{last}");

        node.sh("logger -t probe before the power cut; journalctl --sync; echo kept >/root/kept; sync")
            .await
            .unwrap();
        node.sh("echo lost >/root/lost").await.unwrap();
        node.cut_power().await.unwrap();
        let error = node.sh("true").await.unwrap_err();
        assert!(error.to_string().contains("node1"), "{error}");
        node.boot().await.unwrap();
        assert_eq!(boots().await, 3);
        assert!(node.journal().await.unwrap().contains("before the power cut"));
        assert_eq!(node.read("/root/kept").await.unwrap(), b"kept\n");
        let lost = node.output(&["cat", "/root/lost"]).await.unwrap();
        assert!(lost.stdout.is_empty(), "it was written without sync: {}", lost.stdout);

        // As a person would do it.
        let said = node.output(&["systemctl", "poweroff"]).await;
        node.wait_off(LIMIT).await.unwrap_or_else(|error| panic!("{error}: {said:?}"));
        node.boot().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn two_nodes_and_this_machine_reach_each_other_until_one_is_cut_off() {
    scenario(bed!("network").nodes(2), async |bed| {
        let (one, two) = (bed.node(1), bed.node(2));
        one.sh("ping -c 1 -W 5 node2; ping -c 1 -W 5 host").await.unwrap();
        two.sh("ping -c 1 -W 5 node1").await.unwrap();
        assert_ne!(one.read("/etc/machine-id").await.unwrap(), two.read("/etc/machine-id").await.unwrap());

        // A server in each place, and a client in another one.
        two.sh("mkdir -p /srv/web && echo page >/srv/web/page").await.unwrap();
        two.sh("systemd-run -q --unit web busybox httpd -f -p 8080 -h /srv/web").await.unwrap();
        one.sh("curl -sS --retry 20 --retry-connrefused --retry-delay 1 http://node2:8080/page")
            .await
            .unwrap();
        let page = async || {
            let mut curl = tokio::process::Command::new("curl");
            curl.args(["-sS", "--max-time", "2"]).arg(format!("http://{}:8080/page", two.ip()));
            curl.output().await.unwrap()
        };
        assert_eq!(page().await.stdout, b"page\n");
        let here = bed.network().addresses().host();
        let server = tokio::net::TcpListener::bind((here, 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let greeting = format!("exec 3<>/dev/tcp/host/{port}; echo hello >&3");
        let greet = ["bash", "-c", &greeting];
        let (accepted, _) = tokio::join!(server.accept(), one.run(&greet));
        assert_eq!(accepted.unwrap().1.ip(), std::net::IpAddr::V4(one.ip()));

        bed.network().set_connected(2, false).await.unwrap();
        assert_eq!(
            one.output(&["ping", "-c", "1", "-W", "1", "node2"]).await.unwrap().status.code(),
            Some(1)
        );
        assert!(!page().await.status.success());
        two.sh("true").await.unwrap();
        bed.network().set_connected(2, true).await.unwrap();
        one.sh("ping -c 5 -i 0.2 -W 5 node2").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_test_that_fails_brings_back_the_journal_and_leaves_nothing_running() {
    let mut seen = None;
    let options = bed!("failure");
    let failing = scenario(options, async |bed| {
        bed.node(1).sh("logger -t probe the last words; journalctl --sync").await.unwrap();
        let console = bed.node(1).console();
        seen = Some((
            bed.results().to_path_buf(),
            bed.network().namespace(),
            console.parent().unwrap().to_path_buf(),
        ));
        panic!("as it should");
    });
    let failed = AssertUnwindSafe(failing).catch_unwind().await;
    assert_eq!(*failed.unwrap_err().downcast::<&str>().unwrap(), "as it should");
    let (results, namespace, dir) = seen.unwrap();
    let journal = std::fs::read_to_string(results.join("node1.journal")).unwrap();
    assert!(journal.contains("the last words"), "{journal}");
    let state = std::fs::read_to_string(results.join("node1.state")).unwrap();
    assert!(state.contains("containerd.service"), "{state}");
    assert!(results.join("node1.console").exists());
    let look = || async {
        let running: Vec<_> = procfs::process::all_processes()
            .unwrap()
            .filter_map(|process| process.ok()?.cmdline().ok())
            .filter(|line| line.iter().any(|word| word.contains(&*dir.to_string_lossy())))
            .collect();
        match (running.is_empty(), namespace.exists(), dir.exists()) {
            (true, false, false) => Look::There(()),
            left => Look::NotYet(format!("{left:?} {running:?}")),
        }
    };
    wait::until("all to be gone", LIMIT, look).await.unwrap();
}
