use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn around(resolved: &[&str], default_route: &[&str]) -> Surroundings {
    Surroundings {
        interfaces: ["127.0.0.1", "192.0.2.2", "192.0.2.9", "2001:db8::2", "fe80::1"].map(ip).into(),
        resolved: resolved.iter().map(|text| ip(text)).collect(),
        default_route: default_route.iter().map(|text| ip(text)).collect(),
    }
}

fn chosen(name: &str, node_ips: &[&str], around: &Surroundings) -> Result<Vec<String>, AddressError> {
    let node_ips: Vec<IpAddr> = node_ips.iter().map(|text| ip(text)).collect();
    let addresses = choose(name, &node_ips, false, around)?;
    let (last, ips) = addresses.split_last().unwrap();
    assert_eq!((last.type_.as_str(), last.address.as_str()), ("Hostname", name));
    assert!(ips.iter().all(|address| address.type_ == "InternalIP"));
    Ok(ips.iter().map(|address| address.address.clone()).collect())
}

#[test]
fn a_given_address_is_taken_if_the_machine_has_it() {
    let here = around(&[], &[]);
    assert_eq!(chosen("n", &["192.0.2.9"], &here).unwrap(), ["192.0.2.9"]);
    assert_eq!(chosen("n", &["192.0.2.9", "2001:db8::2"], &here).unwrap(), ["192.0.2.9", "2001:db8::2"]);
    assert_eq!(chosen("n", &["198.51.100.1"], &here), Err(AddressError::NotHere(ip("198.51.100.1"))));
    assert!(matches!(chosen("n", &["127.0.0.1"], &here), Err(AddressError::Unusable(..))));
    assert!(matches!(chosen("n", &["fe80::1"], &here), Err(AddressError::Unusable(..))));
}

#[test]
fn without_one_name_and_default_route_are_asked_in_this_order() {
    assert_eq!(chosen("192.0.2.77", &[], &around(&[], &[])).unwrap(), ["192.0.2.77"]);
    assert_eq!(
        chosen("n", &[], &around(&["127.0.1.1", "192.0.2.9"], &["192.0.2.2"])).unwrap(),
        ["192.0.2.9"]
    );
    assert_eq!(
        chosen("n", &[], &around(&["127.0.1.1", "198.51.100.1"], &["192.0.2.2"])).unwrap(),
        ["192.0.2.2"]
    );
    assert_eq!(chosen("n", &["::"], &around(&["192.0.2.9", "2001:db8::2"], &[])).unwrap(), ["2001:db8::2"]);
    assert_eq!(chosen("n", &[], &around(&[], &[])), Err(AddressError::None("n".into())));
}

#[test]
fn a_cloud_gives_the_addresses_itself() {
    let addresses = choose("n", &[], true, &around(&[], &["192.0.2.2"])).unwrap();
    assert_eq!(addresses.len(), 1);
    assert_eq!(addresses[0].type_, "Hostname");
    // A wish for a family is no address.
    assert_eq!(choose("n", &[ip("0.0.0.0")], true, &around(&[], &["192.0.2.2"])).unwrap(), addresses);
    let given = choose("n", &[ip("192.0.2.9")], true, &around(&[], &[])).unwrap();
    assert_eq!((given[0].type_.as_str(), given[0].address.as_str()), ("InternalIP", "192.0.2.9"));
}

#[test]
fn default_routes_are_found_in_the_kernels_tables() {
    let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth1\t0002000A\t0\t1\t0\t0\t0\t00FFFFFF\neth0\t00000000\t0102000A\t3\t0\t0\t0\t00000000\n";
    assert_eq!(default_in_v4(v4).as_deref(), Some("eth0"));
    let zeros = "0".repeat(32);
    let v6 = format!(
        "{zeros} 00 {zeros} 00 {zeros} ffffffff 1 0 200200 lo\n{zeros} 00 {zeros} 00 {zeros} 400 1 0 3 eth2\n"
    );
    assert_eq!(default_in_v6(&v6).as_deref(), Some("eth2"));
    assert_eq!(default_in_v4("garbage\nx\n"), None);
    assert_eq!(default_in_v6("\n\n"), None);
}
