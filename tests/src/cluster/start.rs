//! Bringing a cluster up, each part after what it needs.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::time::Instant;

use super::kubelet::{self, Settings};
use super::layout::Layout;
use super::node::Node;
use super::record::Record;
use super::{Cluster, ClusterError, ClusterOptions, cleanup, directory};
use crate::cache::{self, CacheError, Lock};
use crate::command::{self, command};
use crate::images::{self, Archive};
use crate::network::{MAX_NODES, Network};
use crate::supervise::{Component, Identity, Launch};
use crate::tools::{self, Tools};
use crate::wait::{self, Look};
use crate::{machine, progress::Progress};

const APISERVER_PORT: u16 = 6443;
const SCHEDULER_PORT: u16 = 10259;
const HEALTHZ_PORT: u16 = 10248;
/// Of one component on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// The daemon was started before it is waited for; the earlier run had ended long before.
const STARTED_EARLIER: SignedDuration = SignedDuration::from_secs(1);
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(30);

impl Cluster {
    /// Brings it up and waits until every node is Ready.
    ///
    /// # Errors
    /// A part does not come up; what was started is ended again.
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        let dir = directory(&options.dir)?;
        let layout = Layout::new(&dir);
        let lock = take(&layout)?;
        let mut record = Record::read(&layout.state_file());
        // Nobody takes the pods off a node that stays away.
        let least = if options.resume { record.nodes.max(1) } else { 1 };
        let nodes = options.nodes.unwrap_or(least);
        if !(least..=MAX_NODES).contains(&nodes) {
            return Err(ClusterError::Nodes { wanted: nodes, least, most: MAX_NODES });
        }
        // Whatever the file says: nobody else has the cluster up, so nothing of it should be running.
        cleanup::clear(&layout, &record).await?;
        if !options.resume {
            empty(&layout)?;
        }
        record.nodes = nodes;
        record.supervisor = Identity::own();
        let failed = match Bringing::begin(&layout, &mut record, &options).await {
            Ok(parts) => return Ok(parts.cluster(layout, record, lock)),
            Err(error) => error,
        };
        // The first error is the one to tell.
        let _ = cleanup::clear(&layout, &record).await;
        let _ = cleanup::release(&layout, &mut record).await;
        record.supervisor = None;
        let _ = record.write(&layout.state_file());
        Err(failed)
    }
}

/// What is up so far.
struct Bringing {
    begun: Instant,
    tools: Tools,
    progress: Progress,
    apiserver: Component,
    apiserver_port: u16,
    scheduler: Component,
    nodes: Vec<Node>,
    client: kube::Client,
}

impl Bringing {
    async fn begin(
        layout: &Layout,
        record: &mut Record,
        options: &ClusterOptions,
    ) -> Result<Self, ClusterError> {
        let begun = Instant::now();
        let progress = options.progress.clone();
        let tools = progress.step("finding tools", tools::find_or_install(&progress)).await?;
        let mut archives = progress.step("images", images::base(&tools)).await?;
        archives.extend(options.images.iter().cloned());
        for dir in layout.directories(record.nodes) {
            std::fs::create_dir_all(&dir).map_err(CacheError::file("making", &dir))?;
        }
        if let Some(was) = machine::raise_inotify_instances()? {
            progress.note(&machine::inotify_note(was));
            record.inotify_instances.get_or_insert(was);
        }
        record.kubectl = Some(tools.kubectl.path.clone());
        // Before the first process: whoever finds this directory after a kill knows what to look for.
        record.write(&layout.state_file())?;
        let network = Network::claim(layout.id(), record.nodes, record.block).await?;
        let apiserver_port = record.port(&network, "apiserver", APISERVER_PORT)?;
        let scheduler_port = record.port(&network, "scheduler", SCHEDULER_PORT)?;
        let mut healthz_ports = Vec::new();
        for index in 0..record.nodes {
            healthz_ports.push(record.port(&network, &format!("healthz-{index}"), HEALTHZ_PORT)?);
        }
        record.write(&layout.state_file())?;
        let runtimes = progress
            .step("containerd", runtimes(layout, &tools, &network, &archives, (record.nodes, &progress)))
            .await?;
        let apiserver = apiserver(layout, options, apiserver_port)?;
        let client = progress.step("apiserver", serving(layout, &apiserver)).await?;
        let scheduler = scheduler(layout, options, scheduler_port)?;
        let mut nodes = Vec::new();
        for (index, containerd) in runtimes.into_iter().enumerate() {
            let server = format!("https://127.0.0.1:{apiserver_port}");
            let place =
                Place { layout, options, network: &network, index, healthz_port: healthz_ports[index] };
            nodes.push(place.node(containerd, &server).await?);
        }
        for node in &nodes {
            if options.is_known_to_nodes {
                progress.step(&format!("{} to be Ready", node.name()), node_ready(&client, node)).await?;
            } else {
                progress.step(&format!("{} to answer", node.name()), node_answers(node)).await?;
            }
        }
        Ok(Self { begun, tools, progress, apiserver, apiserver_port, scheduler, nodes, client })
    }

    fn cluster(self, layout: Layout, record: Record, lock: Lock) -> Cluster {
        let Self { begun, tools, progress, apiserver, apiserver_port, scheduler, nodes, client } = self;
        Cluster {
            layout,
            record,
            begun,
            tools,
            progress,
            apiserver,
            apiserver_port,
            scheduler,
            nodes,
            client,
            _lock: lock,
        }
    }
}

fn take(layout: &Layout) -> Result<Lock, ClusterError> {
    cache::try_lock(&layout.lock())?.ok_or_else(|| {
        let record = Record::read(&layout.state_file());
        let who =
            record.supervisor.map(|process| format!(", by process {}", process.pid())).unwrap_or_default();
        ClusterError::Up { dir: layout.dir().to_path_buf(), who }
    })
}

/// Removes what an earlier run left in the directory.
fn empty(layout: &Layout) -> Result<(), ClusterError> {
    let entries = std::fs::read_dir(layout.dir()).map_err(CacheError::file("reading", layout.dir()))?;
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path == layout.lock() {
            continue;
        }
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(CacheError::file("removing", &path))?;
    }
    Ok(())
}

/// A containerd for each node, with its images.
async fn runtimes(
    layout: &Layout,
    tools: &Tools,
    network: &Network,
    archives: &[Archive],
    (nodes, progress): (usize, &Progress),
) -> Result<Vec<Component>, ClusterError> {
    let starts = (0..nodes).map(|index| async move {
        let runtime = layout.containerd(index);
        let name = format!("nodelet-{}-{index}", layout.id());
        let launch = runtime.prepare(tools, network, index, &name)?;
        let component = Component::start(launch, &layout.records(), progress)?;
        runtime.ready().await?;
        runtime.import(tools, archives).await?;
        Ok(component)
    });
    futures::future::try_join_all(starts).await
}

fn apiserver(layout: &Layout, options: &ClusterOptions, port: u16) -> Result<Component, ClusterError> {
    let mut arguments: Vec<OsString> = vec!["--data-dir".into(), layout.apiserver().into()];
    arguments.extend(["--secure-port".into(), port.to_string().into()]);
    arguments.extend(["-v".into(), options.verbosity.to_string().into()]);
    arguments.extend(options.apiserver_flags.iter().cloned());
    let launch = Launch {
        name: "apiserver".to_owned(),
        program: options.programs.apiserver.clone(),
        arguments,
        log: layout.log("apiserver"),
    };
    Ok(Component::start(launch, &layout.records(), &options.progress)?)
}

fn scheduler(layout: &Layout, options: &ClusterOptions, port: u16) -> Result<Component, ClusterError> {
    let mut arguments: Vec<OsString> = vec!["--kubeconfig".into()];
    arguments.push(layout.apiserver().join("scheduler.kubeconfig").into());
    arguments.extend(["--healthz-port".into(), port.to_string().into()]);
    arguments.extend(["-v".into(), options.verbosity.to_string().into()]);
    let launch = Launch {
        name: "scheduler".to_owned(),
        program: options.programs.scheduler.clone(),
        arguments,
        log: layout.log("scheduler"),
    };
    Ok(Component::start(launch, &layout.records(), &options.progress)?)
}

/// Waits until the API server is ready, and gives a client of it. The kubeconfig of an earlier run has another port.
async fn serving(layout: &Layout, apiserver: &Component) -> Result<kube::Client, ClusterError> {
    let look = || async {
        let client = match client(&layout.kubeconfig()).await {
            Ok(client) => client,
            Err(why) => return Look::NotYet(why),
        };
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a path and no body");
        match client.request_text(request).await {
            Ok(_) => Look::There(client),
            Err(error) => Look::NotYet(tools::chain(&error)),
        }
    };
    wait::until("the API server to be ready", READY_LIMIT, look)
        .await
        .map_err(|source| not_ready(apiserver, source))
}

fn not_ready(component: &Component, source: wait::WaitError) -> ClusterError {
    ClusterError::NotReady { name: component.name().to_owned(), log: component.log().to_path_buf(), source }
}

/// A client with the credentials of a kubeconfig.
pub(super) async fn client(kubeconfig: &Path) -> Result<kube::Client, String> {
    let file = Kubeconfig::read_from(kubeconfig).map_err(|error| tools::chain(&error))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let client = kube::Client::try_from(config.map_err(|error| tools::chain(&error))?);
    client.map_err(|error| tools::chain(&error))
}

/// Where one node is made.
#[derive(Debug)]
struct Place<'a> {
    layout: &'a Layout,
    options: &'a ClusterOptions,
    network: &'a Network,
    index: usize,
    healthz_port: u16,
}

impl Place<'_> {
    async fn node(self, containerd: Component, server: &str) -> Result<Node, ClusterError> {
        let Self { layout, options, network, index, healthz_port } = self;
        let name = format!("node-{index}");
        let dir = layout.node(index);
        let runtime = layout.containerd(index);
        let ip = network.node_ip(index);
        let ca = layout.apiserver().join("pki/ca.crt");
        let settings = Settings {
            dir: &dir,
            client_ca: &ca,
            runtime: &runtime.socket(),
            ip,
            healthz_port,
            overrides: &options.kubelet,
        };
        let config = dir.join("kubelet.json");
        let text = format!("{:#}\n", kubelet::configuration(&settings));
        std::fs::write(&config, text).map_err(CacheError::file("writing", &config))?;
        let kubeconfig = dir.join("kubelet.kubeconfig");
        let mut credentials = command(&options.programs.apiserver);
        credentials.arg("credentials").arg("--data-dir").arg(layout.apiserver());
        credentials.args([
            "--user",
            &format!("system:node:{name}"),
            "--group",
            "system:nodes",
            "--server",
            server,
        ]);
        command::run(credentials.arg("--output").arg(&kubeconfig), CREDENTIALS_LIMIT).await?;

        let mut arguments: Vec<OsString> = vec!["--config".into(), config.into()];
        if options.is_known_to_nodes {
            arguments.extend(["--kubeconfig".into(), kubeconfig.into()]);
        }
        arguments.extend(["--root-dir".into(), dir.join("root").into()]);
        arguments.extend(["--cert-dir".into(), dir.join("root/pki").into()]);
        arguments.extend(["--hostname-override".into(), name.clone().into()]);
        arguments.extend(["--node-ip".into(), ip.to_string().into()]);
        arguments.extend(["-v".into(), options.verbosity.to_string().into()]);
        arguments.extend(options.flags.iter().cloned());
        let launch = Launch {
            name: format!("nodelet-{index}"),
            program: options.programs.nodelet.clone(),
            arguments,
            log: dir.join("nodelet.log"),
        };
        let nodelet = Component::start(launch, &layout.records(), &options.progress)?;
        Ok(Node { name, dir, ip, healthz_port, runtime, containerd, nodelet })
    }
}

/// Waits until the node is Ready and its daemon lives: a Ready of an earlier run alone says nothing, and is not said anew while
/// nothing changes.
async fn node_ready(client: &kube::Client, node: &Node) -> Result<(), ClusterError> {
    let begin = jiff::Timestamp::now() - STARTED_EARLIER;
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let look = || async {
        let status = match nodes.get(node.name()).await {
            Ok(object) => object.status.unwrap_or_default(),
            Err(error) => return Look::NotYet(error.to_string()),
        };
        let conditions = status.conditions.unwrap_or_default();
        let Some(ready) = conditions.into_iter().find(|condition| condition.type_ == "Ready") else {
            return Look::NotYet("no condition Ready".to_owned());
        };
        if ready.status != "True" {
            return Look::NotYet(format!("Ready is {}: {}", ready.status, ready.message.unwrap_or_default()));
        }
        let renewed = match leases.get(node.name()).await {
            Ok(lease) => lease.spec.and_then(|spec| spec.renew_time),
            Err(error) => return Look::NotYet(error.to_string()),
        };
        match renewed {
            Some(time) if time.0 >= begin => Look::There(()),
            other => Look::NotYet(format!("the lease was renewed last at {other:?}")),
        }
    };
    let ready = wait::until("the node to be Ready", READY_LIMIT, look).await;
    ready.map_err(|source| not_ready(&node.nodelet, source))
}

/// Waits until the node's daemon serves its healthz port, which is all that a node without an API server shows from outside.
async fn node_answers(node: &Node) -> Result<(), ClusterError> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], node.healthz_port));
    let look = || async {
        match tokio::net::TcpStream::connect(address).await {
            Ok(_) => Look::There(()),
            Err(error) => Look::NotYet(error.to_string()),
        }
    };
    let answered = wait::until("the node's daemon to answer", READY_LIMIT, look).await;
    answered.map_err(|source| not_ready(&node.nodelet, source))
}
