//! What a pod's machine was told lately, so that it can be told again.
//!
//! A recording is a machine as it once was and the inputs since. The machine is deterministic: the same inputs at the same
//! times bring the same effects. When the inputs take more room than they may, or the source has another object, the machine
//! of now becomes the beginning, and of what was before a line for each decision remains.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::input::{Answer, Input};
use crate::now::Now;
use crate::pod::Pod;
use crate::tell;

/// Bytes that the inputs since the beginning may take, as estimated.
const MAX_BYTES: usize = 8 * 1024;
/// Decisions that are remembered from before the beginning.
const MAX_LINES: usize = 48;
/// Of one such line.
const MAX_LINE: usize = 160;
/// Of one that says why the node has ended the pod: whoever asks wants to read all of it.
const MAX_END_LINE: usize = 1_280;

/// See the module's page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recording {
    /// The machine at the beginning.
    start: Pod,
    steps: Vec<Step>,
    /// What was decided before the beginning, the oldest first.
    before: VecDeque<Line>,
    bytes: usize,
}

/// One input.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Step {
    now: Now,
    input: Input,
}

/// One moment of a pod's life, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Civil time.
    pub at: jiff::Timestamp,
    /// What happened, and what was done about it.
    pub text: String,
}

/// A recording that was played.
#[derive(Debug)]
pub struct Played {
    /// The machine after the last input.
    pub pod: Pod,
    /// What each input brought, in order.
    pub effects: Vec<Vec<Effect>>,
    /// The whole story, the oldest first.
    pub lines: Vec<Line>,
}

impl Recording {
    /// Begins with `pod` as it is now.
    pub fn new(pod: &Pod) -> Self {
        Self { start: pod.clone(), steps: Vec::new(), before: VecDeque::new(), bytes: 0 }
    }

    /// Notes that `pod` was told `input` at `now`, which brought `effects`; `pod` is the machine after it.
    pub fn note(&mut self, pod: &Pod, input: Input, now: Now, effects: &[Effect]) {
        let size = size_of(&input);
        // An assignment brings a new object: with the machine of now as the beginning the old one is not held for longer.
        let assigned = matches!(input, Input::Assigned(_)) && !self.steps.is_empty();
        if assigned || self.bytes + size > MAX_BYTES {
            self.move_forward(pod, &input, now, effects);
            return;
        }
        self.bytes += size;
        self.steps.push(Step { now, input });
    }

    /// Plays the recording through the machine.
    pub fn play(&self) -> Played {
        let mut pod = self.start.clone();
        let mut lines: Vec<Line> = self.before.iter().cloned().collect();
        let mut all = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let effects = pod.step(step.input.clone(), step.now);
            lines.extend(line(&step.input, step.now, &effects));
            all.push(effects);
        }
        Played { pod, effects: all, lines }
    }

    /// Inputs that are held.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing has happened since the beginning.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn move_forward(&mut self, pod: &Pod, input: &Input, now: Now, effects: &[Effect]) {
        let told = self.play().lines;
        self.before = told.into_iter().chain(line(input, now, effects)).collect();
        while self.before.len() > MAX_LINES {
            self.before.pop_front();
        }
        // Kept for long, and mostly not added to.
        self.before.shrink_to_fit();
        self.start = pod.clone();
        self.steps = Vec::new();
        self.bytes = 0;
    }
}

/// What is worth telling of a step: something decided, or something learned.
fn line(input: &Input, now: Now, effects: &[Effect]) -> Option<Line> {
    let mut text = tell::input(input)?;
    for done in effects.iter().filter_map(tell::effect) {
        text.push_str(if text.contains(" -> ") { ", " } else { " -> " });
        text.push_str(&done);
    }
    if !text.contains(" -> ") && tell::is_dull(input) {
        return None;
    }
    let most = if matches!(input, Input::Kill { .. }) { MAX_END_LINE } else { MAX_LINE };
    if text.len() > most {
        let mut end = most;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text.shrink_to_fit();
    Some(Line { at: now.wall, text })
}

/// Roughly what an input takes.
fn size_of(input: &Input) -> usize {
    const SMALL: usize = 96;
    match input {
        Input::Answered { outcome: Ok(Answer::Observed(seen)), .. } => {
            SMALL + 512 * seen.containers.len() + 256 * seen.sandboxes.len()
        }
        Input::Answered { outcome: Err(failure), .. } => SMALL + failure.message.len(),
        Input::Kill { reason, message, .. } | Input::Refused { reason, message } => {
            SMALL + reason.len() + message.len()
        }
        _ => SMALL,
    }
}
