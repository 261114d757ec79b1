//! Process ids that are free.

use std::path::Path;

use super::{ReadError, content, read};
use crate::observation::Left;

/// Threads count as processes do; the smaller of the kernel's two limits is all there is. `proc` is `/proc`.
///
/// # Errors
/// A file cannot be read or does not hold what it should.
pub fn node(proc: &Path) -> Result<Left, ReadError> {
    let number = |name: &str| {
        let path = proc.join("sys/kernel").join(name);
        read(&path)?.trim().parse::<u64>().map_err(|_| content(&path, "number"))
    };
    let capacity = number("pid_max")?.min(number("threads-max")?);
    let path = proc.join("loadavg");
    let text = read(&path)?;
    let running = threads(&text).ok_or_else(|| content(&path, "number of threads"))?;
    Ok(Left { available: capacity.saturating_sub(running), capacity })
}

fn threads(loadavg: &str) -> Option<u64> {
    loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_against_the_smaller_limit() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("sys/kernel");
        std::fs::create_dir_all(&kernel).unwrap();
        std::fs::write(kernel.join("pid_max"), "32768\n").unwrap();
        std::fs::write(kernel.join("threads-max"), "5000\n").unwrap();
        std::fs::write(dir.path().join("loadavg"), "0.00 0.01 0.05 1/180 4711\n").unwrap();
        assert_eq!(node(dir.path()).unwrap(), Left { available: 4_820, capacity: 5_000 });
        std::fs::write(dir.path().join("loadavg"), "0.00 0.01\n").unwrap();
        assert!(node(dir.path()).unwrap_err().to_string().ends_with("loadavg has no number of threads"));
        assert!(node(Path::new("/proc")).unwrap().available > 0);
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        bolero::check!().with_type::<String>().for_each(|text: &String| {
            let _ = threads(text);
        });
    }
}
