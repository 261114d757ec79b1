//! The scheduler's program: flags, log, signals.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use scheduler::{Flags, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

const EXIT_BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args_os()) {
        Ok(flags) => flags,
        Err(error) => {
            // If even this cannot be written there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_BAD_CONFIGURATION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    log_to_stderr(flags.verbosity);
    match start(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scheduler: {error:#}");
            ExitCode::from(error.downcast_ref::<StartError>().map_or(1, StartError::exit_code))
        }
    }
}

fn log_to_stderr(verbosity: u8) {
    let (own, others) = match verbosity {
        0 | 1 => (LevelFilter::INFO, LevelFilter::WARN),
        2..=5 => (LevelFilter::DEBUG, LevelFilter::WARN),
        _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    // It tells each failed connection, which the scheduler tells once.
    let client = if verbosity > 5 { others } else { LevelFilter::OFF };
    let filter =
        Targets::new().with_target("scheduler", own).with_target("kube_client", client).with_default(others);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}

fn start(flags: Flags) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the asynchronous runtime")?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Ok(scheduler::run(flags, stop).await?)
    })
}
