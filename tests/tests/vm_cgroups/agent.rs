//! nodelet in a node of the test bed, alone or under an API server in the same node, and the cgroups there.

use std::collections::HashMap;
use std::time::Duration;

use cri_client::v1;
use harness::cluster::Programs;
use harness::vm::{Bed, Node};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};
use kube::Api;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};

pub(crate) const LIMIT: Duration = Duration::from_secs(90);
pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const NO_QUOTA: &str = "max 100000";
/// Ends when it is told to.
pub(crate) const SLEEP: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";
const UNIT: &str = include_str!("../../../daemon/package/nodelet.service");
const SLICE: &str = include_str!("../../../daemon/package/nodelet.slice");
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const RUNNING: i32 = v1::ContainerState::ContainerRunning as i32;
const PORT: u16 = 6443;
const AUTHENTICATION: &str = "authentication: { x509: { clientCAFile: /var/lib/apiserver/pki/ca.crt } }\n";
const HEADER: &str = "
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: /etc/kubernetes/manifests
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
evictionHard: { memory.available: 10Mi, nodefs.available: 1% }
";

/// A node with nodelet.
pub(crate) struct Agent<'a> {
    pub(crate) node: &'a Node,
    client: Option<kube::Client>,
}

/// A container as the runtime lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) uid: String,
    pub(crate) sandbox: String,
}

/// How the runtime makes its cgroups. crun 1.21 passes over the files of the unified hierarchy, `memory.oom.group` say,
/// where systemd makes the cgroup, so that all of this is tried with runc.
pub(crate) async fn use_runc(node: &Node, systemd: bool) {
    let runc = format!(
        "sed -i \"s/default_runtime_name = .*/default_runtime_name = 'runc'/; \
         s/SystemdCgroup = .*/SystemdCgroup = {systemd}/\" /etc/containerd/config.toml; systemctl restart containerd"
    );
    node.sh(&runc).await.unwrap();
}

impl<'a> Agent<'a> {
    /// Puts nodelet into the first node; nothing is started.
    pub(crate) async fn install(bed: &'a Bed) -> Self {
        let node = bed.node(1);
        let programs = Programs::from_environment().unwrap();
        node.install_programs(&[&programs.nodelet]).await.unwrap();
        for (path, content) in
            [("/etc/systemd/system/nodelet.service", UNIT), ("/etc/systemd/system/nodelet.slice", SLICE)]
        {
            node.write(path, "0644", content.as_bytes()).await.unwrap();
        }
        node.sh(&format!("mkdir -p {MANIFESTS} /etc/nodelet/config.d; systemctl daemon-reload"))
            .await
            .unwrap();
        Self { node, client: None }
    }

    /// As [`Self::install`], with an API server that runs in the same node.
    pub(crate) async fn install_with_api(bed: &'a Bed) -> Self {
        let mut agent = Self::install(bed).await;
        let (node, ip) = (agent.node, agent.node.ip());
        let programs = Programs::from_environment().unwrap();
        node.install_programs(&[&programs.apiserver]).await.unwrap();
        let start = format!(
            "systemd-run -q --unit apiserver /usr/bin/apiserver \
             --data-dir /var/lib/apiserver --bind-address 0.0.0.0 --secure-port {PORT} --tls-san {ip}"
        );
        node.sh(&start).await.unwrap();
        let look = || async {
            let Some(kubeconfig) = agent.kubeconfig().await else {
                return Look::NotYet("no kubeconfig".to_owned());
            };
            let config =
                kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            let client = match config.map(kube::Client::try_from) {
                Ok(Ok(client)) => client,
                other => return Look::NotYet(format!("{:?}", other.map(|client| client.map(drop)))),
            };
            match client.apiserver_version().await {
                Ok(_) => Look::There(client),
                Err(error) => Look::NotYet(error.to_string()),
            }
        };
        let client = wait::until("the API server", LIMIT, look).await.unwrap();
        agent.client = Some(client);
        let name = node.name();
        let credentials = format!(
            "apiserver credentials --data-dir /var/lib/apiserver --user system:node:{name} --group system:nodes \
             --server https://127.0.0.1:{PORT} --output /etc/kubernetes/kubelet.conf; \
             echo NODELET_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf >/etc/default/nodelet"
        );
        node.sh(&credentials).await.unwrap();
        agent
    }

    /// The administrator's, for use on this machine; none where there is none yet.
    pub(crate) async fn kubeconfig(&self) -> Option<Kubeconfig> {
        let text = self.node.output(&["cat", "/var/lib/apiserver/admin.kubeconfig"]).await.unwrap();
        let mut kubeconfig = Kubeconfig::from_yaml(&text.stdout).ok()?;
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(format!("https://{}:{PORT}", self.node.ip()));
        }
        Some(kubeconfig)
    }

    /// Writes the configuration, without what all of them have in common.
    pub(crate) async fn configure(&self, settings: &str) {
        let authentication = if self.client.is_some() { AUTHENTICATION } else { "" };
        let configuration = format!("{HEADER}{authentication}{settings}");
        self.node.write("/etc/nodelet/config.yaml", "0644", configuration.as_bytes()).await.unwrap();
    }

    /// (Re)starts the daemon with these settings, and waits until it has come up.
    pub(crate) async fn start(&self, settings: &str) {
        self.configure(settings).await;
        self.node.sh("systemctl restart nodelet.service").await.unwrap();
        assert_eq!(self.unit("ActiveState").await, "active");
        if self.client.is_none() {
            return;
        }
        let look = || async {
            let status = match self.api_node().await {
                Ok(node) => node.status.unwrap_or_default(),
                Err(error) => return Look::NotYet(error.to_string()),
            };
            let conditions = status.conditions.unwrap_or_default();
            let is_ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            if is_ready { Look::There(()) } else { Look::NotYet(format!("{conditions:?}")) }
        };
        wait::until("the node to be Ready", LIMIT, look).await.unwrap();
    }

    /// Tries to start it with settings with which it does not start; gives what it said and its exit code.
    pub(crate) async fn refused(&self, settings: &str) -> (String, String) {
        self.configure(settings).await;
        // It would be tried again for ever, and with each try its exit code is forgotten.
        let once = "/run/systemd/system/nodelet.service.d";
        let begin = self
            .node
            .sh(&format!(
                "mkdir -p {once}; printf '[Service]\\nRestart=no\\n' >{once}/once.conf; systemctl daemon-reload; date +%s"
            ))
            .await
            .unwrap();
        let started = self.node.output(&["systemctl", "restart", "nodelet.service"]).await.unwrap();
        assert!(!started.success(), "it has started");
        let code = self.unit("ExecMainStatus").await;
        self.node
            .sh(&format!("rm -r {once}; systemctl daemon-reload; systemctl reset-failed nodelet.service"))
            .await
            .unwrap();
        let said =
            format!("journalctl --sync; journalctl -q -o cat -u nodelet.service --since @{}", begin.trim());
        (self.node.sh(&said).await.unwrap(), code)
    }

    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone().expect("installed with an API server")
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client(), "default")
    }

    pub(crate) async fn api_node(&self) -> kube::Result<ApiNode> {
        Api::all(self.client()).get(self.node.name()).await
    }

    /// Writes the manifest of a static pod; `spec` is YAML in one line.
    pub(crate) async fn put(&self, name: &str, spec: &str) {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, namespace: default }}\nspec: {spec}\n"
        );
        let path = format!("{MANIFESTS}/{name}.yaml");
        self.node.write(&path, "0644", manifest.as_bytes()).await.unwrap();
    }

    pub(crate) async fn take(&self, name: &str) {
        self.node.run(&["rm", &format!("{MANIFESTS}/{name}.yaml")]).await.unwrap();
    }

    /// Creates a pod of the API server's on the node.
    pub(crate) async fn create(&self, name: &str, mut spec: serde_json::Value) {
        spec["nodeName"] = self.node.name().into();
        spec["terminationGracePeriodSeconds"] = 1.into();
        let pod = serde_json::json!({ "metadata": { "name": name }, "spec": spec });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    /// All containers `container` of the pod `pod` of any UID, the newest last.
    pub(crate) async fn containers(&self, pod: &str, container: &str) -> Vec<v1::Container> {
        let labels = HashMap::from([("io.kubernetes.container.name".to_owned(), container.to_owned())]);
        let mut all = self.node.cri().list_containers(labels).await.unwrap_or_default();
        // A static pod has the node's name behind its own.
        let names = [pod.to_owned(), format!("{pod}-{}", self.node.name())];
        all.retain(|c| names.contains(&c.labels["io.kubernetes.pod.name"]));
        all.sort_by_key(|c| c.created_at);
        all
    }

    /// Waits for a container to run.
    pub(crate) async fn running(&self, pod: &str, container: &str) -> Running {
        let look = || async {
            let all = self.containers(pod, container).await;
            match all.last() {
                Some(c) if c.state == RUNNING => Look::There(Running {
                    id: c.id.clone(),
                    uid: c.labels["io.kubernetes.pod.uid"].clone(),
                    sandbox: c.pod_sandbox_id.clone(),
                }),
                _ => Look::NotYet(format!("{all:?}")),
            }
        };
        wait::until(&format!("container {container} of {pod} to run"), LIMIT, look).await.unwrap()
    }

    pub(crate) async fn explain(&self, pod: &str) -> String {
        let said = self.node.output(&["nodelet", "explain", &format!("default/{pod}")]).await.unwrap();
        said.stdout + &said.stderr
    }

    /// A property of the unit.
    pub(crate) async fn unit(&self, property: &str) -> String {
        let argv = ["systemctl", "show", "--value", "--property", property, "nodelet.service"];
        self.node.run(&argv).await.unwrap().stdout.trim().to_owned()
    }

    /// What the daemon has said since it was installed.
    pub(crate) async fn journal(&self) -> String {
        self.node.sh("journalctl --sync; journalctl -q -o cat -u nodelet.service").await.unwrap()
    }

    /// Waits until a directory is there, or is not.
    pub(crate) async fn directory(&self, path: &str, there: bool) {
        let look = || async {
            let is_there = self.node.output(&["test", "-d", path]).await.unwrap().success();
            if is_there == there { Look::There(()) } else { Look::NotYet(format!("there: {is_there}")) }
        };
        wait::until(&format!("{path} to be there: {there}"), LIMIT, look).await.unwrap();
    }

    /// Files of cgroups, by path and name; a file that is not there is empty.
    pub(crate) async fn held(&self, wanted: &[(String, &str, String)]) -> Vec<String> {
        let mut script = String::new();
        for (path, file, _) in wanted {
            script += &format!("cat /sys/fs/cgroup{path}/{file} 2>/dev/null || echo\n");
        }
        let said = self.node.sh(&script).await.unwrap();
        let held: Vec<String> = said.lines().map(str::to_owned).collect();
        assert_eq!(held.len(), wanted.len(), "{said}");
        held
    }

    /// Compares files of cgroups (path below the mount, name, content) with what they should hold. Of a content with `|` any
    /// part will do: the runtime decides by which curve it converts shares.
    pub(crate) async fn differences(&self, wanted: &[(String, &str, String)]) -> Vec<String> {
        let held = self.held(wanted).await;
        let pairs = wanted.iter().zip(held);
        pairs
            .filter(|((_, _, wanted), held)| !wanted.split('|').any(|one| one == held))
            .map(|((path, file, wanted), held)| format!("{path}/{file}: {held:?}, not {wanted:?}"))
            .collect()
    }

    /// Waits until files of cgroups hold this; see [`Self::differences`].
    pub(crate) async fn holds(&self, what: &str, wanted: &[(String, &str, String)]) {
        let look = || async {
            let wrong = self.differences(wanted).await;
            if wrong.is_empty() { Look::There(()) } else { Look::NotYet(wrong.join("\n")) }
        };
        wait::until(what, LIMIT, look).await.unwrap();
    }

    /// A number of the node.
    pub(crate) async fn number(&self, script: &str) -> u64 {
        let said = self.node.sh(script).await.unwrap();
        said.trim().parse().unwrap_or_else(|error| panic!("{script}: {said}: {error}"))
    }

    /// Memory and swap of the node in bytes.
    pub(crate) async fn memory(&self) -> [u64; 2] {
        let of = async |name: &str| {
            1024 * self.number(&format!("sed -n 's/^{name}: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")).await
        };
        [of("MemTotal").await, of("SwapTotal").await]
    }

    /// How many tasks the node can have.
    pub(crate) async fn pids(&self) -> u64 {
        self.number("cat /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max | sort -n | head -n 1").await
    }

    /// The score of the first process of a cgroup.
    pub(crate) async fn oom_score(&self, path: &str) -> String {
        let script = format!("cat /proc/$(head -n 1 /sys/fs/cgroup{path}/cgroup.procs)/oom_score_adj");
        self.node.sh(&script).await.unwrap().trim().to_owned()
    }
}

/// A row for [`Agent::holds`].
pub(crate) fn row(path: &str, file: &'static str, content: impl ToString) -> (String, &'static str, String) {
    (path.to_owned(), file, content.to_string())
}

/// A container that does what `script` says.
pub(crate) fn container(name: &str, resources: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "{{ name: {name}, image: \"nodelet.dev/busybox:1\", command: [sh, -c, {script}], resources: {{ {resources} }} }}"
    )
}

/// A static pod's spec with one container `c`.
pub(crate) fn alone(resources: &str, script: &str) -> String {
    format!("{{ terminationGracePeriodSeconds: 1, containers: [{}] }}", container("c", resources, script))
}

/// Where a pod is under systemd, below the mount; `tier` is empty for guaranteed pods.
pub(crate) fn slice(tier: &str, uid: &str) -> String {
    let uid = uid.replace('-', "_");
    match tier {
        "" => format!("/kubepods.slice/kubepods-pod{uid}.slice"),
        tier => format!("/kubepods.slice/kubepods-{tier}.slice/kubepods-{tier}-pod{uid}.slice"),
    }
}

/// Where a container is under systemd.
pub(crate) fn scope(tier: &str, container: &Running) -> String {
    format!("{}/cri-containerd-{}.scope", slice(tier, &container.uid), container.id)
}
