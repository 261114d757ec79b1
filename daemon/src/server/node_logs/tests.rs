use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;

use super::*;
use crate::server::About;
use crate::server::endpoint::Door;
use crate::server::tests::{ask, asked, context, text};

/// A server with logs of its own, and whether it answers queries.
fn world(queries: bool) -> (Context, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("syslog"), "line\n").unwrap();
    let context = context(None, |config| {
        config.enable_system_log_query = queries;
        config.authentication.anonymous.enabled = true;
        config.authorization.mode = "AlwaysAllow".to_owned();
    });
    let about = About {
        started: context.about.started,
        root_dir: PathBuf::new(),
        flags: context.about.flags.clone(),
        log_dir: dir.path().to_owned(),
        journal: Journal::new("/nowhere", &[]),
    };
    (Context { about: Arc::new(about), ..context }, dir)
}

async fn get(context: &Context, path: &str) -> (u16, String) {
    let reply = ask(context, Door::ReadWrite, None, asked(&Method::GET, path)).await;
    (reply.status().as_u16(), text(reply).await)
}

#[tokio::test]
async fn queries_are_answered_where_the_configuration_says_so() {
    let (context, dir) = world(true);
    assert_eq!(get(&context, "/logs/syslog").await, (200, "line\n".to_owned()));
    assert_eq!(get(&context, "/logs/?query=/syslog").await, (200, "line\n".to_owned()));
    assert_eq!(get(&context, "/logs/?query=%5Csyslog").await.0, 406, "such names are Windows'");
    assert_eq!(get(&context, "/logs/?query=syslog").await, (200, "line\n".to_owned()));
    let not_allowed = (406, "path not allowed in query mode\n".to_owned());
    assert_eq!(get(&context, "/logs/syslog?query=kubelet").await, not_allowed);
    let wrong = (400, "boot: Invalid value: \"x\": strconv.Atoi: parsing \"x\": invalid syntax\n".to_owned());
    assert_eq!(get(&context, "/logs/?boot=x").await, wrong);
    let none = (406, "query: Required value: cannot be empty with options\n".to_owned());
    assert_eq!(get(&context, "/logs/?tailLines=1").await, none);
    let gone = format!(
        "query: Invalid value: []string{{\"/gone\"}}: stat {}/gone: no such file or directory\n",
        dir.path().display()
    );
    assert_eq!(get(&context, "/logs/?query=/gone").await, (406, gone));
}

#[tokio::test]
async fn elsewhere_a_query_is_nothing() {
    let (context, _dir) = world(false);
    assert_eq!(get(&context, "/logs/syslog?query=kubelet&boot=x").await, (200, "line\n".to_owned()));
    let (status, page) = get(&context, "/logs/?query=kubelet").await;
    assert!(status == 200 && page.contains("<a href=\"syslog\">"), "{page}");
}
