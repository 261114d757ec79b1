//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, ArgAction, ArgMatches, value_parser};

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Explain all of them.
    Help(String),
    Up(Up),
    /// `up` in the background; started by `up --detach`.
    Supervise(Supervise),
    Down {
        dir: Option<PathBuf>,
    },
    Status {
        dir: Option<PathBuf>,
    },
    Test(Test),
    /// Nodes in virtual machines.
    Vm(Vm),
    /// The simulator, with its own arguments.
    Sim(Vec<String>),
    /// The Debian packages.
    Package {
        dir: Option<PathBuf>,
    },
    Bench(Bench),
    Fuzz(Fuzz),
    Soak(Soak),
    /// The list of functions for the linker.
    Layout,
}

#[derive(Debug)]
pub(crate) struct Fuzz {
    /// Parts of names; none for all.
    pub(crate) targets: Vec<String>,
    /// For each.
    pub(crate) minutes: u64,
    /// Only name them.
    pub(crate) list: bool,
    /// Have some of the inputs kept beside the sources.
    pub(crate) keep: bool,
}

#[derive(Debug)]
pub(crate) struct Soak {
    pub(crate) minutes: u64,
    /// None for one that nobody has drawn yet.
    pub(crate) seed: Option<u64>,
    pub(crate) lanes: u64,
    /// How often the daemon is killed in the first third; never where 0.
    pub(crate) kill_seconds: u64,
    pub(crate) vm: bool,
    pub(crate) hollow: bool,
    /// Of a hollow one.
    pub(crate) pods: usize,
    pub(crate) profile: Profile,
}

#[derive(Debug)]
pub(crate) struct Bench {
    /// None for all.
    pub(crate) parts: Vec<String>,
    /// How long probes are watched.
    pub(crate) minutes: u64,
}

#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) nodes: Option<usize>,
    pub(crate) detach: bool,
    pub(crate) profile: Profile,
}

#[derive(Debug)]
pub(crate) struct Supervise {
    pub(crate) dir: PathBuf,
    pub(crate) nodes: Option<usize>,
    pub(crate) programs: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Test {
    /// None for all.
    pub(crate) suites: Vec<String>,
    pub(crate) threads: u32,
}

#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) action: VmAction,
    pub(crate) nodes: usize,
    pub(crate) packages: Vec<PathBuf>,
    pub(crate) profile: Profile,
}

/// What to do with virtual machines.
#[derive(Debug)]
pub(crate) enum VmAction {
    /// Kernel and image.
    Build,
    /// A command in the first node; a shell where there is none.
    Shell { command: Vec<String> },
    /// The tests with this in their name.
    Run { test: String },
}

/// How the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Release,
    Debug,
}

/// The error also stands for `--help`, which is none.
pub(crate) fn parse<I: IntoIterator<Item = OsString>>(arguments: I) -> Result<Command, clap::Error> {
    let mut command = command();
    let matches = command.clone().try_get_matches_from(arguments)?;
    Ok(match matches.subcommand() {
        Some(("up", matches)) => Command::Up(Up {
            dir: matches.get_one("dir").cloned(),
            nodes: matches.get_one("nodes").copied(),
            detach: matches.get_flag("detach"),
            profile: profile_of(matches),
        }),
        Some(("supervise", matches)) => Command::Supervise(Supervise {
            dir: one(matches, "dir"),
            nodes: matches.get_one("nodes").copied(),
            programs: one(matches, "programs"),
        }),
        Some(("down", matches)) => Command::Down { dir: matches.get_one("dir").cloned() },
        Some(("status", matches)) => Command::Status { dir: matches.get_one("dir").cloned() },
        Some(("sim", matches)) => {
            Command::Sim(matches.get_many("argument").into_iter().flatten().cloned().collect())
        }
        Some(("package", matches)) => Command::Package { dir: matches.get_one("dir").cloned() },
        Some(("vm", matches)) => Command::Vm(vm(matches)),
        Some(("bench", matches)) => Command::Bench(Bench {
            parts: matches.get_many::<String>("part").into_iter().flatten().cloned().collect(),
            minutes: one(matches, "minutes"),
        }),
        Some(("fuzz", matches)) => Command::Fuzz(Fuzz {
            targets: matches.get_many("target").into_iter().flatten().cloned().collect(),
            minutes: one(matches, "minutes"),
            list: matches.get_flag("list"),
            keep: matches.get_flag("keep"),
        }),
        Some(("layout", _)) => Command::Layout,
        Some(("soak", matches)) => Command::Soak(Soak {
            minutes: one(matches, "minutes"),
            seed: matches.get_one("seed").copied(),
            lanes: one(matches, "lanes"),
            kill_seconds: one(matches, "kill-every"),
            vm: matches.get_flag("vm"),
            hollow: matches.get_flag("hollow"),
            pods: one(matches, "pods"),
            profile: profile_of(matches),
        }),
        Some(("test", matches)) => Command::Test(Test {
            suites: matches.get_many("suite").into_iter().flatten().cloned().collect(),
            threads: one(matches, "threads"),
        }),
        _ => Command::Help(command.render_help().to_string()),
    })
}

fn vm(matches: &ArgMatches) -> Vm {
    let nothing = |action| Vm { action, nodes: 1, packages: Vec::new(), profile: Profile::Debug };
    match matches.subcommand() {
        Some(("shell", matches)) => Vm {
            action: VmAction::Shell {
                command: matches.get_many("command").into_iter().flatten().cloned().collect(),
            },
            nodes: one::<usize>(matches, "nodes"),
            packages: matches.get_many("deb").into_iter().flatten().cloned().collect(),
            profile: profile_of(matches),
        },
        Some(("run", matches)) => nothing(VmAction::Run { test: one(matches, "test") }),
        _ => nothing(VmAction::Build),
    }
}

fn profile_of(matches: &ArgMatches) -> Profile {
    if one::<String>(matches, "profile") == "debug" { Profile::Debug } else { Profile::Release }
}

/// An argument that is required or has a default.
fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    matches.get_one::<T>(name).cloned().expect("clap has refused a command line without it")
}

fn command() -> clap::Command {
    let dir = || {
        Arg::new("dir")
            .long("dir")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("The cluster's directory; clusters in several stand side by side [default: cluster, in the cache]")
    };
    let nodes = || {
        Arg::new("nodes")
            .long("nodes")
            .value_name("N")
            .value_parser(value_parser!(u8).range(1..=16).map(usize::from))
            .help("How many nodes, at least as many as the cluster has had [default: that many, or 1]")
    };
    let profile = |default| {
        Arg::new("profile")
            .long("profile")
            .value_parser(PossibleValuesParser::new(["release", "debug"]))
            .default_value(default)
            .help("How the programs are built")
    };
    clap::Command::new("cargo xtask")
        .about("The commands of a developer of nodelet")
        .after_help(
            "A first look:\n  cargo xtask up      brings up a cluster, and shows how to use it with kubectl\n  \
             cargo xtask test    runs everything that CI runs\n\n\
             Both need root for containers, fetch what is missing into the cache ($XDG_CACHE_HOME/nodelet, or\n\
             ~/.cache/nodelet), and touch neither the system's containerd nor its packages. The virtual machines of `test` and `vm`\n\
             need tools to build a kernel and a disk (gcc, make, flex, bison, bc, debootstrap): what is missing is installed.",
        )
        .subcommand(
            clap::Command::new("up")
                .about("Brings up a whole cluster on this machine, with the state that its directory has")
                .arg(dir())
                .arg(nodes())
                .arg(
                    Arg::new("detach")
                        .long("detach")
                        .action(ArgAction::SetTrue)
                        .help("Leave it running in the background"),
                )
                .arg(profile("release")),
        )
        .subcommand(
            clap::Command::new("supervise")
                .hide(true)
                .arg(dir().required(true))
                .arg(nodes())
                .arg(Arg::new("programs").long("programs").required(true).value_parser(value_parser!(PathBuf))),
        )
        .subcommand(
            clap::Command::new("down").about("Stops a cluster in order; its state stays for the next up").arg(dir()),
        )
        .subcommand(
            clap::Command::new("status").about("Tells what runs; ends with 1 where nothing does").arg(dir()),
        )
        .subcommand(
            clap::Command::new("package")
                .about("Builds the Debian packages nodelet and nodelet-kubelet; the same sources give the same bytes")
                .arg(
                    Arg::new("dir")
                        .long("dir")
                        .value_name("DIR")
                        .value_parser(value_parser!(PathBuf))
                        .help("Where they are put [default: debian, in cargo's target directory]"),
                ),
        )
        .subcommand(
            clap::Command::new("bench")
                .about("Measures size, memory, processor time and speed of the release programs; takes ten minutes")
                .arg(
                    Arg::new("part")
                        .num_args(0..)
                        .value_parser(["pods", "burst", "hollow", "logs", "probes", "stats", "store", "streams", "volumes"])
                        .help("Only these: pods and bursts on containerd, the daemon alone, logs, probes, figures, the API server, streams, volumes"),
                )
                .arg(
                    Arg::new("minutes")
                        .long("minutes")
                        .value_name("N")
                        .value_parser(value_parser!(u64).range(1..=600))
                        .default_value("1")
                        .help("How long 500 probes of a second are watched"),
                ),
        )
        .subcommand(
            clap::Command::new("sim")
                .about("Runs the pod machines in a simulated world with faults: `cargo xtask sim -- --seeds 1000000`")
                .arg(Arg::new("argument").num_args(0..).allow_hyphen_values(true).trailing_var_arg(true).help(
                    "--seeds N, --first S, --threads N; --seed S tells one run that fails, in its smallest form",
                )),
        )
        .subcommand(fuzz_command())
        .subcommand(soak_command(profile("debug")))
        .subcommand(
            clap::Command::new("layout")
                .about("Watches which functions an idle node runs, and lists them for the linker in daemon/layout.ld"),
        )
        .subcommand(vm_command(profile("debug")))
        .subcommand(
            clap::Command::new("test")
                .about("Runs all checks and tests, and ends with a line of totals")
                .arg(
                    Arg::new("suite")
                        .num_args(0..)
                        .help("fmt, clippy, deny, unit, or a file of tests/tests; all without any"),
                )
                .arg(
                    Arg::new("threads")
                        .long("threads")
                        .value_name("N")
                        .value_parser(value_parser!(u32).range(1..=16))
                        .default_value("1")
                        .help("How many tests with containers run at the same time"),
                ),
        )
}

fn fuzz_command() -> clap::Command {
    clap::Command::new("fuzz")
        .about("Runs fuzz targets led by coverage, as many at a time as there are processors; needs a C++ compiler")
        .arg(Arg::new("target").num_args(0..).help("Only those that have this in their names"))
        .arg(
            Arg::new("minutes")
                .long("minutes")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=1440))
                .default_value("1")
                .help("How long each runs"),
        )
        .arg(Arg::new("list").long("list").action(ArgAction::SetTrue).help("Only list them"))
        .arg(
            Arg::new("keep").long("keep").action(ArgAction::SetTrue).help(
                "Keep as few inputs as lead everywhere beside the sources, for every run of the tests",
            ),
        )
}

fn soak_command(profile: Arg) -> clap::Command {
    let number = |name: &'static str, value: &'static str, default: &'static str, most: u64| {
        let least = u64::from(name != "kill-every");
        Arg::new(name)
            .long(name)
            .value_name(value)
            .value_parser(value_parser!(u64).range(least..=most))
            .default_value(default)
    };
    clap::Command::new("soak")
        .about("Has pods come and go all the time on a node, and looks for what is left afterwards; ends with 1 where anything leaks")
        .arg(number("minutes", "N", "20", 24 * 60).help("How long pods come and go, without what is waited for"))
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("S")
                .value_parser(value_parser!(u64))
                .help("What is done follows from it [default: a new one, which is printed]"),
        )
        .arg(number("lanes", "N", "6", 64).help("Pods at a time"))
        .arg(number("kill-every", "SECONDS", "20", 3_600).help("How often the daemon is killed in the first third; 0: never"))
        .arg(
            Arg::new("vm")
                .long("vm")
                .action(ArgAction::SetTrue)
                .help("On a node in a virtual machine, which has systemd and cgroups"),
        )
        .arg(
            Arg::new("hollow")
                .long("hollow")
                .action(ArgAction::SetTrue)
                .conflicts_with("vm")
                .help("The daemon alone, beside a runtime that answers at once: how much its memory grows"),
        )
        .arg(
            Arg::new("pods")
                .long("pods")
                .value_name("N")
                .value_parser(value_parser!(u32).range(100..=1_000_000).map(|pods| pods as usize))
                .default_value("10000")
                .help("How many come and go with --hollow, after a tenth of that to warm up"),
        )
        .arg(profile)
}

fn vm_command(profile: Arg) -> clap::Command {
    let shell = clap::Command::new("shell")
        .about("Boots nodes with the programs of this clone, and opens a shell in the first or runs a command there")
        .arg(
            Arg::new("nodes")
                .long("nodes")
                .value_name("N")
                .value_parser(value_parser!(u8).range(1..=8).map(usize::from))
                .default_value("1")
                .help("How many nodes"),
        )
        .arg(
            Arg::new("deb")
                .long("deb")
                .value_name("FILE")
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .help("Install this package in each node instead of the bare program"),
        )
        .arg(profile)
        .arg(
            Arg::new("command")
                .num_args(0..)
                .allow_hyphen_values(true)
                .trailing_var_arg(true)
                .help("What to run instead of a shell; its exit code is this command's"),
        );
    clap::Command::new("vm")
        .about("Real nodes in virtual machines: systemd, cgroup v2 and a kernel of their own")
        .subcommand_required(true)
        .subcommand(
            clap::Command::new("build").about(
                "Builds the kernel and the image of the nodes where the cache has none of these inputs",
            ),
        )
        .subcommand(shell)
        .subcommand(
            clap::Command::new("run")
                .about("Runs the tests on virtual machines that have TEST in their name")
                .arg(Arg::new("test").value_name("TEST").required(true)),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Command, clap::Error> {
        parse(["xtask"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn without_a_command_it_explains_itself_and_that_is_no_failure() {
        let Ok(Command::Help(text)) = parsed(&[]) else { panic!("help") };
        assert!(["up", "down", "status", "test"].iter().all(|command| text.contains(command)), "{text}");
        assert!(!text.contains("supervise"), "{text}");
    }

    #[test]
    fn a_command_for_a_node_keeps_its_own_options() {
        let line = ["vm", "shell", "--nodes", "2", "--", "journalctl", "--nodes", "-b"];
        let Ok(Command::Vm(vm)) = parsed(&line) else { panic!("vm") };
        let VmAction::Shell { command } = vm.action else { panic!("shell") };
        assert_eq!(
            (vm.nodes, command.as_slice()),
            (2, ["journalctl", "--nodes", "-b"].map(str::to_owned).as_slice())
        );
    }

    #[test]
    fn a_soak_may_leave_the_daemon_alone_and_lasts_twenty_minutes_by_itself() {
        let Ok(Command::Soak(soak)) = parsed(&["soak", "--kill-every", "0", "--seed", "7"]) else {
            panic!("soak")
        };
        assert_eq!((soak.minutes, soak.seed, soak.kill_seconds, soak.vm), (20, Some(7), 0, false));
        assert!(parsed(&["soak", "--minutes", "0"]).is_err());
    }

    #[test]
    fn a_cluster_has_at_least_one_node() {
        assert!(parsed(&["up", "--nodes", "0"]).is_err());
        let Ok(Command::Up(up)) = parsed(&["up", "--nodes", "3"]) else { panic!("up") };
        assert_eq!((up.nodes, up.profile), (Some(3), Profile::Release));
    }
}
