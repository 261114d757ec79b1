//! Resource quantities: exact numbers with the suffixes of the Kubernetes API.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const NANO: i128 = 1_000_000_000;
/// The largest value that the API takes: 2^63 - 1 whole units.
const MAX: i128 = (i64::MAX as i128) * NANO;
/// Digits beyond these cannot matter and are refused, so that no text makes the parser slow.
const MAX_LEN: usize = 64;

/// How a quantity was written, which is how it is printed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// An amount of a resource, exact to a billionth; finer fractions are rounded up, values beyond 2^63-1 are capped.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("quantities must be a number with an optional suffix such as m, k, Mi or e3: {text:?}")]
pub struct QuantityError {
    /// What was to be parsed, cut to 64 bytes.
    pub text: String,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// So many whole units.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::DecimalSi }
    }

    /// So many thousandths, as processor time is counted.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// So many bytes, printed with binary suffixes.
    pub fn from_bytes(bytes: u64) -> Self {
        Self { nanos: (i128::from(bytes) * NANO).min(MAX), format: Format::BinarySi }
    }

    /// Whole units, rounded up.
    pub fn value(&self) -> i64 {
        round_up(self.nanos, NANO)
    }

    /// Thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        round_up(self.nanos, NANO / 1000)
    }

    /// Whether there is nothing of it.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// The sum, printed like the first that is not zero; capped at 2^63-1.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }

    /// The difference, printed like the first.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self { nanos: (self.nanos - other.nanos).clamp(-MAX, MAX), format: self.format }
    }

    /// This many hundredths of it, rounded down to whole units. The share is of single precision, as a kubelet's is.
    #[must_use]
    pub fn percent(&self, hundredths: f32) -> Self {
        let units = (self.value() as f64 * f64::from(hundredths / 100.0)) as i64;
        Self { nanos: i128::from(units) * NANO, format: self.format }
    }
}

impl Default for Quantity {
    /// Nothing.
    fn default() -> Self {
        Self::ZERO
    }
}

fn round_up(nanos: i128, unit: i128) -> i64 {
    let whole = nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0);
    i64::try_from(whole).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError { text: text.chars().take(MAX_LEN).collect() };
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(error());
        }
        let (negative, unsigned) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let number_len = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(error());
        }
        let (scale, format) = scale(suffix).ok_or_else(error)?;
        let magnitude = magnitude(whole, fraction, scale);
        Ok(Self { nanos: if negative { -magnitude } else { magnitude }, format })
    }
}

#[derive(Clone, Copy)]
enum Scale {
    /// Times ten to this power.
    Ten(i32),
    /// Times two to this power.
    Two(u32),
}

fn scale(suffix: &str) -> Option<(Scale, Format)> {
    let decimal = |power| Some((Scale::Ten(power), Format::DecimalSi));
    let binary = |power| Some((Scale::Two(power), Format::BinarySi));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-100..=100).contains(&power).then_some((Scale::Ten(power), Format::DecimalExponent))
        }
    }
}

/// `whole.fraction` times `scale` in billionths, rounded up and capped.
fn magnitude(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // The digits as one number of tens; leading zeros do not count.
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let mut power = 9 - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let mut factor = 1_i128;
    match scale {
        Scale::Ten(ten) => power = power.saturating_add(ten),
        Scale::Two(two) => factor = 1 << two,
    }
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if length.saturating_add(power) > 37 {
        return MAX;
    }
    // At most 37 digits are kept; what is cut off rounds up.
    let keep = digits.len().min(37);
    let (kept, cut) = digits.split_at(keep);
    let mut value: i128 = kept.parse().unwrap_or(i128::MAX);
    let mut rest = cut.bytes().any(|b| b != b'0');
    power = power.saturating_add(i32::try_from(cut.len()).unwrap_or(i32::MAX));
    value = match value.checked_mul(factor) {
        Some(v) => v,
        None => return MAX,
    };
    while power < 0 {
        rest |= value % 10 != 0;
        value /= 10;
        power += 1;
        if value == 0 {
            break;
        }
    }
    for _ in 0..power.max(0) {
        value = match value.checked_mul(10) {
            Some(v) => v,
            None => return MAX,
        };
    }
    (value + i128::from(rest)).min(MAX)
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % NANO == 0;
        let units = self.nanos / NANO;
        if self.format == Format::BinarySi && whole && units.abs() >= 1024 {
            let mut value = units;
            let mut suffix = "";
            for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
                if value % 1024 != 0 {
                    break;
                }
                value /= 1024;
                suffix = next;
            }
            return write!(f, "{value}{suffix}");
        }
        let mut value = self.nanos;
        let mut power = -9;
        while power < 18 && value % 1000 == 0 {
            value /= 1000;
            power += 3;
        }
        if self.format == Format::DecimalExponent {
            return if power == 0 { write!(f, "{value}") } else { write!(f, "{value}e{power}") };
        }
        let suffix = match power {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            18 => "E",
            _ => "",
        };
        write!(f, "{value}{suffix}")
    }
}

#[cfg(test)]
mod tests;
