//! Packages without touching the machine: apt with lists and caches of our own.
//!
//! The machine's settings stay in force (proxy, credentials, trusted keys); only the suites, the lists, the caches and the
//! hooks are ours. Nothing is installed: packages are unpacked into a directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::ToolError;
use super::sources::Mirror;
use super::version::Version;
use crate::cache::{CacheError, empty_dir, remove_tree};
use crate::command::{self, command};

const APT_SETTINGS: &str = "/etc/apt";
const LIMIT: Duration = Duration::from_secs(600);

/// apt with its own directories below the cache.
#[derive(Debug)]
pub(crate) struct Apt {
    dir: PathBuf,
    own_suite: String,
}

/// One version of a package that can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// As apt writes it, epoch included.
    pub(crate) version: String,
    /// From the machine's own suite.
    pub(crate) is_own: bool,
}

impl Apt {
    /// Writes the settings and fetches the lists of what there is.
    pub(crate) async fn update(cache: &Path) -> Result<Self, ToolError> {
        let mirror = Mirror::of_machine(Path::new(APT_SETTINGS), &codename()?)?;
        let dir = cache.join("apt");
        for part in ["lists/partial", "cache/archives/partial", "sources"] {
            let path = dir.join(part);
            std::fs::create_dir_all(&path).map_err(CacheError::file("making", &path))?;
        }
        for (file, text) in [("sources/debian.sources", mirror.sources()), ("apt.conf", settings(&dir))] {
            let path = dir.join(file);
            std::fs::write(&path, text).map_err(CacheError::file("writing", &path))?;
        }
        let apt = Self { dir, own_suite: mirror.suite().to_owned() };
        command::run(apt.program("apt-get").arg("update"), LIMIT).await?;
        Ok(apt)
    }

    /// What there is of a package, the machine's own suite first: it fits the machine's libraries.
    pub(crate) async fn candidates(
        &self,
        package: &str,
        minimum: Version,
    ) -> Result<Vec<Candidate>, ToolError> {
        let known = command::run(self.program("apt-cache").args(["madison", package]), LIMIT).await?;
        let mut candidates = candidates(&known.stdout, &self.own_suite);
        candidates.retain(|c| Version::of_package(&c.version).is_some_and(|version| version >= minimum));
        candidates.sort_by_key(|c| !c.is_own);
        Ok(candidates)
    }

    /// The package whose name is `prefix` and the highest version.
    pub(crate) async fn newest(&self, prefix: &str) -> Result<Option<String>, ToolError> {
        let known = command::run(self.program("apt-cache").args(["pkgnames", prefix]), LIMIT).await?;
        Ok(newest(&known.stdout, prefix))
    }

    /// Downloads the newest version of a package into an empty directory and gives the archive.
    pub(crate) async fn download(&self, package: &str, into: &Path) -> Result<PathBuf, ToolError> {
        let mut download = self.program("apt-get");
        download.current_dir(into).args(["download", package]);
        command::run(&mut download, LIMIT).await?;
        Ok(archives(into)?.swap_remove(0))
    }

    /// Unpacks one version of a package into a new directory below `into` and gives that.
    pub(crate) async fn unpack(
        &self,
        package: &str,
        version: &str,
        into: &Path,
    ) -> Result<PathBuf, ToolError> {
        let tree = self.dir.join(format!("tree-{}", std::process::id()));
        empty_dir(&tree)?;
        self.unpack_into(&[format!("{package}={version}")], &tree).await?;
        let place = into.join(format!("{package}-{}", version.replace(':', "_")));
        remove_tree(&place)?;
        // A directory with a tool's name is whole, whenever this process ends.
        std::fs::rename(&tree, &place).map_err(CacheError::file("moving into place", &place))?;
        Ok(place)
    }

    /// Unpacks those of the packages that there are, from the machine's own suite where it has them, into one directory.
    pub(crate) async fn unpack_all(&self, packages: &[&str], tree: &Path) -> Result<(), ToolError> {
        let known = command::run(self.program("apt-cache").arg("madison").args(packages), LIMIT).await?;
        let wanted: Vec<String> = packages
            .iter()
            .filter_map(|package| {
                let is_of_it = |line: &&str| line.split('|').next().map(str::trim) == Some(*package);
                let lines: Vec<&str> = known.stdout.lines().filter(is_of_it).collect();
                let mut candidates = candidates(&lines.join("\n"), &self.own_suite);
                candidates.sort_by_key(|c| !c.is_own);
                candidates.first().map(|candidate| format!("{package}={}", candidate.version))
            })
            .collect();
        self.unpack_into(&wanted, tree).await
    }

    /// Unpacks packages, each with its version (`name=version`), into a directory, over what is there.
    async fn unpack_into(&self, packages: &[String], tree: &Path) -> Result<(), ToolError> {
        let work = self.dir.join(format!("unpack-{}", std::process::id()));
        empty_dir(&work)?;
        let mut download = self.program("apt-get");
        download.current_dir(&work).arg("download").args(packages);
        command::run(&mut download, LIMIT).await?;
        for archive in archives(&work)? {
            command::run(command(Path::new("dpkg-deb")).arg("-x").arg(&archive).arg(tree), LIMIT).await?;
        }
        remove_tree(&work)?;
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = command(Path::new(name));
        command.arg("-c").arg(self.dir.join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }
}

/// apt reads this file after the machine's own settings.
fn settings(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{dir}/sources\";\n\
         Dir::State::Lists \"{dir}/lists\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         APT::Sandbox::User \"root\";\n\
         APT::Update::Error-Mode \"any\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         #clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n"
    )
}

/// Lines of `package | version | URI suite/component arch Packages`.
fn candidates(madison: &str, own_suite: &str) -> Vec<Candidate> {
    let line = |line: &str| {
        let mut fields = line.split('|').map(str::trim);
        let (version, origin) = (fields.nth(1)?, fields.next()?);
        let suite = origin.split_whitespace().nth(1)?.split('/').next()?;
        origin
            .ends_with("Packages")
            .then(|| Candidate { version: version.to_owned(), is_own: suite == own_suite })
    };
    madison.lines().filter_map(line).collect()
}

/// Names of more than a version behind the prefix are other packages.
fn newest(names: &str, prefix: &str) -> Option<String> {
    let version = |name: &&str| {
        let rest = name.strip_prefix(prefix)?;
        rest.chars().all(|c| c.is_ascii_digit() || c == '.').then(|| Version::find(rest))?
    };
    let known = names.lines().map(str::trim).filter(|name| version(name).is_some());
    known.max_by_key(version).map(str::to_owned)
}

pub(crate) fn codename() -> Result<String, ToolError> {
    let path = Path::new("/etc/os-release");
    let text = std::fs::read_to_string(path).map_err(CacheError::file("reading", path))?;
    let value = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    // Debian's unstable has had none.
    Ok(value.map_or("sid", |value| value.trim_matches('"')).to_owned())
}

/// The packages in a directory, at least one.
fn archives(dir: &Path) -> Result<Vec<PathBuf>, ToolError> {
    let entries = std::fs::read_dir(dir).map_err(CacheError::file("reading", dir))?;
    let archives: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "deb"))
        .collect();
    if archives.is_empty() { Err(ToolError::NoArchive { dir: dir.to_path_buf() }) } else { Ok(archives) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_packages_with_a_version_in_their_name_is_found_by_number() {
        let names =
            "linux-source-7.9\nlinux-source\nlinux-source-7.10\nlinux-source-7.11-rt\nlinux-source-6.12\n";
        assert_eq!(newest(names, "linux-source-").as_deref(), Some("linux-source-7.10"));
        assert_eq!(newest("other\n", "linux-source-"), None);
    }

    #[test]
    fn the_machines_own_suite_is_told_from_the_newer_one() {
        let said = "      runc | 1.3.6+ds1-1 | http://m.invalid/debian sid/main amd64 Packages\n      \
                    runc | 1.1.5+ds1-1+deb12u1 | http://m.invalid/debian bookworm/main amd64 Packages\n      \
                    runc | 1.1.5+ds1-1+deb12u1 | http://m.invalid/debian bookworm/main Sources\n";
        let found = candidates(said, "bookworm");
        let versions: Vec<_> = found.iter().map(|c| (c.version.as_str(), c.is_own)).collect();
        assert_eq!(versions, [("1.3.6+ds1-1", false), ("1.1.5+ds1-1+deb12u1", true)]);
    }
}
