//! What it means to a pod that an image cannot be looked at or pulled. behaviour.md 13.7, 14.2.

use lifecycle::{Failure, FailureKind};

use super::executor::failure;
use crate::images::ImageError;

/// Words that a runtime begins with when it knows more than that a pull failed.
const KNOWN: [(&str, FailureKind); 2] = [
    ("RegistryUnavailable", FailureKind::RegistryUnavailable),
    ("SignatureValidationFailed", FailureKind::SignatureInvalid),
];

/// One text for all credentials that were tried, each complaint once, as a kubelet puts them together.
pub(super) fn image_failure(error: ImageError) -> Failure {
    let message = error.to_string();
    match error {
        ImageError::Name(_) => Failure { kind: FailureKind::InvalidImageName, message },
        ImageError::NotAllowed(_) => Failure { kind: FailureKind::ImageNotAllowed, message },
        ImageError::Intent { .. } => Failure { kind: FailureKind::Refused, message },
        ImageError::Inspect(error) => failure(error),
        ImageError::Pull(errors) => {
            let mut failures: Vec<Failure> = Vec::new();
            for failure in errors.into_iter().map(failure) {
                if !failures.contains(&failure) {
                    failures.push(failure);
                }
            }
            if failures.len() > 1 {
                let messages: Vec<String> = failures.into_iter().map(|failure| failure.message).collect();
                return Failure { kind: FailureKind::Refused, message: format!("[{}]", messages.join(", ")) };
            }
            let Some(mut failure) = failures.pop() else {
                return Failure { kind: FailureKind::Refused, message };
            };
            if let Some((_, kind)) = KNOWN.iter().find(|(word, _)| failure.message.starts_with(word)) {
                failure.kind = *kind;
            }
            failure
        }
    }
}

#[cfg(test)]
mod tests {
    use cri_client::{CallError, Cause, Code};

    use super::*;

    fn refused(message: &str) -> CallError {
        let cause = Cause::Failed { code: Code::Unknown, message: message.into() };
        CallError { call: "PullImage", subject: "app:1".into(), cause }
    }

    fn of(messages: &[&str]) -> (FailureKind, String) {
        let failure = image_failure(ImageError::Pull(messages.iter().map(|m| refused(m)).collect()));
        (failure.kind, failure.message)
    }

    #[test]
    fn the_complaints_of_all_credentials_are_one_text_with_each_once() {
        assert_eq!(of(&["denied"]), (FailureKind::Refused, "denied".into()));
        assert_eq!(of(&["denied", "denied"]), (FailureKind::Refused, "denied".into()));
        assert_eq!(of(&["denied", "expired", "denied"]), (FailureKind::Refused, "[denied, expired]".into()));
    }

    #[test]
    fn what_the_runtime_knows_better_is_told() {
        for (word, kind) in KNOWN {
            let message = format!("{word}: more about it");
            assert_eq!(of(&[&message, &message]), (kind, message));
        }
    }

    #[test]
    fn a_runtime_that_is_away_is_no_refusal() {
        let cause = Cause::Unavailable("gone".into());
        let error = CallError { call: "PullImage", subject: "app:1".into(), cause };
        assert_eq!(image_failure(ImageError::Pull(vec![error])).kind, FailureKind::Unavailable);
    }
}
