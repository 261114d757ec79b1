//! Rotations on real files, with a runtime that writes lines, and a kill after each step.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::time::Duration;

use cri_client::Cause;
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use streams::logs::{Form, LogOptions, LogReader};
use tokio::sync::oneshot;

use super::super::compress::compress;
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
/// None is too much.
const MANY: usize = 1000;

/// A container whose lines are numbers.
struct Writer {
    _dir: tempfile::TempDir,
    log: Log,
    file: File,
    written: u32,
}

fn open(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

impl Writer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log { id: "id".to_owned(), dir: dir.path().to_owned(), name: "0.log".to_owned() };
        let file = open(&log.path());
        Self { _dir: dir, log, file, written: 0 }
    }

    fn write(&mut self, lines: u32) {
        for _ in 0..lines {
            writeln!(self.file, "2026-11-23T00:00:01Z stdout F {}", self.written).unwrap();
            self.written += 1;
        }
    }

    /// As a runtime does it.
    fn reopen(&mut self) {
        self.file = open(&self.log.path());
    }

    async fn rotate(&mut self, most: usize) -> Result<Vec<PathBuf>, RotateError> {
        tick(&self.log.dir);
        let log = self.log.clone();
        let call = async {
            // What is written before the call is in the renamed file.
            self.write(3);
            self.reopen();
            Ok(())
        };
        let compressed = rotate(&log, most, BTreeSet::new(), call).await;
        self.write(3);
        compressed.map(|rotation| {
            assert!(rotation.left.is_none(), "{rotation:?}");
            rotation.compress
        })
    }

    /// The numbers in all files, the oldest first.
    fn numbers(&self) -> Vec<u32> {
        let names = names(&self.log.dir).unwrap();
        let mut rotated: Vec<Rotated<'_>> = names.iter().filter_map(|n| Rotated::of("0.log", n)).collect();
        rotated.sort_unstable();
        let mut text = String::new();
        for file in rotated {
            let open = || File::open(self.log.dir.join(file.name("0.log"))).unwrap();
            match file.form {
                Form::Plain => drop(open().read_to_string(&mut text).unwrap()),
                Form::Compressed => drop(MultiGzDecoder::new(open()).read_to_string(&mut text).unwrap()),
                Form::Unfinished => panic!("{} is left", file.name("0.log")),
            }
        }
        File::open(self.log.path()).unwrap().read_to_string(&mut text).unwrap();
        text.lines().map(|l| l.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    #[track_caller]
    fn check(&self, what: &str) {
        assert_eq!(
            self.numbers(),
            (0..self.written).collect::<Vec<_>>(),
            "{what}: {:?}",
            names(&self.log.dir)
        );
    }

    /// Follows the log from its beginning; all that was shown when the container has ended.
    async fn follow(&self) -> (oneshot::Sender<()>, tokio::task::JoinHandle<String>) {
        let (end, ended) = oneshot::channel::<()>();
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let reader = LogReader::open(&self.log.path(), &options).await.unwrap();
        let following = tokio::spawn(async move {
            let stream = reader.into_stream(async {
                let _ = ended.await;
            });
            let text: Vec<u8> = stream.map(|chunk| chunk.unwrap().to_vec()).concat().await;
            String::from_utf8(text).unwrap()
        });
        (end, following)
    }
}

/// Until the clock of the file system has gone on: rotations are further apart than that.
fn tick(dir: &Path) {
    let probe = dir.join("tick");
    let time = || {
        std::fs::write(&probe, "x").unwrap();
        std::fs::metadata(&probe).unwrap().modified().unwrap()
    };
    let before = time();
    while time() == before {
        std::thread::yield_now();
    }
    std::fs::remove_file(&probe).unwrap();
}

#[tokio::test]
async fn a_rotation_keeps_as_many_files_as_it_may_and_every_line_in_them() {
    let mut writer = Writer::new();
    for _ in 0..8 {
        writer.write(5);
        for path in writer.rotate(4).await.unwrap() {
            compress(&path).unwrap();
        }
    }
    let mut files = names(&writer.log.dir).unwrap();
    files.sort_unstable();
    assert_eq!(files.len(), 4, "{files:?}");
    assert_eq!(files.iter().filter(|name| name.ends_with(".gz")).count(), 2, "{files:?}");
    let numbers = writer.numbers();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&(writer.written - 1)));
}

fn refused() -> CallError {
    CallError {
        call: "ReopenContainerLog",
        subject: "id".into(),
        cause: Cause::Unavailable("it is away".into()),
    }
}

#[tokio::test]
async fn a_runtime_that_refuses_leaves_the_log_as_it_was() {
    let mut writer = Writer::new();
    writer.write(5);
    let error = rotate(&writer.log, MANY, BTreeSet::new(), async { Err(refused()) }).await.unwrap_err();
    assert!(matches!(error, RotateError::Reopen { .. }), "{error}");
    writer.write(5);
    assert_eq!(names(&writer.log.dir).unwrap(), ["0.log"]);
    writer.check("refused");
}

#[tokio::test]
async fn a_reopening_whose_answer_is_lost_loses_no_line() {
    let mut writer = Writer::new();
    writer.write(5);
    let log = writer.log.clone();
    let call = async {
        writer.reopen();
        Err(refused())
    };
    let outcome = rotate(&log, MANY, BTreeSet::new(), call).await;
    assert!(outcome.is_err());
    writer.write(5);
    assert_eq!(names(&writer.log.dir).unwrap().len(), 2, "the new file is not overwritten");
    writer.check("lost answer");
}

/// Where a daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    AfterRename,
    AfterReopen,
    HalfCompressed,
    Compressed,
    CompressedAndRemoved,
}

const KILLS: [Kill; 5] = [
    Kill::AfterRename,
    Kill::AfterReopen,
    Kill::HalfCompressed,
    Kill::Compressed,
    Kill::CompressedAndRemoved,
];

/// The steps of a rotation up to the kill.
fn rotate_until(writer: &mut Writer, kill: Kill) {
    tick(&writer.log.dir);
    let dir = writer.log.dir.clone();
    let plan = plan::rotation("0.log", &names(&dir).unwrap(), MANY, Timestamp::now(), &BTreeSet::new());
    fs::rename(writer.log.path(), dir.join(plan.rename_to.clone().unwrap())).unwrap();
    writer.write(3);
    if kill == Kill::AfterRename {
        return;
    }
    writer.reopen();
    writer.write(3);
    if kill == Kill::AfterReopen {
        return;
    }
    remove(&dir, &plan).unwrap();
    for path in compressed(&dir, plan) {
        let plain = std::fs::read(&path).unwrap();
        let temporary = PathBuf::from(format!("{}.tmp", path.display()));
        match kill {
            Kill::HalfCompressed => std::fs::write(&temporary, &plain[..plain.len() / 2]).unwrap(),
            Kill::Compressed => {
                // The very file, not a new one that has another time for a moment: a reader beside this would take that for a later one.
                let kept = dir.join("kept");
                std::fs::hard_link(&path, &kept).unwrap();
                compress(&path).unwrap();
                std::fs::rename(&kept, &path).unwrap();
            }
            Kill::CompressedAndRemoved => compress(&path).unwrap(),
            Kill::AfterRename | Kill::AfterReopen => {}
        }
    }
}

/// What the next start does: it clears away, and has the runtime open a log that is missing.
fn start(writer: &mut Writer) {
    for path in recover(&writer.log, MANY, &BTreeSet::new()).unwrap() {
        compress(&path).unwrap();
    }
    if let Found::Missing { rotated } = look(&writer.log).unwrap() {
        assert!(rotated, "only a rotation makes a log go missing");
        writer.reopen();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_killed_at_any_step_of_a_rotation_loses_and_doubles_no_line() {
    for first in KILLS {
        for second in KILLS {
            let what = format!("{first:?}, {second:?}");
            let mut writer = Writer::new();
            let (end, follower) = writer.follow().await;
            // Something to compress.
            writer.write(5);
            writer.rotate(MANY).await.unwrap();
            for kill in [first, second] {
                writer.write(5);
                rotate_until(&mut writer, kill);
                writer.write(5);
                let (end, reader) = writer.follow().await;
                end.send(()).unwrap();
                let seen = reader.await.unwrap();
                let last = seen.lines().last().unwrap().to_owned();
                assert_eq!(last, (writer.written - 1).to_string(), "{what}: a reader before the next start");
                start(&mut writer);
                writer.write(5);
                writer.check(&what);
            }
            writer.rotate(MANY).await.unwrap();
            writer.check(&what);
            end.send(()).unwrap();
            let seen = tokio::time::timeout(PATIENCE, follower).await.unwrap().unwrap();
            let numbers: Vec<u32> = seen.lines().map(|line| line.parse().unwrap()).collect();
            assert_eq!(numbers, (0..writer.written).collect::<Vec<_>>(), "{what}: a follower");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_beside_rotations_and_compression_sees_each_line_once() {
    let mut writer = Writer::new();
    let (end, follower) = writer.follow().await;
    for _ in 0..30 {
        writer.write(500);
        for path in writer.rotate(MANY).await.unwrap() {
            compress(&path).unwrap();
        }
    }
    writer.check("files");
    end.send(()).unwrap();
    let seen = tokio::time::timeout(PATIENCE, follower).await.unwrap().unwrap();
    let numbers: Vec<u32> = seen.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..writer.written).collect::<Vec<_>>());
}
