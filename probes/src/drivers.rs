//! The attempts themselves.
//!
//! Each is one future that holds its connection: dropping it ends the attempt. Nothing is kept between attempts; a server
//! is asked over a new connection each time, as a client without history would.

mod dial;
mod grpc;
mod http;
mod location;
pub mod tls;

use std::future::Future;
use std::time::Duration;

use crate::handler::{Handler, Http, Scheme};
use crate::outcome::Outcome;

/// What is read of an answer or of a command's output, in bytes.
pub const MAX_BODY: usize = 10 * 1024;

/// How often an attempt without a result is made (behaviour.md 19.7).
const TRIES: usize = 3;

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub exit_code: i32,
    /// What it wrote, both streams.
    pub output: Vec<u8>,
}

/// Why nothing came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecError {
    /// It took too long; its processes have been ended.
    TimedOut,
    /// It could not be run.
    Failed(String),
}

/// Whoever can run a command in a container.
pub trait Exec {
    /// Runs `command` in the container with the runtime's id `container` for at most `timeout`, after which all its processes
    /// are ended.
    fn exec(
        &self,
        container: &str,
        command: &[String],
        timeout: Duration,
    ) -> impl Future<Output = Result<Ran, ExecError>> + Send;
}

/// One probe of the container with the runtime's id `container`: as many attempts as it takes for a result, three at most,
/// each no longer than `timeout`. `agent` is who asks, `kube-probe/1.36` say.
pub async fn probe<E: Exec + Sync>(
    handler: &Handler,
    container: &str,
    timeout: Duration,
    agent: &str,
    exec: &E,
) -> Outcome {
    let mut tries = 1;
    loop {
        let outcome = attempt(handler, container, timeout, agent, exec).await;
        if outcome.result().is_some() || tries == TRIES {
            return outcome;
        }
        tries += 1;
    }
}

async fn attempt<E: Exec + Sync>(
    handler: &Handler,
    container: &str,
    timeout: Duration,
    agent: &str,
    exec: &E,
) -> Outcome {
    match handler {
        Handler::Http(request) => http::get(request, timeout, agent).await,
        Handler::Tcp { host, port } => tcp(host, *port, timeout).await,
        Handler::Grpc { host, port, service } => grpc::check(host, *port, service, timeout, agent).await,
        Handler::Exec { command } => run(container, command, timeout, exec).await,
    }
}

/// behaviour.md 19.11
async fn tcp(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, dial::connect(host, port)).await {
        Ok(Ok(_connected)) => Outcome::Success,
        Ok(Err(why)) => Outcome::Failure(why),
        Err(_) => Outcome::Failure(format!("dial tcp {}: i/o timeout", dial::authority(host, port))),
    }
}

/// behaviour.md 19.9
async fn run<E: Exec + Sync>(container: &str, command: &[String], timeout: Duration, exec: &E) -> Outcome {
    match exec.exec(container, command, timeout).await {
        Ok(Ran { exit_code: 0, .. }) => Outcome::Success,
        Ok(Ran { mut output, .. }) => {
            output.truncate(MAX_BODY);
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(ExecError::TimedOut) => {
            let shown = command.join(" ");
            Outcome::Failure(format!("command timed out: {shown:?} timed out after {}", seconds(timeout)))
        }
        Err(ExecError::Failed(message)) => Outcome::unknown(message),
    }
}

/// As Go writes a duration of whole seconds: `1s`, `1m30s`, `2h0m0s`.
fn seconds(duration: Duration) -> String {
    let all = duration.as_secs();
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests;
