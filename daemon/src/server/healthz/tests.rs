use http::Method;
use tokio::sync::watch;

use super::*;
use crate::health::Ill;
use crate::server::tests::{ask, asked, context, text};

async fn get(context: &Context, door: Door, path: &str) -> (u16, String) {
    let reply = ask(context, door, None, asked(&Method::GET, path)).await;
    (reply.status().as_u16(), text(reply).await)
}

#[tokio::test]
async fn what_is_not_well_is_told_and_why_only_where_it_is_asked_for() {
    let (verdict, health) = watch::channel(Ok(()));
    let context = Context { health, ..context(None, |_| {}) };
    let door = Door::ReadOnly;
    assert_eq!(get(&context, door, "/healthz").await, (200, "ok".to_owned()));
    let all = "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n";
    assert_eq!(get(&context, door, "/healthz?verbose").await, (200, all.to_owned()));

    let _ = verdict.send_replace(Err(Ill::Pods));
    let (code, text) = get(&context, door, "/healthz").await;
    assert_eq!(
        (code, text.as_str()),
        (500, "[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n")
    );
    let (code, text) = get(&context, door, "/healthz/syncloop").await;
    let why = "internal server error: the tasks of the pods have not answered for 10s\n";
    assert_eq!((code, text.as_str()), (500, why));
    assert_eq!(get(&context, door, "/healthz/ping").await, (200, "ok".to_owned()));
    let (code, text) = get(&context, door, "/healthz?exclude=syncloop&exclude=b&exclude=a&verbose").await;
    let excluded = "[+]ping ok\n[+]log ok\n[+]syncloop excluded: ok\n\
        warn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nhealthz check passed\n";
    assert_eq!((code, text.as_str()), (200, excluded));
    // A kubelet's port for whoever watches over it knows of the answer itself only.
    assert_eq!(get(&context, Door::Healthz, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(&context, Door::Healthz, "/healthz/syncloop").await.0, 404);
    assert_eq!(get(&context, door, "/healthz/nothing").await.0, 404);

    let series = context.metrics.slis().text().unwrap();
    assert!(series.contains("kubernetes_healthcheck{name=\"syncloop\",type=\"healthz\"} 0\n"), "{series}");
}
