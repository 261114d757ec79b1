//! Image names (behaviour.md 13.2).

use thiserror::Error;

/// A text that is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("couldn't parse image name \"{name}\": {why}")]
pub struct ImageNameError {
    /// What was given.
    pub name: String,
    /// What is wrong about it.
    pub why: &'static str,
}

const MAX_NAME: usize = 255;

/// The name with the default tag where it has neither tag nor digest.
pub fn normalized_image(name: &str) -> Result<String, ImageNameError> {
    let error = |why| Err(ImageNameError { name: name.to_owned(), why });
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    if let Some(digest) = digest {
        let Some((algorithm, hex)) = digest.split_once(':') else { return error("invalid digest") };
        let known = matches!((algorithm, hex.len()), ("sha256", 64) | ("sha384", 96) | ("sha512", 128));
        if !known || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return error("invalid digest");
        }
    }
    let slash = rest.rfind('/').map_or(0, |i| i + 1);
    let (path, tag) = match rest[slash..].find(':') {
        Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
        None => (rest, None),
    };
    if path.is_empty() || path.len() > MAX_NAME {
        return error("invalid reference format");
    }
    let (domain, components) = match path.split_once('/') {
        Some((first, more)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), more),
        _ => (None, path),
    };
    if domain.is_some_and(|d| {
        !d.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'_'))
    }) {
        return error("invalid reference format");
    }
    if components.bytes().any(|b| b.is_ascii_uppercase()) {
        return error("invalid reference format: repository name must be lowercase");
    }
    if !components.split('/').all(is_component) {
        return error("invalid reference format");
    }
    match tag {
        Some(tag) if !is_tag(tag) => error("invalid reference format"),
        Some(_) => Ok(name.to_owned()),
        None if digest.is_some() => Ok(name.to_owned()),
        None => Ok(format!("{name}:latest")),
    }
}

/// Lower-case words, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().last().is_some_and(alphanumeric);
    let legal = component.bytes().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'));
    edges
        && legal
        && !["..", "___", "._", "_.", "-.", ".-", "_-", "-_"].iter().any(|bad| component.contains(bad))
}

fn is_tag(tag: &str) -> bool {
    let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first
        && tag.len() <= 128
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_tag_and_digest_gets_the_default_tag() {
        assert_eq!(normalized_image("busybox").as_deref(), Ok("busybox:latest"));
        assert_eq!(normalized_image("host:5000/a/b").as_deref(), Ok("host:5000/a/b:latest"));
        assert_eq!(normalized_image("nodelet.dev/busybox:1").as_deref(), Ok("nodelet.dev/busybox:1"));
        let digest = format!("a@sha256:{}", "0".repeat(64));
        assert_eq!(normalized_image(&digest), Ok(digest));
    }

    #[test]
    fn what_is_no_image_name_is_refused() {
        for name in ["", "UPPER", "a//b", "/a", "a:", "a:b:c", "a@sha256:xyz", "a b", "-a", "a-/b"] {
            assert!(normalized_image(name).is_err(), "{name}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        bolero::check!().with_type::<String>().for_each(|name: &String| {
            let _ = normalized_image(name);
        });
    }
}
