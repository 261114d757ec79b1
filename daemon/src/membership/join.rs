//! The steps of `nodelet join`.
//!
//! ```text
//! not joined? ── cluster found out ── its configuration, our name free? ── files ── unit started ── certificate? ── token removed
//!    refused        refused                    refused               taken back       told            told, unit goes on
//! ```
//!
//! Until the files are written nothing has changed. After that everything may be given again: the same files are written anew, and a
//! request that waits for its approval is found again by its key.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Tell;
use super::call::{CallError, client, get};
use super::discovery::{Cluster, DiscoveryError, Wanted, discover};
use super::place::{FileError, Place, Service, remove, write};
use super::settings::{self, Own, SettingsError};
use super::unit::{UnitError, Units};
use crate::credentials;

/// How often it is looked for the certificate,
const LOOK: Duration = Duration::from_millis(200);
/// and each how many looks after the daemon.
const LOOKS: u32 = 10;
const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

/// What is to be done.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) wanted: Wanted,
    pub(super) own: Own,
    pub(super) node_name: String,
    /// How long the certificate is waited for.
    pub(super) timeout: Duration,
}

/// Why this machine is no node of the cluster.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    #[error("this machine is a node already: {path} is there; nodelet leave takes it out of its cluster", path = kubeconfig.display())]
    Joined { kubeconfig: PathBuf },
    #[error("systemd has no {unit}: install the package nodelet, or nodelet-kubelet in place of the kubelet")]
    NoUnit { unit: &'static str },
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(
        "the cluster does not accept the token {id}: it has expired or been withdrawn, or is none for authentication"
    )]
    Token { id: String },
    #[error("the API server is not reached at {server}, as the cluster says it is: {why}")]
    Server { server: String, why: CallError },
    #[error(
        "the cluster has a node {name} already, and it is ready; take another name (--node-name), or remove that one (kubectl delete node {name})"
    )]
    Name { name: String },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("starting the daemon; {unit} said last:\n{words}")]
    Unit { unit: &'static str, words: String, source: UnitError },
    #[error("{unit} does not stay up; it said last:\n{words}")]
    Ends { unit: &'static str, words: String },
    #[error("there is no certificate after {timeout:?}; {unit} goes on asking: {why}")]
    Late { unit: &'static str, timeout: Duration, why: String },
}

/// Makes this machine a node; each step is told in a line.
///
/// # Errors
/// See [`JoinError`]; all of them may be put right and the same command given again.
pub(super) async fn join(
    options: &Options,
    place: &Place,
    units: &impl Units,
    tell: Tell<'_>,
) -> Result<(), JoinError> {
    let unit = place.service.unit();
    if place.kubeconfig().symlink_metadata().is_ok() {
        // Approved after an earlier attempt had stopped waiting.
        let token = options.wanted.token.whole();
        if std::fs::read_to_string(place.bootstrap()).is_ok_and(|text| text.contains(&token)) {
            remove(&place.bootstrap())?;
            tell("this machine has become a node of the cluster meanwhile");
            return Ok(());
        }
        return Err(JoinError::Joined { kubeconfig: place.kubeconfig() });
    }
    let words = settings::words(place, &options.own)?;
    let state = units.state(unit).await;
    if !state.is_ok_and(|state| state.loaded) {
        return Err(JoinError::NoUnit { unit });
    }

    tell(&format!("asking {} which cluster it is", options.wanted.address));
    let cluster = discover(&options.wanted).await?;
    if options.wanted.pins.is_empty() {
        tell(
            "the cluster's authority was not compared with a hash: whoever knows the token may have answered",
        );
    }
    let token = &options.wanted.token;
    let api = client(&cluster.server, &cluster.trust(), Some(token.whole()));
    let api = api.map_err(|why| JoinError::Server { server: cluster.server.clone(), why })?;
    let configuration = configuration(&api, &cluster, &token.id, tell).await?;
    free(&api, &options.node_name).await?;

    tell(&format!("writing the configuration of {unit}"));
    let written = write_all(options, place, &cluster, configuration.as_deref(), &words);
    if let Err(error) = written.and_then(|()| settings::check(place, &words).map_err(JoinError::from)) {
        // The daemon that may run goes on as it was.
        for path in place.settings().into_iter().chain([place.bootstrap()]) {
            // The error that is told is the first.
            let _ = remove(&path);
        }
        return Err(error);
    }

    tell(&format!("starting {unit}"));
    for action in ["enable", "restart"] {
        if let Err(source) = units.act(action, unit).await {
            return Err(JoinError::Unit { unit, words: units.last_words(unit).await, source });
        }
    }
    tell("waiting for the node's certificate");
    certificate(options, place, units, &api).await?;
    // It has served its purpose; the certificate renews itself.
    remove(&place.bootstrap())?;
    tell(&format!("this machine is now the node {} of the cluster at {}", options.node_name, cluster.server));
    Ok(())
}

/// The cluster's configuration of its nodes, where it has one. It is also the first call with the token.
async fn configuration(
    api: &kube::Client,
    cluster: &Cluster,
    id: &str,
    tell: Tell<'_>,
) -> Result<Option<String>, JoinError> {
    match get(api, "/api/v1/namespaces/kube-system/configmaps/kubelet-config").await {
        Ok(answer) => match answer.body.pointer("/data/kubelet").and_then(Value::as_str) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(SettingsError::Cluster("has no entry \"kubelet\"".to_owned()).into()),
        },
        Err(CallError::Refused { code: 401, .. }) => Err(JoinError::Token { id: id.to_owned() }),
        Err(CallError::Refused { code: code @ (403 | 404), .. }) => {
            tell(&format!("the cluster gives its nodes no configuration ({code}): the machine's own counts"));
            Ok(None)
        }
        Err(why) => Err(JoinError::Server { server: cluster.server.clone(), why }),
    }
}

/// Whether the name is free; who may not look is not kept from joining.
async fn free(api: &kube::Client, name: &str) -> Result<(), JoinError> {
    let Ok(node) = get(api, &format!("/api/v1/nodes/{name}")).await else { return Ok(()) };
    let conditions = node.body.pointer("/status/conditions").and_then(Value::as_array);
    let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    if conditions.is_some_and(|all| all.iter().any(is_ready)) {
        return Err(JoinError::Name { name: name.to_owned() });
    }
    Ok(())
}

fn write_all(
    options: &Options,
    place: &Place,
    cluster: &Cluster,
    configuration: Option<&str>,
    words: &[String],
) -> Result<(), JoinError> {
    let bootstrap = bootstrap_kubeconfig(cluster, &options.wanted.token.whole());
    write(&place.bootstrap(), SECRET, &bootstrap)?;
    write(&place.authority(), PUBLIC, &cluster.authorities)?;
    if let Some(instance) = place.instance() {
        write(&instance, PUBLIC, &settings::instance(&options.own))?;
    }
    let configuration = settings::configuration(place, configuration, &options.own)?;
    write(&place.configuration(), PUBLIC, &configuration)?;
    write(&place.flags(), PUBLIC, &settings::environment(place.service, words))?;
    Ok(())
}

/// As kubeadm names things.
fn bootstrap_kubeconfig(cluster: &Cluster, token: &str) -> String {
    let (name, user) = ("kubernetes", "tls-bootstrap-token-user");
    let context = format!("{user}@{name}");
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": {
            "certificate-authority-data": STANDARD.encode(&cluster.authorities), "server": cluster.server,
        } }],
        "contexts": [{ "name": context, "context": { "cluster": name, "user": user } }],
        "current-context": context,
        "users": [{ "name": user, "user": { "token": token } }],
    });
    // JSON is YAML; it can always be written.
    serde_saphyr::to_string(&file).unwrap_or_else(|_| file.to_string())
}

/// Waits until the daemon has written its kubeconfig, which it does once there is a certificate.
async fn certificate(
    options: &Options,
    place: &Place,
    units: &impl Units,
    api: &kube::Client,
) -> Result<(), JoinError> {
    let unit = place.service.unit();
    let begin = Instant::now();
    let restarts = units.state(unit).await.unwrap_or_default().restarts;
    let mut looks = 0_u32;
    while !place.kubeconfig().exists() {
        if begin.elapsed() >= options.timeout {
            let why = standing(options, place, api).await;
            return Err(JoinError::Late { unit, timeout: options.timeout, why });
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS)
            && let Ok(state) = units.state(unit).await
            && (state.restarts > restarts || state.active == "failed")
        {
            return Err(JoinError::Ends { unit, words: units.last_words(unit).await });
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// What has become of the node's request.
async fn standing(options: &Options, place: &Place, api: &kube::Client) -> String {
    let store = credentials::Store::new(&place.cert_dir(), credentials::CLIENT);
    let Some(name) = credentials::request_under_way(&store, &options.node_name) else {
        return format!("see journalctl -u {}", place.service.unit());
    };
    let path = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}");
    match get(api, &path).await {
        Ok(answer) => match serde_json::from_value::<CertificateSigningRequest>(answer.body) {
            Ok(request) => credentials::standing(&name, &request),
            Err(error) => error.to_string(),
        },
        Err(error) => format!("its request {name} cannot be looked at: {error}"),
    }
}

impl Service {
    /// For `--service`.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Nodelet, Self::Kubelet].into_iter().find(|service| service.unit() == format!("{name}.service"))
    }
}

#[cfg(test)]
mod tests;
