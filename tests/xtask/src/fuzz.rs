//! Fuzzing that is led by coverage: the targets that every test run gives random input for a moment, for as long as wanted.
//!
//! ```text
//!  sources ─ target ─> names ─> cargo test --no-run, instrumented, in target/fuzz ─> one libFuzzer a target ─ tally ─> figures
//!                                                                                       └─> an input that fails
//! ```
//!
//! bolero brings libFuzzer as source, which needs a C++ compiler; the instrumentation is LLVM's and works with a stable Rust. What
//! is found lies where bolero expects it, so that the plain test fails with it until it is mended.

mod tally;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::Instant;

use crate::arguments::Fuzz;
use crate::{EXIT_BAD_USAGE, EXIT_FAILED, build};
use tally::Tally;
use target::Target;

/// What makes a program tell libFuzzer where it has been, and what it has compared.
const INSTRUMENTATION: [&str; 9] = [
    "--cfg=fuzzing",
    "--cfg=fuzzing_libfuzzer",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Counters of several units do not always find their tables.
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
];
/// Optimised, with assertions.
const PROFILE: &str = "sim";
/// An input that takes so long is a finding.
const HANGS: Duration = Duration::from_secs(60);
/// A target that needs so much memory is a finding.
const MEMORY_MIB: u64 = 2048;
/// So many lines of a failure are shown; the rest is in the log.
const SHOWN_LINES: usize = 40;

/// Carries out `cargo xtask fuzz`.
pub(crate) async fn run(options: Fuzz) -> Result<ExitCode> {
    let workspace = Workspace::read().await?;
    let mut targets = workspace.targets()?;
    let unknown = options.targets.iter().find(|part| !targets.iter().any(|t| t.name().contains(*part)));
    if let Some(unknown) = unknown {
        eprintln!("xtask: no fuzz target has {unknown:?} in its name; `cargo xtask fuzz --list` lists them");
        return Ok(ExitCode::from(EXIT_BAD_USAGE));
    }
    if !options.targets.is_empty() {
        targets.retain(|target| options.targets.iter().any(|part| target.name().contains(part)));
    }
    if options.list {
        targets.iter().for_each(|target| println!("{}", target.name()));
        return Ok(ExitCode::SUCCESS);
    }
    compiler().await?;
    let programs = workspace.build(&targets).await.context("building the targets")?;
    let each = Duration::from_secs(options.minutes * 60);
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{} targets, {} minutes each, {at_once} at a time", targets.len(), options.minutes);
    let ran: Vec<bool> = futures::stream::iter(&targets)
        .map(|target| workspace.fuzz(target, &programs, each))
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    let failed = ran.iter().filter(|passed| !**passed).count();
    println!("{} without a finding, {failed} with one", ran.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// libFuzzer is compiled by what the crate `cc` finds.
async fn compiler() -> Result<()> {
    let name = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let ran = Command::new(&name).arg("--version").output().await;
    if !ran.is_ok_and(|output| output.status.success()) {
        bail!(
            "fuzzing needs a C++ compiler, for libFuzzer, and {} does not run: `apt-get install g++`, or name one in CXX",
            name.display()
        );
    }
    Ok(())
}

/// `cargo metadata`, as far as it is needed.
#[derive(Deserialize)]
struct Workspace {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

/// One line of cargo's when it builds.
#[derive(Deserialize)]
struct Built {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
}

/// What a target says of itself when bolero asks.
#[derive(Deserialize)]
struct Place {
    work_dir: PathBuf,
}

impl Package {
    fn dir(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

impl Workspace {
    async fn read() -> Result<Self> {
        let mut metadata = build::cargo();
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]).stderr(Stdio::inherit());
        let said = metadata.output().await.context("starting cargo metadata")?;
        serde_json::from_slice(&said.stdout).context("reading what cargo metadata says")
    }

    fn targets(&self) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        for package in &self.packages {
            if package.dependencies.iter().any(|dependency| dependency.name == "bolero") {
                targets.extend(target::of_package(&package.name, &package.dir().join("src"))?);
            }
        }
        targets.sort();
        Ok(targets)
    }

    fn dir(&self) -> PathBuf {
        self.target_directory.join("fuzz")
    }

    fn package(&self, name: &str) -> Result<&Package> {
        self.packages.iter().find(|package| package.name == name).context("a package has gone")
    }

    /// Builds the tests of the packages that have these targets; gives the programs of each.
    async fn build(&self, targets: &[Target]) -> Result<BTreeMap<String, Vec<PathBuf>>> {
        let packages: BTreeSet<&str> = targets.iter().map(|target| target.package.as_str()).collect();
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut cargo = build::cargo();
        cargo.args(["test", "--no-run", "--lib", "--bins", "--all-features", "--profile", PROFILE]);
        // With a target of its own, build scripts and macros are built as usual: they have nobody to tell.
        cargo.args(["--target", &host, "--target-dir"]).arg(self.dir());
        cargo.args(packages.iter().flat_map(|package| ["--package", package]));
        cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f")).env_remove("RUSTFLAGS");
        let done =
            cargo.spawn().context("starting cargo")?.wait_with_output().await.context("waiting for cargo")?;
        if !done.status.success() {
            bail!("cargo test --no-run failed");
        }
        let mut programs: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let Ok(Built { executable: Some(program), manifest_path: Some(manifest) }) =
                serde_json::from_str(line)
            else {
                continue;
            };
            if let Some(package) = self.packages.iter().find(|package| package.manifest_path == manifest) {
                programs.entry(package.name.clone()).or_default().push(program);
            }
        }
        Ok(programs)
    }

    /// Leads one target for that time; whether nothing was found.
    async fn fuzz(
        &self,
        target: &Target,
        programs: &BTreeMap<String, Vec<PathBuf>>,
        each: Duration,
    ) -> Result<bool> {
        let package = self.package(&target.package)?;
        let (program, place) = locate(target, package, programs).await?;
        let (corpus, findings) = (self.place("corpus", target)?, self.place("findings", target)?);
        let log = self.place("log", target)?.join("libfuzzer");
        // Of an earlier run; what was found is kept beside the sources.
        fs::remove_dir_all(&findings).with_context(|| format!("removing {}", findings.display()))?;
        fs::create_dir(&findings).with_context(|| format!("making {}", findings.display()))?;
        // The first directory takes what is new.
        let seeds = ["corpus", "crashes"].map(|name| place.work_dir.join(name));
        let seeds = seeds.iter().filter(|dir| dir.is_dir());
        let mut arguments: Vec<String> =
            [&corpus].into_iter().chain(seeds).map(|dir| dir.display().to_string()).collect();
        arguments.extend([
            format!("-max_total_time={}", each.as_secs()),
            format!("-timeout={}", HANGS.as_secs()),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-artifact_prefix={}/", findings.display()),
            "-use_value_profile=1".to_owned(),
            "-print_final_stats=1".to_owned(),
        ]);
        if let Some(odd) = arguments.iter().find(|argument| argument.contains(' ')) {
            bail!("bolero parts the arguments of libFuzzer at spaces, and there is one in {odd:?}");
        }
        let file = fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut fuzzer = of_target(&program, target, package);
        fuzzer.env("BOLERO_LIBFUZZER_ARGS", arguments.join(" "));
        fuzzer.stdout(file.try_clone().context("sharing a log")?).stderr(file);
        let begin = Instant::now();
        let status = fuzzer.status().await.with_context(|| format!("starting {}", program.display()))?;
        let said =
            String::from_utf8_lossy(&fs::read(&log).with_context(|| format!("reading {}", log.display()))?)
                .into_owned();
        println!("{}\n  {}", target.name(), Tally::of(&said).line(begin.elapsed()));
        if status.success() {
            return Ok(true);
        }
        println!("  FAILED ({status}); all of it is in {}", log.display());
        said.lines()
            .filter(|line| !line.starts_with('#'))
            .rev()
            .take(SHOWN_LINES)
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .for_each(|line| println!("  | {line}"));
        for found in kept(&findings, &place.work_dir.join("crashes"))? {
            println!(
                "  the input is {}; mend what it shows, and commit it: it is a test from now on",
                found.display()
            );
            println!(
                "  again: cargo test --package {} --all-features -- {} --exact",
                target.package, target.test
            );
        }
        Ok(false)
    }

    /// A directory of a target's own.
    fn place(&self, kind: &str, target: &Target) -> Result<PathBuf> {
        let dir = self.dir().join(kind).join(target.file_name());
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(dir)
    }
}

/// The program with a target, and where bolero keeps what belongs to it.
async fn locate(
    target: &Target,
    package: &Package,
    programs: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<(PathBuf, Place)> {
    for program in programs.get(&target.package).into_iter().flatten() {
        let mut asked = of_target(program, target, package);
        let said = asked.env("CARGO_BOLERO_SELECT", "one").output().await;
        let said = said.with_context(|| format!("starting {}", program.display()))?;
        let place =
            String::from_utf8_lossy(&said.stdout).lines().find_map(|line| serde_json::from_str(line).ok());
        if let Some(place) = place {
            return Ok((program.clone(), place));
        }
    }
    bail!("{} is in none of its package's programs: is it compiled only sometimes?", target.name())
}

/// A test program that runs this target alone.
fn of_target(program: &Path, target: &Target, package: &Package) -> Command {
    let mut command = Command::new(program);
    command.args([&target.test, "--exact", "--nocapture", "--quiet", "--test-threads", "1"]);
    command.env("BOLERO_TEST_NAME", &target.test).env("BOLERO_LIBTEST_HARNESS", "1");
    command.current_dir(package.dir()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Keeps inputs that were found where the plain test reads them; gives their paths.
fn kept(findings: &Path, crashes: &Path) -> Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(findings).with_context(|| format!("listing {}", findings.display()))? {
        let from = entry.with_context(|| format!("listing {}", findings.display()))?.path();
        let name = from.file_name().unwrap_or_default();
        // Slow inputs are none that fail.
        if name.to_string_lossy().starts_with("slow-unit-") {
            continue;
        }
        fs::create_dir_all(crashes).with_context(|| format!("making {}", crashes.display()))?;
        let to = crashes.join(name);
        fs::copy(&from, &to).with_context(|| format!("copying to {}", to.display()))?;
        kept.push(to);
    }
    Ok(kept)
}
