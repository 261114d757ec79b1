//! The command line.

use std::ffi::OsString;

use super::{Action, Options};

fn parse(line: &str) -> Result<Action, String> {
    let words = ["apiserver"].into_iter().chain(line.split(' ').filter(|w| !w.is_empty()));
    Action::parse(words.map(OsString::from)).map_err(|e| e.to_string())
}

#[test]
fn a_data_directory_is_enough() {
    assert_eq!(parse("--data-dir /d"), Ok(Action::Serve(Options::new("/d"))));
    assert!(parse("").unwrap_err().contains("--data-dir"));
}

#[test]
fn services_get_a_range_of_a_reasonable_size() {
    let Ok(Action::Serve(options)) = parse("--data-dir /d --service-cluster-ip-range 10.1.2.3/24") else {
        panic!("serves")
    };
    assert_eq!(options.service_cluster_ip_range, ([10, 1, 2, 0].into(), 24));
    for wrong in ["10.0.0.0", "10.0.0.0/8", "10.0.0.0/30", "fd00::/112"] {
        let told = parse(&format!("--data-dir /d --service-cluster-ip-range {wrong}")).unwrap_err();
        assert!(told.contains("10.96.0.0/16"), "{wrong}: {told}");
    }
}

#[test]
fn credentials_need_a_user_and_a_file() {
    assert!(parse("credentials --data-dir /d").unwrap_err().contains("--user"));
    let Ok(Action::Credentials(wanted)) = parse("credentials --data-dir /d --user u --output /o") else {
        panic!("credentials")
    };
    assert_eq!((wanted.server.as_str(), wanted.group), ("https://127.0.0.1:6443", None));
}

#[test]
fn certificates_last_as_long_as_the_flag_says() {
    let duration = |text: &str| match parse(&format!("--data-dir /d --cluster-signing-duration {text}")) {
        Ok(Action::Serve(options)) => Ok(options.cluster_signing_duration.as_secs()),
        Ok(_) => panic!("serves"),
        Err(error) => Err(error),
    };
    assert_eq!(duration("3m"), Ok(180));
    assert_eq!(duration("8760h0m0s"), Ok(365 * 24 * 3600));
    assert_eq!(duration("1h30m"), Ok(5400));
    for wrong in ["59s", "3", "h", "3d", "1.5h", "9999999999999999999h", "99999999h"] {
        assert!(duration(wrong).unwrap_err().contains("8760h"), "{wrong}");
    }
}

#[test]
fn the_endpoint_has_a_host_and_a_port() {
    let endpoint = |text: &str| match parse(&format!("--data-dir /d --control-plane-endpoint {text}")) {
        Ok(Action::Serve(options)) => options.control_plane_endpoint,
        _ => None,
    };
    for good in ["api.example:6443", "192.0.2.1:443", "[fd00::1]:6443"] {
        assert_eq!(endpoint(good).as_deref(), Some(good));
    }
    for wrong in ["api.example", ":6443", "api:0", "fd00::1:6443", "a/b:1", "[x]:1"] {
        assert_eq!(endpoint(wrong), None, "{wrong}");
    }
}
