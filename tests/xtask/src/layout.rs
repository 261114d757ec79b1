//! Which functions of the daemon run all the time, so that the linker can put them side by side.
//!
//! The kernel maps a program's code in pieces of 64 KiB around what runs. Of nodelet's nine megabytes an idle node needs one, but as a
//! linker arranges functions some of it is in nearly every piece. `daemon/layout.ld` names them for the linker. A list that has grown old
//! costs memory and nothing else.
//!
//! ```text
//!  a cluster whose daemon has its symbols ──idle, `trace`──> functions that ran ──`script`──> daemon/layout.ld
//! ```

mod script;
mod trace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use harness::cache::cache_dir;
use tokio::process::Command;

use self::script::{Function, script};
use crate::build;

/// By then the daemon has taken its code out of the process for the last time while no pod comes or goes, and with that what only the start
/// needed. Breakpoints that are set before would go as well.
const SETTLED: Duration = Duration::from_secs(100);
/// Long enough for everything that an idle node does by itself: it looks for images that nobody uses each five minutes.
const WATCHED: Duration = Duration::from_secs(660);

/// Brings up a cluster, watches its daemon, and writes the list.
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    let cache = cache_dir()?.join("layout");
    let dir = cache.join("cluster");
    let this = std::env::current_exe().context("finding this program")?;
    let up = async {
        let mut up = Command::new(&this);
        up.args(["up", "--detach", "--profile", "release", "--dir"]).arg(&dir);
        up.env("CARGO_PROFILE_RELEASE_STRIP", "false").env("CARGO_TARGET_DIR", cache.join("target"));
        ensure!(up.status().await?.success(), "no cluster");
        watch(&dir).await
    };
    let functions = up.await;
    let mut down = Command::new(&this);
    down.args(["down", "--dir"]).arg(&dir);
    ensure!(down.status().await?.success(), "{} is still up", dir.display());
    let functions = functions?;
    let ran = functions.iter().filter(|function| function.has_run);
    println!("{} of {} functions ran", ran.count(), functions.len());
    let path = build::workspace().join("daemon/layout.ld");
    std::fs::write(&path, script(&functions)).with_context(|| format!("writing {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The functions of the daemon of the cluster in `dir`.
async fn watch(dir: &Path) -> anyhow::Result<Vec<Function>> {
    let pid = daemon(dir)?;
    let program = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    let symbols = symbols(&program).await?;
    tokio::time::sleep(SETTLED).await;
    println!("watching process {pid} for {WATCHED:?}");
    let addresses = symbols.keys().copied().collect();
    let traced = tokio::task::spawn_blocking(move || trace::ran(pid, addresses, WATCHED)).await??;
    let function =
        |(at, (name, size)): (u64, (String, u64))| Function { name, size, has_run: traced.contains(&at) };
    Ok(symbols.into_iter().map(function).collect())
}

/// The process of the daemon.
fn daemon(dir: &Path) -> anyhow::Result<i32> {
    let config = dir.join("node-0").display().to_string();
    for process in std::fs::read_dir("/proc")? {
        let path = process?.path();
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let is_it = words.next().is_some_and(|program| program.ends_with("/nodelet"))
            && words.any(|word| word.starts_with(&config));
        if is_it && let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) {
            return Ok(pid);
        }
    }
    bail!("no daemon of {} runs", dir.display())
}

/// Names and sizes of the functions of a program, by their addresses in it.
async fn symbols(program: &PathBuf) -> anyhow::Result<BTreeMap<u64, (String, u64)>> {
    let mut nm = Command::new("nm");
    nm.args(["--defined-only", "--print-size"]).arg(program).stderr(Stdio::inherit());
    let listed = nm.output().await.context("nm, of binutils, is needed")?;
    ensure!(listed.status.success(), "nm has failed");
    let symbols: BTreeMap<_, _> =
        String::from_utf8_lossy(&listed.stdout).lines().filter_map(symbol).collect();
    ensure!(symbols.len() > 1000, "{} has no symbols", program.display());
    Ok(symbols)
}

/// A line such as `00000000002670e0 000000000001fe91 t name`.
fn symbol(line: &str) -> Option<(u64, (String, u64))> {
    let mut words = line.split(' ');
    let at = u64::from_str_radix(words.next()?, 16).ok()?;
    let size = u64::from_str_radix(words.next()?, 16).ok()?;
    let is_function = matches!(words.next()?, "t" | "T");
    is_function.then_some((at, (words.next()?.to_owned(), size)))
}
