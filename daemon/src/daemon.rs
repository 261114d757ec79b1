//! Puts the parts together, and takes them apart in order.
//!
//! Nothing below waits for the runtime or the API server: both may be away at start and come later. Only the pods wait
//! until the runtime has told its name once, because container ids in statuses begin with it. SIGTERM and SIGINT end the
//! daemon and leave the pods running; a new start finds them again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::NodeAddress;
use k8s_openapi::api::node::v1::RuntimeClass;
use lifecycle::{DeadContainers, Facts, PullLimits, Settings as PodSettings, Supported};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use volumes::PodDirs;

use crate::cause::chain;
use crate::cgroups::Limits;
use crate::config::{Config, EXIT_BAD_CONFIGURATION, machine};
use crate::credentials::{self, CredentialsError, Keeper};
use crate::events::{Rates, Recorder};
use crate::eviction;
use crate::explain;
use crate::flags::{self, Flags};
use crate::followed::Followed;
use crate::garbage::{self, Collector, DeadLimits, TRIM_QUEUE};
use crate::health as wellness;
use crate::images::{self, Images};
use crate::kubeconfig::Clients;
use crate::ledger::{Ledger, LedgerError};
use crate::lock::{self, Lock};
use crate::log_rotation;
use crate::memory;
use crate::metrics::Metrics;
use crate::node::{self, NodeAgent, NodeReceiver, RuntimeState, addresses, capacity, info, name};
use crate::objects::Objects;
use crate::oom;
use crate::oom_score;
use crate::open_files;
use crate::overview;
use crate::pod_volumes::PodVolumes;
use crate::pods::{Inputs, NodeSide, Parts, Pods, Publisher, Shown};
use crate::probes::Probing;
use crate::reclaim::Reclaimer;
use crate::runtime::{
    DnsSettings, Executor, Place, SecuritySettings, ServiceAddress, Supplies, Users, Watcher,
    check_resolv_conf, health, log_files, log_links,
};
use crate::server::Subjects;
use crate::sources::mirror::Mirrors;
use crate::sources::{self, Source, UPDATE_QUEUE, files, url};
use crate::stop::stopped;
use crate::systemd::{self, logind, watchdog};
use crate::usage::{self, Usage};

/// What the runtime says that may wait for the supervisor.
const RUNTIME_QUEUE: usize = 1024;
/// Questions for an explanation that may wait.
const QUESTION_QUEUE: usize = 8;
/// Whether the daemon is well is asked one question at a time.
const PING_QUEUE: usize = 1;
/// How long the parts may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// behaviour.md 12.1.
const MAX_RESTART_PERIOD: Duration = Duration::from_secs(300);

/// Why the daemon cannot run.
#[derive(Debug, Error)]
pub enum StartError {
    /// The machine is not as the configuration demands.
    #[error(transparent)]
    Machine(#[from] machine::MachineError),
    /// The machine cannot be read.
    #[error("reading this machine")]
    Info(#[from] info::MachineInfoError),
    /// A mistake in the program.
    #[error("setting up metrics")]
    Metrics(#[from] prometheus::Error),
    /// The node has no usable name.
    #[error(transparent)]
    Name(#[from] name::NodeNameError),
    /// More is reserved than there is.
    #[error(transparent)]
    Reservation(#[from] capacity::ReservationError),
    /// The root directory cannot be used.
    #[error("root directory: {0}")]
    RootDir(String),
    /// The API server cannot be called with what is there.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Images cannot be pulled as the configuration says.
    #[error("images")]
    Images(#[from] images::ImagesError),
    /// The runtime's endpoint is no socket.
    #[error(transparent)]
    Endpoint(#[from] cri_client::EndpointError),
    /// Signals cannot be received.
    #[error("waiting for signals")]
    Signals(#[from] std::io::Error),
    /// An eviction threshold cannot be used.
    #[error(transparent)]
    Threshold(#[from] ::eviction::ThresholdError),
    /// Another daemon's lock cannot be waited for.
    #[error(transparent)]
    Lock(#[from] lock::LockError),
    /// What an earlier daemon has left cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// systemd asks for more than can be done.
    #[error(transparent)]
    Watchdog(#[from] watchdog::WatchdogError),
    /// A part of the daemon has broken; whoever supervises it starts it again.
    #[error("a part of the daemon has broken")]
    Broken(#[source] tokio::task::JoinError),
    /// A server cannot listen.
    #[error(transparent)]
    Server(#[from] crate::server::ServerError),
}

impl StartError {
    /// What the process ends with: 2 where the configuration is at fault, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Machine(error) if error.is_configuration() => EXIT_BAD_CONFIGURATION,
            _ => 1,
        }
    }

    /// The error with its causes, in one line.
    #[must_use]
    pub fn explained(&self) -> String {
        chain(self)
    }
}

/// Runs until a signal ends it.
///
/// # Errors
/// What makes it impossible to start.
pub async fn run(flags: Flags, config: Config) -> Result<(), StartError> {
    let lock = match &flags.lock_file {
        Some(path) => Some(Lock::take(path).await?),
        None => None,
    };
    let hierarchy = machine::check(&config)?;
    if let Err(error) = oom_score::take(config.oom_score_adj) {
        // Whoever may not lower it runs on as likely a victim as before.
        tracing::warn!(error = chain(&error), "oomScoreAdj cannot be carried out");
    }
    if let Err(error) = open_files::allow(config.max_open_files) {
        // What the machine gives is mostly enough.
        tracing::warn!(error = chain(&error), "maxOpenFiles cannot be carried out");
    }
    let config = Arc::new(config);
    let node_name = name::node_name(flags.hostname_override.as_deref())?;
    let facts = info::Machine::read()?;
    let dirs = PodDirs::new(&flags.root_dir).map_err(|e| StartError::RootDir(e.to_string()))?;
    let bytes = root_bytes(&flags.root_dir)?;
    let resources = capacity::resources(&facts, bytes, &config, flags.allocatable_ignores_eviction)?;
    let call_timeout = config
        .node_status_update_frequency
        .to_std()
        .min(Duration::from_secs(config.node_lease_duration_seconds.max(1).unsigned_abs().into()));
    let metrics = Metrics::new()?;
    let clients = match &flags.kubeconfig {
        Some(path) => Some(credentials(path, &flags, &config, &node_name, call_timeout, &metrics).await?),
        None => None,
    };
    let (clients, keeper) = clients.unzip();
    let cri = cri_client(&config)?.observed(Arc::new(metrics.work()));
    let (stop_sender, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    if let Some(keeper) = keeper {
        tasks.spawn(keeper.run(stop.clone()));
    }

    let rates = Rates {
        per_second: config.event_record_qps.try_into().unwrap_or_default(),
        burst: config.event_burst.try_into().unwrap_or_default(),
    };
    let general = clients.as_ref().map(|c| c.general.clone());
    let seats = clients.as_ref().map(|c| c.seats.clone());
    let (recorder, sender) = Recorder::new(general.clone(), &node_name, rates);
    tasks.spawn(sender.run(stop.clone()));

    let image_settings = images::Settings {
        root_dir: flags.root_dir.clone(),
        plugin_config: flags.image_credential_provider_config.clone(),
        plugin_dir: flags.image_credential_provider_bin_dir.clone(),
    };
    let images = Images::new(&image_settings, &config, cri.clone(), general.clone(), recorder.clone())?;
    tasks.spawn(images.clone().settle(stop.clone()));

    let (runtime_state, runtime) = watch::channel(RuntimeState::default());
    tasks.spawn(health::run(cri.clone(), runtime_state.clone(), stop.clone()));

    let machine = Arc::new(facts.clone());
    let limits = Arc::new(Limits::new(&config, &facts, hierarchy));
    let boot_id = facts.boot_id.clone();
    let own = overview::own(&node_name, &config.provider_id, &facts);
    let amounts = resources.clone();
    let settings = node::Settings {
        node_name: node_name.clone(),
        node_ips: flags.node_ips.clone(),
        node_labels: flags.node_labels.clone(),
        external_cloud_provider: flags.external_cloud_provider,
        config: Arc::clone(&config),
        machine: facts,
        resources,
        root_dir: flags.root_dir.clone(),
        call_timeout,
    };
    let place = eviction::Place {
        proc: "/proc".into(),
        cgroups: machine::CGROUPS.into(),
        root_dir: flags.root_dir.clone(),
    };
    let eviction = eviction::Watcher::new(&config, place, flags.eviction_memory_stall, runtime.clone())?;
    let down = watch::Sender::new(false);
    let mirrors = Mirrors::new();
    let local = node::facts::local(&settings);
    let node = clients.as_ref().map(|clients| {
        let agent = NodeAgent::new(settings, runtime.clone(), Some(cri.clone()), recorder.clone());
        let agent = agent.until_shutdown(down.subscribe()).under(eviction.pressures());
        let node = agent.start(clients, stop.clone(), &mut tasks);
        tasks.spawn(mirrors.clone().run(clients.general.clone(), node.clone(), stop.clone()));
        node
    });
    let origins = node::facts::Origins {
        node: node.clone(),
        pressures: Some(eviction.pressures()),
        runtime: Some(runtime.clone()),
        down: Some(down.subscribe()),
    };
    let groups = node::shutdown::groups(&config);
    let over = watch::Sender::new(0);
    let side = NodeSide {
        facts: node::facts::follow(local, origins, stop.clone(), &mut tasks),
        groups: groups.clone(),
        over: over.clone(),
        reader: clients.as_ref().map(|clients| node::facts::Reader {
            client: clients.general.clone(),
            node_name: node_name.clone(),
            limit: call_timeout,
        }),
    };
    let pod_cidr = config.pod_cidr.clone();
    tasks.spawn(node::pod_cidr::run(cri.clone(), node.clone(), pod_cidr, stop.clone()));
    let wanted = Own { config: &config, flags: &flags, node_name: &node_name, metrics: &metrics };
    let requested = serving_certificate(&wanted, clients.as_ref(), node.as_ref(), &stop, &mut tasks);
    let shown_node = node.clone();
    let host_ips = host_ips(&flags, &node_name, node, &stop, &mut tasks).await;

    let place = Place {
        pod_logs: PathBuf::from(&config.pod_logs_dir),
        container_logs: log_files::links_dir(&config.pod_logs_dir),
        limits: Arc::clone(&limits),
        dns: DnsSettings {
            cluster_dns: config.cluster_dns.clone(),
            cluster_domain: config.cluster_domain.clone(),
            resolv_conf: (!config.resolv_conf.is_empty()).then(|| PathBuf::from(&config.resolv_conf)),
            overrides: config.gate("HostnameOverride"),
        },
        security: SecuritySettings::new(Path::new("/"), &flags.root_dir, config.seccomp_default),
        stop_signals: config.gate("ContainerStopSignals"),
        env_files: config.gate("EnvFiles"),
        users: users(&flags, &config),
    };
    if let Some(problem) = check_resolv_conf(&place.dns) {
        recorder.node_event(true, "CheckLimitsForResolvConf", problem);
    }
    for dir in [&place.pod_logs, &place.container_logs] {
        std::fs::create_dir_all(dir)
            .map_err(|e| StartError::RootDir(format!("making {}: {e}", dir.display())))?;
    }
    let shown = Shown::default();
    let server = crate::server::Settings {
        config: Arc::clone(&config),
        cert_dir: flags.cert_dir.clone(),
        node_name: node_name.clone(),
        host_ips: host_ips.borrow().clone(),
        requested,
        client: general.clone(),
        root_dir: flags.root_dir.clone(),
        flags: flags::shown::shown(&flags, &config),
    };
    let (verdicts, verdict) = watch::channel(Ok(()));
    let seen = verdict.clone();
    let (probing, prober) = Probing::new(cri.clone(), recorder.clone());
    tasks.spawn(prober.run(stop.clone()));
    let serving = crate::server::certificate_path(&config, &flags.cert_dir, server.requested.is_some());
    let overview = overview::Origins::new(overview::Known {
        own,
        daemon: overview::daemon(flags.config.as_deref(), flags.config_dir.as_deref(), &flags.root_dir),
        endpoint: config.container_runtime_endpoint.clone(),
        machine: Arc::clone(&machine),
        resources: amounts,
        node: shown_node,
        host_ips: host_ips.clone(),
        facts: side.facts.clone(),
        runtime: runtime.clone(),
        health: verdict.clone(),
        pods: shown.clone(),
        reach: clients.as_ref().map(|clients| clients.reach.clone()),
        kubeconfig: flags.kubeconfig.clone(),
        serving_certificate: config.enable_server.then_some(serving),
    });
    tasks.spawn(overview.clone().follow(stop.clone()));
    let usage = Usage::new(usage::Sources {
        config: Arc::clone(&config),
        root_dir: flags.root_dir.clone(),
        cri: cri.clone(),
        shown: shown.clone(),
        client: general.clone(),
        machine,
        node_name: node_name.clone(),
    });
    let subjects = Subjects {
        overview,
        usage: usage.clone(),
        cri: cri.clone(),
        pods: shown.clone(),
        metrics: metrics.clone(),
        probing: probing.clone(),
        health: seen,
    };
    crate::server::start(server, subjects, &stop, &mut tasks).await?;
    tasks.spawn(log_links::keep(place.container_logs.clone(), stop.clone()));
    if let Some(policy) = log_rotation::Policy::of(&config) {
        let pod_logs = place.pod_logs.clone();
        tasks.spawn(log_rotation::run(policy, cri.clone(), shown.clone(), pod_logs, stop.clone()));
    }
    tasks.spawn(memory::keep_small(shown.running_changed(), stop.clone()));
    let (trims_in, trims) = mpsc::channel(TRIM_QUEUE);
    // Whoever evicts asks with it for images and dead containers to go first.
    let (reclaimer, reclaim) = Reclaimer::new();
    let parts = garbage::Parts {
        cri: cri.clone(),
        images: images.clone(),
        pods: shown.clone(),
        recorder: recorder.clone(),
        metrics: metrics.clone(),
        runtime: runtime_state.clone(),
        trims: trims_in,
    };
    let dead = DeadLimits { most: usize::try_from(flags.dead_in_all).ok(), min_age: flags.dead_min_age };
    let settings = garbage::Settings::new(&config, dead, place.container_logs.clone());
    tasks.spawn(Collector::new(parts, settings, reclaim).run(stop.clone()));
    tasks.spawn(oom::run(Path::new(oom::KERNEL_LOG), recorder.clone(), shown.clone(), stop.clone()));
    let dirs = Arc::new(dirs);
    let volumes = PodVolumes::new(
        Arc::clone(&dirs),
        Objects::new(seats),
        general.clone(),
        side.facts.clone(),
        metrics.work(),
    );
    let executor = Executor::new(
        cri.clone(),
        dirs,
        place,
        host_ips.clone(),
        recorder.clone(),
        runtime_state,
        supplies(&flags.root_dir, general.as_ref(), (images, volumes), side.facts.clone(), &stop),
    )
    .with_work(metrics.work());
    let publisher = Publisher::new(general, recorder.clone(), mirrors.clone(), metrics.clone());
    let grace = groups.iter().map(|group| group.period).sum::<Duration>();
    if !grace.is_zero() {
        let (over, publisher, recorder, metrics) =
            (over.subscribe(), publisher.clone(), recorder.clone(), metrics.clone());
        let shutdown = logind::Shutdown { grace, down, over, publisher, recorder, metrics };
        tasks.spawn(logind::run(shutdown, stop.clone()));
    }
    let ledger = Ledger::open(&flags.root_dir, boot_id)?;
    tasks.spawn(ledger.clone().run(stop.clone()));
    let (endings_in, endings) = mpsc::channel(eviction::ENDING_QUEUE);
    let hands = eviction::Hands {
        shown: shown.clone(),
        usage: Arc::new(usage.clone()),
        reclaimer,
        endings: endings_in,
        recorder: recorder.clone(),
        metrics: metrics.clone(),
    };
    tasks.spawn(eviction.run(hands, stop.clone()));
    let work = metrics.work();
    let parts = Parts { executor, publisher, shown, ledger, node: side, metrics, probing };
    let (updates_in, updates) = mpsc::channel(UPDATE_QUEUE);
    let sources = start_sources(
        &config,
        &node_name,
        clients.as_ref(),
        &updates_in,
        &mirrors,
        &recorder,
        &stop,
        &mut tasks,
    );
    drop(updates_in);
    let (runtime_in, runtime_events) = mpsc::channel(RUNTIME_QUEUE);
    let cgroups = CgroupParts { cri: cri.clone(), limits, recorder, usage };
    tasks.spawn(Watcher::new(cri, work, runtime_in).run(stop.clone()));
    let (ask, questions) = mpsc::channel(QUESTION_QUEUE);
    match explain::listen(&flags.root_dir) {
        Ok(listener) => drop(tasks.spawn(explain::serve(listener, ask, stop.clone()))),
        // The pods do not need it.
        Err(error) => tracing::warn!(%error, "nodelet explain will not be answered"),
    }
    let (ping, pings) = mpsc::channel(PING_QUEUE);
    let fed = watchdog::period()?;
    if fed.is_some() {
        tasks.spawn(watchdog::run(verdict, stop.clone()));
    }
    let period = fed.unwrap_or(wellness::PERIOD).min(wellness::PERIOD);
    tasks.spawn(wellness::run(period, ping, runtime.clone(), verdicts, stop.clone()));
    let inputs = Inputs {
        questions,
        endings,
        pings,
        trims,
        updates,
        runtime: runtime_events,
        host_ips,
        mirrors: mirrors.renewed(),
        sources,
    };
    // Kubelets never keep fewer than one when a container ends.
    let kept = usize::try_from(flags.dead_per_container).unwrap_or(1);
    let dead_containers = DeadContainers { kept, min_age: flags.dead_min_age };
    tasks.spawn(run_pods((config, dead_containers), parts, inputs, cgroups, runtime, stop));
    tracing::info!(node = node_name, "nodelet {} is running", env!("CARGO_PKG_VERSION"));
    systemd::ready();

    let lock = lock.as_ref().filter(|_| flags.exit_on_lock_contention);
    wait_for_end(lock, &mut tasks).await?;
    systemd::stopping();
    stop_sender.send_replace(true);
    let ended =
        tokio::time::timeout(STOP_PATIENCE, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!("some parts did not end in {STOP_PATIENCE:?}; the pods go on running all the same");
    }
    tracing::info!("nodelet has ended; the pods go on running");
    Ok(())
}

fn users(flags: &Flags, config: &Config) -> Users {
    let per_pod = config.user_namespaces.as_ref().and_then(|namespaces| namespaces.ids_per_pod);
    Users::new(&flags.root_dir, per_pod, config.max_pods)
}

/// What starts of pods need; what the API server has said of it is kept below the root directory.
fn supplies(
    root_dir: &Path,
    client: Option<&kube::Client>,
    (images, volumes): (Images, PodVolumes),
    facts: watch::Receiver<Arc<Facts>>,
    stop: &watch::Receiver<bool>,
) -> Supplies {
    let kept = root_dir.join("nodelet/kept");
    let handler = |class: &RuntimeClass| Some(class.handler.clone());
    Supplies {
        images,
        volumes,
        services: Followed::new(
            client.cloned(),
            "services",
            ServiceAddress::of,
            kept.join("services"),
            stop.clone(),
        ),
        classes: Followed::new(
            client.cloned(),
            "runtime classes",
            handler,
            kept.join("runtimeclasses"),
            stop.clone(),
        ),
        facts,
    }
}

/// The size of the file system that holds the root directory.
fn root_bytes(root_dir: &Path) -> Result<u64, StartError> {
    let measured = ::eviction::drivers::filesystem::measure(root_dir);
    measured.map(|measured| measured.bytes.capacity).map_err(|e| StartError::RootDir(chain(&e)))
}

/// Until a signal comes, another daemon asks for the lock, or a part of this one has broken.
async fn wait_for_end(lock: Option<&Lock>, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let contended = async {
        match lock {
            Some(lock) => lock.contended().await,
            None => std::future::pending().await,
        }
    };
    let broken = async {
        loop {
            match tasks.join_next().await {
                // Some parts have nothing to do for long: a node without an API server, say.
                Some(Ok(())) => {}
                Some(Err(error)) => return error,
                None => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
        _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
        contended = contended => {
            contended?;
            tracing::info!("another process asks for the lock file: ending");
        }
        error = broken => return Err(StartError::Broken(error)),
    }
    Ok(())
}

/// Opens the way to the API server.
async fn credentials(
    kubeconfig: &Path,
    flags: &Flags,
    config: &Config,
    node_name: &str,
    call_timeout: Duration,
    metrics: &Metrics,
) -> Result<(Clients, Keeper), CredentialsError> {
    let settings = credentials::Settings {
        kubeconfig: kubeconfig.to_owned(),
        bootstrap: flags.bootstrap_kubeconfig.clone(),
        store: credentials::Store::new(&flags.cert_dir, credentials::CLIENT),
        node_name: node_name.to_owned(),
        rotates: config.rotate_certificates,
        pace: credentials::Pace::default(),
        metrics: metrics.clone(),
    };
    credentials::open(settings, call_timeout).await
}

/// What is known of this node from the start.
struct Own<'a> {
    config: &'a Config,
    flags: &'a Flags,
    node_name: &'a str,
    metrics: &'a Metrics,
}

/// Keeps a serving certificate of the API server's where the configuration asks for one.
fn serving_certificate(
    own: &Own<'_>,
    clients: Option<&Clients>,
    node: Option<&NodeReceiver>,
    stop: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Option<Arc<Notify>> {
    let Own { config, flags, node_name, metrics } = own;
    let wanted = config.server_tls_bootstrap
        && config.tls_cert_file.is_empty()
        && config.gate("RotateKubeletServerCertificate");
    let (true, Some(clients), Some(node)) = (wanted, clients, node) else { return None };
    let renewed = Arc::new(Notify::new());
    let store = credentials::Store::new(&flags.cert_dir, credentials::SERVER);
    let (client, name) = (clients.general.clone(), (*node_name).to_owned());
    tasks.spawn(credentials::keep_serving(
        client,
        store,
        name,
        node.clone(),
        Arc::clone(&renewed),
        (*metrics).clone(),
        stop.clone(),
    ));
    Some(renewed)
}

fn cri_client(config: &Config) -> Result<cri_client::Client, cri_client::EndpointError> {
    let runtime = cri_client::socket_path(&config.container_runtime_endpoint)?;
    let images = match config.image_service_endpoint.as_str() {
        "" => None,
        endpoint => Some(cri_client::socket_path(endpoint)?),
    };
    let timeouts = cri_client::Timeouts { request: config.runtime_request_timeout.to_std() };
    Ok(cri_client::Client::new(runtime, images, timeouts))
}

/// The node's addresses as they are now and, under an API server, as its object shows them later.
async fn host_ips(
    flags: &Flags,
    node_name: &str,
    node: Option<NodeReceiver>,
    stop: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> watch::Receiver<Vec<String>> {
    let found = addresses::node_addresses(node_name, &flags.node_ips, flags.external_cloud_provider).await;
    let first = found.map(|a| internal(&a)).unwrap_or_else(|error| {
        tracing::warn!(%error, "the node's address is not known yet");
        Vec::new()
    });
    let (sender, receiver) = watch::channel(first);
    let Some(mut node) = node else { return receiver };
    let mut stop = stop.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                // Cancel-safe: both are levels.
                () = stopped(&mut stop) => return,
                changed = node.changed() => if changed.is_err() { return },
            }
            let ips =
                node.borrow_and_update().as_ref().map(|view| internal(&view.addresses)).unwrap_or_default();
            sender.send_if_modified(|old| {
                let changed = !ips.is_empty() && *old != ips;
                if changed {
                    *old = ips;
                }
                changed
            });
        }
    });
    receiver
}

fn internal(addresses: &[NodeAddress]) -> Vec<String> {
    addresses.iter().filter(|a| a.type_ == "InternalIP").map(|a| a.address.clone()).collect()
}

#[allow(clippy::too_many_arguments)] // Called once; the arguments are the parts themselves.
fn start_sources(
    config: &Config,
    node_name: &str,
    clients: Option<&Clients>,
    updates: &mpsc::Sender<sources::Update>,
    mirrors: &Mirrors,
    recorder: &Recorder,
    stop: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Vec<Source> {
    let mut started = Vec::new();
    let given = [&config.static_pod_path, &config.static_pod_url];
    mirrors.await_sources(given.into_iter().filter(|text| !text.is_empty()).count());
    if !config.static_pod_url.is_empty() {
        let source = url::UrlSource {
            url: config.static_pod_url.clone(),
            headers: config.static_pod_url_header.clone(),
            check_frequency: config.http_check_frequency.to_std(),
            node_name: node_name.to_owned(),
            refuse_references: config.gate("PreventStaticPodAPIReferences"),
        };
        tasks.spawn(url::run(source, updates.clone(), mirrors.clone(), stop.clone()));
        started.push(Source::Http);
    }
    if !config.static_pod_path.is_empty() {
        let source = files::FileSource {
            path: PathBuf::from(&config.static_pod_path),
            check_frequency: config.file_check_frequency.to_std(),
            node_name: node_name.to_owned(),
            refuse_references: config.gate("PreventStaticPodAPIReferences"),
        };
        tasks.spawn(files::run(source, updates.clone(), mirrors.clone(), recorder.clone(), stop.clone()));
        started.push(Source::File);
    }
    if let Some(clients) = clients {
        let (client, updates, mirrors, stop) =
            (clients.general.clone(), updates.clone(), mirrors.clone(), stop.clone());
        let node_name = node_name.to_owned();
        tasks.spawn(async move { sources::api::run(client, &node_name, updates, mirrors, stop).await });
        started.push(Source::Api);
    }
    started
}

/// Starts the pods once the runtime has told its name.
async fn run_pods(
    (config, dead_containers): (Arc<Config>, DeadContainers),
    parts: Parts,
    inputs: Inputs,
    cgroups: CgroupParts,
    mut runtime: watch::Receiver<RuntimeState>,
    mut stop: watch::Receiver<bool>,
) {
    let runtime_name = tokio::select! {
        // Cancel-safe: both are levels.
        () = stopped(&mut stop) => return,
        known = runtime.wait_for(|state| !state.name.is_empty()) => match known {
            Ok(state) => state.name.clone(),
            Err(_) => return,
        },
    };
    let settings = PodSettings {
        max_restart_period: config
            .crash_loop_back_off
            .max_container_restart_period
            .map_or(MAX_RESTART_PERIOD, |period| period.to_std()),
        runtime_name,
        supported: Supported { pod_cgroups: config.cgroups_per_qos, volumes: true },
        limited_swap: config.memory_swap.swap_behavior == "LimitedSwap",
        dead_containers,
    };
    let mut parts = parts;
    let mut keeping = None;
    if config.cgroups_per_qos {
        let CgroupParts { cri, limits, recorder, usage } = cgroups;
        let cgroups = tokio::select! {
            // Cancel-safe: what was made is found again.
            () = stopped(&mut stop) => return,
            cgroups = crate::cgroups::open(&cri, &config, &limits) => cgroups,
        };
        keeping = Some(tokio::spawn(crate::cgroups::keep(cgroups.clone(), recorder, stop.clone())));
        usage.set_cgroups(cgroups.clone());
        parts.executor = parts.executor.with_cgroups(cgroups);
    }
    let pods = Pods::new(settings, pull_limits(&config), parts, &inputs);
    pods.run(inputs, stop).await;
    if let Some(keeping) = keeping {
        // It ends with the same level.
        let _ = keeping.await;
    }
}

/// What the pods' cgroups are made from.
struct CgroupParts {
    cri: cri_client::Client,
    limits: Arc<Limits>,
    recorder: Recorder,
    usage: Usage,
}

/// Serial pulls only where the configuration asks for them; else as many as it says, or nodelet's own number.
fn pull_limits(config: &Config) -> PullLimits {
    let usual = PullLimits::default();
    let parallel = match config.max_parallel_image_pulls.and_then(|n| usize::try_from(n).ok()) {
        _ if config.serialize_image_pulls => 1,
        Some(most) => most.max(1),
        None => usual.parallel,
    };
    PullLimits {
        parallel,
        per_second: f64::from(config.registry_pull_qps),
        burst: u32::try_from(config.registry_burst).unwrap_or(0),
    }
}
