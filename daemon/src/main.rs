//! The program: flags and configuration in, an exit code out.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use nodelet::commands;
use nodelet::config::EXIT_BAD_CONFIGURATION;
use nodelet::flags::{FlagError, Flags};

fn main() -> ExitCode {
    let arguments = || std::env::args_os().skip(1);
    let first = arguments().next();
    if let Some(command) = first.as_ref().and_then(|name| name.to_str()).and_then(commands::find) {
        return (command.main)(arguments().collect());
    }
    heap::set_up();
    let flags = match Flags::parse(std::env::args_os()) {
        Ok(flags) => flags,
        Err(FlagError::Information(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("nodelet: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    let loaded = match flags.load_config() {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("nodelet: {error}");
            return ExitCode::from(EXIT_BAD_CONFIGURATION);
        }
    };
    nodelet::logging::start(&loaded.config.logging);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    // One thread is enough for what a node agent does, and costs the least memory.
    let runtime =
        match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("nodelet: the asynchronous runtime cannot be started: {error}");
                return ExitCode::FAILURE;
            }
        };
    match runtime.block_on(nodelet::daemon::run(flags, loaded.config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nodelet: {}", error.explained());
            ExitCode::from(error.exit_code())
        }
    }
}
