//! The program: reads the command line, serves until it is told to end.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context as _;
use apiserver::{Action, Options, Server, StartError, issue_credentials};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const EXIT_FAILED: u8 = 1;
const EXIT_BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let action = match Action::parse(std::env::args_os()) {
        Ok(action) => action,
        Err(error) => {
            // Help and version go to standard output and are no failures. A closed output leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_BAD_CONFIGURATION)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let done = match action {
        Action::Credentials(command) => issue_credentials(&command).map_err(anyhow::Error::from),
        Action::Serve(options) => serve(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("apiserver: {error:#}");
            let configuration = error.downcast_ref::<StartError>().is_some_and(StartError::is_configuration);
            ExitCode::from(if configuration { EXIT_BAD_CONFIGURATION } else { EXIT_FAILED })
        }
    }
}

fn serve(options: &Options) -> anyhow::Result<()> {
    let level = match options.verbosity {
        0 | 1 => LevelFilter::INFO,
        2 | 3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // What the libraries below say is for those who work on them.
    let foreign = if options.verbosity > 5 { LevelFilter::TRACE } else { LevelFilter::WARN };
    let targets = Targets::new().with_default(foreign).with_target("apiserver", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
        let mut server = Server::start(options).await?;
        let failed = tokio::select! {
            // All are cancel-safe, and the process ends after any of them.
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            () = server.failed() => true,
        };
        server.stop().await;
        if failed { Err(anyhow::anyhow!("a part of the server ended")) } else { Ok(()) }
    })
}
