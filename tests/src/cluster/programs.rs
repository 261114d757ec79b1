//! The project's own programs, as cargo built them.

use std::path::{Path, PathBuf};

use super::ClusterError;

/// The directory with the programs, for tests that something else than cargo starts.
pub const PROGRAMS_VARIABLE: &str = "NODELET_PROGRAMS";

/// Where they are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon.
    pub nodelet: PathBuf,
    /// The API server.
    pub apiserver: PathBuf,
    /// The scheduler.
    pub scheduler: PathBuf,
}

impl Programs {
    /// All of them in one directory.
    ///
    /// # Errors
    /// One is not there.
    pub fn in_dir(dir: &Path) -> Result<Self, ClusterError> {
        let program = |name: &str| {
            let path = dir.join(name);
            if path.is_file() { Ok(path) } else { Err(ClusterError::NoProgram { path }) }
        };
        Ok(Self {
            nodelet: program("nodelet")?,
            apiserver: program("apiserver")?,
            scheduler: program("scheduler")?,
        })
    }

    /// Where `NODELET_PROGRAMS` says, else beside the test that runs.
    ///
    /// # Errors
    /// One is not there.
    pub fn from_environment() -> Result<Self, ClusterError> {
        if let Some(dir) = std::env::var_os(PROGRAMS_VARIABLE) {
            return Self::in_dir(Path::new(&dir));
        }
        // Tests lie in `deps` below the directory with the programs.
        let test = std::env::current_exe().unwrap_or_default();
        let dir = test.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        Self::in_dir(dir)
    }
}
