//! Random names and identifiers.

use rustls::crypto::ring::default_provider;

/// Without vowels and look-alikes, as upstream, so that no words come out.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
/// Longest generated name.
const NAME_LIMIT: usize = 63;

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the kernel's random source does not fail once the system is up, and TLS needs it too");
    bytes
}

/// A version 4 UUID.
pub(crate) fn uid() -> String {
    let mut bytes = bytes::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A name from a `generateName` prefix, which is cut so that the result fits into a label.
pub(crate) fn name(prefix: &str) -> String {
    let mut end = prefix.len().min(NAME_LIMIT - SUFFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let suffix: String =
        bytes::<SUFFIX>().iter().map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect();
    format!("{}{suffix}", &prefix[..end])
}

/// Evenly distributed below `limit`, which is not 0.
pub(crate) fn below(limit: u64) -> u64 {
    u64::from_le_bytes(bytes()) % limit.max(1)
}

#[cfg(test)]
mod tests;
