//! One run of a plugin: `CredentialProviderRequest` on its standard input, `CredentialProviderResponse` on its standard output.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::config::GoDuration;
use crate::images::accounts::Account;
use crate::images::credential::{Credential, Hidden};
use crate::images::docker_config::DockerConfig;
use crate::systemd::PRIVATE_VARIABLES;

/// behaviour.md 14.4.
const LIMIT: Duration = Duration::from_secs(60);
const MAX_RESPONSE: u64 = 1 << 20;
/// Of what a plugin says on its standard error, so much goes into the log.
const MAX_COMPLAINT: u64 = 1 << 10;

/// How a plugin is run.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) api_version: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

/// Why a run gave no credentials.
#[derive(Debug, Error)]
pub(super) enum ExecError {
    #[error("starting {program}", program = program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("talking to the plugin")]
    Talk(#[source] io::Error),
    #[error("it had not ended after {LIMIT:?}")]
    Deadline,
    #[error("it said more than {MAX_RESPONSE} bytes")]
    TooLarge,
    #[error("{status}: {complaint}")]
    Failed { status: ExitStatus, complaint: String },
    /// The parser's own words could repeat a part of a credential.
    #[error("its response is no CredentialProviderResponse (line {line}, column {column})")]
    Syntax { line: usize, column: usize },
    #[error("its response has apiVersion {found:?} and kind {kind:?}, where {expected:?} was asked for")]
    Version { expected: String, found: String, kind: String },
    #[error("its response has cacheKeyType {0:?}; Image, Registry and Global are known")]
    CacheKeyType(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    kind: &'static str,
    api_version: &'a str,
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account_token: Option<&'a Hidden>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account_annotations: Option<&'a BTreeMap<String, String>>,
}

/// In whose name a plugin is run.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) account: Account,
    pub(super) token: Hidden,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    cache_key_type: String,
    cache_duration: Option<GoDuration>,
    auth: Option<BTreeMap<String, Auth>>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: Hidden,
}

/// For what a response may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheKeyType {
    Image,
    Registry,
    Global,
}

/// What a plugin said.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) cache_key_type: CacheKeyType,
    /// Where it did not say, the configuration does.
    pub(super) cache_duration: Option<Duration>,
    pub(super) credentials: DockerConfig,
}

impl Plugin {
    /// Runs it for a repository. Dropping the future ends it and all that it has started.
    pub(super) async fn run(
        &self,
        repository: &str,
        identity: Option<&Identity>,
    ) -> Result<Response, ExecError> {
        let annotations = identity.map(|identity| &identity.account.annotations);
        let request = Request {
            kind: "CredentialProviderRequest",
            api_version: &self.api_version,
            image: repository,
            service_account_token: identity.map(|identity| &identity.token),
            service_account_annotations: annotations.filter(|annotations| !annotations.is_empty()),
        };
        let mut request = serde_json::to_vec(&request).expect("texts always have a JSON form");
        request.push(b'\n');
        let talk = tokio::time::timeout(LIMIT, self.talk(&request)).await;
        let said = match talk.map_err(|_| ExecError::Deadline)? {
            Ok(said) => said,
            Err(ExecError::Failed { status, complaint }) => {
                let complaint = match identity {
                    Some(identity) => without_token(&complaint, identity.token.reveal()),
                    None => complaint,
                };
                return Err(ExecError::Failed { status, complaint });
            }
            Err(error) => return Err(error),
        };
        response(&said, &self.api_version)
    }

    async fn talk(&self, request: &[u8]) -> Result<Vec<u8>, ExecError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        for name in PRIVATE_VARIABLES {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let failed = |source| ExecError::Start { program: self.program.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        // Dropped before the child, which keeps its number until then.
        let group = Group(child.id());
        group.take_part_in_oom_kills();
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin.take() {
                // One that answers without reading is as good.
                let _ = stdin.write_all(request).await;
            }
            Ok(())
        };
        let read = async {
            let said = at_most(stdout, MAX_RESPONSE + 1).await?;
            if said.len() as u64 > MAX_RESPONSE { Err(ExecError::TooLarge) } else { Ok(said) }
        };
        let complain = complaint(stderr);
        let end = async { child.wait().await.map_err(ExecError::Talk) };
        let ((), said, complaint, status) = futures::try_join!(write, read, complain, end)?;
        group.ended();
        if status.success() {
            return Ok(said);
        }
        let complaint = String::from_utf8_lossy(&complaint).trim().escape_debug().to_string();
        Err(ExecError::Failed { status, complaint })
    }
}

async fn at_most(stream: Option<impl AsyncRead + Unpin>, bytes: u64) -> Result<Vec<u8>, ExecError> {
    let mut read = Vec::new();
    if let Some(stream) = stream {
        stream.take(bytes).read_to_end(&mut read).await.map_err(ExecError::Talk)?;
    }
    Ok(read)
}

/// The beginning of what it says; the rest is read too, so that the plugin can go on.
async fn complaint(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, ExecError> {
    let Some(mut stream) = stream else { return Ok(Vec::new()) };
    let said = at_most(Some(&mut stream), MAX_COMPLAINT).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map_err(ExecError::Talk)?;
    Ok(said)
}

/// A complaint that may quote the token that the plugin was given, or a part of it where it was cut.
fn without_token(complaint: &str, token: &str) -> String {
    let beginning = token.get(..token.floor_char_boundary(16)).filter(|text| !text.is_empty());
    let Some(beginning) = beginning else { return complaint.to_owned() };
    let mut shown = String::new();
    let mut rest = complaint;
    while let Some(at) = rest.find(beginning) {
        shown.push_str(&rest[..at]);
        shown.push_str("(hidden)");
        let of_token = |c: char| c.is_ascii_alphanumeric() || "-_.=+/".contains(c);
        rest = rest[at + beginning.len()..].trim_start_matches(of_token);
    }
    shown + rest
}

/// The processes of one run, which end with it.
struct Group(Option<u32>);

impl Group {
    /// The daemon may be exempt from them; what it starts is not.
    fn take_part_in_oom_kills(&self) {
        if let Some(pid) = self.0 {
            // Raising is always allowed; a process that is gone needs nothing.
            let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
        }
    }

    /// Its first process was waited for: its number may be another's soon.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended by itself.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn response(said: &[u8], api_version: &str) -> Result<Response, ExecError> {
    let document: Document = serde_json::from_slice(said)
        .map_err(|error| ExecError::Syntax { line: error.line(), column: error.column() })?;
    if document.api_version != api_version || document.kind != "CredentialProviderResponse" {
        let (found, kind) = (document.api_version, document.kind);
        return Err(ExecError::Version { expected: api_version.to_owned(), found, kind });
    }
    let cache_key_type = match document.cache_key_type.as_str() {
        "Image" => CacheKeyType::Image,
        "Registry" => CacheKeyType::Registry,
        "Global" => CacheKeyType::Global,
        _ => return Err(ExecError::CacheKeyType(document.cache_key_type)),
    };
    let credential =
        |auth: Auth| Credential { username: auth.username, password: auth.password, ..Credential::default() };
    let auths = document.auth.unwrap_or_default();
    Ok(Response {
        cache_key_type,
        cache_duration: document.cache_duration.map(GoDuration::to_std),
        credentials: auths.into_iter().map(|(registry, auth)| (registry, credential(auth))).collect(),
    })
}

#[cfg(test)]
mod tests;
