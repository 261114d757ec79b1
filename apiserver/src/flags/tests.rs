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
