//! What is an hour old is known by the revision of then.

use std::time::Duration;

use tokio::time::Instant;

use super::{KEPT, Marks};

#[tokio::test(start_paused = true)]
async fn a_revision_expires_when_it_is_an_hour_old() {
    let mut marks = Marks::default();
    let begin = Instant::now();
    let minute = Duration::from_secs(60);
    for passed in 0..60 {
        assert_eq!(marks.note(begin + minute * passed, u64::from(passed)), None);
    }
    assert_eq!(marks.note(begin + KEPT, 60), Some(0));
    // After a pause the latest of the old ones counts.
    assert_eq!(marks.note(begin + KEPT + minute * 3, 61), Some(3));
}
