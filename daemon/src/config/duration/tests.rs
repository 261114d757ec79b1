use super::*;

#[test]
fn durations_are_read_and_written_as_go_does() {
    for (text, nanos, written) in [
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("1m", 60_000_000_000, "1m0s"),
        ("2h45m", 9_900_000_000_000, "2h45m0s"),
        ("1.5h", 5_400_000_000_000, "1h30m0s"),
        ("100ms", 100_000_000, "100ms"),
        ("1.5ms", 1_500_000, "1.5ms"),
        ("10us", 10_000, "10\u{b5}s"),
        ("3ns", 3, "3ns"),
        ("-1.5s", -1_500_000_000, "-1.5s"),
        (".5s", 500_000_000, "500ms"),
        ("1h0m10.25s", 3_610_250_000_000, "1h0m10.25s"),
    ] {
        let duration: GoDuration = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(duration, GoDuration(nanos), "{text}");
        assert_eq!(duration.to_string(), written);
    }
}

#[test]
fn what_go_refuses_is_refused() {
    for text in ["", "-", "5", "s", ".s", "1.2.3s", "10 s", "1d", "99999999999h", "1s1", "\u{e9}", "-\u{e9}s"]
    {
        assert!(text.parse::<GoDuration>().is_err(), "{text}");
    }
}

#[test]
fn any_text_is_answered_and_what_was_read_is_written_alike() {
    bolero::check!().with_type::<String>().for_each(|text| {
        if let Ok(duration) = text.parse::<GoDuration>() {
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    });
}

#[test]
fn any_duration_that_is_written_reads_back() {
    bolero::check!().with_type::<i64>().filter(|nanos| *nanos != i64::MIN).for_each(|nanos| {
        assert_eq!(GoDuration(*nanos).to_string().parse(), Ok(GoDuration(*nanos)));
    });
}
