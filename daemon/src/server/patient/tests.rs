use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::server::ongoing::Ongoing;
use crate::server::tests::connection;

/// How long a write lives that nobody reads.
async fn given_up_after(connection: Arc<Connection>) -> Duration {
    let (here, _there) = tokio::io::duplex(16);
    let mut here = Patient::new(here, connection);
    let began = Instant::now();
    let error = here.write_all(&[0; 64]).await.expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let near =
        |time: Duration, expected: Duration| time >= expected && time < expected + Duration::from_secs(1);
    let idle = connection();
    let ongoing = Ongoing::new(Arc::clone(&idle), false, None);
    assert!(near(given_up_after(Arc::clone(&idle)).await, WHOLE));
    drop(ongoing);
    let lasting = Ongoing::new(Arc::clone(&idle), true, None);
    assert!(near(given_up_after(Arc::clone(&idle)).await, LASTING));
    drop(lasting);
    assert!(near(given_up_after(idle).await, WHOLE));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_waited_for_as_long_as_he_reads() {
    let (here, mut there) = tokio::io::duplex(16);
    let mut here = Patient::new(here, connection());
    let reader = tokio::spawn(async move {
        let mut bytes = [0; 16];
        for _ in 0..8 {
            tokio::time::sleep(WHOLE - Duration::from_secs(1)).await;
            there.read_exact(&mut bytes).await.unwrap();
        }
    });
    here.write_all(&[0; 128]).await.unwrap();
    reader.await.unwrap();
}
