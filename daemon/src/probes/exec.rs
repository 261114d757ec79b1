//! Commands in containers, through the runtime, which ends their processes on timeout.

use std::time::Duration;

use cri_client::{CallError, Cause, Client};
use probes::drivers::{Exec, ExecError, Ran};

use crate::cause::chain;

/// See the module's page.
#[derive(Clone, Debug)]
pub(super) struct RuntimeExec(pub(super) Client);

impl Exec for RuntimeExec {
    async fn exec(&self, container: &str, command: &[String], timeout: Duration) -> Result<Ran, ExecError> {
        match self.0.exec_sync(container, command.to_vec(), Some(timeout)).await {
            Ok(done) => {
                let mut output = done.stdout;
                output.extend_from_slice(&done.stderr);
                Ok(Ran { exit_code: done.exit_code, output })
            }
            Err(CallError { cause: Cause::Deadline { .. }, .. }) => Err(ExecError::TimedOut),
            Err(error) => Err(ExecError::Failed(chain(&error))),
        }
    }
}
