//! A real Prometheus that scrapes a node, and what rules and dashboards ask it.

pub mod queries;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use tokio::process::Child;

use crate::cache::CacheError;
use crate::command::{self, CommandError, command};
use crate::progress::Progress;
use crate::tools::{self, Tool, ToolError};
use crate::wait::{self, Look, WaitError};

const LIMIT: Duration = Duration::from_secs(60);
/// The pages of a node, as jobs are named by those who wrote the published rules.
const JOBS: [(&str, &str); 4] = [
    ("kubelet", "/metrics"),
    ("cadvisor", "/metrics/cadvisor"),
    ("resource", "/metrics/resource"),
    ("probes", "/metrics/probes"),
];

/// Why there is no Prometheus, or no answer.
#[derive(Debug, Error)]
pub enum PrometheusError {
    /// It cannot be had.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file of it cannot be written.
    #[error(transparent)]
    File(#[from] CacheError),
    /// It cannot be started, or does not answer.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It is not ready in time.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// There is no port for it.
    #[error("finding a port")]
    Port(#[source] std::io::Error),
    /// Its answer is no JSON.
    #[error("the answer to {0}")]
    Answer(String, #[source] serde_json::Error),
}

/// Whom it scrapes.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// Over TLS with this certificate and key; else in the clear.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A running Prometheus; ends with the value.
#[derive(Debug)]
pub struct Prometheus {
    tool: Tool,
    url: String,
    _child: Child,
}

impl Prometheus {
    /// Starts it with its files in `dir`, scraping every five seconds, and waits until it is ready.
    ///
    /// # Errors
    /// See [`PrometheusError`].
    pub async fn start(dir: &Path, target: &Target) -> Result<Self, PrometheusError> {
        let tool = tools::prometheus(&Progress::test()).await?;
        std::fs::create_dir_all(dir).map_err(CacheError::file("making", dir))?;
        let config = dir.join("prometheus.yml");
        // YAML is JSON and more.
        std::fs::write(&config, configuration(target).to_string())
            .map_err(CacheError::file("writing", &config))?;
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let address = free.map_err(PrometheusError::Port)?.to_string();
        let mut program = command(&tool.path);
        program
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let start = |source| CommandError::Start { program: tool.path.display().to_string(), source };
        let child = program.spawn().map_err(start)?;
        let this = Self { tool, url: format!("http://{address}"), _child: child };
        let look = || async {
            match this.query("vector(1)").await {
                Ok(_) => Look::There(()),
                Err(error) => Look::NotYet(tools::chain(&error)),
            }
        };
        wait::until("Prometheus to be ready", LIMIT, look).await?;
        Ok(this)
    }

    /// What a query gives now: samples with `metric` and `value`.
    ///
    /// # Errors
    /// It is no query, or there is no answer.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, PrometheusError> {
        let mut promtool = command(&self.tool.path.with_file_name("promtool"));
        promtool.args(["query", "instant", "--format=json", &self.url, query]);
        let said = command::run(&mut promtool, LIMIT).await?.stdout;
        let answer = serde_json::from_str(&said);
        answer.map_err(|error| PrometheusError::Answer(query.to_owned(), error))
    }

    /// What `promtool check metrics` says of a page, line by line.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn check(&self, page: &str) -> Result<Vec<String>, PrometheusError> {
        let mut promtool = command(&self.tool.path.with_file_name("promtool"));
        let said = command::output_with(promtool.args(["check", "metrics"]), page, LIMIT).await?;
        let lines = said.stdout.lines().chain(said.stderr.lines());
        Ok(lines.map(str::to_owned).filter(|line| !line.trim().is_empty()).collect())
    }
}

fn configuration(target: &Target) -> Value {
    let job = |(name, path): &(&str, &str)| {
        let mut job = json!({
            "job_name": name,
            "metrics_path": path,
            "scheme": if target.certificate.is_some() { "https" } else { "http" },
            "static_configs": [{ "targets": [target.address], "labels": { "cluster": "test", "node": "n1" } }],
        });
        if let Some((certificate, key)) = &target.certificate {
            // The node's certificate is its own.
            job["tls_config"] =
                json!({ "cert_file": certificate, "key_file": key, "insecure_skip_verify": true });
        }
        job
    };
    json!({
        "global": { "scrape_interval": "5s", "scrape_timeout": "5s" },
        "scrape_configs": JOBS.iter().map(job).collect::<Vec<_>>(),
    })
}

/// Names of upstream's that `promtool check metrics` finds fault with. Dashboards know them so.
const UPSTREAMS: &[&str] = &[
    "container_fs_inodes_total",
    "container_memory_failcnt",
    "kubelet_certificate_manager_client_expiration_renew_errors",
    "kubelet_preemptions",
    "kubelet_server_expiration_renew_errors",
];

/// Every complaint of [`Prometheus::check`] has to be about a name that upstream has too.
///
/// # Panics
/// One is not.
pub fn assert_upstreams(complaints: &[String]) {
    let is_known = |complaint: &String| {
        let name = complaint.split([' ', ':']).next().unwrap_or_default();
        UPSTREAMS.contains(&name)
    };
    let unknown: Vec<&String> = complaints.iter().filter(|complaint| !is_known(complaint)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}
