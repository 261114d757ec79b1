//! The part of a file that a `Range` header asks for, as Go reads it. Pure.

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    Part {
        /// Byte that it begins with.
        from: u64,
        /// In bytes.
        length: u64,
    },
    /// The header is wrong, or asks for what is not there.
    Nothing(&'static str),
}

const INVALID: Wanted = Wanted::Nothing("invalid range");
const BEYOND: Wanted = Wanted::Nothing("invalid range: failed to overlap");

/// Several parts at once are not sent: such a header counts as none, as it may.
pub(super) fn parse(header: &str, size: u64) -> Wanted {
    if header.is_empty() {
        return Wanted::All;
    }
    let Some(ranges) = header.strip_prefix("bytes=") else { return INVALID };
    let mut wanted = Wanted::All;
    let mut beyond = false;
    let ranges: Vec<&str> = ranges.split(',').map(str::trim).filter(|range| !range.is_empty()).collect();
    for range in &ranges {
        match one(range, size) {
            BEYOND => beyond = true,
            Wanted::Nothing(why) => return Wanted::Nothing(why),
            part => wanted = part,
        }
    }
    match wanted {
        Wanted::Part { .. } if ranges.len() > 1 => Wanted::All,
        // Of nothing nothing is too little to be refused.
        Wanted::All if beyond && size > 0 => BEYOND,
        wanted => wanted,
    }
}

fn one(range: &str, size: u64) -> Wanted {
    let Some((from, to)) = range.split_once('-') else { return INVALID };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (from, to) = (from.trim(), to.trim());
    if from.is_empty() {
        let Some(last) = number(to) else { return INVALID };
        let length = last.min(size);
        return Wanted::Part { from: size - length, length };
    }
    let Some(from) = number(from) else { return INVALID };
    if from >= size {
        return BEYOND;
    }
    if to.is_empty() {
        return Wanted::Part { from, length: size - from };
    }
    match number(to) {
        Some(to) if from <= to => Wanted::Part { from, length: to.min(size - 1) - from + 1 },
        _ => INVALID,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_is_there_of_what_was_asked_for() {
        let part = |from, length| Wanted::Part { from, length };
        for (header, wanted) in [
            ("", Wanted::All),
            ("bytes=0-3", part(0, 4)),
            ("bytes=2-", part(2, 8)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-99", part(0, 10)),
            ("bytes=5-99", part(5, 5)),
            ("bytes= 1 - 1 ", part(1, 1)),
            ("bytes=10-", BEYOND),
            ("bytes=0-1,4-5", Wanted::All),
            ("bytes=", Wanted::All),
            ("bytes=3-2", INVALID),
            ("bytes=a-b", INVALID),
            ("bytes=--1", INVALID),
            ("bytes=+1-2", INVALID),
            ("bytes=7", INVALID),
            ("lines=0-1", INVALID),
            ("bytes=99999999999999999999-", INVALID),
        ] {
            assert_eq!(parse(header, 10), wanted, "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), Wanted::All);
    }

    #[test]
    fn no_part_goes_beyond_the_file() {
        bolero::check!().with_type::<(String, u64)>().for_each(|(header, size)| {
            if let Wanted::Part { from, length } = parse(&format!("bytes={header}"), *size) {
                assert!(from.checked_add(length).is_some_and(|end| end <= *size));
            }
        });
    }
}
