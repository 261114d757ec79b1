//! A cluster on this machine: `up`, `down`, `status`.
//!
//! In the foreground this process supervises the cluster. With `--detach` it starts itself once more as `supervise`, in a session
//! of its own, follows that one's log until its report is there, and leaves.

use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use harness::cluster::{self, Layout, Programs};
use harness::progress::Progress;
use harness::{Cluster, ClusterOptions, cache};
use serde_json::Map;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::{Supervise, Up};
use crate::{EXIT_FAILED, build, report};

const STATUS_PERIOD: Duration = Duration::from_secs(2);
const FOLLOW_PERIOD: Duration = Duration::from_millis(100);

/// Brings a cluster up.
pub(crate) async fn up(options: Up) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::new()?;
    require_root()?;
    let dir = cluster::directory(&place(options.dir.as_deref())?)?;
    let progress = Progress::stderr();
    let build = progress.loud_step("building the programs", build::programs(options.profile));
    let programs = tokio::select! {
        programs = build => programs?,
        () = stop.requested() => return Ok(ExitCode::from(EXIT_FAILED)),
    };
    if options.detach {
        return detach(&dir, options.nodes, &programs, &progress).await;
    }
    let how = "Ctrl-C";
    let Some(cluster) = start(&dir, options.nodes, &programs, &progress, &mut stop).await? else {
        return Ok(ExitCode::from(EXIT_FAILED));
    };
    print!("{}", report::text(&cluster, &progress.steps(), how));
    watch(&cluster, &mut stop).await;
    cluster.stop().await.context("stopping the cluster")?;
    progress.note("stopped; its state is kept for the next up");
    Ok(ExitCode::SUCCESS)
}

/// Has a cluster up in the background.
pub(crate) async fn supervise(options: Supervise) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::new()?;
    let progress = Progress::stderr();
    let started = start(&options.dir, options.nodes, &options.programs, &progress, &mut stop).await?;
    let Some(cluster) = started else { return Ok(ExitCode::from(EXIT_FAILED)) };
    let path = cluster.layout().report();
    let how = format!("cargo xtask down --dir {}", options.dir.display());
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, report::text(&cluster, &progress.steps(), &how))
        .context("writing the report")?;
    std::fs::rename(&unfinished, &path).context("writing the report")?;
    stop.requested().await;
    // It is only true while the cluster is up.
    let _ = std::fs::remove_file(&path);
    cluster.stop().await.context("stopping the cluster")?;
    Ok(ExitCode::SUCCESS)
}

/// Stops a cluster.
pub(crate) async fn down(dir: &Option<PathBuf>) -> anyhow::Result<ExitCode> {
    require_root()?;
    let dir = place(dir.as_deref())?;
    let was_up = cluster::down(&dir, &Progress::stderr()).await.context("stopping the cluster")?;
    let what = if was_up { "is down; its state is kept for the next up" } else { "was not up" };
    println!("the cluster in {} {what}", dir.display());
    Ok(ExitCode::SUCCESS)
}

/// Tells what there is of a cluster.
pub(crate) async fn status(dir: &Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let status = cluster::status(&place(dir.as_deref())?).await;
    println!("cluster     {}", status.dir.display());
    match status.supervisor {
        Some(pid) => println!("supervisor  pid {pid}"),
        None => println!("supervisor  none"),
    }
    match &status.nodes {
        Ok(summary) => println!("state       {summary}"),
        Err(why) => println!("state       {why}"),
    }
    if status.supervisor.is_none() {
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    if let Some(kubectl) = &status.kubectl {
        println!("kubectl     {}", kubectl.display());
    }
    println!("export KUBECONFIG={}", status.kubeconfig.display());
    Ok(if status.nodes.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// The cluster with its sample pod; none if it was told to stop before.
async fn start(
    dir: &Path,
    nodes: Option<usize>,
    programs: &Path,
    progress: &Progress,
    stop: &mut Stop,
) -> anyhow::Result<Option<Cluster>> {
    let options = ClusterOptions {
        dir: dir.to_path_buf(),
        nodes,
        programs: Programs::in_dir(programs)?,
        resume: true,
        kubelet: Map::new(),
        flags: Vec::new(),
        apiserver_flags: Vec::new(),
        images: Vec::new(),
        is_known_to_nodes: true,
        verbosity: 2,
        progress: progress.clone(),
    };
    let cluster = tokio::select! {
        cluster = Cluster::start(options) => cluster.context("bringing the cluster up")?,
        () = stop.requested() => {
            progress.note("stopping before it was up");
            cluster::down(dir, progress).await?;
            return Ok(None);
        }
    };
    let ran = tokio::select! {
        ran = progress.step("pod hello", cluster.run_sample()) => ran.map(|()| true),
        () = stop.requested() => Ok(false),
    };
    match ran {
        Ok(true) => Ok(Some(cluster)),
        Ok(false) => {
            cluster.stop().await?;
            Ok(None)
        }
        Err(error) => {
            // The first error is the one to tell.
            let _ = cluster.stop().await;
            Err(error).context("bringing the cluster up")
        }
    }
}

/// One line about the cluster, until it is to stop: in place on a terminal, else whenever it changes.
async fn watch(cluster: &Cluster, stop: &mut Stop) {
    let begin = tokio::time::Instant::now();
    let in_place = std::io::stderr().is_terminal();
    let mut period = tokio::time::interval(STATUS_PERIOD);
    let mut last = String::new();
    loop {
        tokio::select! {
            // Cancel-safe: a signal that has come stays noted.
            () = stop.requested() => break,
            // Cancel-safe: a tick that is lost costs a refresh.
            _ = period.tick() => {}
        }
        let line = cluster.line().await;
        let seconds = begin.elapsed().as_secs();
        // Nobody reads: nothing to be done about it.
        let _ = if in_place {
            let (minutes, seconds) = (seconds / 60, seconds % 60);
            write!(std::io::stderr(), "\r\x1b[Kup {minutes}:{seconds:02}, {line} (Ctrl-C stops it)")
        } else if line == last {
            Ok(())
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
        last = line;
    }
    if in_place {
        eprintln!();
    }
}

/// Starts the supervisor and follows it until everything is up.
async fn detach(
    dir: &Path,
    nodes: Option<usize>,
    programs: &Path,
    progress: &Progress,
) -> anyhow::Result<ExitCode> {
    let layout = Layout::new(dir);
    let (log, report) = (layout.supervisor_log(), layout.report());
    let logs = log.parent().context("the log has a directory")?;
    std::fs::create_dir_all(logs).with_context(|| format!("making {}", logs.display()))?;
    if let Some(pid) = cluster::status(dir).await.supervisor {
        bail!("the cluster in {} is up already, by process {pid}", dir.display());
    }
    // Of a supervisor that was killed.
    let _ = std::fs::remove_file(&report);
    let output = std::fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
    let program = std::env::current_exe().context("finding this program")?;
    // A session of its own: neither Ctrl-C nor the end of the terminal reaches it.
    let mut supervisor = tokio::process::Command::new("setsid")
        .arg(program)
        .arg("supervise")
        .arg("--dir")
        .arg(dir)
        .arg("--programs")
        .arg(programs)
        .args(nodes.map(|nodes| format!("--nodes={nodes}")))
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("using the log")?)
        .stderr(output)
        .spawn()
        .context("starting the supervisor")?;
    let mut seen = 0;
    loop {
        let ended = supervisor.try_wait().context("looking after the supervisor")?;
        seen += copy_news(&log, seen)?;
        if let Some(status) = ended {
            bail!("the cluster did not come up ({status}); see {}", log.display());
        }
        match std::fs::read_to_string(&report) {
            Ok(text) => {
                progress
                    .note(&format!("process {} has it up in the background", supervisor.id().unwrap_or(0)));
                print!("{text}");
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", report.display())),
        }
        tokio::time::sleep(FOLLOW_PERIOD).await;
    }
}

/// Shows what was added to a log; gives how much that was.
fn copy_news(log: &Path, seen: u64) -> anyhow::Result<u64> {
    let read = || {
        let mut file = std::fs::File::open(log)?;
        file.seek(SeekFrom::Start(seen))?;
        let mut news = Vec::new();
        file.read_to_end(&mut news)?;
        Ok::<_, std::io::Error>(news)
    };
    let news = read().with_context(|| format!("reading {}", log.display()))?;
    let _ = std::io::stderr().write_all(&news);
    Ok(news.len() as u64)
}

/// The directory of the cluster, by default below the cache.
fn place(dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    match dir {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("resolving {}", dir.display())),
        None => Ok(cache::cache_dir()?.join("cluster")),
    }
}

fn require_root() -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("containers and their network need root: run it with sudo -E env PATH=$PATH")
}

/// The signals that ask this process to end.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal was closed.
    hangup: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("catching signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn requested(&mut self) {
        tokio::select! {
            // All cancel-safe: a signal that has come stays noted.
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
