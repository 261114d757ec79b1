use std::fs::{self, OpenOptions};
use std::io::Write;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};

use super::*;

/// Long enough for a machine under load; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

struct Log {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        fs::write(&path, text).expect("written");
        Self { dir, path }
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn rotate(&self, number: u32) {
        let to = self.dir.path().join(format!("0.log.20261123-{number:06}"));
        fs::rename(&self.path, to).expect("renamed");
    }

    async fn read(&self, options: LogOptions) -> String {
        let reader = LogReader::open(&self.path, &options).await.expect("opened");
        let stream = reader.into_stream(std::future::pending());
        let all: Vec<_> = tokio::time::timeout(PATIENCE, stream.collect()).await.expect("it ends");
        all.into_iter().map(|chunk| String::from_utf8_lossy(&chunk.expect("read")).into_owned()).collect()
    }

    /// Follows in a task: its output in pieces, and what tells it that the container has ended.
    async fn follow(&self, options: LogOptions) -> Followed {
        let options = LogOptions { follow: true, ..options };
        let reader = LogReader::open(&self.path, &options).await.expect("opened");
        let (ended, mut has_ended) = watch::channel(false);
        let stream = reader.into_stream(async move {
            let _ = has_ended.wait_for(|ended| *ended).await;
        });
        let (send, chunks) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(chunk) = stream.next().await {
                if send.send(chunk.expect("read")).await.is_err() {
                    return;
                }
            }
        });
        Followed { chunks, ended, text: String::new() }
    }
}

struct Followed {
    chunks: mpsc::Receiver<Bytes>,
    ended: watch::Sender<bool>,
    text: String,
}

impl Followed {
    async fn until(&mut self, end: &str) -> &str {
        while !self.text.ends_with(end) {
            let chunk = tokio::time::timeout(PATIENCE, self.chunks.recv()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("{:?} does not end with {end:?}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&chunk.expect("the stream goes on")));
        }
        &self.text
    }

    async fn rest(mut self) -> String {
        while let Some(chunk) = tokio::time::timeout(PATIENCE, self.chunks.recv()).await.expect("it ends") {
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
        self.text
    }
}

fn line(text: &str) -> String {
    format!("2026-11-23T00:00:01.5Z stdout F {text}\n")
}

#[tokio::test]
async fn a_log_is_read_to_its_end_and_an_unfinished_line_is_shown() {
    let log = Log::with(&(line("one") + "garbage\n" + line("two").trim_end()));
    assert_eq!(log.read(LogOptions::default()).await, "one\ntwo");
    assert_eq!(log.read(LogOptions { tail: Some(1), ..LogOptions::default() }).await, "two");
    assert_eq!(log.read(LogOptions { tail: Some(0), ..LogOptions::default() }).await, "");
    let options = LogOptions { limit_bytes: Some(5), ..LogOptions::default() };
    assert_eq!(log.read(options).await, "one\nt");
}

#[tokio::test]
async fn a_large_log_comes_out_as_it_went_in() {
    let text: String = (0..40_000).map(|n| line(&n.to_string())).collect();
    let expected: String = (0..40_000).map(|n| format!("{n}\n")).collect();
    assert!(Log::with(&text).read(LogOptions::default()).await == expected);
}

#[tokio::test]
async fn a_log_that_is_not_followed_ends_where_it_ended_when_it_was_opened() {
    let log = Log::with(&(line("one") + "2026-11-23T00:00:01.5Z stdout F tw"));
    let reader = LogReader::open(&log.path, &LogOptions::default()).await.expect("opened");
    log.append("o\n");
    log.append(&line("three"));
    let all: Vec<_> = reader.into_stream(std::future::pending()).collect().await;
    let text: Vec<u8> = all.into_iter().flat_map(|chunk| chunk.expect("read")).collect();
    assert_eq!(String::from_utf8_lossy(&text), "one\ntwo\n", "but the line that was being written is whole");
}

#[tokio::test]
async fn a_log_that_is_missing_is_told_at_once() {
    let log = Log::with("");
    fs::remove_file(&log.path).expect("removed");
    let error = LogReader::open(&log.path, &LogOptions::default()).await.expect_err("missing");
    assert!(matches!(error, LogError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound));
}

#[tokio::test]
async fn following_shows_new_lines_and_ends_after_the_container() {
    let log = Log::with(&(line("one") + &line("two")));
    let mut followed = log.follow(LogOptions { tail: Some(1), ..LogOptions::default() }).await;
    assert_eq!(followed.until("two\n").await, "two\n");
    log.append("2026-11-23T00:00:01.5Z stdout P thr");
    log.append("ee\n");
    followed.until("three").await;
    log.append(&line("!"));
    followed.until("!\n").await;
    log.append(&line("last words"));
    followed.ended.send_replace(true);
    assert_eq!(followed.rest().await, "two\nthree!\nlast words\n");
}

#[tokio::test]
async fn following_a_container_that_has_ended_shows_its_log_and_ends() {
    let log = Log::with(&line("one"));
    let followed = log.follow(LogOptions::default()).await;
    followed.ended.send_replace(true);
    assert_eq!(followed.rest().await, "one\n");
}

#[tokio::test]
async fn what_is_written_to_the_old_file_during_a_handover_is_shown_before_the_next() {
    let log = Log::with(&line("one"));
    let mut followed = log.follow(LogOptions::default()).await;
    followed.until("one\n").await;
    let mut old = OpenOptions::new().append(true).open(&log.path).expect("opened");
    log.rotate(1);
    log.append("");
    old.write_all(line("late").as_bytes()).expect("written");
    followed.until("late\n").await;
    log.append(&line("next"));
    followed.until("next\n").await;
    followed.ended.send_replace(true);
    assert_eq!(followed.rest().await, "one\nlate\nnext\n");
}

#[tokio::test]
async fn a_file_that_is_cut_is_read_from_its_start() {
    let log = Log::with(&line("one, which is long"));
    let mut followed = log.follow(LogOptions::default()).await;
    followed.until("long\n").await;
    fs::write(&log.path, line("two")).expect("written");
    followed.until("two\n").await;
}

#[tokio::test]
async fn a_reader_that_is_several_rotations_behind_misses_none() {
    let log = Log::with(&line("1"));
    let reader = LogReader::open(&log.path, &LogOptions { follow: true, ..LogOptions::default() })
        .await
        .expect("opened");
    for number in 2..6 {
        log.rotate(number);
        log.append(&line(&number.to_string()));
    }
    let all: Vec<_> = reader.into_stream(std::future::ready(())).collect().await;
    let text: Vec<u8> = all.into_iter().flat_map(|chunk| chunk.expect("read")).collect();
    assert_eq!(String::from_utf8_lossy(&text), "1\n2\n3\n4\n5\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_rotates_all_the_time_loses_and_doubles_nothing() {
    const LINES: u32 = 60_000;
    let log = Arc::new(Log::with(""));
    let mut followed = log.follow(LogOptions::default()).await;
    let writer = {
        let log = Arc::clone(&log);
        std::thread::spawn(move || {
            let open = || OpenOptions::new().append(true).create(true).open(&log.path).expect("opened");
            let mut file = open();
            for number in 0..LINES {
                // As kubelet and runtime do it: rename, go on writing, open the new file, write a little more to the old.
                match number % 1000 {
                    500 => log.rotate(number),
                    505 => {
                        let next = open();
                        file.write_all(line(&number.to_string()).as_bytes()).expect("written");
                        file = next;
                        continue;
                    }
                    _ => {}
                }
                file.write_all(line(&number.to_string()).as_bytes()).expect("written");
            }
        })
    };
    followed.until(&format!("\n{}\n", LINES - 1)).await;
    writer.join().expect("it wrote");
    followed.ended.send_replace(true);
    let text = followed.rest().await;
    let got: Vec<&str> = text.lines().collect();
    for (number, line) in got.iter().enumerate() {
        assert_eq!(*line, number.to_string(), "line {number}");
    }
    assert_eq!(got.len(), LINES as usize);
}

/// As the rotation does it.
fn compress(path: &Path) {
    let text = fs::read(path).expect("read");
    let file = fs::File::create(format!("{}.gz", path.display())).expect("made");
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(&text).expect("written");
    let file = encoder.finish().expect("finished");
    file.set_modified(fs::metadata(path).and_then(|m| m.modified()).expect("a time")).expect("set");
    fs::remove_file(path).expect("removed");
}

#[tokio::test]
async fn the_last_lines_are_found_in_rotated_files_too_and_come_in_their_order() {
    let log = Log::with("");
    let mut number = 0;
    for rotation in 1..=4 {
        for _ in 0..10 {
            number += 1;
            log.append(&line(&number.to_string()));
        }
        log.rotate(rotation);
        if rotation < 3 {
            compress(&log.dir.path().join(format!("0.log.20261123-{rotation:06}")));
        }
    }
    log.append(&(line("41") + &line("42")));
    let expected = |from: u32| (from..=42).map(|n| format!("{n}\n")).collect::<String>();
    for (tail, from) in [
        (1, 42),
        (2, 41),
        (3, 40),
        (12, 31),
        (13, 30),
        (22, 21),
        (25, 18),
        (32, 11),
        (35, 8),
        (42, 1),
        (1000, 1),
    ] {
        let options = LogOptions { tail: Some(tail), ..LogOptions::default() };
        assert_eq!(log.read(options.clone()).await, expected(from), "{tail}");
        let followed = log.follow(options).await;
        followed.ended.send_replace(true);
        assert_eq!(followed.rest().await, expected(from), "{tail}, followed");
    }
    assert_eq!(log.read(LogOptions::default()).await, "41\n42\n", "the current file");
    // Every line is of 2026-11-23, and every file was written today.
    let since =
        |time: &str| LogOptions { since: Some(time.parse().expect("a time")), ..LogOptions::default() };
    assert_eq!(log.read(since("2026-11-22T00:00:00Z")).await, expected(1));
    assert_eq!(log.read(since("2026-11-24T00:00:00Z")).await, "");
    let options = LogOptions { tail: Some(35), limit_bytes: Some(7), ..LogOptions::default() };
    assert_eq!(log.read(options).await, "8\n9\n10\n");
}

#[tokio::test]
async fn a_damaged_compressed_file_costs_what_is_in_it() {
    let log = Log::with(&line("first"));
    log.rotate(1);
    fs::write(log.dir.path().join("0.log.20261123-000001.gz"), "no gzip").expect("written");
    fs::remove_file(log.dir.path().join("0.log.20261123-000001")).expect("removed");
    log.append(&line("second"));
    assert_eq!(log.read(LogOptions { tail: Some(5), ..LogOptions::default() }).await, "second\n");
    let all =
        LogOptions { since: Some("2026-11-22T00:00:00Z".parse().expect("a time")), ..LogOptions::default() };
    assert_eq!(log.read(all).await, "second\n");
}
