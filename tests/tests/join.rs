//! What a node that joins meets: rights, tokens, certificates and cluster-info, with kubectl against the API server alone.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::cluster::Programs;
use harness::progress::Progress;
use harness::tools;
use harness::wait::{self, Look};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(30);
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

/// An API server, and a kubectl for it.
struct World {
    dir: tempfile::TempDir,
    url: String,
    kubectl: PathBuf,
    _server: Child,
}

impl World {
    async fn start(arguments: &[&str]) -> Self {
        let kubectl = tools::find_or_install(&Progress::test()).await.unwrap().kubectl.path;
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let server = Command::new(Programs::from_environment().unwrap().apiserver)
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(["--secure-port", &port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let world = Self { dir, url: format!("https://127.0.0.1:{port}"), kubectl, _server: server };
        let look = || async {
            match world.admin("get --raw /readyz", "").await {
                (true, _) => Look::There(()),
                (false, said) => Look::NotYet(said),
            }
        };
        wait::until("the API server to be ready", LIMIT, look).await.unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs kubectl with a kubeconfig: whether it succeeded, and what it said.
    async fn run(&self, kubeconfig: &Path, line: &str, input: &str) -> (bool, String) {
        let mut child = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--cache-dir")
            .arg(self.path("cache"))
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

    async fn admin(&self, line: &str, input: &str) -> (bool, String) {
        self.run(&self.path("data/admin.kubeconfig"), line, input).await
    }

    async fn ok(&self, line: &str) -> String {
        let (succeeded, said) = self.admin(line, "").await;
        assert!(succeeded, "kubectl {line}: {said}");
        said
    }

    async fn apply(&self, manifest: &str) {
        let (succeeded, said) = self.admin("apply -f -", manifest).await;
        assert!(succeeded, "{said}");
    }

    /// A kubeconfig with these lines as its user.
    fn kubeconfig(&self, name: &str, user: &str) -> PathBuf {
        let path = self.path(name);
        let ca = self.path("data/pki/ca.crt");
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{ server: \"{}\", certificate-authority: \"{}\" }}\n\
             users:\n- name: u\n  user: {user}\ncontexts:\n- name: x\n  context: {{ cluster: c, user: u }}\ncurrent-context: x\n",
            self.url,
            ca.display()
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Reads a path without credentials, for which kubectl would ask: the text, or why not.
    async fn anonymously(&self, path: &str) -> Result<String, String> {
        let mut config = kube::Config::new(self.url.parse().unwrap());
        config.accept_invalid_certs = true;
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        kube::Client::try_from(config).unwrap().request_text(request).await.map_err(|e| e.to_string())
    }

    /// A client certificate of the cluster for a new key, signed for a request under this name.
    async fn certificate(&self, request: &str) -> String {
        let look = || async {
            let line = format!("get csr {request} -o jsonpath={{.status.certificate}}");
            match self.admin(&line, "").await {
                (true, said) if !said.is_empty() => Look::There(said),
                (_, said) => Look::NotYet(said),
            }
        };
        let encoded = wait::until("the certificate", LIMIT, look).await.unwrap();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    }
}

/// The manifest of a request, and the key that it is for.
fn request(name: &str, signer: &str, user: &str, group: &str) -> (String, KeyPair) {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::OrganizationName, group);
    parameters.distinguished_name.push(DnType::CommonName, user);
    let key = KeyPair::generate().unwrap();
    let pem = STANDARD.encode(parameters.serialize_request(&key).unwrap().pem().unwrap());
    let manifest = format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{ name: {name} }}\nspec:\n  \
         request: {pem}\n  signerName: kubernetes.io/{signer}\n  usages: [digital signature, client auth]\n  expirationSeconds: 3600\n"
    );
    (manifest, key)
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_asks_who_one_is_and_what_one_may() {
    let world = World::start(&[]).await;
    says(
        &world.ok("auth whoami").await,
        &["Username", "kubernetes-admin", "system:masters", "system:authenticated"],
    );
    says(&world.ok("auth can-i delete nodes").await, &["yes"]);
    let bob = "--as=bob --as-group=dev";
    let (may, said) = world.admin(&format!("auth can-i list pods {bob}"), "").await;
    assert!(!may && said.contains("no"), "{said}");
    let (_, refused) = world.admin(&format!("get pods {bob}"), "").await;
    says(
        &refused,
        &[
            "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ],
    );
    world.ok("create rolebinding bob --clusterrole=view --user=bob").await;
    world.ok("create role maps --verb=get,update --resource=configmaps --resource-name=one").await;
    world.ok("create rolebinding maps --role=maps --group=dev").await;
    world.ok("create clusterrole up --verb=get --non-resource-url=/metrics").await;
    world.ok("create clusterrolebinding up --clusterrole=up --serviceaccount=default:prober").await;
    for (question, expected) in [
        ("list pods", true),
        ("get pods/log", true),
        ("get pods --subresource=log", true),
        ("delete pods", false),
        ("get secrets", false),
        ("update configmaps/one", true),
        ("update configmaps/two", false),
        ("list pods -n kube-system", false),
    ] {
        let (may, said) = world.admin(&format!("auth can-i {question} {bob}"), "").await;
        assert_eq!(may, expected, "{question}: {said}");
    }
    let probe = "auth can-i get /metrics --as=system:serviceaccount:default:prober";
    says(&world.ok(probe).await, &["yes"]);
    let (_, all) = world.admin(&format!("auth can-i --list {bob}"), "").await;
    says(
        &all,
        &["selfsubjectaccessreviews.authorization.k8s.io", "pods/log", "configmaps", "[one]", "/healthz"],
    );
    says(
        &world.ok("get clusterroles").await,
        &["NAME", "CREATED AT", "cluster-admin", "system:node-bootstrapper"],
    );
    says(
        &world.ok("get rolebindings -o wide").await,
        &["ROLE", "USERS", "ClusterRole/view", "Role/maps", "bob", "dev"],
    );
    says(
        &world.ok("describe clusterrole system:node-bootstrapper").await,
        &["certificatesigningrequests.certificates.k8s.io", "[create get list watch]"],
    );
    // A second user grants no more than he has.
    world.ok("create rolebinding carol --clusterrole=admin --user=carol").await;
    let (granted, said) = world.admin("create role all --verb=* --resource=nodes --as=carol", "").await;
    assert!(!granted, "{said}");
    says(&said, &["attempting to grant RBAC permissions not currently held", "Resources:[\"nodes\"]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_approves_and_denies_requests() {
    let world = World::start(&[]).await;
    let (manifest, key) = request("dave", "kube-apiserver-client", "dave", "dev");
    world.apply(&manifest).await;
    says(
        &world.ok("get csr").await,
        &[
            "NAME",
            "AGE",
            "SIGNERNAME",
            "REQUESTOR",
            "REQUESTEDDURATION",
            "CONDITION",
            "dave",
            "kubernetes-admin",
            "60m",
            "Pending",
        ],
    );
    let (approved, said) = world.admin("certificate approve dave --as=bob", "").await;
    assert!(!approved && said.contains("forbidden"), "{said}");
    says(
        &world.ok("certificate approve dave").await,
        &["certificatesigningrequest.certificates.k8s.io/dave approved"],
    );
    let certificate = world.certificate("dave").await;
    says(&world.ok("get csr dave").await, &["Approved,Issued"]);
    says(&world.ok("describe csr dave").await, &["dave", "Approved,Issued", "client auth"]);
    let user = format!(
        "{{ client-certificate-data: {}, client-key-data: {} }}",
        STANDARD.encode(certificate),
        STANDARD.encode(key.serialize_pem())
    );
    let dave = world.kubeconfig("dave.kubeconfig", &user);
    let (_, said) = world.run(&dave, "auth whoami", "").await;
    says(&said, &["dave", "dev", "X509SHA256="]);
    let (manifest, _) = request("eve", "kube-apiserver-client", "eve", "dev");
    world.apply(&manifest).await;
    says(&world.ok("certificate deny eve").await, &["denied"]);
    says(&world.ok("get csr eve").await, &["Denied"]);
    let (made, said) =
        world.admin("create -f -", &manifest.replace("3600", "599").replace("name: eve", "name: f")).await;
    assert!(!made, "{said}");
    says(
        &said,
        &["spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_in_with_a_token_and_stays_with_its_certificate() {
    let world = World::start(&["--cluster-signing-duration", "3m"]).await;
    let joining = world.kubeconfig("bootstrap.kubeconfig", &format!("{{ token: {TOKEN} }}"));
    let (known, said) = world.run(&joining, "get csr", "").await;
    assert!(!known && said.contains("You must be logged in to the server"), "{said}");
    world.apply(SECRET).await;
    let (_, said) = world.run(&joining, "auth whoami", "").await;
    says(
        &said,
        &[
            "system:bootstrap:abcdef",
            "system:bootstrappers",
            "system:bootstrappers:kubeadm:default-node-token",
        ],
    );
    let (read, said) = world.run(&joining, "get secrets", "").await;
    assert!(!read && said.contains("forbidden"), "{said}");
    let (read, said) = world
        .run(&joining, "get configmap kubelet-config -n kube-system -o jsonpath={.data.kubelet}", "")
        .await;
    assert!(read, "{said}");
    says(&said, &["kind: KubeletConfiguration", "rotateCertificates: true"]);
    let (manifest, key) =
        request("node-csr-n1", "kube-apiserver-client-kubelet", "system:node:n1", "system:nodes");
    let (made, said) = world.run(&joining, "create -f -", &manifest).await;
    assert!(made, "{said}");
    let certificate = world.certificate("node-csr-n1").await;
    says(&world.ok("get csr").await, &["system:bootstrap:abcdef", "Approved,Issued"]);
    let user = format!(
        "{{ client-certificate-data: {}, client-key-data: {} }}",
        STANDARD.encode(&certificate),
        STANDARD.encode(key.serialize_pem())
    );
    let node = world.kubeconfig("node.kubeconfig", &user);
    let manifest = "apiVersion: v1\nkind: Node\nmetadata: { name: n1 }\n";
    let (made, said) = world.run(&node, "create -f -", manifest).await;
    assert!(made, "{said}");
    let (made, said) = world.run(&node, "create -f -", &manifest.replace("n1", "n2")).await;
    assert!(!made, "{said}");
    says(&said, &["nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""]);
    let (may, said) = world.run(&node, "label node n1 node-role.kubernetes.io/control-plane=", "").await;
    assert!(!may, "{said}");
    says(&said, &["is not allowed to modify labels: node-role.kubernetes.io/control-plane"]);
    let (may, said) = world.run(&node, "taint node n1 a=b:NoSchedule", "").await;
    assert!(!may, "{said}");
    says(&said, &["is not allowed to modify taints"]);
    // A secret is the node's to read when a pod of its names it.
    world.ok("create secret generic mine --from-literal=a=b").await;
    let (read, said) = world.run(&node, "get secret mine", "").await;
    assert!(!read, "{said}");
    says(
        &said,
        &[
            "secrets \"mine\" is forbidden: User \"system:node:n1\" cannot get resource \"secrets\"",
            "no relationship found between node 'n1' and this object",
        ],
    );
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: { name: p }\nspec:\n  nodeName: n1\n  imagePullSecrets: [{ name: mine }]\n  containers: [{ name: c, image: i }]\n";
    world.apply(pod).await;
    let (read, said) = world.run(&node, "get secret mine", "").await;
    assert!(read, "{said}");
    let (listed, said) = world.run(&node, "get pods -A --field-selector=spec.nodeName=n1", "").await;
    assert!(listed, "{said}");
    let (listed, said) = world.run(&node, "get pods -A", "").await;
    assert!(!listed, "{said}");
    says(&said, &["can only list/watch pods with spec.nodeName field selector"]);
}

/// HMAC with SHA-256 (RFC 2104), apart from the server's.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ pad).collect() };
    let inner = Sha256::digest([padded(0x36).as_slice(), text].concat());
    Sha256::digest([padded(0x5c).as_slice(), &inner].concat()).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_knows_a_token_can_tell_that_cluster_info_is_genuine() {
    let world = World::start(&["--control-plane-endpoint", "api.example:6443"]).await;
    world.apply(SECRET).await;
    let maps = "/api/v1/namespaces/kube-public/configmaps";
    let one = format!("{maps}/cluster-info");
    let look = || async {
        match world.anonymously(&one).await.map(|text| serde_json::from_str::<Value>(&text)) {
            Ok(Ok(map)) if map["data"]["jws-kubeconfig-abcdef"].is_string() => Look::There(map),
            other => Look::NotYet(format!("{other:?}")),
        }
    };
    let map = wait::until("the signed config map", LIMIT, look).await.unwrap();
    let content = map["data"]["kubeconfig"].as_str().unwrap();
    says(content, &["https://api.example:6443", "certificate-authority-data"]);
    let signature = map["data"]["jws-kubeconfig-abcdef"].as_str().unwrap();
    let (header, given) = signature.split_once("..").unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(header).unwrap(), br#"{"alg":"HS256","kid":"abcdef"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    assert_eq!(URL_SAFE_NO_PAD.decode(given).unwrap(), hmac(b"0123456789abcdef", signed.as_bytes()));
    let ca = std::fs::read_to_string(world.path("data/pki/ca.crt")).unwrap();
    assert!(content.contains(&STANDARD.encode(ca)), "{content}");
    let refused = world.anonymously(maps).await.unwrap_err();
    says(&refused, &["User \"system:anonymous\" cannot list resource \"configmaps\""]);
}
