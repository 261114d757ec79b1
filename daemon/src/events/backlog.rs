//! Writes that wait for the API server: in order, at most so many, and one for each event.

use std::collections::VecDeque;

use k8s_openapi::api::core::v1::Event;

use super::BACKLOG;
use super::correlate::Write;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Write>,
    /// Writes that were dropped because too many waited.
    dropped: u64,
}

impl Backlog {
    /// Adds a write. One that waits for the same event is replaced, and stays a creation if it was one.
    pub(super) fn push(&mut self, write: Write) {
        let same = |waiting: &Write| {
            waiting.event.metadata.name == write.event.metadata.name
                && waiting.event.metadata.namespace == write.event.metadata.namespace
        };
        if let Some(waiting) = self.waiting.iter_mut().rev().find(|waiting| same(waiting)) {
            waiting.event = write.event;
            return;
        }
        if self.waiting.len() >= BACKLOG {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(write);
    }

    pub(super) fn pop(&mut self) -> Option<Write> {
        self.waiting.pop_front()
    }

    /// Puts back what could not be sent, unless something newer waits for the same event.
    pub(super) fn put_back(&mut self, mut write: Write) {
        let name = |event: &Event| (event.metadata.namespace.clone(), event.metadata.name.clone());
        if let Some(newer) = self.waiting.iter_mut().find(|newer| name(&newer.event) == name(&write.event)) {
            newer.exists &= write.exists;
            write = newer.clone();
            self.waiting.retain(|waiting| name(&waiting.event) != name(&write.event));
        }
        if self.waiting.len() >= BACKLOG {
            self.dropped += 1;
            return;
        }
        self.waiting.push_front(write);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}
