//! What a daemon and its node must not keep once nothing is left to do: two looks at it, compared item by item.
//!
//! ```text
//! Places -> script -> shell of this machine or of a virtual one -> Holdings     Holdings + Holdings -> Comparison: table, leaks
//! ```
//!
//! A look is a shell script, so that it is the same on this machine and in a node of [`vm`](crate::vm). Everything but memory is counted
//! under a name of its own: a leak says what it is. What has become less is no leak.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cri_client::{CallError, Client};
use thiserror::Error;
use tokio::time::Instant;

use crate::command::{self, CommandError};
use crate::vm;

const LOOK_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);
/// Leaks of one kind that are named; the rest is counted.
const NAMED: usize = 5;

/// Why a look showed nothing.
#[derive(Debug, Error)]
pub enum LookError {
    /// The shell of this machine fails.
    #[error("looking at the daemon")]
    Shell(#[from] CommandError),
    /// The shell of a virtual machine fails.
    #[error("looking at the daemon in its node")]
    Node(#[from] Box<vm::NodeError>),
    /// The runtime does not tell what it has.
    #[error("asking the runtime")]
    Runtime(#[from] CallError),
    /// The daemon does not run.
    #[error("the daemon has no memory: it does not run")]
    Gone,
}

/// Where commands run.
#[derive(Clone, Copy, Debug)]
pub enum Shell<'a> {
    /// On this machine.
    Here,
    /// In a virtual one.
    In(&'a vm::Node),
}

impl Shell<'_> {
    /// Runs a script; gives what it wrote.
    ///
    /// # Errors
    /// It fails, or does not end in a minute.
    pub async fn run(self, script: &str) -> Result<String, LookError> {
        match self {
            Self::Here => {
                let mut shell = command::command(std::path::Path::new("/bin/sh"));
                Ok(command::run(shell.args(["-euc", script]), LOOK_LIMIT).await?.stdout)
            }
            Self::In(node) => node.sh(script).await.map_err(|error| Box::new(error).into()),
        }
    }
}

/// Where a daemon and its runtime keep things. Paths have no blanks in them.
#[derive(Clone, Debug)]
pub struct Places {
    /// Shell words that write the daemon's process id.
    pub daemon: String,
    /// The daemon's `--root-dir`.
    pub root: String,
    /// Directory of the pods' logs.
    pub pod_logs: String,
    /// Directory of links to them.
    pub log_links: String,
    /// What ends with the machine of the runtime's: mounts of containers and network namespaces are below it.
    pub runtime_state: String,
    /// Further directories with network namespaces or addresses that are taken.
    pub namespaces: Vec<String>,
    /// The pods' bridge.
    pub bridge: String,
    /// The cgroup below which all pods are, as a directory; none where pods have no cgroups.
    pub cgroups: Option<String>,
}

/// Of what something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The daemon's open files.
    Descriptor,
    /// The daemon's inotify watches.
    Watch,
    /// The daemon's threads.
    Thread,
    /// The daemon's asynchronous tasks.
    Task,
    /// Processes that the daemon has started.
    Helper,
    /// Shims of the runtime, and mounts below its state. Where the daemon is killed while containerd starts a container for it, containerd
    /// gives up half-way and keeps a shim, and the beginnings of a process, of which it knows nothing any more.
    Runtime,
    /// Mounts below the daemon's root directory.
    Mount,
    /// Files and directories below the daemon's root directory and that of the pods' logs.
    File,
    /// Links to logs.
    Link,
    /// Control groups of pods.
    Cgroup,
    /// Of the runtime.
    Sandbox,
    /// Of the runtime.
    Container,
    /// Network namespaces, ports of the bridge, addresses.
    Network,
}

impl Kind {
    /// All of them, with their names.
    const ALL: [(Self, &'static str); 13] = [
        (Self::Descriptor, "descriptors"),
        (Self::Watch, "inotify watches"),
        (Self::Thread, "threads"),
        (Self::Task, "tasks"),
        (Self::Helper, "helper processes"),
        (Self::Runtime, "shims and mounts of the runtime"),
        (Self::Mount, "mounts"),
        (Self::File, "files and directories"),
        (Self::Link, "links to logs"),
        (Self::Cgroup, "cgroups"),
        (Self::Sandbox, "sandboxes"),
        (Self::Container, "containers"),
        (Self::Network, "network ends"),
    ];

    /// Whether it says something only of one process of the daemon that was not killed.
    fn is_of_process(self) -> bool {
        matches!(self, Self::Descriptor | Self::Watch | Self::Thread | Self::Task | Self::Runtime)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "descriptor" => Self::Descriptor,
            "watch" => Self::Watch,
            "thread" => Self::Thread,
            "helper" => Self::Helper,
            "runtime" => Self::Runtime,
            "mount" => Self::Mount,
            "file" => Self::File,
            "link" => Self::Link,
            "cgroup" => Self::Cgroup,
            "network" => Self::Network,
            _ => return None,
        })
    }
}

/// What there is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The daemon's proportional share of all pages that it maps, in KiB.
    pub pss_kib: u64,
    /// The part of it that no file backs, in KiB: what can leak.
    pub anonymous_kib: u64,
    things: BTreeMap<(Kind, String), u64>,
}

impl Holdings {
    /// Looks at everything. `tasks` is what the daemon counts itself, where it was asked.
    ///
    /// # Errors
    /// The daemon does not run, or somebody does not answer.
    pub async fn look(
        shell: Shell<'_>,
        places: &Places,
        cri: &Client,
        tasks: Option<u64>,
    ) -> Result<Self, LookError> {
        let mut holdings = Self::parse(&shell.run(&script(places)).await?);
        if holdings.pss_kib == 0 {
            return Err(LookError::Gone);
        }
        for sandbox in cri.list_pod_sandboxes([].into()).await? {
            holdings.add(Kind::Sandbox, &named(&sandbox.labels, &sandbox.id), 1);
        }
        for container in cri.list_containers([].into()).await? {
            holdings.add(Kind::Container, &named(&container.labels, &container.id), 1);
        }
        if let Some(tasks) = tasks {
            holdings.add(Kind::Task, "alive", tasks);
        }
        Ok(holdings)
    }

    /// Of lines `word TAB item`, and `word TAB item TAB count`.
    fn parse(text: &str) -> Self {
        let mut holdings = Self::default();
        for line in text.lines() {
            let mut parts = line.split('\t');
            let (Some(word), Some(item)) = (parts.next(), parts.next()) else { continue };
            let number = |text: &str| text.trim().parse().unwrap_or(0);
            match word {
                "pss" => holdings.pss_kib = number(item),
                "anonymous" => holdings.anonymous_kib = number(item),
                _ => {
                    let Some(kind) = Kind::of_word(word) else { continue };
                    let item = if kind == Kind::Descriptor { target(item) } else { item };
                    holdings.add(kind, item, parts.next().map_or(1, number));
                }
            }
        }
        holdings
    }

    /// Where a node that has had pods begins: what a new one has, and what only the first pods bring, the process's own and files.
    #[must_use]
    pub fn on_the_node_of(self, empty: &Self) -> Self {
        let stays = |kind: Kind| kind.is_of_process() || kind == Kind::File;
        let own = self.things.into_iter().filter(|((kind, _), _)| stays(*kind));
        let others = empty.things.iter().filter(|((kind, _), _)| !stays(*kind));
        let things = own.chain(others.map(|(key, count)| (key.clone(), *count))).collect();
        Self { things, ..self }
    }

    fn add(&mut self, kind: Kind, item: &str, count: u64) {
        *self.things.entry((kind, item.to_owned())).or_default() += count;
    }

    fn count(&self, kind: Kind) -> u64 {
        self.things.iter().filter(|((k, _), _)| *k == kind).map(|(_, n)| n).sum()
    }
}

/// Sockets and pipes have numbers that tell nothing.
fn target(link: &str) -> &str {
    match link.split_once(':') {
        Some((kind @ ("socket" | "pipe"), _)) => kind,
        _ => link,
    }
}

fn named(labels: &std::collections::HashMap<String, String>, id: &str) -> String {
    let label = |name: &str| labels.get(&format!("io.kubernetes.{name}")).map_or("?", String::as_str);
    format!("{}/{} {}", label("pod.namespace"), label("pod.name"), id.get(..12).unwrap_or(id))
}

/// The script of a look. What vanishes meanwhile is not there.
fn script(places: &Places) -> String {
    let Places { daemon, root, pod_logs, log_links, runtime_state, namespaces, bridge, cgroups } = places;
    let cgroups = cgroups.as_deref().unwrap_or("/nonexistent");
    let namespaces = namespaces.join(" ");
    format!(
        r#"set +e
exec 2>/dev/null
pid=$({daemon})
each() {{ while IFS= read -r line; do printf '%s\t%s\n' "$1" "$line"; done; }}
sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' /proc/$pid/smaps_rollup | each pss
sed -n 's/^Pss_Anon: *\([0-9]*\) kB/\1/p' /proc/$pid/smaps_rollup | each anonymous
find /proc/$pid/fd -mindepth 1 -printf '%l\n' | each descriptor
cat /proc/$pid/fdinfo/* | grep '^inotify ' | sed 's/.*/inotify/' | each watch
cat /proc/$pid/task/*/comm | each thread
for child in $(cat /proc/$pid/task/*/children); do
    printf 'helper\tchild %s %s\n' "$child" "$(cat /proc/$child/comm)"
done
for shim in $(grep -sl '^containerd-shim' /proc/[0-9]*/comm); do
    line=$(tr '\0' ' ' <"${{shim%comm}}cmdline")
    case "$line" in *"{runtime_state}/"*) printf 'runtime\tshim %s\n' "$line" ;; esac
done
while read -r id parent device inside point rest; do
    case "$point" in
        {root}/*) printf 'mount\t%s\n' "$point" ;;
        {runtime_state}/*) printf 'runtime\t%s\n' "$point" ;;
    esac
done </proc/self/mountinfo
find {root} {pod_logs} -mindepth 1 | each file
find {log_links} -mindepth 1 | each link
find {cgroups} -mindepth 1 -type d | each cgroup
find /sys/class/net/{bridge}/brif {namespaces} -mindepth 1 ! -type d ! -name lock ! -name 'last_reserved_ip*' | each network
exit 0
"#
    )
}

/// What a comparison may find without its being a leak.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Growth of the memory that no file backs, in KiB.
    pub anonymous_kib: u64,
    /// Whether the same process is looked at twice: only then are its memory, descriptors, threads, tasks, and what the runtime started for
    /// it compared.
    pub same_process: bool,
    /// Whether files are compared: a daemon's first pods make some that stay.
    pub files: bool,
}

impl Bounds {
    fn compares(self, kind: Kind) -> bool {
        (self.same_process || !kind.is_of_process()) && (self.files || kind != Kind::File)
    }
}

/// The most that there was of each kind at any of some looks: what has never been seen cannot be missed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peak(BTreeMap<Kind, u64>);

impl Peak {
    /// Takes in one look.
    pub fn note(&mut self, seen: &Holdings) {
        for (kind, _) in Kind::ALL {
            let most = self.0.entry(kind).or_default();
            *most = seen.count(kind).max(*most);
        }
    }

    /// Names of what pods always have and was never seen; `cgroups` says whether they have those.
    #[must_use]
    pub fn unseen(&self, cgroups: bool) -> Vec<&'static str> {
        let always = [Kind::Mount, Kind::File, Kind::Link, Kind::Sandbox, Kind::Container, Kind::Network];
        let all = always.into_iter().chain(cgroups.then_some(Kind::Cgroup));
        all.filter(|kind| self.0.get(kind).is_none_or(|most| *most == 0)).map(Kind::name).collect()
    }
}

/// Two looks.
#[derive(Clone, Debug)]
pub struct Comparison {
    before: Holdings,
    after: Holdings,
    bounds: Bounds,
}

impl Comparison {
    /// Of a look before the work, and one after it.
    #[must_use]
    pub fn new(before: Holdings, after: Holdings, bounds: Bounds) -> Self {
        Self { before, after, bounds }
    }

    /// What is there afterwards and was not before, one line each; nothing where all is well.
    #[must_use]
    pub fn leaks(&self) -> Vec<String> {
        let Self { before, after, bounds } = self;
        let mut leaks = Vec::new();
        let grown = after.anonymous_kib.saturating_sub(before.anonymous_kib);
        if bounds.same_process && grown > bounds.anonymous_kib {
            leaks.push(format!(
                "memory not backed by a file: {grown} KiB more, {} allowed",
                bounds.anonymous_kib
            ));
        }
        for (kind, name) in Kind::ALL {
            if !bounds.compares(kind) {
                continue;
            }
            let of_kind = after.things.iter().filter(|((k, _), _)| *k == kind);
            let more: Vec<String> = of_kind
                .filter_map(|(key, now)| {
                    let was = before.things.get(key).copied().unwrap_or(0);
                    let item = &key.1;
                    (*now > was + spare(kind, item))
                        .then(|| if *now == 1 { item.clone() } else { format!("{item}: {was} -> {now}") })
                })
                .collect();
            leaks.extend(more.iter().take(NAMED).map(|item| format!("{name}: {item}")));
            if more.len() > NAMED {
                leaks.push(format!("{name}: and {} more", more.len() - NAMED));
            }
        }
        leaks
    }
}

/// Threads for calls that block come when they are needed and go after ten seconds without work: some more of them are no leak, which
/// would know no bound.
fn spare(kind: Kind, item: &str) -> u64 {
    if kind == Kind::Thread && item == "tokio-rt-worker" { 6 } else { 0 }
}

/// A table: what, before, at most in between, after.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Comparison, pub &'a Peak);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Comparison { before, after, bounds }, peak) = self;
        writeln!(f, "{:32} {:>10} {:>10} {:>10}", "", "before", "at most", "after")?;
        if bounds.same_process {
            writeln!(
                f,
                "{:32} {:>10} {:>10} {:>10}",
                "memory (PSS), KiB", before.pss_kib, "", after.pss_kib
            )?;
            let (was, now) = (before.anonymous_kib, after.anonymous_kib);
            writeln!(f, "{:32} {was:>10} {:>10} {now:>10}", "  not backed by a file", "")?;
        }
        let shown = Kind::ALL.iter().filter(|(kind, _)| bounds.compares(*kind));
        for (kind, _) in shown {
            let (was, now) = (before.count(*kind), after.count(*kind));
            let most = peak.0.get(kind).copied().unwrap_or(0);
            writeln!(f, "{:32} {was:>10} {most:>10} {now:>10}", kind.name())?;
        }
        Ok(())
    }
}

/// Looks again and again until nothing has leaked, at most for `limit`; gives the last look. Connections that nobody uses and the
/// like take their time to go.
///
/// # Errors
/// A look fails to the end.
pub async fn settled<F>(
    before: &Holdings,
    bounds: Bounds,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<Comparison, LookError>
where
    F: Future<Output = Result<Holdings, LookError>>,
{
    let end = Instant::now() + limit;
    loop {
        let seen = look().await;
        let over = Instant::now() + PAUSE >= end;
        match seen {
            Ok(after) => {
                let compared = Comparison::new(before.clone(), after, bounds);
                if over || compared.leaks().is_empty() {
                    return Ok(compared);
                }
            }
            Err(error) if over => return Err(error),
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
