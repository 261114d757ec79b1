//! Whether the API server answers, as the calls to it show; for whoever looks at the node without it.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// Shared by all clients of one API server; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(Arc<Mutex<Seen>>);

/// What calls have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where the API server is.
    pub(crate) server: String,
    /// Since when every call that ended was answered.
    pub(crate) since: Option<Timestamp>,
    /// When a call was answered last, with whatever.
    pub(crate) answered: Option<Timestamp>,
    /// When a call was not answered last, and why.
    pub(crate) failed: Option<(Timestamp, String)>,
}

impl Reach {
    fn with<T>(&self, use_seen: impl FnOnce(&mut Seen) -> T) -> T {
        use_seen(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls from now on go there.
    pub(crate) fn points_to(&self, server: String) {
        self.with(|seen| seen.server = server);
    }

    /// A call was answered.
    pub(crate) fn answered(&self, now: Timestamp) {
        self.with(|seen| {
            seen.since.get_or_insert(now);
            seen.answered = Some(now);
        });
    }

    /// A call was not.
    pub(crate) fn failed(&self, now: Timestamp, why: String) {
        self.with(|seen| {
            seen.since = None;
            seen.failed = Some((now, why));
        });
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.with(|seen| seen.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_reachable_since_the_first_answer_after_the_last_failure() {
        let reach = Reach::default();
        let at = |second| Timestamp::constant(second, 0);
        reach.answered(at(1));
        reach.answered(at(2));
        assert_eq!((reach.seen().since, reach.seen().answered), (Some(at(1)), Some(at(2))));
        reach.failed(at(3), "refused".to_owned());
        assert_eq!((reach.seen().since, reach.seen().answered), (None, Some(at(2))));
        reach.answered(at(4));
        let seen = reach.seen();
        assert_eq!((seen.since, seen.failed), (Some(at(4)), Some((at(3), "refused".to_owned()))));
    }
}
