//! The developer's commands: `cargo xtask` explains them.
//!
//! | module | command |
//! |---|---|
//! | `arguments` | the command line |
//! | `build` | cargo, and where it put the programs |
//! | `up` | a cluster on this machine, in the foreground or the background |
//! | `report` | what runs where |
//! | `package` | the Debian packages |
//! | `tool` | programs of others that are built once into the cache |
//! | `bench` | the figures of SPECIFICATION.md |
//! | `fuzz` | fuzzing that is led by coverage |
//! | `soak` | pods come and go, and nothing is left |
//! | `layout` | which functions of the daemon lie side by side |
//! | `sim` | the simulator of the pod machines |
//! | `vm` | nodes in virtual machines |
//! | `test` | all checks and tests, with one summary line |
#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod build;
mod fuzz;
mod layout;
mod package;
mod report;
mod sim;
mod soak;
mod test;
mod tool;
mod up;
mod vm;

use std::process::ExitCode;

use anyhow::Context as _;
use arguments::Command;

const EXIT_FAILED: u8 = 1;
const EXIT_BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match arguments::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(error) => {
            // Nobody reads: nothing to be done about it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_BAD_USAGE } else { 0 });
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime");
    let outcome = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(run(command));
        // A read of the terminal that nobody waits for any more does not end by itself.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Help(text) => {
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Up(options) => up::up(options).await,
        Command::Supervise(options) => up::supervise(options).await,
        Command::Down { dir } => up::down(&dir).await,
        Command::Status { dir } => up::status(&dir).await,
        Command::Sim(arguments) => sim::run(&arguments).await,
        Command::Test(options) => test::run(options).await,
        Command::Package { dir } => package::run(dir).await,
        Command::Vm(options) => vm::run(options).await,
        Command::Fuzz(options) => fuzz::run(options).await,
        Command::Bench(options) => Box::pin(bench::run(&options)).await,
        Command::Soak(options) => soak::run(&options).await,
        Command::Layout => layout::run().await,
    }
}
