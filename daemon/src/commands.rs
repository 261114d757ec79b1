//! The commands beside the daemon, as one table: what `nodelet --help` lists and what `main` runs.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{explain, membership, view};

/// A command.
#[derive(Debug)]
pub struct Subcommand {
    /// The first word after the program's.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Runs it; the command's name is the first argument.
    pub main: fn(Vec<OsString>) -> ExitCode,
}

/// All of them, in the order of the help.
pub static COMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "status",
        about: "Show this node on a page: identity, conditions, resources, runtime, certificates, last errors",
        main: view::status,
    },
    Subcommand { name: "top", about: "Show what pods and containers use, live", main: view::top },
    Subcommand { name: "pods", about: "List the pods of this node", main: view::pods },
    Subcommand { name: "logs", about: "Print what a container has written", main: view::logs },
    Subcommand { name: "exec", about: "Run a command in a container", main: view::exec },
    Subcommand {
        name: "explain",
        about: "Tell why a pod is in its present state, what it waits for, and what happened",
        main: explain::main,
    },
    Subcommand {
        name: "doctor",
        about: "Check this machine, its runtime and the configuration, and say what to do",
        main: view::doctor,
    },
    Subcommand { name: "join", about: "Make this machine a node of a cluster", main: membership::main_join },
    Subcommand {
        name: "leave",
        about: "Drain this node and take it out of its cluster",
        main: membership::main_leave,
    },
];

/// The command of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Subcommand> {
    COMMANDS.iter().find(|command| command.name == name)
}
