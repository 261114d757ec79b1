//! What a call that failed means.

use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};

/// A call that failed: which, about what, and how.
#[derive(Clone, Debug, Error)]
#[error("{call}{}: {cause}", about(.subject))]
pub struct CallError {
    /// The method's name, `RunPodSandbox` say.
    pub call: &'static str,
    /// What it was about: an id or a name; empty where it is about nothing in particular.
    pub subject: String,
    /// How it failed.
    pub cause: Cause,
}

fn about(subject: &str) -> String {
    if subject.is_empty() { String::new() } else { format!(" {subject}") }
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Cause {
    /// The runtime does not know the object.
    #[error("not found: {0}")]
    NotFound(String),
    /// The runtime cannot be reached, or went away in the middle: whether the call did anything is not known.
    #[error("the container runtime cannot be reached: {0}")]
    Unavailable(String),
    /// There was no answer in time: whether the call did anything is not known.
    #[error("no answer from the container runtime in {after:?}")]
    Deadline {
        /// How long was waited.
        after: Duration,
    },
    /// An object of this name exists, or is being made by an earlier call whose answer was lost.
    #[error("{0}")]
    NameReserved(String),
    /// The runtime has no such call.
    #[error("the container runtime does not implement this call")]
    Unimplemented,
    /// The runtime's answer makes no sense.
    #[error("the container runtime's answer is invalid: {0}")]
    InvalidAnswer(String),
    /// The runtime refused or failed.
    #[error("rpc error: code = {code:?} desc = {message}")]
    Failed {
        /// The gRPC code.
        code: Code,
        /// The runtime's words.
        message: String,
    },
}

impl Cause {
    pub(crate) fn of(status: &Status, deadline: Option<Duration>) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound(message),
            Code::Unavailable => Self::Unavailable(message),
            // Who is told how long we wait may give up a moment before we do.
            Code::DeadlineExceeded | Code::Cancelled => {
                Self::Deadline { after: deadline.unwrap_or_default() }
            }
            Code::Unimplemented => Self::Unimplemented,
            Code::AlreadyExists => Self::NameReserved(message),
            // tonic reports a connection that broke in the middle of a call so.
            Code::Unknown | Code::Internal if is_transport(status) => Self::Unavailable(message),
            // containerd gives no code of its own for a name that an unfinished call holds.
            Code::Unknown if message.contains("is reserved for") => Self::NameReserved(message),
            code => Self::Failed { code, message },
        }
    }
}

fn is_transport(status: &Status) -> bool {
    use std::error::Error as _;
    let broken = |m: &str| {
        m.contains("transport error") || m.contains("h2 protocol error") || m.contains("broken pipe")
    };
    status.source().is_some() || broken(status.message())
}

impl CallError {
    /// Whether the runtime does not know the object (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound(_))
    }

    /// Whether it is not known if the call did anything.
    pub fn outcome_is_unknown(&self) -> bool {
        matches!(self.cause, Cause::Unavailable(_) | Cause::Deadline { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_what_it_means_for_the_caller() {
        let cause =
            |code, message: &str| Cause::of(&Status::new(code, message), Some(Duration::from_secs(1)));
        assert_eq!(cause(Code::NotFound, "x"), Cause::NotFound("x".into()));
        assert_eq!(cause(Code::Unavailable, "x"), Cause::Unavailable("x".into()));
        assert_eq!(cause(Code::DeadlineExceeded, "x"), Cause::Deadline { after: Duration::from_secs(1) });
        let reserved = "failed to reserve sandbox name \"a_b_c_0\": name \"a_b_c_0\" is reserved for \"123\"";
        assert_eq!(cause(Code::Unknown, reserved), Cause::NameReserved(reserved.into()));
        assert_eq!(
            cause(Code::Unknown, "oops"),
            Cause::Failed { code: Code::Unknown, message: "oops".into() }
        );
    }

    #[test]
    fn an_error_says_which_call_about_what_failed_and_how() {
        let error = CallError {
            call: "StopContainer",
            subject: "abc".into(),
            cause: Cause::Failed { code: Code::Internal, message: "no shim".into() },
        };
        assert_eq!(error.to_string(), "StopContainer abc: rpc error: code = Internal desc = no shim");
    }
}
