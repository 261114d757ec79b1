//! The first objects.

use super::first_address;

#[test]
fn the_service_of_the_server_has_the_first_address_of_the_range() {
    assert_eq!(first_address(([10, 96, 0, 0].into(), 16)), std::net::Ipv4Addr::new(10, 96, 0, 1));
}
