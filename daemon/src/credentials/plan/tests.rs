use super::*;

const START: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;

fn at(days: f64) -> Timestamp {
    Timestamp::from_second(START + (days * DAY as f64) as i64).unwrap()
}

/// Valid for a hundred days from the start; renewed on the eightieth.
fn certificate() -> Held {
    Held::Certificate { validity: hundred(), spread: 0.5, provisional: false }
}

fn hundred() -> Validity {
    Validity { not_before: at(0.0), not_after: at(100.0) }
}

fn situation(held: Held) -> Situation {
    Situation { held, can_bootstrap: true, rotates: true }
}

#[test]
fn a_certificate_is_kept_renewed_or_begun_anew_by_its_age() {
    let keep = Step::Keep { until: Some(at(80.0)) };
    let table = [(0.0, keep.clone()), (79.9, keep), (80.0, Step::Renew), (99.9, Step::Renew)];
    for (day, expected) in table {
        assert_eq!(plan(&situation(certificate()), at(day)), expected, "day {day}");
    }
    let Step::Bootstrap { why } = plan(&situation(certificate()), at(100.0)) else { panic!("expired") };
    assert!(why.starts_with("the client certificate expired at 20"), "{why}");
}

#[test]
fn a_certificate_that_expired_while_the_node_was_off_needs_a_bootstrap_token() {
    let without = Situation { can_bootstrap: false, ..situation(certificate()) };
    assert!(matches!(plan(&without, at(140.0)), Step::Stuck { why } if why.contains("expired")));
    assert!(matches!(plan(&situation(certificate()), at(140.0)), Step::Bootstrap { .. }));
    // Also where nothing is renewed.
    let fixed = Situation { rotates: false, ..situation(certificate()) };
    assert!(matches!(plan(&fixed, at(140.0)), Step::Bootstrap { .. }));
}

#[test]
fn a_clock_that_jumps_is_believed_no_longer_than_it_is_wrong() {
    // Back before the certificate: it is used, and nothing is asked for, as another would be no better.
    let Step::Distrust { why } = plan(&situation(certificate()), at(-3000.0)) else { panic!("distrust") };
    assert!(why.contains("the clock is probably wrong"), "{why}");
    // Forward beyond its end, and back: what was there is good again.
    assert!(matches!(plan(&situation(certificate()), at(5000.0)), Step::Bootstrap { .. }));
    assert_eq!(plan(&situation(certificate()), at(1.0)), Step::Keep { until: Some(at(80.0)) });
}

#[test]
fn without_anything_to_show_there_is_a_bootstrap_or_no_way_on() {
    let nothing = situation(Held::Nothing("no kubeconfig".to_owned()));
    assert_eq!(plan(&nothing, at(0.0)), Step::Bootstrap { why: "no kubeconfig".to_owned() });
    let neither = Situation { can_bootstrap: false, ..nothing };
    assert_eq!(plan(&neither, at(0.0)), Step::Stuck { why: "no kubeconfig".to_owned() });
}

#[test]
fn what_is_not_to_be_rotated_or_cannot_run_out_is_kept() {
    let fixed = Situation { rotates: false, ..situation(certificate()) };
    assert_eq!(plan(&fixed, at(99.0)), Step::Keep { until: None });
    assert_eq!(plan(&situation(Held::Token), at(99.0)), Step::Keep { until: None });
}

#[test]
fn a_certificate_that_somebody_put_into_the_kubeconfig_is_replaced_at_once_where_rotation_is_on() {
    let held = Held::Certificate { validity: hundred(), spread: 0.5, provisional: true };
    assert_eq!(plan(&situation(held.clone()), at(1.0)), Step::Renew);
    assert_eq!(plan(&Situation { rotates: false, ..situation(held) }, at(1.0)), Step::Keep { until: None });
}

#[test]
fn renewals_lie_between_seventy_and_ninety_percent_of_any_lifetime() {
    bolero::check!().with_type::<(i32, u32, u16)>().for_each(|(start, seconds, spread)| {
        let not_before = Timestamp::from_second((*start).into()).unwrap();
        let not_after = Timestamp::from_second(i64::from(*start) + i64::from(*seconds)).unwrap();
        let due = renewal(Validity { not_before, not_after }, f64::from(*spread) / 65536.0);
        let part = (due.as_millisecond() - not_before.as_millisecond()) as f64;
        let whole = f64::from(*seconds) * 1000.0;
        assert!(part >= whole * 0.7 - 501.0 && part <= whole * 0.9 + 501.0, "{part} of {whole}");
    });
    // A certificate that ends before it begins is due at once and not for ever in the future.
    let turned = Validity { not_before: at(1.0), not_after: at(0.0) };
    assert_eq!(renewal(turned, 0.9), at(1.0));
}

#[test]
fn a_serving_certificate_is_asked_for_when_it_is_missing_old_or_for_other_addresses() {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let wanted = names(&["192.0.2.1", "n1"]);
    let plan = |held: Option<&[String]>, day| {
        plan_serving(held.map(|names| (hundred(), 0.5, names)), &wanted, at(day))
    };
    assert!(matches!(plan(None, 0.0), Serving::Ask { why } if why.contains("none yet")));
    assert_eq!(plan(Some(&names(&["n1", "192.0.2.1", "192.0.2.9"])), 1.0), Serving::Keep { until: at(80.0) });
    assert!(matches!(plan(Some(&names(&["n1"])), 1.0), Serving::Ask { why } if why.contains("192.0.2.1")));
    assert!(matches!(plan(Some(&wanted), 81.0), Serving::Ask { why } if why.contains("expires")));
    assert!(matches!(plan(Some(&wanted), 101.0), Serving::Ask { why } if why.contains("expired")));
}
