use super::*;

#[test]
fn each_entry_is_for_one_probe_of_one_container() {
    let periods = Periods::parse(" web/readiness=100ms,web/liveness = 999ms,, side/startup=250ms ").unwrap();
    let millis = |container, purpose| periods.get(container, purpose).map(|p| p.as_millis());
    assert_eq!(millis("web", Purpose::Readiness), Some(100));
    assert_eq!(millis("web", Purpose::Liveness), Some(999));
    assert_eq!(millis("side", Purpose::Startup), Some(250));
    assert_eq!(millis("web", Purpose::Startup), None);
    assert_eq!(Periods::of(&Pod::default()), Ok(Periods::default()));
}

#[test]
fn what_makes_no_sense_is_told_by_its_entry() {
    let cases = [
        ("web", "no CONTAINER/PROBE=PERIOD"),
        ("web=100ms", "no CONTAINER/PROBE=PERIOD"),
        ("web/ready=100ms", "the probe is none of startup, liveness, readiness"),
        ("web/readiness=1s", "the period is no number of ms"),
        ("web/readiness=+200ms", "the period is no number of ms"),
        ("web/readiness=99ms", "the period is not from 100ms to 999ms"),
        ("web/readiness=1000ms", "the period is not from 100ms to 999ms"),
    ];
    for (text, why) in cases {
        let error = Periods::parse(&format!("a/liveness=100ms, {text}")).unwrap_err();
        assert_eq!(error.to_string(), format!("annotation {ANNOTATION}: {text:?}: {why}"));
    }
}

#[test]
fn whatever_an_annotation_says_its_periods_keep_to_their_bounds() {
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        if let Ok(Periods(all)) = Periods::parse(text) {
            assert!(all.len() <= MOST);
            assert!(all.iter().all(|(_, _, p)| (SHORTEST_PERIOD..Duration::from_secs(1)).contains(p)));
        }
    });
}
