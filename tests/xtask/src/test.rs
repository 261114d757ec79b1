//! All checks and tests, one suite after the other, and a line of totals.

mod libtest;

use std::ops::Add;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use harness::cluster::PROGRAMS_VARIABLE;
use harness::progress::Progress;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use crate::arguments::{Profile, Test};
use crate::{EXIT_BAD_USAGE, EXIT_FAILED, build, package, tool, vm};
use libtest::{Panics, Totals};

/// Suites that need no containers.
const CHECKS: [&str; 4] = ["fmt", "clippy", "deny", "unit"];

/// What the tests of a suite did, and said.
#[derive(Default)]
struct Told {
    totals: Totals,
    /// The first lines of each panic.
    panics: Vec<String>,
}

impl Add for Told {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.panics.extend(other.panics);
        Self { totals: self.totals + other.totals, panics: self.panics }
    }
}

impl From<Totals> for Told {
    fn from(totals: Totals) -> Self {
        Self { totals, panics: Vec::new() }
    }
}

/// How one suite went.
struct Ran {
    name: String,
    told: Told,
    took: Duration,
}

/// Runs the suites.
pub(crate) async fn run(options: Test) -> anyhow::Result<ExitCode> {
    let with_containers = files(&build::workspace().join("tests/tests"))?;
    let known: Vec<&str> = CHECKS.into_iter().chain(with_containers.iter().map(String::as_str)).collect();
    if let Some(unknown) = options.suites.iter().find(|suite| !known.contains(&suite.as_str())) {
        eprintln!("xtask: there is no suite {unknown:?}; there are: {}", known.join(" "));
        return Ok(ExitCode::from(EXIT_BAD_USAGE));
    }
    let wanted = |suite: &str| options.suites.is_empty() || options.suites.iter().any(|name| name == suite);
    let begin = Instant::now();
    let mut ran = Vec::new();
    for suite in CHECKS.into_iter().filter(|suite| wanted(suite)) {
        ran.push(timed(suite, check(suite)).await);
    }
    let with_containers: Vec<&String> = with_containers.iter().filter(|suite| wanted(suite)).collect();
    if !with_containers.is_empty() {
        if nix::unistd::geteuid().is_root() {
            ran.extend(containers(&with_containers, options.threads).await);
        } else {
            println!("suites with containers need root and are skipped: {with_containers:?}");
            let skipped = Totals { skipped: with_containers.len() as u64, ..Totals::default() };
            ran.push(Ran { name: "containers".to_owned(), told: skipped.into(), took: Duration::ZERO });
        }
    }
    println!();
    let mut all = Totals::default();
    for Ran { name, told, took } in &ran {
        println!("{name:24} {:8.1} s   {}", took.as_secs_f64(), told.totals);
        all += told.totals;
    }
    println!("{:24} {:8.1} s", "all", begin.elapsed().as_secs_f64());
    // Whoever reads only the end of a long output finds here what is wrong.
    for Ran { name, told, .. } in &ran {
        for panic in &told.panics {
            print!("\n{name}: {panic}");
        }
    }
    println!("{all}");
    Ok(if all.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// Names of the test files.
fn files(dir: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

/// Runs a suite; one that cannot be run has failed.
async fn timed(name: &str, suite: impl Future<Output = anyhow::Result<Told>>) -> Ran {
    println!("\n== {name}");
    let begin = Instant::now();
    let told = suite.await.unwrap_or_else(|error| {
        println!("{error:#}");
        Told { totals: Totals::FAILED, panics: vec![format!("{error:#}\n")] }
    });
    let took = begin.elapsed();
    println!("== {name}: {}, {:.1} s", told.totals, took.as_secs_f64());
    Ran { name: name.to_owned(), told, took }
}

async fn check(suite: &str) -> anyhow::Result<Told> {
    let mut cargo = build::cargo();
    match suite {
        "fmt" => passes(cargo.args(["fmt", "--all", "--check"])).await,
        "clippy" => {
            passes(cargo.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])).await
        }
        "deny" => {
            let mut deny = tool::program("deny", &Progress::stderr()).await?;
            passes(deny.args(["--log-level", "error", "check", "bans", "licenses", "sources"])).await
        }
        _ => {
            let own = ["--exclude", "harness", "--exclude", "xtask"];
            let others = tests(cargo.args(["test", "--workspace", "--no-fail-fast"]).args(own)).await?;
            let mut cargo = build::cargo();
            // The rest of the harness's tests are the suites with containers.
            cargo.args([
                "test",
                "--no-fail-fast",
                "--package",
                "harness",
                "--package",
                "xtask",
                "--lib",
                "--bins",
            ]);
            let rest = tests(&mut cargo).await?;
            let seeds = crate::sim::TESTED_SEEDS.to_string();
            let simulated = passes(&mut crate::sim::command(&["--seeds".to_owned(), seeds])).await?;
            let churned = passes(&mut crate::sim::command(&crate::sim::days())).await?;
            Ok(others + rest + simulated + churned)
        }
    }
}

/// The suites that start programs and containers.
async fn containers(suites: &[&String], threads: u32) -> Vec<Ran> {
    let mut ran = Vec::new();
    let mut programs = None;
    // What they need is no test of its own, but its failure is one.
    let needed = timed("programs and tools", async {
        programs = Some(build::programs(Profile::Debug).await?);
        harness::tools::find_or_install(&Progress::stderr()).await.context("finding tools")?;
        Ok(Told::default())
    });
    ran.push(needed.await);
    let Some(programs) = programs else { return ran };
    let mut for_machines = None;
    if suites.iter().any(|suite| vm::is_suite(suite)) {
        // Minutes where the cache is empty; the suites' own times are without it.
        let prepared = timed("virtual machines", async {
            for_machines = Some(vm::environment().await?);
            vm::prepare(&Progress::stderr()).await.map(|_| Told::default())
        });
        ran.push(prepared.await);
    }
    if suites.iter().any(|suite| vm::needs_packages(suite)) {
        let packed = timed("packages", async {
            package::for_tests(&Progress::stderr()).await.map(|()| Told::default())
        });
        ran.push(packed.await);
    }
    for suite in suites {
        let threads = if vm::is_suite(suite) { vm::threads() } else { threads };
        let mut cargo = build::cargo();
        cargo.args(["test", "--package", "harness", "--no-fail-fast", "--test", suite, "--"]);
        cargo.args(["--test-threads", &threads.to_string()]).env(PROGRAMS_VARIABLE, &programs);
        cargo.envs(for_machines.clone().into_iter().flatten());
        ran.push(timed(suite, tests(&mut cargo)).await);
    }
    ran
}

/// A program that says all with its exit code.
async fn passes(command: &mut Command) -> anyhow::Result<Told> {
    let status = command.status().await.context("starting cargo")?;
    Ok(if status.success() { Totals::PASSED.into() } else { Totals::FAILED.into() })
}

/// `cargo test`: its results are counted, and what is worth reading is shown.
async fn tests(command: &mut Command) -> anyhow::Result<Told> {
    // A test says what it expected; where it is in the harness tells nothing more.
    let command = command.env("RUST_BACKTRACE", "0");
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let Some(output) = child.stdout.take() else { bail!("cargo has no output") };
    let mut lines = BufReader::new(output).split(b'\n');
    let (mut totals, mut panics) = (Totals::default(), Panics::default());
    while let Some(line) = lines.next_segment().await.context("reading what cargo says")? {
        // Tests print what they like.
        let line = String::from_utf8_lossy(&line);
        totals += libtest::result(&line).unwrap_or_default();
        panics.read(&line);
        if libtest::is_worth_reading(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().await.context("waiting for cargo")?;
    // It did not compile, or a test ended the whole program.
    if !status.success() && totals.failed == 0 {
        totals += Totals::FAILED;
    }
    // A test may expect a panic.
    let panics = if totals.failed == 0 { Vec::new() } else { panics.said() };
    Ok(Told { totals, panics })
}
