use super::*;

const TEXT: &str =
    "some avg10=12.34 avg60=5.00 avg300=1.00 total=123\nfull avg10=3.21 avg60=0.50 avg300=0.00 total=12\n";

#[test]
fn the_average_that_is_asked_for_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    std::fs::write(&path, TEXT).unwrap();
    for (limit, unstalled_is, percent) in
        [("some.avg10>20", 8_766, 20.0), ("full.avg10>2.5", 9_679, 2.5), ("full.avg300>99", 10_000, 99.0)]
    {
        let written = limit;
        let limit: StallLimit = limit.parse().unwrap();
        assert_eq!(limit.to_string(), written);
        assert_eq!(limit.percent, percent);
        let left = unstalled(&path, limit.stall).unwrap();
        assert_eq!(left, Left { available: unstalled_is, capacity: 10_000 });
    }
    for wrong in
        ["", "full.avg10", "full>3", "most.avg10>3", "full.avg20>3", "full.avg10>0", "full.avg10>100"]
    {
        assert!(wrong.parse::<StallLimit>().is_err(), "{wrong}");
    }
}

#[test]
fn no_bytes_make_the_parsers_panic() {
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        let _ = text.parse::<StallLimit>();
        for line in ["some", "full"] {
            let _ = average(text, Stall { line, seconds: 10 });
        }
    });
}

#[tokio::test]
async fn where_the_kernel_has_no_pressure_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let error = Trigger::new(&dir.path().join("memory")).unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
}

#[tokio::test]
async fn this_machines_pressure_takes_a_trigger_where_it_is_told() {
    let path = Path::new("/proc/pressure/memory");
    if OpenOptions::new().write(true).open(path).is_ok() {
        Trigger::new(path).unwrap();
    }
}
