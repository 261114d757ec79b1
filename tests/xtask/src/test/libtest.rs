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

/// Picks what tests said when they panicked out of all that they said.
#[derive(Debug, Default)]
pub(super) struct Panics {
    said: Vec<String>,
    /// Lines that the one under way may still have.
    left: usize,
}

impl Panics {
    /// A test says in its first lines what it expected; the rest is what its programs printed.
    const LINES: usize = 6;
    const LINE_CHARACTERS: usize = 1000;
    /// Further ones are in the output above.
    const MOST: usize = 20;

    /// Takes the next line.
    pub(super) fn read(&mut self, line: &str) {
        if line.starts_with("thread '") && line.contains(" panicked at ") {
            self.left = if self.said.len() < Self::MOST { Self::LINES } else { 0 };
            if self.left > 0 {
                self.said.push(String::new());
            }
        } else if line.starts_with("note: ") || line.trim().is_empty() {
            self.left = 0;
        }
        if let (1.., Some(said)) = (self.left, self.said.last_mut()) {
            self.left -= 1;
            said.extend(line.chars().take(Self::LINE_CHARACTERS));
            said.push('\n');
        }
    }

    /// The first lines of each, in the order in which they came.
    pub(super) fn said(self) -> Vec<String> {
        self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_said_when_they_panicked_is_picked_out() {
        let mut panics = Panics::default();
        for line in [
            "  containerd                                               0.2 s",
            "thread 'pods::it_works' (7) panicked at src/lib.rs:1:1:",
            "assertion `left == right` failed",
            "  left: 1",
            " right: 2",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            "  stopping apiserver                                       0.0 s",
            "thread 'other' panicked at src/lib.rs:2:2:",
            "no",
        ] {
            panics.read(line);
        }
        let first = "thread 'pods::it_works' (7) panicked at src/lib.rs:1:1:\n\
                     assertion `left == right` failed\n  left: 1\n right: 2\n";
        assert_eq!(panics.said(), [first, "thread 'other' panicked at src/lib.rs:2:2:\nno\n"]);
    }

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
