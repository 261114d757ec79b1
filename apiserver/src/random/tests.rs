//! Names and identifiers have upstream's form.

use super::{ALPHABET, NAME_LIMIT, below, name, uid};

#[test]
fn a_uid_is_a_uuid_of_version_four() {
    let uid = uid();
    let parts: Vec<usize> = uid.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(uid.as_bytes()[14], b'4');
    assert_ne!(uid, super::uid());
}

#[test]
fn a_generated_name_keeps_its_prefix_and_fits_into_a_label() {
    let made = name("web-");
    let suffix = made.strip_prefix("web-").unwrap();
    assert!(suffix.len() == 5 && suffix.bytes().all(|b| ALPHABET.contains(&b)), "{made}");
    assert_eq!(name(&"ä".repeat(100)).len().max(NAME_LIMIT), NAME_LIMIT);
}

#[test]
fn a_number_is_below_its_limit() {
    assert!((0..100).all(|_| below(3) < 3));
    assert_eq!(below(0), 0);
}
