use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::*;
use crate::server::reply;
use crate::server::tests::connection;

const IDLE: Duration = Duration::from_secs(90);

#[tokio::test(start_paused = true)]
async fn a_connection_is_idle_when_nothing_has_gone_on_for_that_long() {
    let connection = connection();
    let began = Instant::now();
    let busy = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move {
            for _ in 0..3 {
                let ongoing = Ongoing::new(Arc::clone(&connection), false, None);
                tokio::time::sleep(IDLE * 2).await;
                drop(ongoing);
                tokio::time::sleep(IDLE / 2).await;
            }
        }
    });
    connection.idle(IDLE).await;
    busy.await.unwrap();
    let after = began.elapsed();
    let expected = IDLE * 3 * 2 + IDLE + IDLE;
    assert!(after >= expected && after < expected + Duration::from_secs(1), "{after:?}");
}

#[tokio::test]
async fn places_are_free_again_when_answers_were_read() {
    let (places, connection) = (Places::new(), connection());
    let one = |lasts| {
        let ongoing = Ongoing::new(Arc::clone(&connection), lasts, None);
        ongoing.take_place(&places).then(|| hold(reply::text(StatusCode::OK, "text"), ongoing))
    };
    let mut replies: Vec<Reply> = (0..SHORT).map(|_| one(false).unwrap()).collect();
    assert!(one(false).is_none());
    assert!(one(true).is_some(), "what lasts has places of its own");
    let reply = replies.pop().unwrap();
    assert_eq!(reply.body().size_hint().exact(), Some(4), "the length is still known");
    drop(reply);
    assert!(one(false).is_some());
}
