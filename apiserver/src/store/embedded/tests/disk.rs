//! A full disk: a small tmpfs below a temporary directory of the test's own.

use std::path::Path;
use std::process::Command;

use super::super::*;
use super::{Told, json};

/// A mounted file system that goes with the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where the test may not mount.
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "nodelet-test"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fill(&self) {
        // Until nothing more fits; the error is the point.
        let _ = std::fs::write(self.path().join("ballast"), vec![1; 64 * 1024 * 1024]);
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        assert!(
            unmounted.is_ok_and(|s| s.success()) || std::thread::panicking(),
            "unmounting the test's tmpfs"
        );
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_loses_nothing_and_ends_when_there_is_room() {
    let Some(disk) = SmallDisk::new("12m") else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let path = disk.path().join("store.redb");
    let mut acknowledged = Vec::new();
    {
        let store = Embedded::open(&path).unwrap();
        let told = Arc::new(Told::default());
        store.attach(told.clone()).await.unwrap();
        acknowledged.push(store.create("pods/first", json("first")).await.unwrap());
        disk.fill();

        let filling = Bytes::from(format!("{{\"data\":\"{}\"}}", "x".repeat(200_000)));
        let mut refusals = 0;
        for i in 0..100 {
            match store.create(&format!("pods/{i}"), filling.clone()).await {
                Ok(record) => acknowledged.push(record),
                Err(error) => {
                    assert!(matches!(error, WriteError::Failed(Failure::NoSpace { .. })), "{error}");
                    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
                    refusals += 1;
                }
            }
        }
        assert!(refusals > 0, "the disk was not full");

        disk.make_room();
        let recovered = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            loop {
                match store.create("pods/recovered", json("recovered")).await {
                    Ok(record) => return record,
                    Err(WriteError::Failed(Failure::NoSpace { .. })) => {
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        });
        acknowledged.push(recovered.await.expect("the store works again when there is room"));

        let changes = told.changes.lock().unwrap();
        let told_of: Vec<u64> = changes.iter().map(|c| c.revision).collect();
        let revisions: Vec<u64> = acknowledged.iter().map(|r| r.mod_revision).collect();
        assert_eq!(told_of, revisions, "the sink was told of exactly what was acknowledged");
        assert!(revisions.windows(2).all(|w| w[0] < w[1]));
    }
    let store = Embedded::open(&path).unwrap();
    let kept = store.list(Range::default()).await.unwrap();
    let mut revisions: Vec<u64> = kept.records.iter().map(|(_, r)| r.mod_revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, acknowledged.iter().map(|r| r.mod_revision).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_disk_without_room_for_a_new_store_is_said_so() {
    let Some(disk) = SmallDisk::new("64k") else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    disk.fill();
    let refused = Embedded::open(&disk.path().join("store.redb")).unwrap_err();
    assert!(matches!(refused, OpenError::NoSpace { .. }), "{refused:?}");
}
