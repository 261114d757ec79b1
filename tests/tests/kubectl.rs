//! What people do with kubectl, against a whole cluster.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::process::Stdio;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use tokio::io::{AsyncBufReadExt, BufReader};

const LIMIT: Duration = Duration::from_secs(60);

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: web, labels: { app: web } }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: [sleep, "100000"] }
"#;

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

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_shown_in_every_form() {
    scenario(ClusterOptions::for_test("kubectl-show").unwrap(), async |cluster| {
        let node = cluster.node(0).name().to_owned();
        cluster.apply(POD).await.unwrap();
        cluster.wait_ready("web", LIMIT).await.unwrap();
        says(
            &ok(cluster, "get pods").await,
            &["NAME", "READY", "STATUS", "RESTARTS", "AGE", "web", "1/1", "Running"],
        );
        says(
            &ok(cluster, "get pods -o wide").await,
            &["IP", "NODE", "NOMINATED NODE", "READINESS GATES", &node],
        );
        says(
            &ok(cluster, "get pod/web -o yaml").await,
            &["kind: Pod", "phase: Running", "qosClass: BestEffort"],
        );
        says(&ok(cluster, "get pod web -o json").await, &["\"kind\": \"Pod\"", "\"podIP\": \""]);
        let columns =
            ok(cluster, "get pods -o custom-columns=A:.metadata.name,B:.status.phase --no-headers").await;
        assert_eq!(columns.split_whitespace().collect::<Vec<_>>(), ["web", "Running"]);
        assert_eq!(ok(cluster, "get pods -l app=web -o name").await, "pod/web\n");
        assert_eq!(ok(cluster, "get pods -l app!=web -o name").await, "");
        assert_eq!(ok(cluster, "get pods --field-selector status.phase=Running -o name").await, "pod/web\n");
        assert_eq!(
            ok(cluster, &format!("get pods --field-selector spec.nodeName!={node} -o name")).await,
            ""
        );
        says(&ok(cluster, "get pods -A").await, &["NAMESPACE", "default", "web"]);
        assert_eq!(ok(cluster, "get pod web -o jsonpath={.spec.nodeName}").await, node);
        says(&ok(cluster, "get nodes -o wide").await, &["Ready", "v1.36.", "containerd://", "Debian"]);
        says(&ok(cluster, "get all").await, &["pod/web", "service/kubernetes"]);
        let described = ok(cluster, "describe pod web").await;
        says(
            &described,
            &[
                "Node:",
                "Status:           Running",
                "PodScheduled",
                "Container started",
                "Successfully assigned default/web to",
            ],
        );
        says(
            &ok(cluster, &format!("describe node {node}")).await,
            &["KubeletReady", "default                     web", "Allocatable:"],
        );
        says(&ok(cluster, "events --for pod/web").await, &["Scheduled", "Pulled", "Created", "Started"]);
        says(&ok(cluster, "get events").await, &["LAST SEEN", "pod/web"]);
        says(
            &ok(cluster, "explain pod.spec.containers").await,
            &["KIND:       Pod", "image", "<string>", "-required-"],
        );
        says(
            &ok(cluster, "api-resources").await,
            &["pods", "configmaps", "leases", "runtimeclasses", "priorityclasses"],
        );
        says(&ok(cluster, "api-versions").await, &["v1", "coordination.k8s.io/v1"]);
        says(&ok(cluster, "version").await, &["Server Version: v1.36."]);
        says(
            &ok(cluster, "cluster-info").await,
            &["Kubernetes control plane", "is running at", "https://127.0.0.1:"],
        );
        says(
            &ok(cluster, "wait --for=condition=Ready pod/web --timeout=30s").await,
            &["pod/web condition met"],
        );
        says(
            &ok(cluster, "wait --for=jsonpath={.status.phase}=Running pod/web --timeout=30s").await,
            &["condition met"],
        );
        says(
            &refused(cluster, "get pod absent", "").await,
            &["Error from server (NotFound): pods \"absent\" not found"],
        );
        says(
            &refused(cluster, "get deployments", "").await,
            &["the server doesn't have a resource type \"deployments\""],
        );

        // A watch shows what happens from now on.
        let mut watch = cluster.kubectl_command();
        let arguments = [
            "get",
            "pods",
            "-w",
            "--no-headers",
            "-o",
            "custom-columns=N:.metadata.name,L:.metadata.labels.step",
        ];
        let mut watch = watch.args(arguments).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let mut next =
            async || tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(next().await.contains("<none>"));
        ok(cluster, "label pod web step=one").await;
        assert!(next().await.contains("one"));
        ok(cluster, "label pod web step=two --overwrite").await;
        assert!(next().await.contains("two"));
        watch.kill().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_changed_and_deleted_in_every_way() {
    scenario(ClusterOptions::for_test("kubectl-change").unwrap(), async |cluster| {
        let node = cluster.node(0).name().to_owned();
        let with = async |line: &str, input: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let output = cluster.kubectl_with(&words, input).await.unwrap();
            assert!(output.status.success(), "kubectl {line}: {}", output.stderr);
            output.stdout
        };
        // apply: made, unchanged, changed, a field taken away.
        let map =
            |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: m }}\ndata: {data}\n");
        assert_eq!(with("apply -f -", &map("{ a: x, b: x }")).await, "configmap/m created\n");
        assert_eq!(with("apply -f -", &map("{ a: x, b: x }")).await, "configmap/m unchanged\n");
        let output = cluster.kubectl_with(&["diff", "-f", "-"], &map("{ a: z }")).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
        says(&output.stdout, &["-  a: x", "+  a: z", "-  b: x"]);
        assert_eq!(with("apply -f -", &map("{ a: z }")).await, "configmap/m configured\n");
        assert_eq!(ok(cluster, "get cm m -o jsonpath={.data}").await, "{\"a\":\"z\"}");
        assert_eq!(with("replace -f -", &map("{ c: z }")).await, "configmap/m replaced\n");
        assert_eq!(ok(cluster, "get cm m -o jsonpath={.data}").await, "{\"c\":\"z\"}");
        // Patches of each kind.
        ok(cluster, r#"patch cm m --type=json -p [{"op":"add","path":"/data/unedited","value":"1"}]"#).await;
        ok(cluster, r#"patch cm m --type=merge -p {"data":{"c":null}}"#).await;
        ok(cluster, r#"patch cm m -p {"data":{"e":"2"}}"#).await;
        assert_eq!(ok(cluster, "get cm m -o jsonpath={.data}").await, "{\"e\":\"2\",\"unedited\":\"1\"}");
        let mut edit = cluster.kubectl_command();
        edit.args(["edit", "cm", "m"]).env("KUBE_EDITOR", "sed -i s/unedited:/edited:/").kill_on_drop(true);
        let edited = tokio::time::timeout(LIMIT, edit.output()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&edited.stdout), "configmap/m edited\n");
        assert_eq!(ok(cluster, "get cm m -o jsonpath={.data.edited}").await, "1");
        // create, in its short forms.
        for (line, said) in [
            ("create namespace other", "namespace/other created"),
            ("create configmap c --from-literal=a=b -n other", "configmap/c created"),
            ("create secret generic s --from-literal=a=b -n other", "secret/s created"),
            ("create serviceaccount sa -n other", "serviceaccount/sa created"),
            ("create service clusterip svc --tcp=80 -n other", "service/svc created"),
            ("create priorityclass high --value=1000", "priorityclass.scheduling.k8s.io/high created"),
            ("run p --image=nodelet.dev/busybox:1 --restart=Never -n other -- true", "pod/p created"),
            ("annotate ns other a=b", "namespace/other annotated"),
            ("label ns other a=b", "namespace/other labeled"),
        ] {
            assert_eq!(ok(cluster, line).await.trim_end(), said);
        }
        says(
            &refused(cluster, "create namespace other", "").await,
            &["(AlreadyExists)", "namespaces \"other\" already exists"],
        );
        says(
            &refused(cluster, "create configmap c -n absent", "").await,
            &["namespaces \"absent\" not found"],
        );
        // A pod's image may change, and the container is replaced; most else may not.
        with("apply -f -", POD).await;
        cluster.wait_ready("web", LIMIT).await.unwrap();
        let renamed = POD.replace("name: c,", "name: d,");
        says(
            &refused(cluster, "apply -f -", &renamed).await,
            &["The Pod \"web\" is invalid", "spec: Forbidden: pod updates may not change fields other than"],
        );
        // The node's marks.
        says(&ok(cluster, &format!("cordon {node}")).await, &["cordoned"]);
        says(&ok(cluster, "get nodes").await, &["Ready,SchedulingDisabled"]);
        says(&ok(cluster, &format!("uncordon {node}")).await, &["uncordoned"]);
        says(&ok(cluster, &format!("taint node {node} k=v:NoSchedule")).await, &["tainted"]);
        assert_eq!(ok(cluster, &format!("get node {node} -o jsonpath={{.spec.taints[0].key}}")).await, "k");
        says(&ok(cluster, &format!("taint node {node} k-")).await, &["untainted"]);
        // A namespace goes with everything in it.
        ok(cluster, "delete namespace other --timeout=60s").await;
        says(&refused(cluster, "get pod p -n other", "").await, &["NotFound"]);
        ok(cluster, "delete pod web --force --grace-period=0 --timeout=60s").await;
        assert_eq!(ok(cluster, "delete cm m").await, "configmap \"m\" deleted from default namespace\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_are_refused_by_their_field() {
    scenario(ClusterOptions::for_test("kubectl-refused").unwrap(), async |cluster| {
        let unknown = POD.replace("command:", "comand:");
        let said = refused(cluster, "apply -f -", &unknown).await;
        says(&said, &["strict decoding error", "unknown field \"spec.containers[0].comand\""]);
        let output = cluster.kubectl_with(&["apply", "--validate=warn", "--dry-run=server", "-f", "-"], &unknown).await.unwrap();
        assert!(output.status.success(), "{}", output.stderr);
        says(&output.stderr, &["Warning: unknown field \"spec.containers[0].comand\""]);
        let output = cluster.kubectl_with(&["apply", "--validate=false", "--dry-run=server", "-f", "-"], &unknown).await.unwrap();
        assert!(output.status.success() && !output.stderr.contains("unknown field"), "{}", output.stderr);

        let wrong = POD.replace("name: c,", "name: Wrong_Name,");
        says(&refused(cluster, "apply -f -", &wrong).await, &["The Pod \"web\" is invalid", "spec.containers[0].name: Invalid value: \"Wrong_Name\""]);
        let wrong = POD.replace("[sleep, \"100000\"]", "5");
        says(&refused(cluster, "create -f -", &wrong).await, &["spec.containers"]);
        let wrong = POD.replace("terminationGracePeriodSeconds: 1", "restartPolicy: Sometimes");
        says(&refused(cluster, "create -f -", &wrong).await, &["spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""]);
        let missing = "apiVersion: v1\nkind: Pod\nmetadata: { name: x }\nspec: { containers: [] }\n";
        says(&refused(cluster, "create -f -", missing).await, &["spec.containers: Required value"]);
        says(&refused(cluster, "apply --server-side -f -", POD).await, &["server-side apply"]);
        says(&refused(cluster, "create -f -", "kind: Pod\nmetadata: [").await, &["error"]);
    })
    .await;
}
