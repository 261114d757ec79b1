//! Names of the files that a rotation makes beside a log (behaviour.md 38.7).
//!
//! ```text
//!   0.log                            what the runtime writes to
//!   0.log.20261126-011105            the newest rotated one; plain
//!   0.log.20261126-011105_01         another one of the same second
//!   0.log.20261126-010900.gz         an older one
//!   0.log.20261126-010900.tmp        one that is being compressed
//! ```
//!
//! The suffix between the log's name and `.gz` orders them. A kubelet takes any suffix for a rotated file; so does this.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const COMPRESSED: &str = ".gz";
const TEMPORARY: &str = ".tmp";
const TIME: &str = "%Y%m%d-%H%M%S";
/// Rotations of one second that a name can tell apart.
const MOST_IN_A_SECOND: u32 = 99;

/// What a file beside a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rotated<'a> {
    /// What orders it among the others: its time.
    pub suffix: &'a str,
    /// Which form of it this is.
    pub form: Form,
}

/// How a rotated log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As the runtime wrote it.
    Plain,
    /// By gzip.
    Compressed,
    /// A compressed one that is not finished.
    Unfinished,
}

impl<'a> Rotated<'a> {
    /// `None` for a file that does not belong to `log`; both are names without a directory.
    #[must_use]
    pub fn of(log: &str, file: &'a str) -> Option<Self> {
        let rest = file.strip_prefix(log)?.strip_prefix('.')?;
        let (suffix, form) = if let Some(suffix) = rest.strip_suffix(TEMPORARY) {
            (suffix, Form::Unfinished)
        } else if let Some(suffix) = rest.strip_suffix(COMPRESSED) {
            (suffix, Form::Compressed)
        } else {
            (rest, Form::Plain)
        };
        (!suffix.is_empty()).then_some(Self { suffix, form })
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self, log: &str) -> String {
        let end = match self.form {
            Form::Plain => "",
            Form::Compressed => COMPRESSED,
            Form::Unfinished => TEMPORARY,
        };
        format!("{log}.{}{end}", self.suffix)
    }
}

/// The suffix of a log that is rotated at `now`: in UTC, and behind every one of `others` that is a time, whatever the clock
/// shows. Names must not go back: the oldest are removed first, and readers go from one to the next.
#[must_use]
pub fn next_suffix<'a>(now: Timestamp, others: impl IntoIterator<Item = &'a str>) -> String {
    let now = TimeZone::UTC.to_datetime(now);
    let newest = others.into_iter().filter_map(time_of).max();
    let (second, count) = match newest {
        Some((second, count)) if second >= whole(now) => {
            if count < MOST_IN_A_SECOND {
                (second, count + 1)
            } else {
                (after(second), 0)
            }
        }
        _ => (now, 0),
    };
    let time = second.strftime(TIME);
    // The underscore sorts behind the dot of `.gz`, also where a kubelet sorts whole names.
    if count == 0 { time.to_string() } else { format!("{time}_{count:02}") }
}

/// The second of a suffix, and which of that second it is.
fn time_of(suffix: &str) -> Option<(DateTime, u32)> {
    let (time, count) = match suffix.split_once('_') {
        Some((time, count)) => (time, count.parse().ok().filter(|n| *n <= MOST_IN_A_SECOND)?),
        None => (suffix, 0),
    };
    Some((DateTime::strptime(TIME, time).ok()?, count))
}

fn whole(time: DateTime) -> DateTime {
    time.with().subsec_nanosecond(0).build().unwrap_or(time)
}

/// The last second of the calendar has none after it; its names repeat then.
fn after(second: DateTime) -> DateTime {
    second.checked_add(jiff::SignedDuration::from_secs(1)).unwrap_or(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_795_655_465, 123_000_000);

    #[test]
    fn each_file_beside_a_log_is_known_by_its_name() {
        let of = |file| Rotated::of("0.log", file).map(|r| (r.suffix, r.form));
        for (file, expected) in [
            ("0.log", None),
            ("0.log.", None),
            ("0.log.gz", Some(("gz", Form::Plain))),
            ("10.log.20261126-011105", None),
            ("0.log.20261126-011105", Some(("20261126-011105", Form::Plain))),
            ("0.log.20261126-011105_01.gz", Some(("20261126-011105_01", Form::Compressed))),
            ("0.log.20261126-011105.tmp", Some(("20261126-011105", Form::Unfinished))),
            ("0.log.1", Some(("1", Form::Plain))),
        ] {
            assert_eq!(of(file), expected, "{file}");
            if let Some(rotated) = Rotated::of("0.log", file) {
                assert_eq!(rotated.name("0.log"), file);
            }
        }
    }

    #[test]
    fn a_new_name_is_the_time_and_comes_after_all_others() {
        for (others, expected) in [
            (&[][..], "20261126-011105"),
            (&["20261126-011104", "20251126-001105_07"], "20261126-011105"),
            (&["20261126-011105"], "20261126-011105_01"),
            (&["20261126-011105", "20261126-011105_09"], "20261126-011105_10"),
            (&["20261126-011105_99"], "20261126-011106"),
            (&["20261126-021105"], "20261126-021105_01"),
            (&["20261231-235959_99"], "20270101-000000"),
            (&["old", "1", "20261126-99", "20261126-011105_100"], "20261126-011105"),
        ] {
            assert_eq!(next_suffix(NOW, others.iter().copied()), expected, "{others:?}");
        }
    }

    #[test]
    fn names_never_go_back_however_the_clock_does() {
        bolero::check!().with_type::<Vec<i32>>().for_each(|steps| {
            let mut names: Vec<String> = Vec::new();
            for step in steps.iter().take(200) {
                let at = Timestamp::from_second(NOW.as_second() + i64::from(*step % 100)).expect("in range");
                let next = next_suffix(at, names.iter().map(String::as_str));
                assert!(names.last().is_none_or(|last| *last < next), "{names:?} {next}");
                // Whole names, as a kubelet sorts them.
                assert!(names.last().is_none_or(|last| format!("{last}.gz") < next), "{names:?} {next}");
                names.push(next);
            }
        });
    }
}
