//! `$(NAME)` in values, commands and arguments (behaviour.md 16.2, 16.3).

/// Replaces `$(NAME)` in `text` by what `value_of` says; `$$` stands for `$`, and a name without a value stays as it is. What was put
/// in is not looked at again. Bytes, because values come from secrets too.
pub fn expand<V: AsRef<[u8]>>(text: &str, value_of: impl Fn(&str) -> Option<V>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push(b'$');
            rest = after;
            continue;
        }
        let reference = tail.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match reference {
            Some((name, after)) => {
                match value_of(name) {
                    Some(value) => out.extend_from_slice(value.as_ref()),
                    None => out.extend([b"$(", name.as_bytes(), b")"].concat()),
                }
                rest = after;
            }
            // Not the beginning of anything.
            None => {
                out.push(b'$');
                rest = tail;
            }
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

#[cfg(test)]
mod tests;
