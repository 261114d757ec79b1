//! The Python client of Kubernetes, from Debian's packages, beside whatever Python the machine has.
//!
//! The packages are unpacked into one tree in the cache; nothing is installed, and no index of Python's is asked. The interpreter is the
//! machine's: without one there is no client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::apt::Apt;
use super::{ToolError, chain};
use crate::cache::{self, CacheError};
use crate::command::{self, command};
use crate::progress::Progress;

/// The client and all that it loads. A suite need not have each: they have changed over time.
const PACKAGES: &[&str] = &[
    "python3-kubernetes",
    "python3-cachetools",
    "python3-certifi",
    "python3-chardet",
    "python3-charset-normalizer",
    "python3-dateutil",
    "python3-durationpy",
    "python3-google-auth",
    "python3-idna",
    "python3-oauthlib",
    "python3-pyasn1",
    "python3-pyasn1-modules",
    "python3-requests",
    "python3-requests-oauthlib",
    "python3-rsa",
    "python3-six",
    "python3-urllib3",
    "python3-websocket",
    "python3-yaml",
];
const INTERPRETERS: &[&str] = &["/usr/bin/python3", "/usr/local/bin/python3", "python3"];
const LIBRARIES: &str = "usr/lib/python3/dist-packages";
const ASK: &str = "import kubernetes, kubernetes.stream; print(kubernetes.__version__)";
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// A Python that knows the client.
#[derive(Clone, Debug)]
pub struct Python {
    interpreter: PathBuf,
    libraries: PathBuf,
    /// Of the client, as it says.
    pub version: String,
}

impl Python {
    /// A command that runs a script.
    #[must_use]
    pub fn script(&self, script: &str) -> tokio::process::Command {
        let mut python = command(&self.interpreter);
        python.env("PYTHONPATH", &self.libraries).env("PYTHONDONTWRITEBYTECODE", "1");
        // As libraries of a suite stand: what else the machine's Python has stays out.
        python.args(["-s", "-c", script]);
        python
    }

    /// The version of the client, if this interpreter can load it.
    async fn find(libraries: &Path) -> Result<Self, String> {
        let mut why = Vec::new();
        for interpreter in INTERPRETERS {
            let mut python = Self {
                interpreter: interpreter.into(),
                libraries: libraries.to_path_buf(),
                version: String::new(),
            };
            match command::run(&mut python.script(ASK), ASK_LIMIT).await {
                Ok(said) => {
                    said.stdout.trim().clone_into(&mut python.version);
                    return Ok(python);
                }
                Err(error) => why.push(format!("{interpreter}: {}", chain(&error))),
            }
        }
        Err(why.join("; "))
    }
}

/// Finds the client, or fetches it.
///
/// `Ok(Err(why))` says that this machine cannot have it: it has no Python, or one that Debian's packages do not fit.
///
/// # Errors
/// The packages cannot be fetched or kept.
pub async fn client(progress: &Progress) -> Result<Result<Python, String>, ToolError> {
    let cache = cache::cache_dir()?;
    let place = cache.join("tools").join("python3-kubernetes-client");
    if !place.exists() {
        let _lock = cache::lock(&cache.join("tools.lock"), "fetching tools", progress).await?;
        if !place.exists() {
            progress.step("packages of the Python client", fetch(&cache, &place)).await?;
        }
    }
    Ok(Python::find(&place.join(LIBRARIES)).await)
}

async fn fetch(cache: &Path, place: &Path) -> Result<(), ToolError> {
    let apt = Apt::update(cache).await?;
    let tree = cache.join(format!("python-{}", std::process::id()));
    cache::empty_dir(&tree)?;
    apt.unpack_all(PACKAGES, &tree).await?;
    std::fs::create_dir_all(place.parent().unwrap_or(place)).map_err(CacheError::file("making", place))?;
    // A directory of this name is whole, whenever this process ends.
    std::fs::rename(&tree, place).map_err(CacheError::file("moving into place", place))?;
    Ok(())
}
