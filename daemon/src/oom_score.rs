//! The daemon's own place in the kernel's choice of whom to kill when memory runs out (`oomScoreAdj`, behaviour.md 22.6).
//!
//! What the daemon starts inherits it; whoever starts something gives that an ordinary place (`images/plugins/exec`).

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const OWN: &str = "/proc/self/oom_score_adj";

/// The score stays what it was.
#[derive(Debug, thiserror::Error)]
#[error("writing {score} to {}: {source}", path.display())]
pub(crate) struct OomScoreError {
    path: PathBuf,
    score: i32,
    source: io::Error,
}

/// Takes the place that the configuration says, -1000 to 1000. Without CAP_SYS_RESOURCE it cannot be lowered.
pub(crate) fn take(score: i32) -> Result<(), OomScoreError> {
    write(Path::new(OWN), score)
}

fn write(path: &Path, score: i32) -> Result<(), OomScoreError> {
    let written = OpenOptions::new().write(true).open(path).and_then(|mut file| {
        // One write: the kernel takes each as a whole value.
        file.write_all(score.to_string().as_bytes())
    });
    written.map_err(|source| OomScoreError { path: path.to_path_buf(), score, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_22_6_the_score_is_written_and_a_failure_names_file_and_score() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oom_score_adj");
        let message = write(&path, -999).unwrap_err().to_string();
        assert!(message.starts_with("writing -999 to ") && message.contains("oom_score_adj: "), "{message}");
        std::fs::write(&path, "").unwrap();
        write(&path, -500).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "-500");
    }
}
