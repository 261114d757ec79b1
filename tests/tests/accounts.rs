//! What the control plane does by itself, with the real kubectl: tokens of service accounts, namespaces that go, claims and volumes, owners,
//! and nodes that fall silent.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::path::Path;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::images::BUSYBOX;
use harness::wait::{self, Look};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

/// Runs a command line that succeeds; words are separated by single blanks.
async fn ok(cluster: &Cluster, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match cluster.kubectl_ok(&words).await {
        Ok(said) => said,
        Err(error) => panic!("kubectl {line}: {error}"),
    }
}

/// Runs a command line that is refused; what it said.
async fn refused(cluster: &Cluster, line: &str, input: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let output = cluster.kubectl_with(&words, input).await.unwrap();
    assert!(!output.status.success(), "kubectl {line} was not refused: {}", output.stdout);
    output.stderr
}

/// Waits until a command line says this.
async fn says(cluster: &Cluster, line: &str, wanted: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let look = || async {
        match cluster.kubectl_ok(&words).await {
            Ok(said) if said == wanted => Look::There(()),
            Ok(said) => Look::NotYet(said),
            Err(error) => Look::NotYet(error.to_string()),
        }
    };
    wait::until(&format!("`kubectl {line}` to say {wanted:?}"), LIMIT, look).await.unwrap();
}

fn pod(name: &str, node: Option<&str>) -> String {
    let node = node.map(|node| format!("nodeName: {node}")).unwrap_or_default();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  {node}
  terminationGracePeriodSeconds: 1
  containers:
  - {{ name: c, image: "{BUSYBOX}", imagePullPolicy: Never, command: [sleep, "100000"] }}
"#
    )
}

/// A kubeconfig with a token and nothing else.
async fn kubeconfig(cluster: &Cluster, token: &str, path: &Path) {
    let ca = cluster.layout().apiserver().join("pki/ca.crt");
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": cluster.server(), "certificate-authority": ca } }],
        "users": [{ "name": "u", "user": { "token": token } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    });
    std::fs::write(path, content.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_kubectl_makes_is_who_it_says_until_its_account_goes() {
    scenario(ClusterOptions::for_test("accounts-tokens").unwrap(), async |cluster| {
        says(cluster, "get serviceaccount default -o jsonpath={.metadata.name}", "default").await;
        let certificate = ok(cluster, "get configmap kube-root-ca.crt -o jsonpath={.data.ca\\.crt}").await;
        let ca = std::fs::read_to_string(cluster.layout().apiserver().join("pki/ca.crt")).unwrap();
        assert_eq!(certificate.trim(), ca.trim());

        ok(cluster, "create serviceaccount robot").await;
        let token = ok(cluster, "create token robot --duration=10m").await;
        let config = cluster.layout().dir().join("robot.kubeconfig");
        kubeconfig(cluster, token.trim(), &config).await;
        let as_robot = format!("--kubeconfig={}", config.display());
        let who = ok(cluster, &format!("{as_robot} auth whoami -o json")).await;
        let who: Value = serde_json::from_str(&who).unwrap();
        let info = &who["status"]["userInfo"];
        assert_eq!(info["username"], "system:serviceaccount:default:robot");
        let groups =
            json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
        assert_eq!(info["groups"], groups);
        let said = refused(cluster, &format!("{as_robot} get pods"), "").await;
        assert!(
            said.contains("User \"system:serviceaccount:default:robot\" cannot list resource \"pods\""),
            "{said}"
        );
        ok(cluster, "create rolebinding robot --clusterrole=view --serviceaccount=default:robot").await;
        ok(cluster, &format!("{as_robot} get pods")).await;
        let keys = ok(cluster, &format!("{as_robot} get --raw /openid/v1/jwks")).await;
        assert!(keys.contains("\"kty\":\"EC\""), "{keys}");

        // One that is bound to a pod ends with the pod.
        let node = cluster.node(0).name();
        cluster.apply(&pod("a", Some(node))).await.unwrap();
        cluster.wait_ready("a", LIMIT).await.unwrap();
        let uid = ok(cluster, "get pod a -o jsonpath={.metadata.uid}").await;
        let bound = format!(
            "create token default --bound-object-kind=Pod --bound-object-name=a --bound-object-uid={uid}"
        );
        let token = ok(cluster, &bound).await;
        let of_pod = cluster.layout().dir().join("pod.kubeconfig");
        kubeconfig(cluster, token.trim(), &of_pod).await;
        let as_pod = format!("--kubeconfig={}", of_pod.display());
        let who = ok(cluster, &format!("{as_pod} auth whoami -o json")).await;
        let who: Value = serde_json::from_str(&who).unwrap();
        let extra = &who["status"]["userInfo"]["extra"];
        assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["a"]));
        assert_eq!(extra["authentication.kubernetes.io/node-name"], json!([node]));
        ok(cluster, "delete pod a").await;
        let said = refused(cluster, &format!("{as_pod} auth whoami"), "").await;
        assert!(said.contains("Unauthorized") || said.contains("logged in"), "{said}");
        ok(cluster, "delete serviceaccount robot").await;
        refused(cluster, &format!("{as_robot} get pods"), "").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_its_pods_and_kubectl_waits_for_it() {
    scenario(ClusterOptions::for_test("accounts-namespace").unwrap(), async |cluster| {
        ok(cluster, "create namespace x").await;
        let node = cluster.node(0).name();
        let manifest = pod("a", Some(node)).replace("name: a", "name: a, namespace: x");
        cluster.apply(&manifest).await.unwrap();
        ok(cluster, "-n x wait --for=condition=Ready pod/a --timeout=90s").await;
        ok(cluster, "-n x create configmap held --from-literal=a=b").await;
        let hold = r#"--patch={"metadata":{"finalizers":["example.com/hold"]}}"#;
        ok(cluster, &format!("-n x patch configmap held --type=merge {hold}")).await;
        ok(cluster, "delete namespace x --wait=false").await;
        says(cluster, "get namespace x -o jsonpath={.status.phase}", "Terminating").await;
        let said = refused(cluster, "-n x create configmap more --from-literal=a=b", "").await;
        assert!(said.contains("unable to create new content in namespace x because it is being terminated"), "{said}");
        let condition = "get namespace x -o jsonpath={.status.conditions[?(@.type==\"NamespaceFinalizersRemaining\")].message}";
        let waits = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
        says(cluster, condition, waits).await;
        says(cluster, "-n x get pods -o name", "").await;
        ok(cluster, r#"-n x patch configmap held --type=merge --patch={"metadata":{"finalizers":null}}"#).await;
        ok(cluster, "wait --for=delete namespace/x --timeout=90s").await;
        let said = refused(cluster, "get namespace x", "").await;
        assert!(said.contains("namespaces \"x\" not found"), "{said}");
    })
    .await;
}

fn volume(name: &str, class: &str, node: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: PersistentVolume
metadata: {{ name: {name} }}
spec:
  capacity: {{ storage: 1Gi }}
  accessModes: [ReadWriteOnce]
  storageClassName: {class}
  local: {{ path: /data }}
  nodeAffinity:
    required:
      nodeSelectorTerms: [{{ matchExpressions: [{{ key: kubernetes.io/hostname, operator: In, values: [{node}] }}] }}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{ name: {name} }}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: {class}
  resources: {{ requests: {{ storage: 1Gi }} }}
"#
    )
}

fn user(name: &str, claim: &str) -> String {
    let volume = format!("  volumes: [{{ name: d, persistentVolumeClaim: {{ claimName: {claim} }} }}]\n");
    format!("{}{volume}", pod(name, None))
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_get_volumes_and_pods_go_where_their_volumes_are() {
    scenario(ClusterOptions::for_test("accounts-volumes").unwrap().nodes(2), async |cluster| {
        let other = cluster.node(1).name();
        let class = r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: lazy }
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
"#;
        cluster.apply(&format!("{class}{}{}", volume("eager", "plain", other), volume("lazy", "lazy", other))).await.unwrap();
        says(cluster, "get pvc eager -o jsonpath={.status.phase}", "Bound").await;
        let shown = ok(cluster, "get pv,pvc,sc").await;
        for words in ["RECLAIM POLICY", "default/eager", "VOLUMEBINDINGMODE", "WaitForFirstConsumer"] {
            assert!(shown.contains(words), "{words} is missing in {shown}");
        }
        assert_eq!(ok(cluster, "get pvc lazy -o jsonpath={.status.phase}").await, "Pending");
        let reason = "get events --field-selector=involvedObject.name=lazy -o jsonpath={.items[0].reason}";
        says(cluster, reason, "WaitForFirstConsumer").await;
        for (pod, claim) in [("a", "eager"), ("b", "lazy")] {
            cluster.apply(&user(pod, claim)).await.unwrap();
            says(cluster, &format!("get pod {pod} -o jsonpath={{.spec.nodeName}}"), other).await;
        }
        assert_eq!(ok(cluster, "get pvc lazy -o jsonpath={.status.phase}").await, "Bound");

        cluster.apply(&user("c", "missing")).await.unwrap();
        let message = "get pod c -o jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}";
        let why = "0/2 nodes are available: persistentvolumeclaim \"missing\" not found. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
        says(cluster, message, why).await;

        // In use it stays.
        ok(cluster, "delete pvc eager --wait=false").await;
        says(cluster, "get pvc eager -o jsonpath={.metadata.finalizers[0]}", "kubernetes.io/pvc-protection").await;
        ok(cluster, "delete pod a b c --force --grace-period=0").await;
        ok(cluster, "wait --for=delete pvc/eager --timeout=90s").await;
        says(cluster, "get pv eager -o jsonpath={.status.phase}", "Released").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owned_goes_as_kubectl_says() {
    scenario(ClusterOptions::for_test("accounts-owners").unwrap(), async |cluster| {
        let owned = async |owner: &str, name: &str| {
            ok(cluster, &format!("create configmap {owner} --from-literal=a=b")).await;
            let uid = ok(cluster, &format!("get configmap {owner} -o jsonpath={{.metadata.uid}}")).await;
            let reference = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid, "blockOwnerDeletion": true,
            });
            let child = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "ownerReferences": [reference] },
            });
            cluster.apply(&child.to_string()).await.unwrap();
        };
        for cascade in ["background", "foreground", "orphan"] {
            owned(cascade, &format!("of-{cascade}")).await;
            ok(cluster, &format!("delete configmap {cascade} --cascade={cascade}")).await;
        }
        says(cluster, "get configmap -o jsonpath={.items[*].metadata.name}", "kube-root-ca.crt of-orphan").await;
        let references = ok(cluster, "get configmap of-orphan -o jsonpath={.metadata.ownerReferences}").await;
        assert_eq!(references, "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_falls_silent_loses_its_pods_and_comes_back() {
    let options = ClusterOptions::for_test("accounts-silent").unwrap().nodes(2);
    let options = options.kubelet("nodeLeaseDurationSeconds", 8.into());
    let options =
        options.apiserver_flag("--node-monitor-grace-period=20s").apiserver_flag("--node-monitor-period=1s");
    scenario(options, async |cluster| {
        let node = cluster.node(0).name();
        let tolerant = |name: &str, seconds: u32| {
            let toleration = format!(
                "  tolerations: [{{ key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: {seconds} }}]\n"
            );
            format!("{}{toleration}", pod(name, Some(node)))
        };
        cluster.apply(&tolerant("leaves", 1)).await.unwrap();
        cluster.apply(&tolerant("stays", 6000)).await.unwrap();
        for name in ["leaves", "stays"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        cluster.node(0).stop().await.unwrap();
        let ready = |field: &str| {
            format!("get node {node} -o jsonpath={{.status.conditions[?(@.type==\"Ready\")].{field}}}")
        };
        says(cluster, &ready("status"), "Unknown").await;
        assert_eq!(ok(cluster, &ready("reason")).await, "NodeStatusUnknown");
        let shown = ok(cluster, "get nodes").await;
        assert!(shown.contains("NotReady"), "{shown}");
        let of = |pod: &str, kind: &str, field: &str| {
            format!("get pod {pod} -o jsonpath={{.status.conditions[?(@.type==\"{kind}\")].{field}}}")
        };
        says(cluster, &of("leaves", "DisruptionTarget", "reason"), "DeletionByTaintManager").await;
        says(cluster, &of("stays", "Ready", "status"), "False").await;
        assert_ne!(ok(cluster, "get pod leaves -o jsonpath={.metadata.deletionTimestamp}").await, "");
        assert_eq!(ok(cluster, "get pod stays -o jsonpath={.metadata.deletionTimestamp}").await, "");
        let taints = format!("get node {node} -o jsonpath={{.spec.taints[*].effect}}");
        says(cluster, &taints, "NoSchedule NoExecute").await;

        cluster.node(0).start().await.unwrap();
        says(cluster, &ready("status"), "True").await;
        says(cluster, &taints, "").await;
        cluster.wait_gone("leaves", LIMIT).await.unwrap();
        cluster.wait_ready("stays", LIMIT).await.unwrap();
    })
    .await;
}
