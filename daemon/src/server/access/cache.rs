//! Answers of reviews, for as long as the configuration lets them count.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Answers that are kept at most. A caller who makes up tokens must not fill the memory.
const ENTRIES: usize = 1024;

/// Answers by question; each counts until a time of its own.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    entries: HashMap<K, (V, Instant)>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new() -> Self {
        Self { entries: HashMap::new() }
    }

    /// The answer, if there is one that still counts.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.entries.get(key).filter(|(_, until)| now < *until).map(|(value, _)| value.clone())
    }

    /// Keeps an answer for so long. Where there are too many, those go that no longer count, or else all: they can be asked for again.
    pub(crate) fn keep(&mut self, key: K, value: V, time: Duration, now: Instant) {
        if time.is_zero() {
            return;
        }
        if self.entries.len() >= ENTRIES {
            self.entries.retain(|_, (_, until)| now < *until);
        }
        if self.entries.len() >= ENTRIES {
            self.entries.clear();
        }
        self.entries.insert(key, (value, now + time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_its_time_and_no_longer() {
        let (mut cache, start) = (Cache::new(), Instant::now());
        let second = Duration::from_secs(1);
        cache.keep("a", 1, second * 5, start);
        cache.keep("b", 2, Duration::ZERO, start);
        assert_eq!((cache.get(&"a", start + second * 4), cache.get(&"b", start)), (Some(1), None));
        assert_eq!(cache.get(&"a", start + second * 5), None);
        cache.keep("a", 3, second, start + second * 6);
        assert_eq!(cache.get(&"a", start + second * 6), Some(3));
    }

    #[test]
    fn made_up_questions_do_not_fill_the_memory() {
        let (mut cache, start) = (Cache::new(), Instant::now());
        for i in 0..10 * ENTRIES {
            cache.keep(i, i, Duration::from_secs(100), start);
            assert!(cache.entries.len() <= ENTRIES);
            assert_eq!(cache.get(&i, start), Some(i));
        }
    }
}
