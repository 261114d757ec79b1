//! What the node is called. behaviour.md 32.5.

use std::io;

/// The node has no usable name.
#[derive(Debug, thiserror::Error)]
pub enum NodeNameError {
    #[error("reading the host name: {0}")]
    Read(#[source] io::Error),
    #[error(
        "the node name {0:?} must be lower-case letters, digits, '-' and '.'; set it with --hostname-override"
    )]
    Invalid(String),
}

/// `hostname_override`, or the host's name, trimmed and in lower case.
///
/// # Errors
/// The name cannot be that of an API object.
pub fn node_name(hostname_override: Option<&str>) -> Result<String, NodeNameError> {
    let name = match hostname_override {
        Some(name) => name.to_owned(),
        None => nix::unistd::gethostname()
            .map_err(|error| NodeNameError::Read(error.into()))?
            .to_string_lossy()
            .into_owned(),
    };
    let name = name.trim().to_lowercase();
    let is_part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        part.bytes().all(|byte| inner(byte) || byte == b'-')
            && part.bytes().next().is_some_and(inner)
            && part.bytes().next_back().is_some_and(inner)
    };
    if name.len() <= 253 && name.split('.').all(is_part) {
        Ok(name)
    } else {
        Err(NodeNameError::Invalid(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_32_5_the_name_is_the_hosts_or_the_given_one_in_small_letters() {
        let name = |given: &str| node_name(Some(given)).ok();
        assert_eq!(name(" Node-1.Example.COM\n").as_deref(), Some("node-1.example.com"));
        for bad in ["", "a..b", "-a", "a-", "a_b", &"a".repeat(254)] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
        let own = nix::unistd::gethostname().unwrap().to_string_lossy().to_lowercase();
        assert!(node_name(None).is_ok_and(|name| name == own) || node_name(Some(&own)).is_err());
    }
}
