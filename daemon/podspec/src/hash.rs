//! The hashes that a kubelet writes, so that either agent knows the other's containers (behaviour.md 10.7).

use k8s_openapi::api::core::v1::Container;
use md5::{Digest, Md5};
use serde_json::Value;

/// FNV-1a of 32 bits.
fn fnv1a_32(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The hash of a byte slice as Go's deep printer shows it: `([]uint8)[1 2 3]`.
pub fn deep_hash32(bytes: &[u8]) -> u32 {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    fnv1a_32(format!("([]uint8)[{}]", numbers.join(" ")).into_bytes().into_iter())
}

/// `io.kubernetes.container.hash`: only another image or name makes another container; lower-case hex without leading
/// zeros.
pub fn container_hash(container: &Container) -> String {
    let quoted = |text: &str| go_json_string(text);
    let mut json = String::from("{");
    if let Some(image) = container.image.as_deref().filter(|i| !i.is_empty()) {
        json.push_str(&format!("\"image\":{},", quoted(image)));
    }
    json.push_str(&format!("\"name\":{}}}", quoted(&container.name)));
    format!("{:x}", deep_hash32(json.as_bytes()))
}

/// A JSON string as Go writes it: with `<`, `>` and `&` escaped.
fn go_json_string(text: &str) -> String {
    let plain = Value::String(text.to_owned()).to_string();
    plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// MD5 in lower-case hex, as static pods' UIDs are.
pub fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &str, image: &str) -> String {
        container_hash(&Container { name: name.into(), image: Some(image.into()), ..Container::default() })
    }

    /// Recorded from a kubelet 1.36.
    #[test]
    fn the_hash_is_the_one_that_a_kubelet_writes() {
        assert_eq!(hash("one", "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"), "b1f2bd5e");
        assert_eq!(hash("c", "registry.k8s.io/pause:3.10.2"), "d7e0a3c");
    }
}
