//! Pressure stall information: how long processes waited for a resource (behaviour.md 28.6).

/// One of the files `*.pressure` of a cgroup, or of `/proc/pressure`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one process waited.
    pub some: Stall,
    /// All of them did; none where the kernel does not say.
    pub full: Option<Stall>,
}

/// One line of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Share of the last 10 seconds, in percent.
    pub avg10: f64,
    /// Share of the last minute, in percent.
    pub avg60: f64,
    /// Share of the last five minutes, in percent.
    pub avg300: f64,
    /// Since the beginning, in microseconds.
    pub total_us: u64,
}

/// Reads a pressure file; none where its line `some` cannot be read. Of a processor's time there is no line `full` in older kernels.
pub fn pressure(bytes: &[u8]) -> Option<Pressure> {
    let (mut some, mut full) = (None, None);
    for line in std::str::from_utf8(bytes).ok()?.lines() {
        let Some((kind, rest)) = line.split_once(' ') else { continue };
        match kind {
            "some" => some = stall(rest),
            "full" => full = stall(rest),
            _ => {}
        }
    }
    Some(Pressure { some: some?, full })
}

fn stall(line: &str) -> Option<Stall> {
    let mut stall = Stall::default();
    let mut total = None;
    for part in line.split_ascii_whitespace() {
        let (key, value) = part.split_once('=')?;
        let share = || value.parse::<f64>().ok().filter(|share| share.is_finite());
        match key {
            "avg10" => stall.avg10 = share()?,
            "avg60" => stall.avg60 = share()?,
            "avg300" => stall.avg300 = share()?,
            "total" => total = value.parse().ok(),
            _ => {}
        }
    }
    Some(Stall { total_us: total?, ..stall })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_of_a_pressure_file_are_read() {
        let read = pressure(
            b"some avg10=1.50 avg60=0.25 avg300=0.00 total=123456\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=456\n",
        )
        .unwrap();
        assert_eq!(read.some, Stall { avg10: 1.5, avg60: 0.25, avg300: 0.0, total_us: 123_456 });
        assert_eq!(read.full, Some(Stall { avg10: 0.5, avg60: 0.0, avg300: 0.0, total_us: 456 }));
    }

    #[test]
    fn a_line_that_is_not_there_is_none() {
        let read = pressure(b"some avg10=1.50 avg60=0.25 avg300=0.00 total=7\n").unwrap();
        assert_eq!((read.some.total_us, read.full), (7, None));
    }

    #[test]
    fn what_is_no_pressure_is_none() {
        assert_eq!(pressure(b""), None);
        assert_eq!(pressure(b"some avg10=x total=1\n"), None);
        assert_eq!(pressure(b"some avg10=1.0\n"), None, "no total");
        assert_eq!(pressure(b"full avg10=NaN total=1\n"), None);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = pressure(bytes);
        });
    }
}
