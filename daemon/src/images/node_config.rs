//! The node's own credentials: the files of `docker login` in the places where a kubelet looks for them. behaviour.md 14.3.
//!
//! They are read for each pull, so that a change counts at once. The first file that can be used is the only one.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::credential::Source;
use super::docker_config::{DockerConfig, DockerConfigError, MAX_BYTES, parse_config_json, parse_dockercfg};
use super::keyring::Keyring;

type Parse = fn(&[u8]) -> Result<DockerConfig, DockerConfigError>;

/// Where the node's credentials may be.
#[derive(Clone, Debug)]
pub(super) struct NodeConfig {
    files: Vec<(PathBuf, Parse)>,
}

#[derive(Debug, Error)]
enum NodeConfigError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("not a file")]
    Kind,
    #[error(transparent)]
    Content(#[from] DockerConfigError),
}

impl NodeConfig {
    /// The root directory first, then the working directory, the home directory and `/`; all new files before the old ones.
    pub(super) fn new(root_dir: &Path, home: Option<&Path>) -> Self {
        let work = Path::new("");
        let root = Path::new("/");
        let home_docker = home.map(|home| home.join(".docker"));
        let new = [Some(root_dir), Some(work), home_docker.as_deref(), Some(Path::new("/.docker"))];
        let old = [Some(root_dir), Some(work), home, Some(root)];
        let new = new.into_iter().flatten().map(|dir| (dir.join("config.json"), parse_config_json as Parse));
        let old = old.into_iter().flatten().map(|dir| (dir.join(".dockercfg"), parse_dockercfg as Parse));
        Self { files: new.chain(old).collect() }
    }

    /// What is in the first usable file.
    pub(super) fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::default();
        for (path, parse) in &self.files {
            match read(path, *parse) {
                Ok(Some(config)) => {
                    keyring.add(config, &Source::Node);
                    break;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "credentials of the node cannot be used");
                }
            }
        }
        keyring
    }
}

fn read(path: &Path, parse: Parse) -> Result<Option<DockerConfig>, NodeConfigError> {
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    // To open a pipe would wait for somebody who writes.
    if !kind.is_file() {
        return Err(NodeConfigError::Kind);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(parse(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_usable_file_is_the_only_one_and_changes_count_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, home) = (dir.path().join("root"), dir.path().join("home"));
        for dir in [&root, &home.join(".docker")] {
            fs::create_dir_all(dir).expect("made");
        }
        let config = NodeConfig::new(&root, Some(&home));
        let users = || -> Vec<String> {
            let found = config.keyring().lookup("quay.test/a");
            found.into_iter().map(|c| c.credential.username).collect()
        };
        let entry = |user: &str| format!(r#"{{"quay.test": {{"username": "{user}"}}}}"#);
        assert_eq!(users(), Vec::<String>::new());
        fs::write(root.join(".dockercfg"), entry("old")).expect("written");
        assert_eq!(users(), ["old"]);
        let auths = |user: &str| format!(r#"{{"auths": {}}}"#, entry(user));
        fs::write(home.join(".docker/config.json"), auths("home")).expect("written");
        assert_eq!(users(), ["home"], "new files go before old ones");
        fs::write(root.join("config.json"), auths("root")).expect("written");
        assert_eq!(users(), ["root"]);
        fs::write(root.join("config.json"), "damaged").expect("written");
        assert_eq!(users(), ["home"], "a damaged file is passed over");
        fs::remove_file(root.join("config.json")).expect("removed");
        nix::unistd::mkfifo(&root.join("config.json"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        assert_eq!(users(), ["home"], "a pipe is passed over");
    }
}
