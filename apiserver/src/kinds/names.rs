//! The rules for names, labels and keys, with upstream's wording. Each function lists what is wrong; nothing means fine.

/// Longest DNS label, in bytes.
pub(crate) const LABEL_LIMIT: usize = 63;
/// Longest DNS subdomain, in bytes.
pub(crate) const SUBDOMAIN_LIMIT: usize = 253;
/// Longest name part of a qualified name, and longest label value, in bytes.
const PART_LIMIT: usize = 63;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn is_lower_alphanumeric(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(&a), Some(&z)) if is_lower_alphanumeric(a) && is_lower_alphanumeric(z))
        && bytes.iter().all(|&c| is_lower_alphanumeric(c) || c == b'-')
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(a), Some(z)) if a.is_ascii_alphanumeric() && z.is_ascii_alphanumeric())
        && bytes.iter().all(|&c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// A lowercase RFC 1123 label.
pub(crate) fn label(text: &str) -> Vec<String> {
    limited(text, LABEL_LIMIT, is_label(text), LABEL)
}

/// A lowercase RFC 1123 subdomain.
pub(crate) fn subdomain(text: &str) -> Vec<String> {
    limited(text, SUBDOMAIN_LIMIT, text.split('.').all(is_label), SUBDOMAIN)
}

/// A lowercase RFC 1035 label.
pub(crate) fn label_1035(text: &str) -> Vec<String> {
    let fine = is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    limited(text, LABEL_LIMIT, fine, LABEL_1035)
}

fn limited(text: &str, limit: usize, fine: bool, rule: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > limit {
        problems.push(too_long(limit));
    }
    if !fine {
        problems.push(rule.to_owned());
    }
    problems
}

/// A single segment of a URL path.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A label key, taint key, resource name and so on: `[prefix/]name`.
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(subdomain(prefix).into_iter().map(|p| format!("prefix part {p}")));
            }
            name
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > PART_LIMIT {
        problems.push(format!("name part {}", too_long(PART_LIMIT)));
    }
    if !is_word(name) {
        problems.push(format!("name part {QUALIFIED}"));
    }
    problems
}

pub(crate) fn label_value(text: &str) -> Vec<String> {
    limited(text, PART_LIMIT, text.is_empty() || is_word(text), LABEL_VALUE)
}

/// A key of a config map or secret.
pub(crate) fn config_key(text: &str) -> Vec<String> {
    let fine = !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    let mut problems = limited(text, SUBDOMAIN_LIMIT, fine, CONFIG_KEY);
    match text {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

/// The name of an environment variable.
pub(crate) fn env_name(text: &str) -> Vec<String> {
    let fine = !text.is_empty() && text.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=');
    if fine { Vec::new() } else { vec![ENV_NAME.to_owned()] }
}

/// The name of a port of a container or service: an IANA service name.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 15 {
        problems.push("must be no more than 15 bytes".to_owned());
    }
    if !text.bytes().all(|c| is_lower_alphanumeric(c) || c == b'-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// A port number; what upstream says of one that is out of range.
pub(crate) fn port_number(port: i64) -> Option<&'static str> {
    if (1..=65535).contains(&port) { None } else { Some("must be between 1 and 65535, inclusive") }
}
