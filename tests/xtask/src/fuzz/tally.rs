//! What libFuzzer says of a run.

use std::time::Duration;

/// A run in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Inputs that were tried.
    pub(super) runs: u64,
    /// Edges of the program that they have led through.
    pub(super) edges: u64,
    /// Inputs that were kept: each has shown something new.
    pub(super) kept: u64,
}

impl Tally {
    /// Reads libFuzzer's standard error: `#12  NEW  cov: 45 ft: 60 corp: 7/20b ...`, the last one counts.
    pub(super) fn of(said: &str) -> Self {
        let mut tally = Self::default();
        for line in said.lines() {
            let Some((runs, rest)) = line.strip_prefix('#').and_then(|rest| rest.split_once('\t')) else {
                continue;
            };
            let (Ok(runs), Some(edges)) = (runs.trim().parse(), number_after(rest, " cov: ")) else {
                continue;
            };
            let kept = number_after(rest, " corp: ").unwrap_or_default();
            tally = Self { runs, edges, kept };
        }
        tally
    }

    /// For people.
    pub(super) fn line(&self, took: Duration) -> String {
        let minutes = took.as_secs_f64() / 60.0;
        format!(
            "{minutes:5.1} min {:>11} runs {:>6} edges {:>5} inputs kept",
            self.runs, self.edges, self.kept
        )
    }
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let rest = &text[text.find(mark)? + mark.len()..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_figures_counts() {
        let said = "INFO: seed corpus: files: 3 min: 1b max: 5b total: 9b rss: 40Mb\n\
                    #4\tINITED cov: 311 ft: 312 corp: 1/1b exec/s: 0 rss: 41Mb\n\
                    #512\tpulse  cov: 400 ft: 500 corp: 20/50b lim: 4 exec/s: 256 rss: 41Mb\n\
                    #9\tGENERATE\tvalid: 8 (88.00%) valid/s: 8 (88.00%)\n\
                    #1048576\tDONE   cov: 411 ft: 512 corp: 21/55b lim: 4096 exec/s: 1000 rss: 42Mb\n\
                    stat::number_of_executed_units: 1048576\n";
        assert_eq!(Tally::of(said), Tally { runs: 1_048_576, edges: 411, kept: 21 });
        assert_eq!(Tally::of("nothing"), Tally::default());
    }
}
