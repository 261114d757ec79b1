//! What happened, in words; only kept where a failed run is told again.

use std::collections::VecDeque;
use std::time::Duration;

/// Steps that are kept.
const KEPT: usize = 4000;

#[derive(Debug, Default)]
pub(crate) struct Timeline {
    on: bool,
    lines: VecDeque<String>,
}

impl Timeline {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, lines: VecDeque::new() }
    }

    /// Notes one step; the words are only made where somebody will read them.
    pub(crate) fn note(&mut self, at: Duration, words: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:11.3} s  {}", at.as_secs_f64(), words()));
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
