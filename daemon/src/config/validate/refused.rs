//! Settings that are valid and would be unsafe to ignore as long as they are not carried out: the start is refused.
//!
//! Each of them limits or protects something; a node that claims the limit and does not hold it is worse than none.

use super::{Problems, push};
use crate::config::Config;

pub(super) fn check(config: &Config, problems: &mut Problems) {
    if config.tls_min_version == "VersionTLS13" {
        push(
            problems,
            "tlsMinVersion",
            "VersionTLS13 is not carried out yet: the server also accepts TLS 1.2",
        );
    }
    if !config.tls_cipher_suites.is_empty() {
        push(
            problems,
            "tlsCipherSuites",
            "not carried out yet: the server offers the suites of its TLS library",
        );
    }
}
