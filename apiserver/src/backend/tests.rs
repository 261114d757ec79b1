//! Which addresses are connected to, and how they are written.

use super::{Address, Reach, Security};

#[test]
fn an_ipv6_address_stands_in_brackets() {
    let at = |host: &str| Address { host: host.to_owned(), port: 1, security: Security::Plain }.authority();
    assert_eq!((at("::1"), at("10.0.0.1")), ("[::1]:1".to_owned(), "10.0.0.1:1".to_owned()));
}

#[test]
fn nothing_of_this_machine_or_its_link_is_reached() {
    for (ip, allowed) in [
        ("10.0.0.1", true),
        ("192.168.1.1", true),
        ("2001:db8::1", true),
        ("fd00::1", true),
        ("127.0.0.1", false),
        ("::1", false),
        ("::ffff:127.0.0.1", false),
        ("0.0.0.0", false),
        ("::", false),
        ("169.254.169.254", false),
        ("fe80::1", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
    ] {
        assert_eq!(Reach::Unicast.allows(ip.parse().unwrap()), allowed, "{ip}");
    }
}
