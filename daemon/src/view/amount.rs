//! Quantities, durations and shares as people read them. Pure.

use jiff::Timestamp;
use podspec::{Quantity, human_duration};

/// What stands where nothing is known.
pub(super) const UNKNOWN: &str = "-";

/// `1.5Gi`, `320Mi`, `17Ki`: two or three digits are enough.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["Ki", "Mi", "Gi", "Ti", "Pi"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // What would be written as 1024 is one of the next.
    while amount >= 1023.5 {
        let Some(next) = units.next() else { break };
        (amount, unit) = (amount / 1024.0, next);
    }
    if amount < 9.95 { format!("{amount:.1}{unit}") } else { format!("{amount:.0}{unit}") }
}

/// Nanoseconds of processor time a second as thousandths of a processor, rounded up: what works is not idle.
pub(super) fn millicores(nano_cores: u64) -> String {
    format!("{}m", nano_cores.div_ceil(1_000_000))
}

/// A share of something in percent; nothing of nothing is nothing.
pub(super) fn percent(part: f64, whole: f64) -> String {
    if whole <= 0.0 { UNKNOWN.to_owned() } else { format!("{:.0}%", part / whole * 100.0) }
}

/// What Kubernetes has written; bytes where it is memory or disk.
pub(super) fn quantity(resource: &str, text: &str) -> String {
    let is_bytes = matches!(resource, "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    match text.parse::<Quantity>() {
        Ok(amount) if is_bytes => u64::try_from(amount.value()).map_or_else(|_| text.to_owned(), bytes),
        _ => text.to_owned(),
    }
}

/// How much a quantity is, for shares.
pub(super) fn number(text: &str) -> f64 {
    text.parse::<Quantity>().map_or(0.0, |amount| match amount.milli_value() {
        i64::MAX => amount.value() as f64,
        milli => milli as f64 / 1000.0,
    })
}

/// `5m`: the time since then.
pub(super) fn since(then: Timestamp, now: Timestamp) -> String {
    human_duration(now.as_second().saturating_sub(then.as_second()).max(0))
}

/// `in 5m` or `5m ago`.
pub(super) fn when(then: Timestamp, now: Timestamp) -> String {
    let left = then.as_second().saturating_sub(now.as_second());
    if left > 0 { format!("in {}", human_duration(left)) } else { format!("{} ago", since(then, now)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_or_three_digits() {
        let cases = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0Ki"),
            (10 * 1024, "10Ki"),
            (1536 * 1024, "1.5Mi"),
            ((1 << 20) - 1, "1.0Mi"),
            (9_980_000_000, "9.3Gi"),
            (320 << 20, "320Mi"),
            (u64::MAX, "16384Pi"),
        ];
        for (amount, expected) in cases {
            assert_eq!(bytes(amount), expected, "{amount}");
        }
        assert_eq!(
            (millicores(0), millicores(1), millicores(1_500_000_000)),
            ("0m".into(), "1m".into(), "1500m".into())
        );
        assert_eq!((percent(1.0, 3.0), percent(0.0, 0.0)), ("33%".into(), "-".into()));
        assert_eq!(quantity("memory", "8052Ki"), "7.9Mi");
        assert_eq!(quantity("cpu", "1500m"), "1500m");
        assert_eq!((number("1500m"), number("2")), (1.5, 2.0));
    }

    #[test]
    fn times_are_before_or_after_now() {
        let at = |second| Timestamp::constant(second, 0);
        assert_eq!(when(at(100), at(40)), "in 60s");
        assert_eq!(when(at(40), at(100)), "60s ago");
        assert_eq!(since(at(100), at(40)), "0s", "a clock that was set back");
    }
}
