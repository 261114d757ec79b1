//! The node's own API: what port 10250 of a real daemon, its read-only port and its healthz port answer.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::images::BUSYBOX;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(60);
/// On the node's own address.
const READ_ONLY: u16 = 10255;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: web }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: c, image: BOX, command: [sleep, "100000"] }
"#;

/// An answer whose body has come whole.
struct Answer {
    code: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Somebody who calls port 10250.
struct Caller(Client);

impl Caller {
    /// Whom the API server calls as: its own client certificate.
    async fn api_server(cluster: &Cluster) -> Self {
        let pki = cluster.layout().apiserver().join("pki");
        let file = |name: &str| Some(pki.join(name).display().to_string());
        let certificate = AuthInfo {
            client_certificate: file("kubelet-client.crt"),
            client_key: file("kubelet-client.key"),
            ..AuthInfo::default()
        };
        Self::new(cluster, Some(certificate)).await
    }

    /// Without a name it is the cluster's administrator.
    async fn new(cluster: &Cluster, who: Option<AuthInfo>) -> Self {
        let mut kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = who.clone().or(user.auth_info.take());
        }
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.cluster_url = format!("https://{}:10250", cluster.node(0).ip()).parse().unwrap();
        config.accept_invalid_certs = true;
        Self(Client::try_from(config).unwrap())
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.as_bytes().to_vec())).unwrap();
        let (head, body) = self.0.send(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        Answer { code: head.status.as_u16(), headers: head.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }
}

/// What a port without TLS answers.
async fn plain(address: (std::net::Ipv4Addr, u16), path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    let code = said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap().parse().unwrap();
    (code, said)
}

/// A file of this machine's own logs that is not empty.
fn some_log() -> Option<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir("/var/log").ok()?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    // Others may write to it meanwhile: it grows, and its beginning stays.
    files.into_iter().find(|path| {
        let is_plain = path.extension().is_some_and(|extension| extension == "log");
        is_plain && fs::symlink_metadata(path).is_ok_and(|data| data.is_file() && data.len() > 16)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_of_a_node_answers() {
    let options = ClusterOptions::for_test("node-api")
        .unwrap()
        .kubelet("readOnlyPort", json!(READ_ONLY))
        .kubelet("enableSystemLogQuery", json!(true));
    scenario(options, async |cluster| {
        cluster.apply(&POD.replace("BOX", BUSYBOX)).await.unwrap();
        cluster.wait_ready("web", LIMIT).await.unwrap();
        let caller = Caller::api_server(cluster).await;
        pods(&caller).await;
        health(&caller).await;
        about_itself(&caller, &Caller::new(cluster, None).await).await;
        node_logs(&caller).await;
        checkpoint(&caller).await;
        wrong_requests(cluster, &caller).await;
        other_ports(cluster).await;
    })
    .await;
}

async fn pods(caller: &Caller) {
    let pods = caller.get("/pods").await.json();
    assert_eq!((&pods["kind"], &pods["apiVersion"]), (&json!("PodList"), &json!("v1")));
    let web = pods["items"].as_array().unwrap().iter().find(|pod| pod["metadata"]["name"] == "web").unwrap();
    assert_eq!(web["status"]["phase"], "Running");
    let running = caller.get("/runningpods/").await.json();
    let web =
        running["items"].as_array().unwrap().iter().find(|pod| pod["metadata"]["name"] == "web").unwrap();
    assert_eq!(web["metadata"]["namespace"], "default");
    assert_eq!(web["spec"]["containers"][0]["name"], "c");
    assert!(web["spec"]["containers"][0]["image"].is_string(), "{web}");
    let moved = caller.get("/runningpods").await;
    assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (301, "/runningpods/"));
}

async fn health(caller: &Caller) {
    for path in ["/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"] {
        let answer = caller.get(path).await;
        assert_eq!((answer.code, answer.text.as_str()), (200, "ok"), "{path}");
    }
    let all = "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n";
    assert_eq!(caller.get("/healthz?verbose=1").await.text, all);
    let slis = caller.get("/metrics/slis").await.text;
    assert!(slis.contains("kubernetes_healthcheck{name=\"syncloop\",type=\"healthz\"} 1\n"), "{slis}");
    let metrics = caller.get("/metrics").await;
    let series = "kubelet_http_requests_total{long_running=\"false\",method=\"GET\",path=\"pods\",server_type=\"readwrite\"} ";
    assert!(metrics.text.lines().any(|line| line.starts_with(series)), "{}", metrics.text);
    let reset = caller.ask("DELETE", "/metrics/slis", &[], "").await;
    assert_eq!((reset.code, reset.text.as_str()), (200, "metrics reset\n"));
}

async fn about_itself(caller: &Caller, administrator: &Caller) {
    let configz = caller.get("/configz").await.json();
    assert_eq!(configz["kubeletconfig"]["kind"], "KubeletConfiguration");
    assert_eq!(configz["kubeletconfig"]["readOnlyPort"], READ_ONLY);
    // The role that upstream gives its API servers has no right to this page.
    let refused = caller.get("/statusz").await;
    let why =
        "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource(s)=[statusz])";
    assert_eq!((refused.code, refused.text.as_str()), (403, why));
    let statusz = administrator.get("/statusz").await;
    assert!(
        statusz.text.starts_with("\nkubelet statusz\n") && statusz.text.contains("\nUp: 0 hr "),
        "{}",
        statusz.text
    );
    let wanted = [("accept", "application/json;g=config.k8s.io;v=v1beta1;as=Statusz")];
    let statusz = administrator.ask("GET", "/statusz", &wanted, "").await.json();
    assert!(statusz["paths"].as_array().unwrap().contains(&json!("/exec")), "{statusz}");
    let wanted = [("accept", "application/json;g=config.k8s.io;v=v1beta1;as=Flagz")];
    let flagz = caller.ask("GET", "/flagz", &wanted, "").await.json();
    assert_eq!(flagz["flags"]["read-only-port"], "10255", "{flagz}");
    assert_eq!(caller.ask("GET", "/flagz", &[("accept", "image/png")], "").await.code, 406);
    let set = caller.ask("PUT", "/debug/flags/v", &[], "4").await;
    assert_eq!((set.code, set.text.as_str()), (200, "successfully set klog.logging.verbosity to 4"));
    assert_eq!(caller.ask("PUT", "/debug/flags/v", &[], "loud").await.code, 400);
    assert!(caller.get("/debug/pprof/cmdline").await.text.contains("--config"));
    assert_eq!(caller.get("/debug/pprof/heap").await.code, 404);
}

async fn node_logs(caller: &Caller) {
    let page = caller.get("/logs/").await;
    assert_eq!(
        (page.code, page.headers["content-type"].to_str().unwrap()),
        (200, "text/html; charset=utf-8")
    );
    if let Some(path) = some_log() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(page.text.contains(&format!(">{name}</a>")), "{}", page.text);
        let start = fs::read(&path).unwrap()[..16].to_vec();
        let part = caller.ask("GET", &format!("/logs/{name}"), &[("range", "bytes=0-15")], "").await;
        assert_eq!((part.code, part.text), (206, String::from_utf8_lossy(&start).into_owned()));
        let whole = caller.ask("GET", &format!("/logs/?query=/{name}"), &[], "").await;
        assert!(whole.code == 200 && whole.text.as_bytes().starts_with(&start));
    }
    assert_eq!(caller.get("/logs/no-such-file").await.code, 404);
    assert_eq!(caller.get("/logs/..%2f..%2fetc%2fpasswd").await.code, 404);
    let none = caller.get("/logs/?query=no-such-service").await;
    assert_eq!((none.code, none.text.as_str()), (200, "\nlog not found for no-such-service\n"));
    let wrong = caller.get("/logs/?query=a&boot=7").await;
    assert_eq!((wrong.code, wrong.text.as_str()), (406, "boot: Invalid value: 7: must be less than 1\n"));
    assert_eq!(caller.get("/logs/?query=").await.code, 400);
}

/// Whether this machine's runtime can do it or not: the file, or the runtime's words.
async fn checkpoint(caller: &Caller) {
    let made = caller.ask("POST", "/checkpoint/default/web/c?timeout=20", &[], "").await;
    match made.code {
        200 => assert!(
            made.json()["items"][0].as_str().unwrap().contains("/checkpoints/checkpoint-web_default-c-")
        ),
        500 => assert!(made.text.starts_with("checkpointing of default/web/c failed ("), "{}", made.text),
        _ => panic!("{}: {}", made.code, made.text),
    }
    for (path, why) in [
        ("/checkpoint/default/none/c", "pod does not exist"),
        ("/checkpoint/default/web/none", "container none does not exist"),
        ("/checkpoint/default/web/c?timeout=x", "cannot parse value of timeout parameter"),
    ] {
        let answer = caller.ask("POST", path, &[], "").await;
        assert_eq!((answer.code, answer.text.as_str()), (404, why), "{path}");
    }
}

async fn wrong_requests(cluster: &Cluster, caller: &Caller) {
    let wrong = caller.ask("POST", "/pods", &[], "").await;
    assert_eq!((wrong.code, wrong.headers["allow"].to_str().unwrap()), (405, "GET"));
    assert_eq!(caller.ask("GET", "/debug/flags/v", &[], "").await.code, 406);
    for path in ["/nothing", "/stats/container", "/stats/default/web/c"] {
        assert_eq!(caller.get(path).await.code, 404, "{path}");
    }
    let nobody = Caller::new(cluster, Some(AuthInfo::default())).await;
    for path in ["/pods", "/healthz", "/logs/", "/nothing", "/exec/default/web/c"] {
        let answer = nobody.get(path).await;
        assert_eq!((answer.code, answer.text.as_str()), (401, "Unauthorized"), "{path}");
    }
}

async fn other_ports(cluster: &Cluster) {
    let read_only = (cluster.node(0).ip(), READ_ONLY);
    for (path, code) in [
        ("/pods", 200),
        ("/healthz/syncloop", 200),
        ("/metrics", 200),
        ("/metrics/slis", 200),
        ("/configz", 404),
        ("/flagz", 404),
        ("/logs/", 405),
        ("/exec/default/web/c", 405),
        ("/containerLogs/default/web/c", 405),
        ("/debug/pprof/cmdline", 405),
        ("/debug/flags/v", 404),
        ("/checkpoint/default/web/c", 404),
    ] {
        let (answered, said) = plain(read_only, path).await;
        assert_eq!(answered, code, "{path}: {said}");
    }
    let healthz = ([127, 0, 0, 1].into(), cluster.node(0).healthz_port());
    for (path, code) in
        [("/healthz", 200), ("/healthz/ping", 200), ("/healthz/syncloop", 404), ("/pods", 404)]
    {
        assert_eq!(plain(healthz, path).await.0, code, "{path}");
    }
}
