//! What is to go wrong, and when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use super::Life;

/// A runtime's misbehaviour. As JSON: `{"rules": [{"call": "StartContainer", "fail": {"code": 2, "message": "no"}, "times": 1}]}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The first that fits a call is taken.
    pub rules: Vec<Rule>,
    /// What becomes of the next events, one each; all others are told.
    pub events: Vec<EventEffect>,
    /// Lives of containers by name, before what their commands say.
    pub lives: BTreeMap<String, Life>,
    /// Images that are not there until they are pulled. All others are.
    pub absent_images: Vec<String>,
    /// Images that cannot be pulled.
    pub unknown_images: Vec<String>,
    /// The event stream is refused as unknown.
    pub no_events: bool,
    /// Containers write a line to their log when they start.
    pub write_logs: bool,
}

/// What becomes of some calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The method's name; any if empty.
    #[serde(default)]
    pub call: String,
    /// A part of what the call is about; any if empty.
    #[serde(default)]
    pub subject: String,
    /// How often; without end if absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens.
    #[serde(flatten)]
    pub effect: Effect,
}

impl Rule {
    /// For the next `times` calls of this method.
    #[must_use]
    pub fn next(call: &str, times: u32, effect: Effect) -> Self {
        Self { call: call.to_owned(), subject: String::new(), times: Some(times), effect }
    }
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is carried out after so many milliseconds.
    Delay(u64),
    /// It is refused and not carried out.
    Fail {
        /// The gRPC code.
        code: i32,
        /// The runtime's words.
        message: String,
    },
    /// It is carried out, and its answer is an error.
    LoseAnswer {
        /// The gRPC code.
        code: i32,
        /// The runtime's words.
        message: String,
    },
    /// It is never answered, and not carried out.
    Hang,
}

impl Effect {
    /// A refusal as containerd makes most.
    #[must_use]
    pub fn refused(message: &str) -> Self {
        Self::Fail { code: Code::Unknown as i32, message: message.to_owned() }
    }
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventEffect {
    /// Nobody is told.
    Lose,
    /// It is told twice.
    Double,
    /// It is told later.
    Delay {
        /// By so much.
        millis: u64,
    },
}

impl Script {
    /// What becomes of this call; uses a rule up.
    pub(super) fn effect(&mut self, call: &str, subject: &str) -> Option<Effect> {
        let fits = |rule: &Rule| {
            (rule.call.is_empty() || rule.call == call)
                && subject.contains(&rule.subject)
                && rule.times != Some(0)
        };
        let rule = self.rules.iter_mut().find(|r| fits(r))?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule.effect.clone())
    }

    pub(super) fn event(&mut self) -> Option<EventEffect> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }
}

pub(super) fn status(code: i32, message: &str) -> Status {
    Status::new(Code::from_i32(code), message)
}
