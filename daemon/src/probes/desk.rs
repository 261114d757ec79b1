//! What the pod tasks want probed, until the prober takes it up: at most one word for each pod.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Wanted;

/// Both sides; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Desk {
    words: Arc<Mutex<HashMap<String, Option<Wanted>>>>,
    arrived: Arc<Notify>,
}

impl Desk {
    /// What the pod `uid` wants, `None` once it is gone; replaces what has not been taken up yet.
    pub(super) fn put(&self, uid: &str, wanted: Option<Wanted>) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), wanted);
        self.arrived.notify_one();
    }

    /// Waits for words and takes all. Cancel-safe: they are taken only when they are returned.
    pub(super) async fn taken(&self) -> HashMap<String, Option<Wanted>> {
        loop {
            let words = std::mem::take(&mut *self.words.lock().unwrap_or_else(PoisonError::into_inner));
            if !words.is_empty() {
                return words;
            }
            self.arrived.notified().await;
        }
    }
}
