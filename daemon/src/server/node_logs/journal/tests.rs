use std::fs;

use http_body_util::BodyExt as _;

use super::*;
use crate::server::node_logs::query;

/// Stands in for journalctl: knows one unit and one bad pattern, and repeats what it is told.
const SCRIPT: &str = r#"
case "$*" in
    *_SYSTEMD_UNIT*) echo containerd.service ;;
    *--lines=0*"--grep=("*) echo "Bad pattern: missing closing parenthesis" >&2; exit 1 ;;
    *--lines=0*) exit 1 ;;
    *--unit=endless*) yes ;;
    *) echo "$@"; echo said on the other output >&2 ;;
esac
"#;

struct World {
    dir: tempfile::TempDir,
    journal: Journal,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("journalctl");
        fs::write(&script, SCRIPT).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        Self { journal: Journal::new("/bin/sh", &[script.into()]), dir }
    }

    async fn ask(&self, asked: &str) -> (u16, String) {
        let wanted = query::parse(asked).unwrap().unwrap();
        let tree = Tree::new(&self.dir.path().join("log"));
        let reply = self.journal.answer(&tree, wanted).await;
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn the_journal_is_asked_for_its_units_as_a_kubelet_asks() {
    let world = World::new();
    let (status, text) = world.ask("query=containerd").await;
    let both = "--utc --no-pager --output=short-precise --unit=containerd\nsaid on the other output\n";
    assert_eq!((status, text.as_str()), (200, both));
    let all = "query=containerd&sinceTime=2026-01-02T03:04:05%2B01:00&untilTime=2026-01-03T00:00:00Z\
        &tailLines=5&boot=-1&pattern=a%20b";
    let said = "--utc --no-pager --output=short-precise --since=2026-01-02 02:04:05 UTC \
        --until=2026-01-03 00:00:00 UTC --pager-end --lines=5 --unit=containerd --grep=a b --boot=-1";
    assert_eq!(world.ask(all).await.1.lines().next(), Some(said));
}

#[tokio::test]
async fn a_pattern_that_the_journal_does_not_understand_is_not_acceptable() {
    let world = World::new();
    let (status, text) = world.ask("query=containerd&pattern=(").await;
    let why = "pattern: Invalid value: \"(\": Bad pattern: missing closing parenthesis\n";
    assert_eq!((status, text.as_str()), (406, why));
}

#[tokio::test]
async fn a_service_that_is_not_in_the_journal_may_have_a_file() {
    let world = World::new();
    let log = world.dir.path().join("log");
    fs::create_dir_all(log.join("proxy")).unwrap();
    fs::write(log.join("proxy/proxy.log"), "third\n").unwrap();
    assert_eq!(world.ask("query=proxy").await.1, "third\n");
    fs::write(log.join("proxy.log"), "second\n").unwrap();
    assert_eq!(world.ask("query=proxy").await.1, "second\n");
    assert_eq!(world.ask("query=none").await, (200, "\nlog not found for none\n".to_owned()));
    let options = "\noptions present and query resolved to log files for [proxy none]\n\
        try without specifying options\n";
    assert_eq!(world.ask("query=proxy&query=none&boot=0").await.1, options);
    std::os::unix::fs::symlink("/etc/passwd", log.join("sly")).unwrap();
    let (_, text) = world.ask("query=sly").await;
    assert!(text.starts_with("\nerror getting log for sly: "), "{text}");
    let both = world.ask("query=proxy&query=containerd").await.1;
    assert!(both.starts_with("--utc") && both.ends_with("second\n"), "{both}");
}

#[tokio::test]
async fn without_a_journal_there_are_files() {
    let world = World { journal: Journal::new("/no/such/program", &[]), ..World::new() };
    assert_eq!(world.ask("query=containerd").await.1, "\nlog not found for containerd\n");
    assert_eq!(world.ask("query=containerd&pattern=(").await.0, 200);
}

#[tokio::test]
async fn a_caller_who_reads_nothing_holds_one_place_and_no_memory() {
    let world = World::new();
    fs::write(world.dir.path().join("journalctl"), SCRIPT.replace("echo containerd", "echo endless"))
        .unwrap();
    let wanted = query::parse("query=endless").unwrap().unwrap();
    let tree = Tree::new(&world.dir.path().join("log"));
    let mut replies = Vec::new();
    for _ in 0..AT_ONCE {
        let mut reply = world.journal.answer(&tree, wanted.clone()).await;
        // The first of it comes; the program waits with the rest.
        reply.body_mut().frame().await.unwrap().unwrap();
        replies.push(reply);
    }
    assert_eq!(world.journal.answer(&tree, wanted).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(replies);
    // Whoever is gone gives the place back.
    let free = Arc::clone(&world.journal.places).acquire_many_owned(u32::try_from(AT_ONCE).unwrap());
    drop(timeout(DEADLINE / 2, free).await.unwrap().unwrap());
}
