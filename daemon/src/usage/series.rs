//! The text format of Prometheus, written by hand: a node has tens of thousands of samples, and no registry has to know them.

use jiff::Timestamp;

/// A number, written as exactly as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Whole(u64),
    /// Seconds, from nanoseconds.
    Nanos(u64),
    /// Seconds, from microseconds.
    Micros(u64),
}

/// What kind of series it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

/// Series as text; all samples of one name stand together.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
}

impl Text {
    /// The series `name` begins.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.out.push_str(part);
        }
    }

    /// A sample with labels as [`labels`] makes them, and some more; with the time at which it was measured, if that is to be said.
    pub(crate) fn sample(
        &mut self,
        name: &str,
        labels: &str,
        more: &str,
        value: Number,
        time: Option<Timestamp>,
    ) {
        self.out.push_str(name);
        if !labels.is_empty() || !more.is_empty() {
            self.out.push('{');
            self.out.push_str(labels);
            if !labels.is_empty() && !more.is_empty() {
                self.out.push(',');
            }
            self.out.push_str(more);
            self.out.push('}');
        }
        self.out.push(' ');
        match value {
            Number::Whole(value) => self.whole(value),
            Number::Nanos(nanos) => self.fraction(nanos, 1_000_000_000),
            Number::Micros(micros) => self.fraction(micros, 1_000_000),
        }
        if let Some(time) = time {
            self.out.push(' ');
            self.whole(u64::try_from(time.as_millisecond()).unwrap_or(0));
        }
        self.out.push('\n');
    }

    /// What was written since the last time.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    fn whole(&mut self, mut value: u64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
    }

    fn fraction(&mut self, value: u64, unit: u64) {
        self.whole(value / unit);
        let mut rest = value % unit;
        if rest == 0 {
            return;
        }
        self.out.push('.');
        let mut place = unit / 10;
        while rest > 0 {
            self.out.push(char::from(b'0' + (rest / place) as u8));
            rest %= place;
            // It ends with the place of ones, when nothing is left.
            place /= 10;
        }
    }
}

/// Labels in the form in which they are written, without braces.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: Number) -> String {
        let mut text = Text::default();
        text.sample("n", "", "", value, None);
        text.take().trim_end().strip_prefix("n ").unwrap().to_owned()
    }

    #[test]
    fn numbers_are_written_as_exactly_as_they_are_known() {
        for (value, wanted) in [
            (Number::Whole(0), "0"),
            (Number::Whole(u64::MAX), "18446744073709551615"),
            (Number::Nanos(0), "0"),
            (Number::Nanos(1), "0.000000001"),
            (Number::Nanos(1_500_000_000), "1.5"),
            (Number::Nanos(2_000_000_010), "2.00000001"),
            (Number::Micros(1_000_001), "1.000001"),
            (Number::Micros(999_999), "0.999999"),
            (Number::Micros(12_000_000), "12"),
        ] {
            assert_eq!(written(value), wanted, "{value:?}");
        }
    }

    #[test]
    fn fractions_are_the_number_that_they_stand_for() {
        bolero::check!().with_type::<(u64, u64)>().for_each(|(nanos, micros)| {
            let (nanos, micros) = (nanos >> 12, micros >> 12);
            let read: f64 = written(Number::Nanos(nanos)).parse().unwrap();
            assert!((read - nanos as f64 / 1e9).abs() <= f64::EPSILON * read.max(1.0), "{nanos}");
            let read: f64 = written(Number::Micros(micros)).parse().unwrap();
            assert!((read - micros as f64 / 1e6).abs() <= f64::EPSILON * read.max(1.0), "{micros}");
        });
    }

    #[test]
    fn samples_have_their_labels_and_times() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "Help.");
        let labels = labels(&[("x", "1"), ("y", "a\"b\\c\nd")]);
        text.sample("a_total", &labels, "z=\"2\"", Number::Whole(7), Timestamp::from_millisecond(1234).ok());
        text.sample("a_total", "", "z=\"2\"", Number::Whole(8), None);
        assert_eq!(
            text.take(),
            "# HELP a_total Help.\n# TYPE a_total counter\n\
             a_total{x=\"1\",y=\"a\\\"b\\\\c\\nd\",z=\"2\"} 7 1234\na_total{z=\"2\"} 8\n"
        );
        assert!(text.is_empty());
    }
}
