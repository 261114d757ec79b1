//! One at a time for each key: who comes second waits for the first, and finds its result in a cache.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Holds a lock for each key that somebody waits for or has, and none for others.
#[derive(Debug)]
pub(crate) struct Turns<K>(Mutex<HashMap<K, Weak<AsyncMutex<()>>>>);

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> Turns<K> {
    /// Waits for the turn of `key`, which lasts until the guard is dropped.
    pub(crate) async fn take(&self, key: K) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            match turns.get(&key).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    let turn = Arc::new(AsyncMutex::new(()));
                    turns.insert(key, Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_others_for_nobody() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        let mut second = Box::pin(turns.take("a"));
        assert!(poll!(&mut second).is_pending());
        drop(turns.take("b").await);
        drop(first);
        drop(second.await);
        drop(turns.take("c").await);
        assert_eq!(turns.0.lock().expect("not poisoned").len(), 1, "what nobody waits for is forgotten");
    }
}
