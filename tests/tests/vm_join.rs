//! Nodes that are installed as packages, come into the sibling API server's cluster by token, live there, and leave it.
//!
//! API server and scheduler are processes of this machine, at the address that the bed's nodes know it by.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::{BTreeSet, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use cri_client::v1;
use harness::bed;
use harness::cluster::Programs;
use harness::progress::Progress;
use harness::tools;
use harness::vm::{Bed, Node, scenario};
use harness::wait::{self, Look};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until};

const LIMIT: Duration = Duration::from_secs(90);
/// From its start until it has been renewed, with room for a busy machine.
const ROTATION_LIMIT: Duration = Duration::from_secs(200);
/// After its node has joined the first certificate, of three minutes, has ended.
const FIRST_ENDS: Duration = Duration::from_secs(185);
const RUNNING: i32 = v1::ContainerState::ContainerRunning as i32;
const TOKEN: &str = "abcdef.0123456789abcdef";
const SECRET: &str = r#"
apiVersion: v1
kind: Secret
metadata: { name: bootstrap-token-abcdef, namespace: kube-system }
type: bootstrap.kubernetes.io/token
stringData:
  token-id: abcdef
  token-secret: 0123456789abcdef
  usage-bootstrap-authentication: "true"
  usage-bootstrap-signing: "true"
  auth-extra-groups: system:bootstrappers:kubeadm:default-node-token
"#;
const SLEEP: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

/// A control plane.
struct World {
    dir: tempfile::TempDir,
    address: SocketAddr,
    arguments: Vec<String>,
    kubectl: PathBuf,
    server: Child,
    _scheduler: Child,
}

impl World {
    /// With a token, and these arguments of the API server.
    async fn start(bed: &Bed, arguments: &[&str]) -> Self {
        let kubectl = tools::find_or_install(&Progress::test()).await.unwrap().kubectl.path;
        let dir = tempfile::tempdir().unwrap();
        let host = bed.network().addresses().host();
        let address = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        let healthz = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let server = serve(&dir, address, &arguments);
        ready(&dir, &kubectl).await;
        let mut scheduler = command(&dir, "scheduler", &Programs::from_environment().unwrap().scheduler);
        scheduler.arg("--kubeconfig").arg(dir.path().join("data/scheduler.kubeconfig"));
        let scheduler = scheduler.args(["--healthz-port", &healthz.to_string()]).spawn().unwrap();
        let world = Self { dir, address, arguments, kubectl, server, _scheduler: scheduler };
        world.apply(SECRET).await;
        world
    }

    async fn stop_server(&mut self) {
        self.server.kill().await.unwrap();
    }

    async fn start_server(&mut self) {
        self.server = serve(&self.dir, self.address, &self.arguments);
        ready(&self.dir, &self.kubectl).await;
    }

    /// Runs kubectl as the administrator: whether it succeeded, and what it said.
    async fn kubectl(&self, line: &str, input: &str) -> (bool, String) {
        kubectl(&self.dir, &self.kubectl, line, input).await
    }

    async fn ok(&self, line: &str) -> String {
        let (succeeded, said) = self.kubectl(line, "").await;
        assert!(succeeded, "kubectl {line}: {said}");
        said
    }

    async fn apply(&self, manifest: &str) {
        let (succeeded, said) = self.kubectl("apply -f -", manifest).await;
        assert!(succeeded, "{said}");
    }

    /// The hash of the cluster's authority, as kubeadm prints it.
    fn hash(&self) -> String {
        let pem = std::fs::read(self.dir.path().join("data/pki/ca.crt")).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let key = pem.parse_x509().unwrap().public_key().raw.to_vec();
        let hex: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// Runs `nodelet join` on a node: how it ended, and what it said.
    async fn join(&self, node: &Node, token: &str, hash: &str, more: &[&str]) -> (Option<i32>, String) {
        let address = self.address.to_string();
        let mut argv =
            vec!["nodelet", "join", &address, "--token", token, "--discovery-token-ca-cert-hash", hash];
        argv.extend(more);
        let said = node.output(&argv).await.unwrap();
        (said.status.code(), said.stdout + &said.stderr)
    }

    async fn joined(&self, node: &Node) {
        let (code, said) = self.join(node, TOKEN, &self.hash(), &[]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("the node {} of the cluster", node.name())), "{said}");
        let left = node.output(&["test", "-e", "/etc/kubernetes/bootstrap-kubelet.conf"]).await.unwrap();
        assert!(!left.success(), "the token is there still");
        self.node_ready(node.name()).await;
    }

    /// Waits until the node is Ready; when it was seen so.
    async fn node_ready(&self, name: &str) -> Timestamp {
        let line = format!("get node {name} -o jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}}");
        let look = || async {
            match self.kubectl(&line, "").await {
                (true, said) if said == "True" => Look::There(Timestamp::now()),
                (_, said) => Look::NotYet(said),
            }
        };
        wait::until(&format!("{name} to be Ready"), LIMIT, look).await.unwrap()
    }

    /// Waits until the node's lease is renewed, which needs a daemon that the API server knows.
    async fn lease_renewed(&self, name: &str) {
        let begin = Timestamp::now();
        let line = format!("get lease {name} -n kube-node-lease -o jsonpath={{.spec.renewTime}}");
        let look = || async {
            let (_, said) = self.kubectl(&line, "").await;
            if said.parse::<Timestamp>().is_ok_and(|at| at > begin) {
                Look::There(())
            } else {
                Look::NotYet(said)
            }
        };
        wait::until(&format!("the lease of {name} to be renewed"), LIMIT, look).await.unwrap();
    }

    /// Waits until a pod's status says so.
    async fn pod(&self, name: &str, path: &str, expected: &str) {
        let line = format!("get pod {name} -o jsonpath={{.status{path}}}");
        let look = || async {
            match self.kubectl(&line, "").await {
                (true, said) if said == expected => Look::There(()),
                _ => Look::NotYet(self.kubectl(&format!("describe pod {name}"), "").await.1),
            }
        };
        wait::until(&format!("{path} of pod {name} to be {expected}"), LIMIT, look).await.unwrap();
    }

    async fn run(&self, name: &str, node: &str, script: &str) {
        self.apply(&manifest(name, node, script)).await;
        self.pod(name, ".phase", "Running").await;
    }

    async fn pod_ip(&self, name: &str) -> String {
        self.ok(&format!("get pod {name} -o jsonpath={{.status.podIP}}")).await
    }
}

fn command(dir: &tempfile::TempDir, name: &str, program: &std::path::Path) -> Command {
    let log = dir.path().join(format!("{name}.log"));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command
}

fn serve(dir: &tempfile::TempDir, address: SocketAddr, arguments: &[String]) -> Child {
    let mut server = command(dir, "apiserver", &Programs::from_environment().unwrap().apiserver);
    server.arg("--data-dir").arg(dir.path().join("data"));
    server.args(["--bind-address", &address.ip().to_string(), "--secure-port", &address.port().to_string()]);
    server.args(["--control-plane-endpoint", &address.to_string()]).args(arguments).spawn().unwrap()
}

async fn ready(dir: &tempfile::TempDir, program: &std::path::Path) {
    let look = || async {
        match kubectl(dir, program, "get --raw /readyz", "").await {
            (true, _) => Look::There(()),
            (false, said) => Look::NotYet(said),
        }
    };
    wait::until("the API server to be ready", LIMIT, look).await.unwrap();
}

async fn kubectl(
    dir: &tempfile::TempDir,
    program: &std::path::Path,
    line: &str,
    input: &str,
) -> (bool, String) {
    let mut child = Command::new(program)
        .arg("--kubeconfig")
        .arg(dir.path().join("data/admin.kubeconfig"))
        .arg("--cache-dir")
        .arg(dir.path().join("cache"))
        .args(line.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// A pod of one container for a node of this name, or for any.
fn manifest(name: &str, node: &str, script: &str) -> String {
    let selector = if node.is_empty() { String::new() } else { format!("kubernetes.io/hostname: {node}") };
    let script = serde_json::to_string(script).unwrap();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: default }}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 2
  nodeSelector: {{ {selector} }}
  containers:
  - {{ name: c, image: "nodelet.dev/busybox:1", command: [sh, -c, {script}] }}
"#
    )
}

/// A package of these tests; `cargo xtask test vm_join` builds them.
fn package(prefix: &str) -> PathBuf {
    let dir = Programs::from_environment().unwrap().nodelet.parent().unwrap().join("debian");
    let found = std::fs::read_dir(&dir).ok().into_iter().flatten().flatten().map(|entry| entry.path());
    found
        .into_iter()
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .unwrap_or_else(|| {
            panic!("{}/{prefix}*.deb is not there: cargo xtask test vm_join builds it", dir.display())
        })
}

/// A property of a unit.
async fn unit(node: &Node, unit: &str, property: &str) -> String {
    let argv = ["systemctl", "show", "--value", "--timestamp=us+utc", "--property", property, unit];
    node.run(&argv).await.unwrap().stdout.trim().to_owned()
}

/// The newest container of each pod of the API server, by the pod's name: id, and how often it was started.
async fn containers(node: &Node) -> HashMap<String, (String, u32)> {
    let mut all = node.cri().list_containers(HashMap::new()).await.unwrap_or_default();
    all.sort_by_key(|container| container.created_at);
    let running = all.into_iter().filter(|container| container.state == RUNNING);
    running
        .map(|c| (c.labels["io.kubernetes.pod.name"].clone(), (c.id.clone(), c.metadata.unwrap().attempt)))
        .collect()
}

/// Waits until `names` run and are others than `before`.
async fn restarted(node: &Node, before: &HashMap<String, (String, u32)>) -> HashMap<String, (String, u32)> {
    let look = || async {
        let now = containers(node).await;
        let is_new = before.iter().all(|(name, (id, _))| now.get(name).is_some_and(|(new, _)| new != id));
        if is_new { Look::There(now) } else { Look::NotYet(format!("{now:?}")) }
    };
    wait::until("the pods to run again", LIMIT, look).await.unwrap()
}

/// Local ports of connections to the API server.
async fn connections(world: &World, node: &Node) -> BTreeSet<String> {
    let script =
        format!("ss -Htn state established dst {} dport = :{}", world.address.ip(), world.address.port());
    let said = node.sh(&script).await.unwrap();
    said.lines().filter_map(|line| Some(line.split_whitespace().nth(2)?.to_owned())).collect()
}

#[tokio::test]
async fn two_machines_join_by_token_and_one_of_them_lives_through_its_certificates_and_one_leaves() {
    scenario(bed!("join").nodes(2), async |bed| {
        let world = World::start(bed, &["--cluster-signing-duration", "3m"]).await;
        let (one, two) = (bed.node(1), bed.node(2));
        futures::future::join_all([one, two].map(|node| async move {
            node.install_deb(&package("nodelet_0")).await.unwrap();
        }))
        .await;
        two.install_deb(&package("nodelet-kubelet_")).await.unwrap();
        refusals(&world, one).await;

        let watching = world.node_ready("node1");
        let (seen, ()) = tokio::join!(watching, world.joined(one));
        let begun = Instant::now();
        for (what, property) in
            [("systemctl start", "InactiveExitTimestamp"), ("exec", "ExecMainStartTimestamp")]
        {
            let at = unit(one, "nodelet.service", property).await;
            println!("node1: {what} at {at}, seen Ready at {seen}");
        }
        let identity = one.sh("readlink /var/lib/kubelet/pki/kubelet-client-current.pem").await.unwrap();
        let (pid, before) = (unit(one, "nodelet.service", "MainPID").await, connections(&world, one).await);
        assert!(!before.is_empty());

        let (code, said) = world.join(one, TOKEN, &world.hash(), &[]).await;
        assert!(code == Some(1) && said.contains("is a node already"), "{said}");
        world.joined(two).await;
        assert_eq!(unit(two, "kubelet.service", "ActiveState").await, "active");
        let said = world.ok("get nodes -o wide").await;
        println!("{said}");
        assert!(said.contains("node1") && said.contains("node2") && said.contains("+nodelet."), "{said}");

        pods_reach_each_other(&world).await;
        leaves(&world, two).await;

        let look = || async {
            let now = one.sh("readlink /var/lib/kubelet/pki/kubelet-client-current.pem").await.unwrap();
            if now == identity { Look::NotYet(now) } else { Look::There(now) }
        };
        let renewed = wait::until("another client certificate", ROTATION_LIMIT, look).await.unwrap();
        println!(
            "node1: {} -> {} within {:?} of its joining",
            identity.trim(),
            renewed.trim(),
            begun.elapsed()
        );
        world.run("after-rotation", "node1", SLEEP).await;
        let after = connections(&world, one).await;
        println!("connections to the API server before {before:?}, after {after:?}");
        assert!(before.intersection(&after).next().is_some(), "the watch goes on where it was");
        // Beyond the end of the first one.
        sleep_until(begun + FIRST_ENDS).await;
        world.lease_renewed("node1").await;
        world.run("after-the-end", "node1", SLEEP).await;
        assert_eq!(unit(one, "nodelet.service", "MainPID").await, pid, "without a restart");
        let said =
            one.sh("journalctl -u nodelet -o cat --no-pager | grep -c 'there is a new client certificate'");
        println!("node1: {} client certificates so far", said.await.unwrap().trim());
    })
    .await;
}

/// What is wrong is told, and leaves nothing behind.
async fn refusals(world: &World, node: &Node) {
    let (hash, other) = (world.hash(), format!("sha256:{}", "0".repeat(64)));
    for (token, hash, code, words) in [
        ("abcdef", &hash, 2, "a token has the form"),
        ("zzzzzz.0123456789abcdef", &hash, 1, "does not know the token zzzzzz"),
        ("abcdef.0123456789abcdee", &hash, 1, "its second part is mistyped"),
        (TOKEN, &other, 1, "has the hash sha256:"),
    ] {
        let (ended, said) = world.join(node, token, hash, &["--discovery-timeout", "1s"]).await;
        assert!(ended == Some(code) && said.contains(words), "{ended:?} {said}");
    }
    let away = format!("{}:1", world.address.ip());
    let argv = ["nodelet", "join", &away, "--token", TOKEN, "--discovery-timeout", "1s"];
    let argv = [&argv[..], &["--discovery-token-unsafe-skip-ca-verification"]].concat();
    let said = node.output(&argv).await.unwrap();
    assert!(!said.success() && said.stderr.contains("is not reached"), "{said:?}");
    let left = node.sh("ls /etc/kubernetes /etc/nodelet /etc/nodelet/config.d").await.unwrap();
    assert!(!left.contains("kubelet.conf") && !left.contains("cluster"), "{left}");
}

/// By the addresses of the pods, in both directions.
async fn pods_reach_each_other(world: &World) {
    let serve = "mkdir /www; hostname >/www/index.html; exec httpd -f -p 8080 -h /www";
    for node in ["node1", "node2"] {
        world.apply(&manifest(&format!("server-{node}"), node, serve)).await;
    }
    for (node, other) in [("node1", "node2"), ("node2", "node1")] {
        world.pod(&format!("server-{other}"), ".phase", "Running").await;
        let ip = world.pod_ip(&format!("server-{other}")).await;
        let fetch = format!("until wget -qO- http://{ip}:8080/; do sleep 1; done; {SLEEP}");
        world.run(&format!("client-{node}"), node, &fetch).await;
        let look = || async {
            match world.kubectl(&format!("logs client-{node}"), "").await {
                (true, said) if said.contains(&format!("server-{other}")) => Look::There(()),
                (_, said) => Look::NotYet(said),
            }
        };
        wait::until("a pod to reach the other", LIMIT, look).await.unwrap();
    }
}

/// The second node goes: its pods are evicted, the daemon ends, its files go; a second time nothing happens.
async fn leaves(world: &World, node: &Node) {
    let said = node.output(&["nodelet", "leave", "--timeout", "30s"]).await.unwrap();
    assert!(!said.success() && said.stderr.contains("nobody would make these pods again"), "{said:?}");
    let said = node.run(&["nodelet", "leave", "--timeout", "60s", "--force"]).await.unwrap();
    println!("{}", said.stdout);
    assert!(said.stdout.contains("kubectl delete node node2"), "{}", said.stdout);
    let pods = world.ok("get pods -o wide").await;
    assert!(pods.contains("server-node1") && !pods.contains("server-node2"), "{pods}");
    assert!(world.ok("get node node2").await.contains("SchedulingDisabled"));
    assert_eq!(unit(node, "kubelet.service", "ActiveState").await, "inactive");
    assert!(!node.output(&["systemctl", "is-enabled", "kubelet.service"]).await.unwrap().success());
    let left =
        node.sh("ls /etc/kubernetes/*.conf /var/lib/kubelet/pki /var/lib/kubelet/*.yaml 2>&1 || true").await;
    let left = left.unwrap();
    assert!(!left.contains("/etc/kubernetes/kubelet.conf\n") && !left.contains("kubelet-client"), "{left}");
    let again = node.run(&["nodelet", "leave"]).await.unwrap();
    assert_eq!(again.stdout, "this machine is in no cluster\n");
}

#[tokio::test]
async fn a_node_lives_through_upgrades_crashes_reboots_and_an_api_server_that_is_away() {
    scenario(bed!("join-restarts"), async |bed| {
        let mut world = World::start(bed, &[]).await;
        let node = bed.node(1);
        node.install_deb(&package("nodelet_0")).await.unwrap();
        waits_for_approval(&world, node).await;
        for name in ["web", "worker"] {
            world.run(name, "", SLEEP).await;
        }
        let before = containers(node).await;
        assert_eq!(before.len(), 2, "{before:?}");

        node.sh("systemctl kill --kill-whom=main -s KILL nodelet.service").await.unwrap();
        let look = || async {
            let restarts = unit(node, "nodelet.service", "NRestarts").await;
            let state = unit(node, "nodelet.service", "ActiveState").await;
            if restarts == "1" && state == "active" { Look::There(()) } else { Look::NotYet(state) }
        };
        wait::until("systemd to start nodelet again", LIMIT, look).await.unwrap();
        world.lease_renewed("node1").await;
        assert_eq!(containers(node).await, before, "after kill -9");

        let pid = unit(node, "nodelet.service", "MainPID").await;
        node.install_deb(&package("nodelet_99")).await.unwrap();
        let version = node.sh("dpkg-query -W -f '${Version}' nodelet").await.unwrap();
        assert!(version.starts_with("99."), "{version}");
        assert_ne!(unit(node, "nodelet.service", "MainPID").await, pid);
        world.lease_renewed("node1").await;
        assert_eq!(containers(node).await, before, "after the upgrade");

        // In order, with the grace of the package's configuration: who has made them makes others.
        node.reboot().await.unwrap();
        world.lease_renewed("node1").await;
        for name in ["web", "worker"] {
            // Their programs ended well when they were told to.
            world.pod(name, ".phase", "Succeeded").await;
            world.ok(&format!("delete pod {name}")).await;
            world.run(name, "", SLEEP).await;
        }

        // Without a grace, and without an API server: they come up again.
        let hasty = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
                     shutdownGracePeriod: 0s\nshutdownGracePeriodCriticalPods: 0s\n";
        node.write("/etc/nodelet/config.d/60-hasty.conf", "0644", hasty.as_bytes()).await.unwrap();
        node.sh("systemctl restart nodelet.service").await.unwrap();
        world.lease_renewed("node1").await;
        let before = containers(node).await;
        world.stop_server().await;
        node.reboot().await.unwrap();
        let away = restarted(node, &before).await;
        assert_eq!(unit(node, "nodelet.service", "ActiveState").await, "active");
        world.start_server().await;
        for name in ["web", "worker"] {
            assert_eq!(away[name].1, before[name].1 + 1, "{name}");
            world.pod(name, ".containerStatuses[0].restartCount", "1").await;
            world.pod(name, ".conditions[?(@.type==\"Ready\")].status", "True").await;
        }
        world.lease_renewed("node1").await;
        assert_eq!(containers(node).await, away, "the API server's return restarts nothing");

        node.sh("DEBIAN_FRONTEND=noninteractive apt-get remove --yes nodelet").await.unwrap();
        assert!(!node.output(&["test", "-e", "/usr/bin/nodelet"]).await.unwrap().success());
        assert_eq!(containers(node).await, away, "after the removal");
        node.install_deb(&package("nodelet_0")).await.unwrap();
        node.sh("systemctl enable --now nodelet.service").await.unwrap();
        world.lease_renewed("node1").await;
        assert_eq!(containers(node).await, away, "after the installation");

        let admin = std::fs::read(world.dir.path().join("data/admin.kubeconfig")).unwrap();
        node.write("/root/admin.kubeconfig", "0600", &admin).await.unwrap();
        let fixed = manifest("fixed", "", SLEEP);
        node.write("/etc/kubernetes/manifests/fixed.yaml", "0644", fixed.as_bytes()).await.unwrap();
        world.pod("fixed-node1", ".phase", "Running").await;
        let leave = "nodelet leave --force --pods --timeout 60s --kubeconfig /root/admin.kubeconfig";
        let said = node.sh(leave).await.unwrap();
        println!("{said}");
        assert!(said.contains("\npods stopped and removed: 1\n"), "{said}");
        assert!(node.cri().list_pod_sandboxes(HashMap::new()).await.unwrap().is_empty());
        assert!(!world.ok("get nodes").await.contains("node1"));
        let left = node
            .sh("ls /var/lib/kubelet/pods /var/lib/kubelet/nodelet; ls -d /sys/fs/cgroup/kubepods* || true");
        let left = left.await.unwrap();
        assert!(!left.contains("pods") || left.trim().ends_with(':'), "{left}");
    })
    .await;
}

/// A wrong clock is told; a request that nobody approves is told, does not harm the daemon, and goes on.
async fn waits_for_approval(world: &World, node: &Node) {
    node.sh("date -s '+1 day'").await.unwrap();
    let (code, said) = world.join(node, TOKEN, &world.hash(), &[]).await;
    let now = format!("date -s @{}", Timestamp::now().as_second());
    node.sh(&now).await.unwrap();
    assert!(code == Some(1) && said.contains("this machine's clock shows"), "{said}");

    world.ok("delete clusterrolebinding kubeadm:node-autoapprove-bootstrap").await;
    let (code, said) = world.join(node, TOKEN, &world.hash(), &["--timeout", "2s"]).await;
    println!("{said}");
    assert!(code == Some(1) && said.contains("kubectl certificate approve node-csr-"), "{said}");
    assert_eq!(unit(node, "nodelet.service", "ActiveState").await, "active", "ready without a certificate");
    let request = said.split("kubectl certificate approve ").nth(1).unwrap().split(')').next().unwrap();
    world.ok(&format!("certificate approve {request}")).await;
    world.node_ready("node1").await;
    let (code, said) = world.join(node, TOKEN, &world.hash(), &[]).await;
    assert!(code == Some(0) && said.contains("has become a node of the cluster meanwhile"), "{said}");
    assert_eq!(unit(node, "nodelet.service", "NRestarts").await, "0");
}
