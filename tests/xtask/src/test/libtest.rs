//! What Rust's test programs say.

use std::fmt;
use std::ops::{Add, AddAssign};

/// Tests in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Totals {
    pub(super) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(super) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
}

impl Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The numbers in a line of results.
pub(super) fn result(line: &str) -> Option<Totals> {
    let numbers = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |name: &str| {
        let part = numbers.split(';').map(str::trim).find(|part| part.ends_with(name))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Totals { passed: number("passed")?, failed: number("failed")?, skipped: number("ignored")? })
}

/// Whether a line tells more than that all is well.
pub(super) fn is_worth_reading(line: &str) -> bool {
    let is_fine = line.starts_with("test ") && line.ends_with(" ... ok");
    let is_frame =
        line.starts_with("running ") || line.starts_with("test result: ok") || line.trim().is_empty();
    !is_fine && !is_frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_with_what_was_ignored() {
        let line = "test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s";
        assert_eq!(result(line), Some(Totals { passed: 10, failed: 2, skipped: 1 }));
        assert_eq!(result("test result: who knows"), None);
        assert_eq!(result("10 passed; 2 failed"), None);
    }

    #[test]
    fn a_failure_is_shown_and_a_success_is_not() {
        assert!(is_worth_reading("test pods::it_works ... FAILED"));
        assert!(!is_worth_reading("test pods::it_works ... ok"));
        assert!(is_worth_reading("thread 'x' panicked at src/lib.rs:1:1:"));
    }
}
