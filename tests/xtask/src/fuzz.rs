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
use std::process::{ExitCode, ExitStatus, Stdio};
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
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{} targets, {} minutes each, {at_once} at a time", targets.len(), options.minutes);
    let ran: Vec<bool> = futures::stream::iter(&targets)
        .map(|target| workspace.fuzz(target, &programs, &options))
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

/// Test programs, by package.
type Programs = BTreeMap<String, Vec<PathBuf>>;

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

    /// Builds the tests of the packages that have these targets; gives the programs of each.
    async fn build(&self, targets: &[Target]) -> Result<Programs> {
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
        let mut programs = Programs::new();
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
    async fn fuzz(&self, target: &Target, programs: &Programs, options: &Fuzz) -> Result<bool> {
        let package = self.packages.iter().find(|package| package.name == target.package);
        let package = package.with_context(|| format!("there is no package {}", target.package))?;
        let (program, place) = locate(target, package, programs).await?;
        let fuzzer = Fuzzer { target, package, program, logs: self.place("log", target)? };
        let (corpus, findings) = (self.place("corpus", target)?, emptied(self.place("findings", target)?)?);
        // The first directory takes what is new.
        let mut inputs = vec![corpus];
        inputs.extend(
            ["corpus", "crashes"]
                .map(|name| place.work_dir.join(name))
                .into_iter()
                .filter(|dir| dir.is_dir()),
        );
        let limits = [
            format!("-max_total_time={}", options.minutes * 60),
            format!("-timeout={}", HANGS.as_secs()),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-artifact_prefix={}/", findings.display()),
            "-use_value_profile=1".to_owned(),
        ];
        let begin = Instant::now();
        let (status, said) = fuzzer.run("fuzzing", &limits, &inputs).await?;
        println!("{}\n  {}", target.name(), Tally::of(&said).line(begin.elapsed()));
        if status.success() {
            if options.keep {
                let fresh = emptied(self.place("kept", target)?)?;
                fuzzer.keep(fresh, &inputs, &place.work_dir.join("corpus")).await?;
            }
            return Ok(true);
        }
        println!("  FAILED ({status}); all of it is in {}", fuzzer.logs.display());
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].iter().for_each(|line| println!("  | {line}"));
        // Slow inputs are none that fail.
        for found in
            copied(&findings, &place.work_dir.join("crashes"), |name| !name.starts_with("slow-unit-"))?
        {
            println!(
                "  the input is {}; it is a test from now on: mend what it shows, and commit it",
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

/// libFuzzer in a target's program.
struct Fuzzer<'a> {
    target: &'a Target,
    package: &'a Package,
    program: PathBuf,
    /// Where what it says goes.
    logs: PathBuf,
}

impl Fuzzer<'_> {
    /// How it ended, and what it said.
    async fn run(&self, what: &str, options: &[String], inputs: &[PathBuf]) -> Result<(ExitStatus, String)> {
        let words: Vec<String> =
            options.iter().cloned().chain(inputs.iter().map(|dir| dir.display().to_string())).collect();
        if let Some(odd) = words.iter().find(|word| word.contains(' ')) {
            bail!("bolero parts the arguments of libFuzzer at spaces, and there is one in {odd:?}");
        }
        let path = self.logs.join(what);
        let log = fs::File::create(&path).with_context(|| format!("making {}", path.display()))?;
        let mut command = of_target(&self.program, self.target, self.package);
        command.env("BOLERO_LIBFUZZER_ARGS", words.join(" "));
        command.stdout(log.try_clone().context("sharing a log")?).stderr(log);
        let status =
            command.status().await.with_context(|| format!("starting {}", self.program.display()))?;
        let said = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok((status, String::from_utf8_lossy(&said).into_owned()))
    }

    /// Keeps as few of the inputs as lead wherever all of them do.
    async fn keep(&self, fresh: PathBuf, inputs: &[PathBuf], kept: &Path) -> Result<()> {
        let options = ["-set_cover_merge=1", "-use_counters=0"].map(str::to_owned);
        let all: Vec<PathBuf> = std::iter::once(fresh.clone()).chain(inputs.iter().cloned()).collect();
        let (status, _) = self.run("choosing", &options, &all).await?;
        if !status.success() {
            bail!("choosing inputs of {} failed: {}", self.target.name(), self.logs.display());
        }
        let chosen = copied(&fresh, &emptied(kept.to_owned())?, |_| true)?;
        println!("  {} inputs are kept in {}", chosen.len(), kept.display());
        Ok(())
    }
}

/// The program with a target, and where bolero keeps what belongs to it.
async fn locate(target: &Target, package: &Package, programs: &Programs) -> Result<(PathBuf, Place)> {
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

/// The directory, with nothing in it.
fn emptied(dir: PathBuf) -> Result<PathBuf> {
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", dir.display()));
        }
        _ => {}
    }
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

/// Copies the wanted files of a directory; gives the paths of the copies.
fn copied(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry.with_context(|| format!("listing {}", from.display()))?;
        let name = entry.file_name();
        if wanted(&name.to_string_lossy()) {
            let copy = to.join(&name);
            fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
            fs::copy(entry.path(), &copy).with_context(|| format!("copying to {}", copy.display()))?;
            copies.push(copy);
        }
    }
    Ok(copies)
}
