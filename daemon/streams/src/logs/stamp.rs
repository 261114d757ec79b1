//! The time at the start of a log line.

use jiff::Timestamp;

/// Up to the seconds: `2026-11-23T00:06:32`.
const SECONDS_LENGTH: usize = 19;
const NANO_DIGITS: usize = 9;
/// With a fraction of nine digits and a zone that is not UTC.
const MAX_LENGTH: usize = SECONDS_LENGTH + 1 + NANO_DIGITS + "+00:00".len();

/// An RFC 3339 time with nine digits of fraction, in the zone it was written in.
///
/// Kept as text, because most readers want no more than to pass it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    text: [u8; MAX_LENGTH],
    length: usize,
}

impl Stamp {
    /// `None` if `text` is no RFC 3339 time; digits beyond the nanosecond are dropped.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (seconds, rest) = text.split_at_checked(SECONDS_LENGTH)?;
        if !is_date_and_time(seconds) {
            return None;
        }
        let (fraction, zone) = match rest.strip_prefix(b".") {
            Some(rest) => {
                let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                if digits == 0 {
                    return None;
                }
                rest.split_at(digits)
            }
            None => (&[][..], rest),
        };
        let zone: &[u8] = match zone {
            b"Z" | b"+00:00" | b"-00:00" => b"Z",
            zone if is_offset(zone) => zone,
            _ => return None,
        };
        let mut stamp =
            Self { text: [b'0'; MAX_LENGTH], length: SECONDS_LENGTH + 1 + NANO_DIGITS + zone.len() };
        let kept = fraction.len().min(NANO_DIGITS);
        stamp.text[..SECONDS_LENGTH].copy_from_slice(seconds);
        stamp.text[SECONDS_LENGTH] = b'.';
        stamp.text[SECONDS_LENGTH + 1..][..kept].copy_from_slice(&fraction[..kept]);
        stamp.text[SECONDS_LENGTH + 1 + NANO_DIGITS..][..zone.len()].copy_from_slice(zone);
        Some(stamp)
    }

    /// As shown to whoever asked for timestamps (behaviour.md 38.4).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    /// The instant; `None` if the calendar has no such day.
    #[must_use]
    pub fn instant(&self) -> Option<Timestamp> {
        std::str::from_utf8(self.as_bytes()).ok()?.parse().ok()
    }
}

fn is_date_and_time(text: &[u8]) -> bool {
    const SHAPE: &[u8; SECONDS_LENGTH] = b"0000-00-00T00:00:00";
    let shaped = text.iter().zip(SHAPE).all(|(b, s)| if *s == b'0' { b.is_ascii_digit() } else { b == s });
    shaped
        && (1..=12).contains(&two(text, 5))
        && (1..=31).contains(&two(text, 8))
        && two(text, 11) < 24
        && two(text, 14) < 60
        && two(text, 17) < 60
}

fn is_offset(zone: &[u8]) -> bool {
    const SHAPE: &[u8] = b"+00:00";
    let shaped = zone.len() == SHAPE.len()
        && zone.iter().zip(SHAPE).all(|(b, s)| match s {
            b'0' => b.is_ascii_digit(),
            b'+' => matches!(b, b'+' | b'-'),
            _ => b == s,
        });
    shaped && two(zone, 1) < 24 && two(zone, 4) < 60
}

/// Two digits, which the caller has found to be digits.
fn two(text: &[u8], at: usize) -> u8 {
    (text[at] - b'0') * 10 + (text[at + 1] - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        Stamp::parse(text.as_bytes()).map(|s| String::from_utf8_lossy(s.as_bytes()).into_owned())
    }

    #[test]
    fn a_time_is_shown_with_nine_digits_in_its_own_zone() {
        for (text, expected) in [
            ("2026-11-23T00:06:32.448506409Z", "2026-11-23T00:06:32.448506409Z"),
            ("2026-11-23T00:06:32Z", "2026-11-23T00:06:32.000000000Z"),
            ("2026-11-23T00:06:32.5+02:00", "2026-11-23T00:06:32.500000000+02:00"),
            ("2026-11-23T00:06:32.1234567891-03:30", "2026-11-23T00:06:32.123456789-03:30"),
            ("2026-11-23T00:06:32.5+00:00", "2026-11-23T00:06:32.500000000Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-23",
            "2026-11-23T00:06:32",
            "2026-11-23T00:06:32.Z",
            "2026-11-23T24:00:00Z",
            "2026-13-23T00:06:32Z",
            "2026-11-23 00:06:32Z",
            "2026-11-23T00:06:32.5+2:00",
            "2026-11-23T00:06:32ZZ",
            "2026-11-00T00:06:32Z",
        ] {
            assert_eq!(shown(text), None, "{text:?}");
        }
    }

    #[test]
    fn zones_count_when_instants_are_compared() {
        let instant = |text: &str| Stamp::parse(text.as_bytes()).and_then(|s| s.instant()).expect(text);
        assert_eq!(instant("2026-11-23T02:00:00+02:00"), instant("2026-11-23T00:00:00Z"));
        assert_eq!(Stamp::parse(b"2026-02-30T00:00:00Z").and_then(|s| s.instant()), None);
    }
}
