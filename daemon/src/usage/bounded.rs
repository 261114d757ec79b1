//! Files of the kernel's, read up to a bound.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// None that is read here is longer.
const MAX_BYTES: u64 = 1 << 20;

/// The text of a file.
///
/// # Errors
/// It cannot be read, or is no text; the error names the path.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
