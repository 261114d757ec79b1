//! Variables in a file that a container has written (`fileKeyRef`, behaviour.md 16.8).
//!
//! ```text
//!   NAME='value'          # the value is what is between the quotes, line ends too
//!   NAME= 'anything'      # nothing, as in a shell
//! ```

use thiserror::Error;

/// A line that is none of a file of variables. Its content is not repeated: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid environment variable format at line {line}: {problem}")]
pub(super) struct EnvFileError {
    /// Counted from 1.
    line: usize,
    problem: &'static str,
}

/// The value of `key`; lines after it are not looked at.
pub(super) fn value(text: &[u8], key: &str) -> Result<Option<Vec<u8>>, EnvFileError> {
    // A line may end in CR LF.
    let lines = text.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut lines = lines.enumerate().map(|(i, line)| (i + 1, line));
    while let Some((number, line)) = lines.next() {
        let wrong = |problem| EnvFileError { line: number, problem };
        let line = trimmed(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let at = line.iter().position(|b| *b == b'=').ok_or_else(|| wrong("missing '='"))?;
        let (name, rest) = (&line[..at], &line[at + 1..]);
        match name.last() {
            None => return Err(wrong("empty variable name")),
            Some(last) if is_blank(*last) => return Err(wrong("whitespace before '=' is not allowed")),
            Some(_) => {}
        }
        let is_wanted = name == key.as_bytes();
        if rest.first().is_some_and(|b| is_blank(*b)) {
            if is_wanted {
                return Ok(Some(Vec::new()));
            }
            continue;
        }
        let mut rest =
            rest.strip_prefix(b"'").ok_or_else(|| wrong("value must be enclosed in single quotes"))?;
        let mut value = Vec::new();
        loop {
            if let Some(end) = rest.iter().position(|b| *b == b'\'') {
                value.extend_from_slice(&rest[..end]);
                let after = trimmed(&rest[end + 1..]);
                if !after.is_empty() && !after.starts_with(b"#") {
                    return Err(wrong("unexpected content after closing quote"));
                }
                break;
            }
            value.extend_from_slice(rest);
            value.push(b'\n');
            rest = lines.next().ok_or_else(|| wrong("unclosed single quote"))?.1;
        }
        if is_wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trimmed(line: &[u8]) -> &[u8] {
    let begin = line.iter().position(|b| !is_blank(*b)).unwrap_or(line.len());
    &line[begin..]
}

#[cfg(test)]
mod tests;
