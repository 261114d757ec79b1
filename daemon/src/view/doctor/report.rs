//! Findings as lines. Pure.

use std::fmt::Write as _;

use super::{Finding, Verdict};
use crate::view::table::{Table, printable};

/// A line for each, what to do below it, and the count at the end.
pub(super) fn report(findings: &[Finding]) -> String {
    let mut table = Table::plain();
    for Finding { check, verdict, found, .. } in findings {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        table.row(vec![verdict.to_owned(), (*check).to_owned(), found.clone()]);
    }
    let mut page = String::new();
    // Writing to a string does not fail.
    for (line, finding) in table.lines().into_iter().zip(findings) {
        let _ = writeln!(page, "{line}");
        if !finding.advice.is_empty() {
            let _ = writeln!(page, "      -> {}", printable(&finding.advice));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let _ = writeln!(
        page,
        "\n{} checks: {} ok, {} warnings, {} failures",
        findings.len(),
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Fail),
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_what_to_do_stands_below_it() {
        let finding = |check, verdict, found: &str, advice: &str| Finding {
            check,
            verdict,
            found: found.to_owned(),
            advice: advice.to_owned(),
        };
        let text = report(&[
            finding("kernel", Verdict::Ok, "6.12", ""),
            finding("pod network", Verdict::Fail, "no\nplugin", "install one"),
            finding("clock", Verdict::Warn, "", "set it"),
        ]);
        let expected = "\
ok    kernel       6.12
FAIL  pod network  no plugin
      -> install one
warn  clock
      -> set it

3 checks: 1 ok, 1 warnings, 1 failures
";
        assert_eq!(text, expected, "\n{text}");
    }
}
