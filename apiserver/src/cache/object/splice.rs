//! Puts `resourceVersion` into the `metadata` of an object's JSON text without building a tree.

use std::io::Write as _;

/// Appends `json` with `"resourceVersion":"REVISION"` as the first member of its top-level `metadata`.
///
/// `json` has no `metadata.resourceVersion`. Where there is no `metadata`, or it is no object, one is added in front; what is not a
/// JSON object is appended as it is.
pub(super) fn with_resource_version(json: &[u8], revision: u64, out: &mut Vec<u8>) {
    let place = place(json);
    let (at, open, close) = match place {
        Place::InMetadata(at) => (at, "", ""),
        Place::InRoot(at) => (at, "\"metadata\":{", "}"),
        Place::Nowhere => {
            out.extend_from_slice(json);
            return;
        }
    };
    out.reserve(json.len() + 48);
    out.extend_from_slice(&json[..at]);
    let empty = json[at..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'}');
    let comma = if empty { "" } else { "," };
    write!(out, "{open}\"resourceVersion\":\"{revision}\"{close}{comma}")
        .expect("writing to a Vec does not fail");
    out.extend_from_slice(&json[at..]);
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Just after the `{` of `metadata`.
    InMetadata(usize),
    /// Just after the first `{`.
    InRoot(usize),
    Nowhere,
}

/// Where the member goes. Skips strings and counts brackets; the text is JSON already, so nothing else can hide a bracket.
fn place(json: &[u8]) -> Place {
    let Some(root) = json.iter().position(|b| !b.is_ascii_whitespace()).filter(|i| json[*i] == b'{') else {
        return Place::Nowhere;
    };
    let mut depth = 0_u32;
    let mut i = root;
    while i < json.len() {
        match json[i] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = string_end(json, i);
                if depth == 1 && &json[i..end] == b"\"metadata\"" {
                    let mut rest = json[end..].iter().enumerate().filter(|(_, b)| !b.is_ascii_whitespace());
                    if let (Some((_, b':')), Some((offset, b'{'))) = (rest.next(), rest.next()) {
                        return Place::InMetadata(end + offset + 1);
                    }
                }
                i = end;
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    Place::InRoot(root + 1)
}

/// The index after the closing quote of the string that starts at `start`.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < json.len() {
        match json[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    json.len()
}
